//! Small loops that several kernel generators share.

use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Buf, KernelBuilder, Mem, Ty, Val};
use lathe_ir::layout::Q8a;

/// Bytes of an f32.
pub const F32_BYTES: u32 = 4;

/// The address of byte `index` of `buf`.
pub fn at(buf: Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// The address `by` bytes further on.
pub fn shift(b: &mut KernelBuilder, base: Addr, by: Val) -> Addr {
    Addr {
        index: b.add(base.index, by),
        ..base
    }
}

/// Splits `0..n` into vectors of `lanes` and single elements for the rest, and calls `f` with the byte offset of an f32
/// array and the number of lanes; `f` is called once for each of the two loops that are not empty.
pub fn for_lanes(b: &mut KernelBuilder, n: u32, lanes: u8, mut f: impl FnMut(&mut KernelBuilder, Val, u8)) {
    let whole = n / u32::from(lanes) * u32::from(lanes);
    for (lo, hi, step) in [(0, whole, lanes), (whole, n, 1)] {
        if lo < hi {
            let (lo, hi) = (
                b.index(i64::from(lo * F32_BYTES)),
                b.index(i64::from(hi * F32_BYTES)),
            );
            b.for_loop(lo, hi, i64::from(step) * 4, &[], |b, i, _| {
                f(b, i, step);
                Vec::new()
            });
        }
    }
}

/// The sum of squares of the `n` f32 at `x`: four running sums of vectors, then one, then single elements.
pub fn sum_of_squares(b: &mut KernelBuilder, x: Addr, n: u32, lanes: u8) -> Val {
    let quad = 4 * u32::from(lanes);
    let (whole4, whole1) = (n / quad * quad, n / u32::from(lanes) * u32::from(lanes));
    let zero = b.fconst(0.0, lanes);
    let mut sums = square_loop(b, x, (0, whole4), lanes, 4, vec![zero; 4]);
    let (s01, s23) = (b.add(sums[0], sums[1]), b.add(sums[2], sums[3]));
    sums = vec![b.add(s01, s23)];
    sums = square_loop(b, x, (whole4, whole1), lanes, 1, sums);
    let total = b.reduce_add(sums[0]);
    square_loop(b, x, (whole1, n), 1, 1, vec![total])[0]
}

fn square_loop(
    b: &mut KernelBuilder,
    x: Addr,
    (lo, hi): (u32, u32),
    lanes: u8,
    ways: usize,
    sums: Vec<Val>,
) -> Vec<Val> {
    if lo >= hi {
        return sums;
    }
    let step = u32::from(lanes) * F32_BYTES * ways as u32;
    let (lo, hi) = (
        b.index(i64::from(lo * F32_BYTES)),
        b.index(i64::from(hi * F32_BYTES)),
    );
    b.for_loop(lo, hi, i64::from(step), &sums, |b, i, sums| {
        let index = b.add(x.index, i);
        let from = Addr { index, ..x };
        let next = |way: usize, b: &mut KernelBuilder| {
            let v = b.load(
                Mem::F32,
                from.plus((way as u32 * u32::from(lanes) * F32_BYTES) as i32),
                Ty::f32(lanes),
            );
            b.fma(v, v, sums[way])
        };
        (0..ways).map(|way| next(way, b)).collect()
    })
}

/// `1 / sqrt(sum / n + eps)` of scalars.
pub fn inverse_rms(b: &mut KernelBuilder, sum: Val, n: u32, eps: f32) -> Val {
    let (inv_n, eps, one) = (b.fconst(1.0 / n as f32, 1), b.fconst(eps, 1), b.fconst(1.0, 1));
    let mean = b.fma(sum, inv_n, eps);
    let root = b.sqrt(mean);
    b.div(one, root)
}

/// Byte offsets of the parts of a q8a row of `k` elements; see [`lathe_ir::layout`].
#[derive(Clone, Copy, Debug)]
pub struct Q8aRow {
    /// Bytes of a row.
    pub stride: u32,
    /// f32 scale of each 32.
    pub scale: u32,
    /// Negated i32 sums of codes of each 32.
    pub nsum32: u32,
    /// Negated i32 sums of codes of each 16.
    pub nsum16: u32,
}

impl Q8aRow {
    /// The row of `k` elements, a multiple of 32.
    pub fn new(k: u32) -> Q8aRow {
        Q8aRow {
            stride: Q8a::row_stride(k.into()) as u32,
            scale: Q8a::scale(k.into()) as u32,
            nsum32: Q8a::nsum32(k.into()) as u32,
            nsum16: Q8a::nsum16(k.into()) as u32,
        }
    }
}

/// Quantizes 32 values, given as vectors in order, into a q8a row that starts at `row`; `block4` is four times the
/// number of the block of 32.
pub fn quantize_block(b: &mut KernelBuilder, values: &[Val], row: Addr, q8a: Q8aRow, block4: Val) {
    let lanes = b.ty(values[0]).lanes;
    let mut peak = b.abs(values[0]);
    for &v in &values[1..] {
        let a = b.abs(v);
        peak = b.max(peak, a);
    }
    let peak = b.reduce_max(peak);
    let (limit, zero, one) = (b.fconst(127.0, 1), b.fconst(0.0, 1), b.fconst(1.0, 1));
    let empty = b.cmp(lathe_ir::kernel::Cmp::Eq, peak, zero);
    let divisor = b.select(empty, one, peak);
    let inverse = b.div(limit, divisor);
    let inverse = b.select(empty, zero, inverse);
    let scale = b.div(peak, limit);
    let inverse = b.splat(inverse, lanes);

    let codes_index = b.shl(block4, 3);
    let codes_index = b.add(row.index, codes_index);
    let part_index = b.add(row.index, block4);
    let half_index = b.add(part_index, block4);
    let mut halves: [Option<Val>; 2] = [None, None];
    for (n, &v) in values.iter().enumerate() {
        let scaled = b.mul(v, inverse);
        let code = b.cvt_i32(scaled);
        let element = n as i32 * i32::from(lanes);
        b.store(
            Mem::I8,
            Addr {
                index: codes_index,
                ..row
            }
            .plus(element),
            code,
        );
        let half = &mut halves[(element / 16) as usize];
        *half = Some(half.map_or(code, |sum| b.add(sum, code)));
    }
    let sums = halves.map(|half| {
        let sum = half.expect("32 values in vectors of at most 16 lanes fill both halves");
        let sum = b.reduce_add(sum);
        b.neg(sum)
    });
    let both = b.add(sums[0], sums[1]);
    let part = Addr {
        index: part_index,
        ..row
    };
    b.store(Mem::F32, part.plus(q8a.scale as i32), scale);
    b.store(Mem::I32, part.plus(q8a.nsum32 as i32), both);
    let half = Addr {
        index: half_index,
        ..row
    };
    b.store(Mem::I32, half.plus(q8a.nsum16 as i32), sums[0]);
    b.store(Mem::I32, half.plus(q8a.nsum16 as i32 + 4), sums[1]);
}
