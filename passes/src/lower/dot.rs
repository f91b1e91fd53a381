//! Dot-product tiles: panels of 16 packed weight rows times 1 or more activation rows, sums left in scratch memory.
//!
//! For each output, every tile does the same float operations in the same order, whatever its number of rows: that is
//! what makes results independent of how rows are grouped.

use super::emit::{F32_BYTES, Q8aRow, shift};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::{BLOCK, PANEL_ROWS};
use lathe_ir::quant::Codebook;

/// The integer family of packed weights, as far as a dot product sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// Widths of the planes, low bits first.
    pub planes: Vec<u8>,
    /// What codes are indices into; `None` where they are numbers.
    pub codebook: Option<Codebook>,
    /// Bits of what the product reads: the code, or the entry of the codebook.
    pub bits: u8,
    /// log2 of the offset that is subtracted from that; `None` for no offset.
    pub offset_log2: Option<u8>,
    /// Elements that share a scale: 16 or 32.
    pub group: u32,
    /// Whether groups have a minimum.
    pub has_min: bool,
}

impl Codes {
    /// Whether a byte of a packed panel is not yet what the product reads.
    pub fn needs_unpacking(&self) -> bool {
        self.planes != [8] || self.codebook.is_some()
    }

    /// What [`expand_codes`] makes of codes.
    pub fn expanded(&self) -> Codes {
        Codes {
            planes: vec![8],
            codebook: None,
            ..self.clone()
        }
    }
}

/// Where the parts of a tile's panels are.
#[derive(Clone, Copy, Debug)]
pub struct PanelAddr {
    /// Codes of the first block.
    pub codes: Addr,
    /// Bytes from one block's codes to the next.
    pub code_stride: u32,
    /// Bytes from one panel's codes to the next's.
    pub code_panel: u32,
    /// Bytes from one panel's scales to the next's.
    pub scale_panel: u32,
    /// Scales of the first group; those of a block lie together, its minima follow where the format has them.
    pub scales: Addr,
    /// Bytes from one block's scales to the next.
    pub record: u32,
}

/// The tile's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileShape {
    /// Vector width in f32 lanes.
    pub lanes: u8,
    /// Activation rows.
    pub rows: u32,
    /// Panels, one behind the other.
    pub panels: u32,
    /// Vectors of weight rows held at once.
    pub groups: u32,
    /// Length of a row.
    pub k: u32,
    /// Bytes ahead that weights are prefetched; 0 for none.
    pub prefetch: u32,
}

impl TileShape {
    /// Vectors in a panel.
    fn panel_vectors(&self) -> u32 {
        PANEL_ROWS as u32 / u32::from(self.lanes)
    }

    fn passes(&self) -> impl Iterator<Item = std::ops::Range<u32>> + use<> {
        let (all, step) = (self.panels * self.panel_vectors(), self.groups);
        (0..all)
            .step_by(step as usize)
            .map(move |g| g..(g + step).min(all))
    }

    /// Vector `g` of the tile: its panel, and its number there.
    fn place(&self, g: u32) -> (u32, u32) {
        (g / self.panel_vectors(), g % self.panel_vectors())
    }

    fn vector_bytes(&self) -> u32 {
        u32::from(self.lanes) * F32_BYTES
    }

    /// Whether sums stay in registers beside the integer dots of a block: W = 16 has 32 registers, others 16.
    fn sums_fit(&self) -> bool {
        let registers = if self.lanes == 16 { 32 } else { 16 };
        self.rows == 1 || 2 * self.rows * self.groups + 6 <= registers
    }
}

pub(super) const BLOCK_LEN: u32 = BLOCK as u32;

