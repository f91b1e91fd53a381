//! Attention over the paged cache, in place: one unit is one row and a tile of the query heads of one KV head.
//!
//! Blocks of 32 positions in order, online softmax (Milakov & Gimelshein, "Online normalizer calculation"; Dao et al.,
//! "FlashAttention"). Keys lie transposed in a block, so that scores are vectors over positions; values lie by position,
//! so that sums are vectors over the head. No sum runs across lanes but the one of the weights.

use super::emit::{F32_BYTES, at, for_lanes};
use super::epilogue::{KvAddress, softcap};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Cmp, Kernel, KernelBuilder, Mem, Ty, Val, math};
use lathe_ir::plan::KV_BLOCK;

/// A score that no exponential survives; masked positions have it.
const MASKED: f32 = -1e30;

/// Attention of `heads` query heads that share `kv_heads`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionKernel {
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Query heads of a unit; divides `heads / kv_heads`.
    pub tile: u32,
    /// Multiplies scores.
    pub scale: f32,
    /// Soft cap of scores; 0 for none.
    pub cap: f32,
    /// Sliding window; 0 for none.
    pub window: u32,
    /// Entries of a row of the block tables.
    pub blocks_per_seq: u32,
    /// Vector width.
    pub lanes: u8,
}

/// Offsets in scratch memory.
#[derive(Clone, Copy)]
struct Scratch {
    buf: Buf,
    /// `[tile][32]f32`: scores, then weights.
    scores: u32,
    /// `[tile][head_dim]f32`: weighted sums of values.
    sums: u32,
    /// `[tile]f32` each: running maximum, running sum of weights, and the factor that old sums shrink by.
    peak: u32,
    total: u32,
    shrink: u32,
}

/// Where a block's keys or values of the unit's KV head start.
#[derive(Clone, Copy)]
struct BlockPlace {
    keys: Addr,
    values: Addr,
    /// First position of the block.
    first: Val,
}

impl AttentionKernel {
    /// Units a row.
    pub fn units_per_row(&self) -> u32 {
        self.heads / self.tile
    }

    /// Buffers: q, k, v, positions, seqs, tables, out. Units: rows times [`AttentionKernel::units_per_row`].
    pub fn build(self) -> Kernel {
        let mut b = KernelBuilder::new(format!(
            "attention.h{}.kv{}.d{}.t{}.s{:e}.c{:e}.win{}.n{}.w{}",
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.tile,
            self.scale,
            self.cap,
            self.window,
            self.blocks_per_seq,
            self.lanes
        ));
        let q = b.buf("q", Access::In);
        let k = b.buf("k", Access::In);
        let v = b.buf("v", Access::In);
        let positions = b.buf("positions", Access::In);
        let seqs = b.buf("seqs", Access::In);
        let tables = b.buf("tables", Access::In);
        let out = b.buf("out", Access::Out);
        let (sums, rows) = (self.tile * KV_BLOCK * 4, self.tile * self.head_dim * 4);
        let scalars = (self.tile * 4).next_multiple_of(64);
        let buf = b.scratch(sums + rows + 3 * scalars);
        let peak = sums + rows;
        let s = Scratch {
            buf,
            scores: 0,
            sums,
            peak,
            total: peak + scalars,
            shrink: peak + 2 * scalars,
        };

        let unit = b.unit();
        let row = b.div_const(unit, i64::from(self.units_per_row()));
        let tile = b.rem_const(unit, i64::from(self.units_per_row()));
        let first_head = b.mul_const(tile, i64::from(self.tile));
        let kv_head = b.div_const(first_head, i64::from(self.heads / self.kv_heads));
        let q_row = b.mul_const(row, i64::from(self.heads * self.head_dim * F32_BYTES));
        let q_head = b.mul_const(first_head, i64::from(self.head_dim * F32_BYTES));
        let q_at = b.add(q_row, q_head);

        self.reset(&mut b, s);
        let kv = KvAddress::new(&mut b, row, positions, seqs);
        let head_bytes = self.head_dim * KV_BLOCK * 2;
        let head_offset = b.mul_const(kv_head, i64::from(head_bytes));
        let lo = self.first_block_position(&mut b, kv.position);
        let hi = b.add_const(kv.position, 1);
        b.for_loop(lo, hi, i64::from(KV_BLOCK), &[], |b, first, _| {
            let block = kv.block(b, tables, self.blocks_per_seq, first);
            let start = b.mul_const(block, i64::from(self.kv_heads * head_bytes));
            let start = b.add(start, head_offset);
            let place = BlockPlace {
                keys: at(k, start),
                values: at(v, start),
                first,
            };
            self.scores(b, s, at(q, q_at), place);
            self.weights(b, s, place.first, kv.position);
            self.mix(b, s, place);
            Vec::new()
        });
        self.finish(&mut b, s, at(out, q_at));
        b.finish()
    }

