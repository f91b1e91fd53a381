//! Kernels that need more registers than there are: values in the frame, constants from memory, copies that cross.

mod support;

use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Cmp, Kernel, KernelBuilder, Mem, Ty, Val};
use support::{Case, Rng, check};

const LANES: [u8; 3] = [4, 8, 16];

fn at(buf: Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// A case of one unit with an input of `floats` random numbers and an output of as many bytes.
fn case(rng: &mut Rng, kernel: Kernel, floats: usize, out: usize) -> Case {
    Case {
        kernel,
        bufs: vec![rng.f32_bytes(floats), vec![0; out]],
        scalars: Vec::new(),
        units: 0..2,
    }
}

/// Loads `n` vectors, then sums products of each with its neighbour in a loop: all are alive around it.
fn vectors(n: u32, lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("vectors{n}.w{lanes}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let zero = b.index(0);
    let bytes = 4 * i32::from(lanes);
    let values: Vec<Val> = (0..n as i32)
        .map(|i| b.load(Mem::F32, at(x, zero).plus(i * bytes), Ty::f32(lanes)))
        .collect();
    let (lo, hi) = (b.index(0), b.index(5));
    let sums = b.for_loop(lo, hi, 1, &values, |b, _, sums| {
        (0..sums.len())
            .map(|i| b.fma(values[i], values[(i + 1) % values.len()], sums[i]))
            .collect()
    });
    let unit = b.unit();
    let to = b.mul_const(unit, i64::from(n) * i64::from(bytes));
    for (i, &sum) in sums.iter().enumerate() {
        b.store(Mem::F32, at(out, to).plus(i as i32 * bytes), sum);
    }
    b.finish()
}

#[test]
fn more_vectors_than_registers() {
    let mut rng = Rng::new(3);
    let mut cases = Vec::new();
    for lanes in LANES {
        for n in [7, 15, 17, 31, 40] {
            let floats = n as usize * usize::from(lanes);
            cases.push(case(&mut rng, vectors(n, lanes), floats, 2 * 4 * floats));
        }
    }
    check(&cases, true);
}

/// A value times and plus `n` constants, each of its own, in a loop.
fn constants(n: u32, lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("constants{n}.w{lanes}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let zero = b.index(0);
    let start = b.load(Mem::F32, at(x, zero), Ty::f32(lanes));
    let (lo, hi) = (b.index(0), b.index(3));
    let sum = b.for_loop(lo, hi, 1, &[start], |b, _, sum| {
        let mut v = sum[0];
        for i in 0..n {
            let c = b.fconst(0.5 + i as f32 / 64.0, lanes);
            v = match i % 4 {
                0 => b.add(v, c),
                1 => b.max(c, v),
                2 => b.fma(v, c, sum[0]),
                _ => b.sub(c, v),
            };
        }
        vec![v]
    });
    let unit = b.unit();
    let to = b.mul_const(unit, 4 * i64::from(lanes));
    b.store(Mem::F32, at(out, to), sum[0]);
    b.finish()
}

#[test]
fn more_constants_than_registers() {
    let mut rng = Rng::new(4);
    let cases: Vec<Case> = LANES
        .into_iter()
        .flat_map(|lanes| [9, 30, 70].map(|n| (lanes, n)))
        .map(|(lanes, n)| {
            let floats = usize::from(lanes);
            case(&mut rng, constants(n, lanes), floats, 2 * 4 * floats)
        })
        .collect();
    check(&cases, true);
}

/// `n` indices that all change places in every iteration, and end as addresses.
fn indices(n: i64) -> Kernel {
    let mut b = KernelBuilder::new(format!("indices{n}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let start: Vec<Val> = (0..n)
        .map(|i| {
            let scaled = b.mul_const(unit, 4 * (i % 3));
            b.add_const(scaled, 4 * i)
        })
        .collect();
    let (lo, hi) = (b.index(0), b.index(2 * n + 3));
    let ends = b.for_loop(lo, hi, 2, &start, |_, _, carried| {
        let mut turned = carried.to_vec();
        turned.rotate_left(1);
        turned.swap(0, n as usize - 2);
        turned
    });
    let to = b.mul_const(unit, 4 * n);
    for (i, &end) in ends.iter().enumerate() {
        let v = b.load(Mem::F32, at(x, end), Ty::F32);
        b.store(Mem::F32, at(out, to).plus(4 * i as i32), v);
    }
    b.finish()
}

#[test]
fn indices_that_change_places() {
    let mut rng = Rng::new(5);
    let cases: Vec<Case> = [3, 8, 13, 30]
        .into_iter()
        .map(|n| case(&mut rng, indices(n), n as usize + 8, 2 * 4 * n as usize))
        .collect();
    check(&cases, false);
}

/// Vectors that rotate through a loop, some of them changed on the way, chosen by a branch on the loop's index.
fn rotation(n: usize, lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("rotation{n}.w{lanes}"));
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::InOut));
    let zero = b.index(0);
    let bytes = 4 * i32::from(lanes);
    let start: Vec<Val> = (0..n as i32)
        .map(|i| b.load(Mem::F32, at(x, zero).plus(i * bytes), Ty::f32(lanes)))
        .collect();
    let unit = b.unit();
    let to = b.mul_const(unit, n as i64 * i64::from(bytes));
    let hi = b.index(7);
    let ends = b.for_loop(zero, hi, 1, &start, |b, i, carried| {
        let three = b.index(3);
        let first = carried[0];
        b.if_else(
            Cmp::Lt,
            i,
            three,
            |b| b.store(Mem::F32, at(out, to), first),
            |b| {
                let old = b.load(Mem::F32, at(out, to), Ty::f32(lanes));
                let sum = b.add(old, first);
                b.store(Mem::F32, at(out, to), sum);
            },
        );
        let mut turned = carried.to_vec();
        turned.rotate_right(1);
        turned[1] = b.mul(carried[0], carried[n - 1]);
        turned
    });
    for (i, &end) in ends.iter().enumerate().skip(1) {
        b.store(Mem::F32, at(out, to).plus(i as i32 * bytes), end);
    }
    b.finish()
}

#[test]
fn vectors_that_rotate() {
    let mut rng = Rng::new(6);
    let mut cases = Vec::new();
    for lanes in LANES {
        for n in [2, 5, 14, 33] {
            let floats = n * usize::from(lanes);
            cases.push(case(&mut rng, rotation(n, lanes), floats, 2 * 4 * floats));
        }
    }
    check(&cases, true);
}
