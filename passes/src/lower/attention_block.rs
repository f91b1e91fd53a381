//! What a tile of attention does with a block of 32 positions: scores, weights, and weighted sums of values.
//!
//! A block that a row of the tile can't see changes nothing in the state of its slots, to the bit. Its scores are
//! [`MASKED`], far below [`FLOOR`], where the running maximum starts: so the maximum stays, old sums shrink by
//! e⁰ = 1, and all weights are +0. Sums of −0 may become +0, which [`Tile::finish`] makes the same.

use super::attention_tile::Span;
use super::attention_tile::Tile;
use super::emit::{F32_BYTES, at, shift};
use super::epilogue::softcap;
use lathe_ir::graph::KvPart;
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Buf, Cmp, KernelBuilder, Mem, Ty, Val, math};
use lathe_ir::layout::{KvLayout, KvType};
use lathe_ir::plan::KV_BLOCK;

/// The score of a position that a row can't see.
const MASKED: f32 = -3e38;

/// The running maximum of scores before the first: e to the power of `MASKED - FLOOR` is 0.
pub const FLOOR: f32 = -1e38;

/// Bytes of a row of scores of a block.
const ROW: u32 = KV_BLOCK * F32_BYTES;

/// Fewest products of an iteration of an inner loop: with more, the loop itself costs little.
const UNROLLED: u32 = 24;

/// Where a block's keys or values of the tile's KV head start.
#[derive(Clone, Copy)]
pub struct BlockPlace {
    /// Keys, `[head_dim][32]`; see [`lathe_ir::layout::KvLayout`].
    pub keys: Addr,
    /// Values, `[32][head_dim]`.
    pub values: Addr,
    /// First position of the block.
    pub first: Val,
}

/// Which scales the codes of a matrix have.
#[derive(Clone, Copy)]
enum Scales {
    /// Elements are no codes.
    None,
    /// Those of keys: a row of the matrix is an element of the keys. The scales of the first group, a vector a position.
    Vectors(Addr),
    /// Those of values: a row of the matrix is a position. The scales of the first vector's group, one a row.
    Splats(Addr),
}

/// Bytes of the scales of a group of a head.
const SCALES: u32 = KvLayout::POSITIONS as u32 * F32_BYTES;

/// One walk of an inner loop over `steps` rows of a matrix of keys or values, multiplied with a splatted f32 of each slot.
struct Products {
    /// Slots.
    slots: u32,
    /// Vectors of a row of the matrix.
    vectors: u32,
    /// Lanes of a vector.
    lanes: u8,
    /// Rows of the matrix; those of an unrolled iteration divide it.
    steps: u32,
    /// Bytes of factors of the rows that count: the loop may stop after them.
    end: Val,
    /// The matrix, and elements of a row.
    matrix: (Addr, u32),
    /// Type of the matrix.
    ty: KvType,
    /// The plane of its elements, where two share a byte.
    plane: u32,
    /// Scales of its elements.
    scales: Scales,
    /// The factors of the first slot, one f32 a row of the matrix, and bytes from slot to slot.
    factors: (Addr, u32),
}

impl Products {
    /// `sums[slot][vector] += Σ factor · row`, rows in order.
    fn emit(&self, b: &mut KernelBuilder, sums: &[Val]) -> Vec<Val> {
        let products = self.slots * self.vectors;
        let unroll = [4, 2]
            .into_iter()
            .find(|n| self.steps.is_multiple_of(*n) && n / 2 * products < UNROLLED)
            .unwrap_or(1);
        let lo = b.index(0);
        b.for_loop(
            lo,
            self.end,
            i64::from(unroll * F32_BYTES),
            sums,
            |b, step4, sums| {
                let row_bytes = self.matrix.1 * self.ty.element_bytes();
                let row = quarter_of(b, step4, row_bytes);
                let row = shift(b, self.matrix.0, row);
                let scales = self.scales_at(b, step4);
                let factors = shift(b, self.factors.0, step4);
                let mut sums = sums.to_vec();
                for step in 0..unroll {
                    let row = row.plus((step * row_bytes) as i32);
                    let scales = scales.after(step);
                    self.row(
                        b,
                        (row, scales),
                        factors.plus((step * F32_BYTES) as i32),
                        &mut sums,
                    );
                }
                sums
            },
        )
    }