    /// The first position of the first block that a row at `position` can see.
    fn first_block_position(&self, b: &mut KernelBuilder, position: Val) -> Val {
        let zero = b.index(0);
        if self.window == 0 {
            return zero;
        }
        let oldest = b.add_const(position, 1 - i64::from(self.window));
        let oldest = b.max(oldest, zero);
        let block = b.div_const(oldest, i64::from(KV_BLOCK));
        b.mul_const(block, i64::from(KV_BLOCK))
    }

    fn reset(&self, b: &mut KernelBuilder, s: Scratch) {
        let zero = b.index(0);
        let base = at(s.buf, zero);
        let (masked, none) = (b.fconst(MASKED, 1), b.fconst(0.0, 1));
        for g in 0..self.tile as i32 {
            b.store(Mem::F32, base.plus(s.peak as i32 + 4 * g), masked);
            b.store(Mem::F32, base.plus(s.total as i32 + 4 * g), none);
        }
        for_lanes(b, self.tile * self.head_dim, self.lanes, |b, i, lanes| {
            let none = b.fconst(0.0, lanes);
            b.store(Mem::F32, at(s.buf, i).plus(s.sums as i32), none);
        });
    }

    /// Heads of a unit that share one pass over a block, so that running sums stay in registers.
    fn head_passes(&self) -> impl Iterator<Item = std::ops::Range<u32>> + use<> {
        let tile = self.tile;
        (0..tile).step_by(4).map(move |g| g..(g + 4).min(tile))
    }

    /// Vectors over positions (or over the head) that are held at once.
    fn vectors_at_once(&self, n: u32) -> u32 {
        (n / u32::from(self.lanes)).clamp(1, 2)
    }

    /// `scores[head][position] = q · k`, scaled and capped.
    fn scores(&self, b: &mut KernelBuilder, s: Scratch, q: Addr, place: BlockPlace) {
        let lanes = u32::from(self.lanes);
        let at_once = self.vectors_at_once(KV_BLOCK);
        for heads in self.head_passes() {
            let (lo, hi) = (b.index(0), b.index(i64::from(KV_BLOCK)));
            b.for_loop(lo, hi, i64::from(at_once * lanes), &[], |b, position, _| {
                let position2 = b.shl(position, 1);
                let keys = Addr {
                    index: b.add(place.keys.index, position2),
                    ..place.keys
                };
                let none = b.fconst(0.0, self.lanes);
                let init = vec![none; heads.len() * at_once as usize];
                let (lo, hi) = (b.index(0), b.index(i64::from(self.head_dim * F32_BYTES)));
                let dots = b.for_loop(lo, hi, i64::from(F32_BYTES), &init, |b, d4, sums| {
                    let row = b.mul_const(d4, i64::from(KV_BLOCK * 2 / F32_BYTES));
                    let keys = Addr {
                        index: b.add(keys.index, row),
                        ..keys
                    };
                    let vectors: Vec<Val> = (0..at_once)
                        .map(|v| b.load(Mem::F16, keys.plus((v * lanes * 2) as i32), Ty::f32(self.lanes)))
                        .collect();
                    let q = Addr {
                        index: b.add(q.index, d4),
                        ..q
                    };
                    let mut next = Vec::new();
                    for (n, head) in heads.clone().enumerate() {
                        let q = q.plus((head * self.head_dim * F32_BYTES) as i32);
                        let q = b.load_splat(Mem::F32, q, Ty::f32(self.lanes));
                        for (v, &key) in vectors.iter().enumerate() {
                            next.push(b.fma(q, key, sums[n * vectors.len() + v]));
                        }
                    }
                    next
                });
                let position4 = b.shl(position, 2);
                for (n, &dot) in dots.iter().enumerate() {
                    let (head, v) = (heads.start + n as u32 / at_once, n as u32 % at_once);
                    let by = b.fconst(self.scale, self.lanes);
                    let mut score = b.mul(dot, by);
                    if self.cap != 0.0 {
                        score = softcap(b, score, self.cap);
                    }
                    let disp = s.scores + head * KV_BLOCK * F32_BYTES + v * lanes * F32_BYTES;
                    b.store(Mem::F32, at(s.buf, position4).plus(disp as i32), score);
                }
                Vec::new()
            });
        }
    }