/// Integer tile: `out(row)[0..16] = Σ panel · activation row`, for q8a rows `q8a.stride` bytes apart from `a` on.
pub fn codes_tile(
    b: &mut KernelBuilder,
    codes: &Codes,
    shape: TileShape,
    panel: PanelAddr,
    a: Addr,
    out: impl Fn(u32) -> Addr,
) {
    let q8a = Q8aRow::new(shape.k);
    for groups in shape.passes() {
        let slots: Vec<(u32, u32)> = (0..shape.rows)
            .flat_map(|row| groups.clone().map(move |g| (row, g)))
            .collect();
        let slot_addr = |(row, g): (u32, u32)| out(row).plus((g * shape.vector_bytes()) as i32);
        let in_registers = shape.sums_fit();
        let zero = b.fconst(0.0, shape.lanes);
        let init = if in_registers {
            vec![zero; slots.len()]
        } else {
            Vec::new()
        };
        if !in_registers {
            for &slot in &slots {
                b.store(Mem::F32, slot_addr(slot), zero);
            }
        }
        let (lo, hi) = (b.index(0), b.index(i64::from(shape.k)));
        let sums = b.for_loop(lo, hi, i64::from(BLOCK_LEN), &init, |b, i, carried| {
            let block = Block::new(b, codes, shape, q8a, panel, a, i);
            block.prefetch(b, &groups);
            let mut sums = carried.to_vec();
            for half in 0..BLOCK_LEN / codes.group {
                let dots = block.dots(b, half, &groups);
                block.accumulate(b, half, &groups, &dots, |b, n, f| {
                    if in_registers {
                        sums[n] = f(b, sums[n]);
                    } else {
                        let old = b.load(Mem::F32, slot_addr(slots[n]), Ty::f32(shape.lanes));
                        let new = f(b, old);
                        b.store(Mem::F32, slot_addr(slots[n]), new);
                    }
                });
            }
            sums
        });
        for (slot, &sum) in slots.iter().zip(&sums) {
            b.store(Mem::F32, slot_addr(*slot), sum);
        }
    }
}

/// Addresses of one block of 32 along k, and what is emitted for it.
pub(super) struct Block<'a> {
    codes: &'a Codes,
    shape: TileShape,
    panel: PanelAddr,
    stride: u32,
    weight: Addr,
    scales: Addr,
    mins: Addr,
    a_codes: Addr,
    a_scale: Addr,
    a_nsum: Addr,
}