    /// The scales of the rows of an iteration whose first has a factor `step4` bytes behind the first: rows of keys that
    /// an iteration takes lie in one group, because it takes 1, 2 or 4 and starts at a multiple.
    fn scales_at(&self, b: &mut KernelBuilder, step4: Val) -> Scales {
        match self.scales {
            Scales::None => Scales::None,
            Scales::Vectors(first) => {
                let group = b.div_const(step4, i64::from(KvLayout::GROUP * F32_BYTES));
                let group = b.mul_const(group, i64::from(SCALES));
                Scales::Vectors(shift(b, first, group))
            }
            Scales::Splats(first) => Scales::Splats(shift(b, first, step4)),
        }
    }

    /// Vector `v` of a row.
    fn vector(&self, b: &mut KernelBuilder, (row, scales): (Addr, Scales), v: u32) -> Val {
        let lanes = u32::from(self.lanes);
        let at = row.plus((v * lanes * self.ty.element_bytes()) as i32);
        let scale = match scales {
            Scales::None => return b.load(kv_mem(self.ty), at, Ty::f32(self.lanes)),
            Scales::Vectors(group) => {
                let scale = group.plus((v * lanes * F32_BYTES) as i32);
                b.load(Mem::F32, scale, Ty::f32(self.lanes))
            }
            Scales::Splats(first) => {
                let scale = first.plus((v * lanes / KvLayout::GROUP * SCALES) as i32);
                b.load_splat(Mem::F32, scale, Ty::f32(self.lanes))
            }
        };
        let code = b.load(kv_mem(self.ty), at, Ty::i32(self.lanes));
        let code = match (self.ty.planes(), self.plane) {
            (1, _) => code,
            (_, 0) => {
                let high = b.shl(code, 28);
                b.sar(high, 28)
            }
            _ => b.sar(code, 4),
        };
        let code = b.cvt_f32(code);
        b.mul(code, scale)
    }

    fn row(&self, b: &mut KernelBuilder, row: (Addr, Scales), factors: Addr, sums: &mut [Val]) {
        let ty = Ty::f32(self.lanes);
        let vectors: Vec<Val> = (0..self.vectors).map(|v| self.vector(b, row, v)).collect();
        for (slot, sums) in sums.chunks_exact_mut(vectors.len()).enumerate() {
            let factor = factors.plus((slot as u32 * self.factors.1) as i32);
            let factor = b.load_splat(Mem::F32, factor, ty);
            for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                *sum = b.fma(factor, vector, *sum);
            }
        }
    }
}

impl Scales {
    /// Those of the row `rows` rows further on in the same iteration.
    fn after(self, rows: u32) -> Scales {
        match self {
            Scales::Splats(first) => Scales::Splats(first.plus((rows * F32_BYTES) as i32)),
            same => same,
        }
    }
}

/// How elements lie in memory: floats, or codes.
pub fn kv_mem(ty: KvType) -> Mem {
    match ty {
        KvType::F32 => Mem::F32,
        KvType::F16 => Mem::F16,
        KvType::Bf16 => Mem::Bf16,
        KvType::Q8_0 | KvType::Q4_0 => Mem::I8,
    }
}

/// The scales of a plane of a head that starts at `head`.
fn scales_of_plane(head: Addr, layout: KvLayout, plane: u32) -> Addr {
    let offset = layout.code_bytes() + u64::from(plane) * layout.plane_scale_bytes();
    head.plus(offset as i32)
}

/// `v4 / 4 · factor`, where `v4` is a multiple of 4.
fn quarter_of(b: &mut KernelBuilder, v4: Val, factor: u32) -> Val {
    if factor.is_multiple_of(F32_BYTES) {
        return b.mul_const(v4, i64::from(factor / F32_BYTES));
    }
    let product = b.mul_const(v4, i64::from(factor));
    b.sar(product, 2)
}