    /// Masks scores, updates the running maximum and total, and turns scores into weights.
    fn weights(&self, b: &mut KernelBuilder, s: Scratch, first: Val, position: Val) {
        let lanes = self.lanes;
        let vectors = KV_BLOCK / u32::from(lanes);
        let last = b.sub(position, first);
        let last = b.to_i32(last);
        let last = b.splat(last, lanes);
        b.for_const(i64::from(self.tile), |b, g| {
            let g4 = b.shl(g, 2);
            let row = b.mul_const(g, i64::from(KV_BLOCK * F32_BYTES));
            let scores = at(s.buf, row).plus(s.scores as i32);
            let masked = b.fconst(MASKED, lanes);
            let mut peak = masked;
            for v in 0..vectors {
                let disp = (v * u32::from(lanes) * F32_BYTES) as i32;
                let score = b.load(Mem::F32, scores.plus(disp), Ty::f32(lanes));
                let number = b.iota(lanes);
                let base = b.iconst((v * u32::from(lanes)) as i32, lanes);
                let number = b.add(number, base);
                let seen = b.cmp(Cmp::Le, number, last);
                let mut score = b.select(seen, score, masked);
                if self.window != 0 {
                    let window = b.iconst(self.window as i32, lanes);
                    let too_old = b.sub(last, window);
                    let recent = b.cmp(Cmp::Lt, too_old, number);
                    score = b.select(recent, score, masked);
                }
                b.store(Mem::F32, scores.plus(disp), score);
                peak = b.max(peak, score);
            }
            let old_peak = b.load(Mem::F32, at(s.buf, g4).plus(s.peak as i32), Ty::F32);
            let peak = b.reduce_max(peak);
            let peak = b.max(old_peak, peak);
            b.store(Mem::F32, at(s.buf, g4).plus(s.peak as i32), peak);
            let shrink = b.sub(old_peak, peak);
            let shrink = b.splat(shrink, 4);
            let shrink = math::exp(b, shrink);
            let shrink = b.extract(shrink, 0);
            b.store(Mem::F32, at(s.buf, g4).plus(s.shrink as i32), shrink);
            let peaks = b.splat(peak, lanes);
            let mut total = b.fconst(0.0, lanes);
            for v in 0..vectors {
                let disp = (v * u32::from(lanes) * F32_BYTES) as i32;
                let score = b.load(Mem::F32, scores.plus(disp), Ty::f32(lanes));
                let below = b.sub(score, peaks);
                let weight = math::exp(b, below);
                b.store(Mem::F32, scores.plus(disp), weight);
                total = b.add(total, weight);
            }
            let total = b.reduce_add(total);
            let old = b.load(Mem::F32, at(s.buf, g4).plus(s.total as i32), Ty::F32);
            let total = b.fma(old, shrink, total);
            b.store(Mem::F32, at(s.buf, g4).plus(s.total as i32), total);
        });
    }

