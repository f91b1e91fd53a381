//! The loops that exhaust one resource each, as kernel IR.

use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Kernel, KernelBuilder, Mem, Ty, Val};

/// Running sums of a loop: enough to hide the latency of a product (4 cycles, two a cycle) in sixteen registers.
pub(super) const SUMS: u32 = 12;

/// Running sums of the reading loop.
const READS: u32 = 8;

/// Times that the body of a loop of products holds each sum, so that counting costs nothing.
const UNROLL: i64 = 4;

/// Bytes of the widest vector: what a unit stores.
pub(super) const OUT_BYTES: u64 = 64;

/// Bytes that a reading unit's range is a multiple of.
pub(super) const READ_STEP: u64 = 64 * READS as u64;

/// Operations of one step of the scalar `times` of [`dot4`] and [`fma`], of one unit.
pub(super) fn operations(lanes: u8, products: u64) -> u64 {
    2 * products * u64::from(SUMS) * u64::from(lanes)
}

/// Reads `bytes` bytes, `times` times over, from `unit · bytes` on, and stores the sum of its words in lanes: word i of
/// the range is added to lane i mod `lanes`. Prefetches `ahead` bytes where that is not 0.
pub(super) fn read(lanes: u8, ahead: i32) -> Kernel {
    let mut b = KernelBuilder::new(format!("limit.read.w{lanes}.{ahead}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let (bytes, times) = (b.scalar("bytes"), b.scalar("times"));
    let (unit, zero) = (b.unit(), b.index(0));
    let lo = b.mul(unit, bytes);
    let hi = b.add(lo, bytes);
    let zeros = vec![b.iconst(0, lanes); READS as usize];
    let vector = 4 * i32::from(lanes);
    let sums = b.for_loop(zero, times, 1, &zeros, |b, _, sums| {
        b.for_loop(
            lo,
            hi,
            i64::from(vector) * i64::from(READS),
            sums,
            |b, i, sums| {
                let at = |n: usize| at(x, i).plus(n as i32 * vector);
                let lines = (0..READS as i32 * vector).step_by(64).filter(|_| ahead != 0);
                lines.for_each(|line| b.prefetch(at(0).plus(ahead + line)));
                let words: Vec<Val> = (0..sums.len())
                    .map(|n| b.load(Mem::I32, at(n), Ty::i32(lanes)))
                    .collect();
                sums.iter()
                    .zip(words)
                    .map(|(&sum, word)| b.add(sum, word))
                    .collect()
            },
        )
    });
    finish(b, out, Mem::I32, &sums)
}

/// `times` products of four bytes in each lane of every running sum.
pub(super) fn dot4(lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("limit.dot4.w{lanes}"));
    let (u, a) = (b.buf("u", Access::In), b.buf("a", Access::In));
    let out = b.buf("out", Access::Out);
    let times = b.scalar("times");
    let zero = b.index(0);
    let unsigned = b.load(Mem::U8, at(u, zero), Ty::u8(4 * lanes));
    let signed = b.load(Mem::I8, at(a, zero), Ty::i8(4 * lanes));
    let zeros = vec![b.iconst(0, lanes); SUMS as usize];
    // Four bits: the cheapest way to do it where there is no instruction for it.
    let sums = products(&mut b, times, &zeros, |b, sum| b.dot4(sum, unsigned, signed, 4));
    finish(b, out, Mem::I32, &sums)
}

/// `times` products in each lane of every running sum.
pub(super) fn fma(lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("limit.fma.w{lanes}"));
    let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::In));
    let out = b.buf("out", Access::Out);
    let times = b.scalar("times");
    let zero = b.index(0);
    // Bytes become floats of moderate size: underflow takes some processors a detour.
    let x = b.load(Mem::I8, at(x, zero), Ty::i32(lanes));
    let y = b.load(Mem::I8, at(y, zero), Ty::i32(lanes));
    let (x, y) = (b.cvt_f32(x), b.cvt_f32(y));
    let zeros = vec![b.fconst(0.0, lanes); SUMS as usize];
    let sums = products(&mut b, times, &zeros, |b, sum| b.fma(x, y, sum));
    finish(b, out, Mem::F32, &sums)
}

fn at(buf: Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// `times` (a multiple of [`UNROLL`]) products for each of the sums.
fn products(
    b: &mut KernelBuilder,
    times: Val,
    sums: &[Val],
    product: impl Fn(&mut KernelBuilder, Val) -> Val,
) -> Vec<Val> {
    let zero = b.index(0);
    b.for_loop(zero, times, UNROLL, sums, |b, _, sums| {
        let step = |b: &mut KernelBuilder, sums: Vec<Val>| sums.iter().map(|&s| product(b, s)).collect();
        (0..UNROLL).fold(sums.to_vec(), |sums, _| step(b, sums))
    })
}

/// Stores the sum of the sums at the unit's place.
fn finish(mut b: KernelBuilder, out: Buf, mem: Mem, sums: &[Val]) -> Kernel {
    let all = sums[1..].iter().fold(sums[0], |all, &sum| b.add(all, sum));
    let unit = b.unit();
    let place = b.mul_const(unit, OUT_BYTES as i64);
    b.store(mem, at(out, place), all);
    b.finish()
}

/// The next multiple of the steps in which [`dot4`] and [`fma`] count.
pub(super) fn whole_times(times: u64) -> u64 {
    times.next_multiple_of(UNROLL as u64)
}