impl Tile {
    /// Lets the tile's slots see a block. Positions after the last row's are left out where that saves work: they are
    /// masked, and their weights are +0.
    pub fn block(&self, b: &mut KernelBuilder, scratch: Buf, place: BlockPlace, span: Span) {
        let seen = b.sub(span.last, place.first);
        let (one, all) = (b.index(1), b.index(i64::from(KV_BLOCK)));
        let seen = b.add(seen, one);
        let seen = b.min(seen, all);
        let seen = b.shl(seen, 2);
        self.for_passes(b, |b, slot, slots| {
            self.scores(b, scratch, (place.keys, seen), slot, slots);
        });
        self.mask(b, scratch, place.first, span);
        self.peaks(b, scratch);
        self.weights(b, scratch);
        self.for_passes(b, |b, slot, slots| {
            self.mix(b, scratch, (place.values, seen), slot, slots);
        });
    }

    /// Vectors of a row of keys or values that a pass of so many slots holds sums of, of at most `most`: 1, 2 or 4.
    fn vectors_at_once(&self, slots: u32, most: u32) -> u32 {
        let fits = |n: &u32| *n <= most && self.kernel.registers_hold(slots, *n);
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// `scores[slot][position] = q · k` for `slots` slots from `slot` on, at least where four times the position is below
    /// `seen`.
    fn scores(&self, b: &mut KernelBuilder, scratch: Buf, (keys, seen): (Addr, Val), slot: Val, slots: u32) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let layout = kernel.layout(KvPart::K);
        let lanes = u32::from(kernel.lanes);
        let vectors = self.vectors_at_once(slots, KV_BLOCK / lanes);
        let q_bytes = kernel.head_dim * F32_BYTES;
        let q = self.of_slot(b, scratch, s.q, slot, q_bytes);
        let scores = self.of_slot(b, scratch, s.scores, slot, ROW);
        let plane_bytes = layout.plane_dim() * F32_BYTES;
        let (lo, end) = (b.index(0), b.index(i64::from(plane_bytes)));
        let width = lanes * F32_BYTES;
        b.for_loop(lo, seen, i64::from(vectors * width), &[], |b, position4, _| {
            let position = quarter_of(b, position4, layout.ty.element_bytes());
            let matrix = (shift(b, keys, position), KV_BLOCK);
            let zero = b.fconst(0.0, kernel.lanes);
            let mut dots = vec![zero; (slots * vectors) as usize];
            for plane in 0..layout.ty.planes() {
                let scales = match layout.ty.has_scales() {
                    true => Scales::Vectors(shift(b, scales_of_plane(keys, layout, plane), position4)),
                    false => Scales::None,
                };
                let products = Products {
                    slots,
                    vectors,
                    lanes: kernel.lanes,
                    steps: layout.plane_dim(),
                    end,
                    matrix,
                    ty: layout.ty,
                    plane,
                    scales,
                    factors: (q.plus((plane * plane_bytes) as i32), q_bytes),
                };
                dots = products.emit(b, &dots);
            }
            let scores = shift(b, scores, position4);
            for (n, &dot) in dots.iter().enumerate() {
                let (slot, v) = (n as u32 / vectors, n as u32 % vectors);
                b.store(Mem::F32, scores.plus((slot * ROW + v * width) as i32), dot);
            }
            Vec::new()
        });
    }

    /// Caps and masks scores, and stores each slot's maximum. A block that all rows see whole is not masked, which gives
    /// the same bits.
    fn mask(&self, b: &mut KernelBuilder, scratch: Buf, first: Val, span: Span) {
        let end = b.add_const(first, i64::from(KV_BLOCK) - 1);
        let mut hidden = b.sub(end, span.first);
        if self.kernel.window != 0 {
            let seen_from = b.add_const(span.last, 1 - i64::from(self.kernel.window));
            let too_old = b.sub(seen_from, first);
            hidden = b.max(hidden, too_old);
        }
        let zero = b.index(0);
        b.if_else(
            Cmp::Lt,
            zero,
            hidden,
            |b| self.cap_and_mask(b, scratch, Some(first)),
            |b| self.cap_and_mask(b, scratch, None),
        );
    }