    /// `sums = sums · shrink + Σ weight · value`.
    fn mix(&self, b: &mut KernelBuilder, s: Scratch, place: BlockPlace) {
        let at_once = self.vectors_at_once(self.head_dim);
        let tile_width = at_once * u32::from(self.lanes);
        let whole = self.head_dim / tile_width * tile_width;
        for heads in self.head_passes() {
            for (lo, hi, lanes, at_once) in [(0, whole, self.lanes, at_once), (whole, self.head_dim, 1, 1)] {
                if lo < hi {
                    self.mix_columns(b, s, place, heads.clone(), (lo, hi), lanes, at_once);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn mix_columns(
        &self,
        b: &mut KernelBuilder,
        s: Scratch,
        place: BlockPlace,
        heads: std::ops::Range<u32>,
        (lo, hi): (u32, u32),
        lanes: u8,
        at_once: u32,
    ) {
        let width = u32::from(lanes) * F32_BYTES;
        let (lo, hi) = (
            b.index(i64::from(lo * F32_BYTES)),
            b.index(i64::from(hi * F32_BYTES)),
        );
        b.for_loop(lo, hi, i64::from(at_once * width), &[], |b, d4, _| {
            let d2 = b.sar(d4, 1);
            let values = Addr {
                index: b.add(place.values.index, d2),
                ..place.values
            };
            let sums_at = |head: u32, v: u32| {
                at(s.buf, d4).plus((s.sums + head * self.head_dim * F32_BYTES + v * width) as i32)
            };
            let mut init = Vec::new();
            for head in heads.clone() {
                let zero = b.index(0);
                let shrink = at(s.buf, zero).plus((s.shrink + head * F32_BYTES) as i32);
                let shrink = b.load_splat(Mem::F32, shrink, Ty::f32(lanes));
                for v in 0..at_once {
                    let sum = b.load(Mem::F32, sums_at(head, v), Ty::f32(lanes));
                    init.push(b.mul(sum, shrink));
                }
            }
            let (lo, hi) = (b.index(0), b.index(i64::from(KV_BLOCK * F32_BYTES)));
            let sums = b.for_loop(lo, hi, i64::from(F32_BYTES), &init, |b, position4, sums| {
                let row = b.mul_const(position4, i64::from(self.head_dim * 2 / F32_BYTES));
                let values = Addr {
                    index: b.add(values.index, row),
                    ..values
                };
                let vectors: Vec<Val> = (0..at_once)
                    .map(|v| {
                        b.load(
                            Mem::F16,
                            values.plus((v * u32::from(lanes) * 2) as i32),
                            Ty::f32(lanes),
                        )
                    })
                    .collect();
                let mut next = Vec::new();
                for (n, head) in heads.clone().enumerate() {
                    let weight = at(s.buf, position4).plus((s.scores + head * KV_BLOCK * F32_BYTES) as i32);
                    let weight = b.load_splat(Mem::F32, weight, Ty::f32(lanes));
                    for (v, &value) in vectors.iter().enumerate() {
                        next.push(b.fma(weight, value, sums[n * vectors.len() + v]));
                    }
                }
                next
            });
            for (n, &sum) in sums.iter().enumerate() {
                let n = n as u32;
                b.store(Mem::F32, sums_at(heads.start + n / at_once, n % at_once), sum);
            }
            Vec::new()
        });
    }

    /// Divides by the totals and stores.
    fn finish(&self, b: &mut KernelBuilder, s: Scratch, out: Addr) {
        b.for_const(i64::from(self.tile), |b, g| {
            let g4 = b.shl(g, 2);
            let total = b.load(Mem::F32, at(s.buf, g4).plus(s.total as i32), Ty::F32);
            let one = b.fconst(1.0, 1);
            let inverse = b.div(one, total);
            let row = b.mul_const(g, i64::from(self.head_dim * F32_BYTES));
            for_lanes(b, self.head_dim, self.lanes, |b, i, lanes| {
                let i = b.add(row, i);
                let sum = b.load(Mem::F32, at(s.buf, i).plus(s.sums as i32), Ty::f32(lanes));
                let factor = b.splat(inverse, lanes);
                let v = b.mul(sum, factor);
                let index = b.add(out.index, i);
                b.store(Mem::F32, Addr { index, ..out }, v);
            });
        });
    }
}