impl<'a> Block<'a> {
    pub(super) fn new(
        b: &mut KernelBuilder,
        codes: &'a Codes,
        shape: TileShape,
        q8a: Q8aRow,
        panel: PanelAddr,
        a: Addr,
        i: Val,
    ) -> Block<'a> {
        // i counts elements: 32 a block. Strides are multiples of 32.
        let scale_offset = b.mul_const(i, i64::from(panel.record / BLOCK_LEN));
        let code_offset = match panel.code_stride == panel.record {
            true => scale_offset,
            false => b.mul_const(i, i64::from(panel.code_stride / BLOCK_LEN)),
        };
        let scales = shift(b, panel.scales, scale_offset);
        let (per32, per16) = (b.sar(i, 3), b.sar(i, 2));
        let a_scale = shift(b, a, per32);
        let a_nsum = if codes.group == 32 {
            a_scale.plus(q8a.nsum32 as i32)
        } else {
            shift(b, a, per16).plus(q8a.nsum16 as i32)
        };
        Block {
            codes,
            shape,
            panel,
            stride: q8a.stride,
            weight: shift(b, panel.codes, code_offset),
            scales,
            mins: scales.plus((BLOCK_LEN / codes.group * 2 * PANEL_ROWS as u32) as i32),
            a_codes: shift(b, a, i),
            a_scale: a_scale.plus(q8a.scale as i32),
            a_nsum,
        }
    }

    /// Hints at the records that later blocks of the panels of `groups` will read.
    fn prefetch(&self, b: &mut KernelBuilder, groups: &std::ops::Range<u32>) {
        if self.shape.prefetch == 0 {
            return;
        }
        let panels = self.shape.place(groups.start).0..=self.shape.place(groups.end - 1).0;
        for panel in panels {
            for line in (0..self.panel.code_stride).step_by(64) {
                let disp = panel * self.panel.code_panel + line + self.shape.prefetch;
                b.prefetch(self.weight.plus(disp as i32));
            }
        }
    }

    /// Integer dots of group `half` of the block for every (row, vector) slot, offset removed.
    fn dots(&self, b: &mut KernelBuilder, half: u32, groups: &std::ops::Range<u32>) -> Vec<Val> {
        let lanes = self.shape.lanes;
        let mut dots = Vec::new();
        for row in 0..self.shape.rows {
            let start = self.start(b, row, half);
            let start = start.unwrap_or_else(|| b.iconst(0, lanes));
            dots.extend(groups.clone().map(|_| start));
        }
        let chunks = self.codes.group / 4;
        for chunk in half * chunks..(half + 1) * chunks {
            let weights: Vec<Val> = groups.clone().map(|g| self.chunk(b, chunk, g)).collect();
            for row in 0..self.shape.rows {
                let x = b.load_splat(Mem::I8, self.row(self.a_codes, row, chunk * 4), Ty::i8(4 * lanes));
                for (g, &w) in weights.iter().enumerate() {
                    let slot = row as usize * weights.len() + g;
                    dots[slot] = b.dot4(dots[slot], w, x, self.codes.bits);
                }
            }
        }
        dots
    }

    /// Where group number `group` of the activations and of the codes, which are bytes, starts.
    pub(super) fn group(&self, group: u32) -> (Addr, Addr) {
        let first = group * self.codes.group;
        (
            self.a_codes.plus(first as i32),
            self.weight.plus((first * PANEL_ROWS as u32) as i32),
        )
    }

    /// Bytes from one activation row to the next.
    pub(super) fn stride(&self) -> u32 {
        self.stride
    }

    /// What the offset of the codes takes from the dot of a row, where there is an offset.
    pub(super) fn start(&self, b: &mut KernelBuilder, row: u32, half: u32) -> Option<Val> {
        let log2 = self.codes.offset_log2?;
        let place = self.row(self.a_nsum, row, half * 4);
        let nsum = b.load_splat(Mem::I32, place, Ty::i32(self.shape.lanes));
        Some(b.shl(nsum, log2))
    }

    /// Four codes of each weight row of vector `g`, as [`gather_codes`] gathers them.
    fn chunk(&self, b: &mut KernelBuilder, chunk: u32, g: u32) -> Val {
        let (panel, part) = self.shape.place(g);
        let disp = panel * self.panel.code_panel + part * self.shape.vector_bytes();
        let at = self.weight.plus(disp as i32);
        gather_codes(b, self.codes, at, chunk, Ty::u8(4 * self.shape.lanes))
    }

    /// Adds `scale · activation scale · dot (+ min · activation scale · −Σ)` to slot n through `update`.
    pub(super) fn accumulate(
        &self,
        b: &mut KernelBuilder,
        half: u32,
        groups: &std::ops::Range<u32>,
        dots: &[Val],
        mut update: impl FnMut(&mut KernelBuilder, usize, &dyn Fn(&mut KernelBuilder, Val) -> Val),
    ) {
        let lanes = self.shape.lanes;
        let vector = |b: &mut KernelBuilder, base: Addr, g: u32| {
            let (panel, part) = self.shape.place(g);
            let disp =
                panel * self.panel.scale_panel + half * 2 * PANEL_ROWS as u32 + part * 2 * u32::from(lanes);
            b.load(Mem::F16, base.plus(disp as i32), Ty::f32(lanes))
        };
        let scales: Vec<Val> = groups.clone().map(|g| vector(b, self.scales, g)).collect();
        let mins: Vec<Val> = if self.codes.has_min {
            groups.clone().map(|g| vector(b, self.mins, g)).collect()
        } else {
            Vec::new()
        };
        for row in 0..self.shape.rows {
            let d = b.load_splat(Mem::F32, self.row(self.a_scale, row, 0), Ty::f32(lanes));
            let scaled_nsum = self.codes.has_min.then(|| {
                let nsum = b.load_splat(Mem::I32, self.row(self.a_nsum, row, half * 4), Ty::i32(lanes));
                let nsum = b.cvt_f32(nsum);
                b.mul(nsum, d)
            });
            for g in 0..scales.len() {
                let slot = row as usize * scales.len() + g;
                let factor = b.mul(scales[g], d);
                let dot = b.cvt_f32(dots[slot]);
                update(b, slot, &|b, sum| {
                    let sum = b.fma(dot, factor, sum);
                    scaled_nsum.map_or(sum, |nsum| b.fma(mins[g], nsum, sum))
                });
            }
        }
    }

    fn row(&self, base: Addr, row: u32, disp: u32) -> Addr {
        base.plus((row * self.stride + disp) as i32)
    }
}