    /// Masks by positions where the first position of the block is given.
    fn cap_and_mask(&self, b: &mut KernelBuilder, scratch: Buf, first: Option<Val>) {
        let (kernel, s) = (&self.kernel, self.scratch);
        let lanes = kernel.lanes;
        let first = first
            .map(|first| b.to_i32(first))
            .map(|first| b.splat(first, lanes));
        b.for_const(i64::from(self.slots()), |b, slot| {
            let scores = self.of_slot(b, scratch, s.scores, slot, ROW);
            let slot4 = b.shl(slot, 2);
            let last = first.map(|first| {
                let position = at(scratch, slot4).plus(s.position as i32);
                let position = b.load_splat(Mem::I32, position, Ty::i32(lanes));
                b.sub(position, first)
            });
            let mut peak = None;
            for v in 0..KV_BLOCK / u32::from(lanes) {
                let at = scores.plus((v * u32::from(lanes) * F32_BYTES) as i32);
                let mut score = b.load(Mem::F32, at, Ty::f32(lanes));
                if kernel.cap != 0.0 {
                    score = softcap(b, score, kernel.cap);
                }
                if let Some(last) = last {
                    score = self.visible(b, score, v, last);
                }
                if last.is_some() || kernel.cap != 0.0 {
                    b.store(Mem::F32, at, score);
                }
                peak = Some(peak.map_or(score, |peak| b.max(peak, score)));
            }
            let peak = peak.expect("a block has a whole number of vectors");
            let peak = b.reduce_max(peak);
            b.store(Mem::F32, at(scratch, slot4).plus(s.block_peak as i32), peak);
        });
    }

    /// The scores of vector `v` of a block, masked where the row can't see them; `last` is the row's position, counted
    /// from the first of the block.
    fn visible(&self, b: &mut KernelBuilder, score: Val, v: u32, last: Val) -> Val {
        let lanes = self.kernel.lanes;
        let number = b.iota(lanes);
        let base = b.iconst((v * u32::from(lanes)) as i32, lanes);
        let number = b.add(number, base);
        let masked = b.fconst(MASKED, lanes);
        let seen = b.cmp(Cmp::Le, number, last);
        let score = b.select(seen, score, masked);
        if self.kernel.window == 0 {
            return score;
        }
        let window = b.iconst(self.kernel.window as i32, lanes);
        let too_old = b.sub(last, window);
        let recent = b.cmp(Cmp::Lt, too_old, number);
        b.select(recent, score, masked)
    }

    /// Updates the running maxima, and by what older sums shrink; lanes are slots.
    fn peaks(&self, b: &mut KernelBuilder, scratch: Buf) {
        let (s, lanes) = (self.scratch, self.kernel.lanes);
        let slots = self.slots().next_multiple_of(u32::from(lanes));
        let (lo, hi) = (b.index(0), b.index(i64::from(slots * F32_BYTES)));
        b.for_loop(
            lo,
            hi,
            i64::from(u32::from(lanes) * F32_BYTES),
            &[],
            |b, slot4, _| {
                let part = |array: u32| at(scratch, slot4).plus(array as i32);
                let old = b.load(Mem::F32, part(s.state.peak), Ty::f32(lanes));
                let new = b.load(Mem::F32, part(s.block_peak), Ty::f32(lanes));
                let peak = b.max(old, new);
                let by = b.sub(old, peak);
                let shrink = math::exp(b, by);
                b.store(Mem::F32, part(s.state.peak), peak);
                b.store(Mem::F32, part(s.shrink), shrink);
                Vec::new()
            },
        );
    }

    /// Turns scores into weights, and adds them to the totals.
    fn weights(&self, b: &mut KernelBuilder, scratch: Buf) {
        let (s, lanes) = (self.scratch, self.kernel.lanes);
        let (ty, width) = (Ty::f32(lanes), u32::from(lanes) * F32_BYTES);
        b.for_const(i64::from(self.slots()), |b, slot| {
            let scores = self.of_slot(b, scratch, s.scores, slot, ROW);
            let totals = self.of_slot(b, scratch, s.lane_totals, slot, width);
            let slot4 = b.shl(slot, 2);
            let peak = b.load_splat(Mem::F32, at(scratch, slot4).plus(s.state.peak as i32), ty);
            let shrink = b.load_splat(Mem::F32, at(scratch, slot4).plus(s.shrink as i32), ty);
            let total = b.load(Mem::F32, totals, ty);
            let mut total = b.mul(total, shrink);
            for v in 0..KV_BLOCK / u32::from(lanes) {
                let at = scores.plus((v * width) as i32);
                let score = b.load(Mem::F32, at, ty);
                let below = b.sub(score, peak);
                let weight = math::exp(b, below);
                b.store(Mem::F32, at, weight);
                total = b.add(total, weight);
            }
            b.store(Mem::F32, totals, total);
        });
    }

