//! Embedding lookup: decodes single rows straight from the packed panels that the LM head multiplies with.

use super::dot::{Codes, gather_codes};
use super::emit::{F32_BYTES, at, shift};
use super::linear::{PanelGeometry, PanelKind};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Kernel, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::{BLOCK, PANEL_ROWS};

const PANEL: u32 = PANEL_ROWS as u32;

/// Decodes row `ids[unit]` of a table of rows of `k`. Buffers: w, ids, out. Units: tokens.
pub fn embed_kernel(name: String, kind: &PanelKind, panel: PanelGeometry, k: u32) -> Kernel {
    let mut b = KernelBuilder::new(name);
    let (w, ids, out) = (
        b.buf("w", Access::In),
        b.buf("ids", Access::In),
        b.buf("out", Access::Out),
    );
    let unit = b.unit();
    let entry = b.shl(unit, 2);
    let id = b.load(Mem::I32, at(ids, entry), Ty::INDEX);
    let number = b.div_const(id, i64::from(PANEL));
    let start = b.mul_const(number, i64::from(panel.stride));
    let lane = b.rem_const(id, i64::from(PANEL));
    let to = b.mul_const(unit, i64::from(k * F32_BYTES));
    match kind {
        PanelKind::Float(mem) => decode_floats(&mut b, *mem, at(w, start), lane, k, at(out, to)),
        PanelKind::Codes(codes) => {
            let scratch = codes.codebook.map(|_| {
                let scratch = b.scratch(BLOCK as u32);
                let zero = b.index(0);
                at(scratch, zero)
            });
            let source = Source {
                codes,
                panel,
                w: at(w, start),
                lane,
                scratch,
            };
            source.decode(&mut b, k, at(out, to));
        }
    }
    b.finish()
}

fn decode_floats(b: &mut KernelBuilder, mem: Mem, w: Addr, lane: Val, k: u32, out: Addr) {
    let lane = b.mul_const(lane, i64::from(mem.bytes()));
    let first = b.add(w.index, lane);
    b.for_const(i64::from(k), |b, i| {
        let offset = b.mul_const(i, i64::from(PANEL * mem.bytes()));
        let index = b.add(first, offset);
        let v = b.load(mem, Addr { index, ..w }, Ty::F32);
        let offset = b.shl(i, 2);
        let index = b.add(out.index, offset);
        b.store(Mem::F32, Addr { index, ..out }, v);
    });
}

/// Where codes come from.
struct Source<'a> {
    codes: &'a Codes,
    panel: PanelGeometry,
    /// The panel.
    w: Addr,
    /// The row in the panel.
    lane: Val,
    /// A block's bytes of scratch memory, where codes are indices into a codebook.
    scratch: Option<Addr>,
}

impl Source<'_> {
    /// Decodes a row of `k` elements to `out`.
    fn decode(&self, b: &mut KernelBuilder, k: u32, out: Addr) {
        let groups = 32 / self.codes.group;
        let (lane4, lane2) = (b.shl(self.lane, 2), b.shl(self.lane, 1));
        b.for_const(i64::from(k / 32), |b, block| {
            let record = b.mul_const(block, i64::from(self.panel.record));
            let record = b.add(self.w.index, record);
            let code_at = Addr {
                index: b.add(record, lane4),
                ..self.w
            };
            let scale_at = Addr {
                index: b.add(record, lane2),
                ..self.w
            };
            let offset = b.mul_const(block, 32 * i64::from(F32_BYTES));
            let to = shift(b, out, offset);
            for group in 0..groups {
                let disp = |base: u32| (base + group * 2 * PANEL) as i32;
                let scale = b.load(Mem::F16, scale_at.plus(disp(self.panel.scales)), Ty::F32);
                let scale = b.splat(scale, 4);
                let min = self.codes.has_min.then(|| {
                    let min = b.load(
                        Mem::F16,
                        scale_at.plus(disp(self.panel.scales + groups * 2 * PANEL)),
                        Ty::F32,
                    );
                    let min = b.neg(min);
                    b.splat(min, 4)
                });
                for chunk in group * self.codes.group / 4..(group + 1) * self.codes.group / 4 {
                    let level = self.levels(b, code_at, chunk);
                    let level = b.cvt_f32(level);
                    let v = match min {
                        Some(min) => b.fma(level, scale, min),
                        None => b.mul(level, scale),
                    };
                    b.store(Mem::F32, to.plus((chunk * 4 * F32_BYTES) as i32), v);
                }
            }
        });
    }

    /// Four codes of one row, or what the codebook has for them, less the offset, as i32 lanes.
    fn levels(&self, b: &mut KernelBuilder, at: Addr, chunk: u32) -> Val {
        let code = match self.scratch {
            None => chunk_codes(b, &self.codes.planes, at, chunk),
            Some(scratch) => {
                // Bytes become i32 lanes on the way through memory.
                let entries = gather_codes(b, self.codes, at, chunk, Ty::u8(4));
                let place = scratch.plus(chunk as i32 * 4);
                b.store(Mem::U8, place, entries);
                b.load(Mem::U8, place, Ty::i32(4))
            }
        };
        match self.codes.offset_log2 {
            None => code,
            Some(log2) => {
                let offset = b.iconst(1 << log2, 4);
                b.sub(code, offset)
            }
        }
    }
}

/// Four codes of one row as i32 lanes.
fn chunk_codes(b: &mut KernelBuilder, planes: &[u8], at: Addr, chunk: u32) -> Val {
    let (mut code, mut plane_start, mut low_bit) = (None, 0, 0);
    for &width in planes {
        let per_vector = 8 / u32::from(width);
        let disp = plane_start + chunk / per_vector * 64;
        let field = b.load(Mem::U8, at.plus(disp as i32), Ty::i32(4));
        let shift = (chunk % per_vector) as u8 * width;
        let field = if shift == 0 { field } else { b.shr(field, shift) };
        let field = match width {
            8 => field,
            _ => {
                let mask = b.iconst((1 << width) - 1, 4);
                b.and(field, mask)
            }
        };
        let field = if low_bit == 0 {
            field
        } else {
            b.shl(field, low_bit)
        };
        code = Some(code.map_or(field, |rest| b.or(rest, field)));
        plane_start += 64 * u32::from(width);
        low_bit += width;
    }
    code.expect("a format has at least one plane")
}