/// Codes `4·chunk..` of a block at `at` that lie side by side in the `ty.lanes` bytes from there on: the fields of all
/// planes put together, or what the codebook has for them.
pub fn gather_codes(b: &mut KernelBuilder, codes: &Codes, at: Addr, chunk: u32, ty: Ty) -> Val {
    let (mut code, mut plane_start, mut low_bit) = (None, 0, 0);
    for &width in &codes.planes {
        let per_vector = 8 / u32::from(width);
        let disp = plane_start + chunk / per_vector * 64;
        let field = b.load(Mem::U8, at.plus(disp as i32), ty);
        let shift = (chunk % per_vector) as u8 * width;
        let field = if width == 8 {
            field
        } else {
            b.bits(field, shift, width)
        };
        let field = if low_bit == 0 {
            field
        } else {
            b.bshl(field, low_bit)
        };
        code = Some(code.map_or(field, |rest| b.or(rest, field)));
        plane_start += 64 * u32::from(width);
        low_bit += width;
    }
    let code = code.expect("a format has at least one plane");
    match codes.codebook {
        Some(table) => b.lut(code, table),
        None => code,
    }
}

/// Float tile: weights of `mem` type in panels `[k][16]` at `panel`, `panel_stride` bytes apart, and f32 activation rows
/// `4·k` bytes apart from `a` on.
pub fn float_tile(
    b: &mut KernelBuilder,
    mem: Mem,
    shape: TileShape,
    (panel, panel_stride): (Addr, u32),
    a: Addr,
    out: impl Fn(u32) -> Addr,
) {
    let lanes = shape.lanes;
    let unroll = if shape.k.is_multiple_of(4) { 4 } else { 1 };
    let stride = shape.k * F32_BYTES;
    for groups in shape.passes() {
        let slots: Vec<(u32, u32)> = (0..shape.rows)
            .flat_map(|row| groups.clone().map(move |g| (row, g)))
            .collect();
        let zero = b.fconst(0.0, lanes);
        let (lo, hi) = (b.index(0), b.index(i64::from(stride)));
        let sums = b.for_loop(
            lo,
            hi,
            i64::from(unroll * F32_BYTES),
            &vec![zero; slots.len()],
            |b, i, sums| {
                let mut sums = sums.to_vec();
                // i counts bytes of an f32 row; a panel has 16 elements where a row has one.
                let scaled = b.mul_const(
                    i,
                    i64::from(mem.bytes()) * PANEL_ROWS as i64 / i64::from(F32_BYTES),
                );
                let (w, x) = (shift(b, panel, scaled), shift(b, a, i));
                for step in 0..unroll {
                    let weights: Vec<Val> = groups
                        .clone()
                        .map(|g| {
                            let (panel, part) = shape.place(g);
                            let element = step * PANEL_ROWS as u32 + part * u32::from(lanes);
                            let disp = panel * panel_stride + element * mem.bytes();
                            b.load(mem, w.plus(disp as i32), Ty::f32(lanes))
                        })
                        .collect();
                    for row in 0..shape.rows {
                        let x = x.plus((row * stride + step * F32_BYTES) as i32);
                        let x = b.load_splat(Mem::F32, x, Ty::f32(lanes));
                        for (g, &w) in weights.iter().enumerate() {
                            let slot = row as usize * weights.len() + g;
                            sums[slot] = b.fma(w, x, sums[slot]);
                        }
                    }
                }
                sums
            },
        );
        for (&(row, g), &sum) in slots.iter().zip(&sums) {
            b.store(Mem::F32, out(row).plus((g * shape.vector_bytes()) as i32), sum);
        }
    }
}

/// Writes the codes of a panel at `from`, or what the codebook has for them, as bytes to `to`, in the layout of a single
/// 8-bit plane. [`Codes::expanded`] describes what is there then.
pub fn expand_codes(b: &mut KernelBuilder, codes: &Codes, shape: TileShape, from: PanelAddr, to: Addr) {
    let q8a = Q8aRow::new(shape.k);
    let (lo, hi) = (b.index(0), b.index(i64::from(shape.k)));
    b.for_loop(lo, hi, i64::from(BLOCK_LEN), &[], |b, i, _| {
        let block = Block::new(b, codes, shape, q8a, from, from.codes, i);
        let offset = b.shl(i, 4);
        let to = shift(b, to, offset);
        for chunk in 0..BLOCK_LEN / 4 {
            for g in 0..shape.panel_vectors() {
                let code = block.chunk(b, chunk, g);
                b.store(
                    Mem::U8,
                    to.plus((chunk * 64 + g * shape.vector_bytes()) as i32),
                    code,
                );
            }
        }
        Vec::new()
    });
}