    /// `sums = sums · shrink + Σ weight · value` for `slots` slots from `slot` on, over positions four times which are below
    /// `seen`.
    fn mix(&self, b: &mut KernelBuilder, scratch: Buf, values: (Addr, Val), slot: Val, slots: u32) {
        let (layout, lanes) = (self.kernel.layout(KvPart::V), self.kernel.lanes);
        let plane_dim = layout.plane_dim();
        let vectors = self.vectors_at_once(slots, plane_dim / u32::from(lanes));
        for plane in 0..layout.ty.planes() {
            let mut lo = 0;
            for (vectors, lanes) in [(vectors, lanes), (1, lanes), (1, 4), (1, 1)] {
                let width = vectors * u32::from(lanes);
                let hi = lo + (plane_dim - lo) / width * width;
                if lo < hi {
                    let columns = Columns {
                        plane,
                        lo,
                        hi,
                        vectors,
                        lanes,
                    };
                    self.mix_columns(b, scratch, values, slot, slots, columns);
                }
                lo = hi;
            }
        }
    }

    fn mix_columns(
        &self,
        b: &mut KernelBuilder,
        scratch: Buf,
        (values, seen): (Addr, Val),
        slot: Val,
        slots: u32,
        columns: Columns,
    ) {
        let (s, layout) = (self.scratch, self.kernel.layout(KvPart::V));
        let Columns {
            plane,
            lo,
            hi,
            vectors,
            lanes,
        } = columns;
        let (row_bytes, width) = (self.kernel.head_dim * F32_BYTES, u32::from(lanes) * F32_BYTES);
        let sums = self.of_slot(b, scratch, s.state.sums, slot, row_bytes);
        let sums = sums.plus((plane * layout.plane_dim() * F32_BYTES) as i32);
        let shrink = self.of_slot(b, scratch, s.shrink, slot, F32_BYTES);
        let weights = self.of_slot(b, scratch, s.scores, slot, ROW);
        let (lo, hi) = (
            b.index(i64::from(lo * F32_BYTES)),
            b.index(i64::from(hi * F32_BYTES)),
        );
        b.for_loop(lo, hi, i64::from(vectors * width), &[], |b, d4, _| {
            let d = quarter_of(b, d4, layout.ty.element_bytes());
            let scales = match layout.ty.has_scales() {
                true => {
                    let first = scales_of_plane(values, layout, plane);
                    let group = b.div_const(d4, i64::from(KvLayout::GROUP * F32_BYTES));
                    let group = b.mul_const(group, i64::from(SCALES));
                    Scales::Splats(shift(b, first, group))
                }
                false => Scales::None,
            };
            let sums = shift(b, sums, d4);
            let part = |slot: u32, v: u32| sums.plus((slot * row_bytes + v * width) as i32);
            let mut init = Vec::new();
            for slot in 0..slots {
                let shrink = shrink.plus((slot * F32_BYTES) as i32);
                let shrink = b.load_splat(Mem::F32, shrink, Ty::f32(lanes));
                for v in 0..vectors {
                    let sum = b.load(Mem::F32, part(slot, v), Ty::f32(lanes));
                    init.push(b.mul(sum, shrink));
                }
            }
            let products = Products {
                slots,
                vectors,
                lanes,
                steps: KV_BLOCK,
                end: seen,
                matrix: (shift(b, values, d), layout.plane_dim()),
                ty: layout.ty,
                plane,
                scales,
                factors: (weights, ROW),
            };
            let next = products.emit(b, &init);
            for (n, &sum) in next.iter().enumerate() {
                let n = n as u32;
                b.store(Mem::F32, part(n / vectors, n % vectors), sum);
            }
            Vec::new()
        });
    }
}

/// Elements of a plane of a head that a loop works on, and as what vectors.
struct Columns {
    plane: u32,
    lo: u32,
    hi: u32,
    vectors: u32,
    lanes: u8,
}
