//! Whole kernels: loops, branches, carried values, scratch memory, scalars and tiles of dot products.

mod support;

use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Buf, Cmp, Kernel, KernelBuilder, Mem, Ty, Val};
use proptest::prelude::*;
use support::{Case, Rng, check, check_cross_compiles};

fn at(buf: Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// A tile of `rows` activation rows by a panel of 16 weight rows: codes of `planes`, a scale per 32, minima.
fn tile(rows: u32, groups: u32, lanes: u8, k: u32, planes: &[u8]) -> Kernel {
    let bits: u8 = planes.iter().sum();
    let mut b = KernelBuilder::new(format!("tile{rows}x{groups}.w{lanes}.b{bits}"));
    let (w, x, out) = (
        b.buf("w", Access::In),
        b.buf("x", Access::In),
        b.buf("out", Access::InOut),
    );
    let unit = b.unit();
    let code_bytes = k * 2 * u32::from(bits);
    let (vector, stride) = (4 * u32::from(lanes), k + k / 8);
    let panel = b.mul_const(unit, i64::from(code_bytes + k));
    let to = b.mul_const(unit, i64::from(rows * 64));
    for first in (0..16 / u32::from(lanes)).step_by(groups as usize) {
        let slots: Vec<(u32, u32)> = (0..rows)
            .flat_map(|row| (first..first + groups).map(move |g| (row, g)))
            .collect();
        let slot_at = |(row, g): (u32, u32)| at(out, to).plus((row * 64 + g * vector) as i32);
        let zero = b.fconst(0.0, lanes);
        let (lo, hi) = (b.index(0), b.index(i64::from(k)));
        let sums = b.for_loop(lo, hi, 32, &vec![zero; slots.len()], |b, i, sums| {
            let offset = b.mul_const(i, 2 * i64::from(bits));
            let (codes, scales) = (b.add(panel, offset), b.add(panel, i));
            let block = b.sar(i, 3);
            let mut dots = vec![b.iconst(-3, lanes); slots.len()];
            for chunk in 0..8 {
                let weights: Vec<Val> = (first..first + groups)
                    .map(|g| codes_of(b, planes, at(w, codes).plus((g * vector) as i32), chunk, lanes))
                    .collect();
                for row in 0..rows {
                    let a = at(x, i).plus((row * stride + chunk * 4) as i32);
                    let a = b.load_splat(Mem::I8, a, Ty::i8(4 * lanes));
                    for (g, &weight) in weights.iter().enumerate() {
                        let slot = (row * groups) as usize + g;
                        dots[slot] = b.dot4(dots[slot], weight, a, bits);
                    }
                }
            }
            let mut next = Vec::new();
            for (slot, &(row, g)) in slots.iter().enumerate() {
                let scale = at(w, scales).plus((code_bytes + g * 2 * u32::from(lanes)) as i32);
                let scale = b.load(Mem::F16, scale, Ty::f32(lanes));
                let d = b.load_splat(
                    Mem::F32,
                    at(x, block).plus((row * stride + k) as i32),
                    Ty::f32(lanes),
                );
                let factor = b.mul(scale, d);
                let dot = b.cvt_f32(dots[slot]);
                next.push(b.fma(dot, factor, sums[slot]));
            }
            next
        });
        for (&slot, &sum) in slots.iter().zip(&sums) {
            let old = b.load(Mem::F32, slot_at(slot), Ty::f32(lanes));
            let sum = b.add(old, sum);
            b.store(Mem::F32, slot_at(slot), sum);
        }
    }
    b.finish()
}

fn codes_of(b: &mut KernelBuilder, planes: &[u8], from: Addr, chunk: u32, lanes: u8) -> Val {
    let (mut code, mut start, mut low) = (None, 0, 0);
    for &width in planes {
        let per_vector = 8 / u32::from(width);
        let field = b.load(
            Mem::U8,
            from.plus((start + chunk / per_vector * 64) as i32),
            Ty::u8(4 * lanes),
        );
        let field = b.bits(field, (chunk % per_vector) as u8 * width, width);
        let field = b.bshl(field, low);
        code = Some(match code {
            None => field,
            Some(rest) => b.or(rest, field),
        });
        start += 64 * u32::from(width);
        low += width;
    }
    code.expect("there is a plane")
}

#[test]
fn tiles_of_every_shape() {
    let mut rng = Rng::new(11);
    let k = 96;
    let mut cases = Vec::new();
    let shapes = [(1, 4, 4), (5, 2, 4), (8, 1, 4), (2, 2, 8), (3, 1, 16)];
    for (rows, groups, lanes) in shapes {
        for planes in [&[8u8][..], &[4], &[4, 2], &[4, 1], &[2, 1], &[2]] {
            let bits: usize = planes.iter().map(|&w| usize::from(w)).sum();
            let panel = k * 2 * bits + k;
            let mut weights = rng.bytes(2 * panel);
            // Scales are finite.
            for panel in weights.chunks_exact_mut(panel) {
                panel[k * 2 * bits..]
                    .chunks_exact_mut(2)
                    .for_each(|scale| scale[1] &= 0xbf);
            }
            let mut x = Vec::new();
            for _ in 0..rows {
                x.extend(rng.bytes(k));
                x.extend(rng.f32_bytes(k / 32));
            }
            let kernel = tile(rows, groups, lanes, k as u32, planes);
            let out = rng.f32_bytes(2 * rows as usize * 16);
            cases.push(Case {
                kernel,
                bufs: vec![weights, x, out],
                scalars: Vec::new(),
                units: 0..2,
            });
        }
    }
    check(&cases, false);
    check_cross_compiles(&cases.iter().map(|c| &c.kernel).collect::<Vec<_>>());
}

/// Loops that run from a scalar to a scalar, never, once, and in steps that do not meet their end.
#[test]
fn loops_and_branches() {
    let mut b = KernelBuilder::new("loops");
    let out = b.buf("out", Access::InOut);
    let (lo, hi) = (b.scalar("lo"), b.scalar("hi"));
    let scratch = b.scratch(256);
    let unit = b.unit();
    let to = b.shl(unit, 4);
    let (zero, one) = (b.index(0), b.index(1));
    let bound = b.add(hi, unit);
    let sums = b.for_loop(lo, bound, 3, &[zero, one], |b, i, carried| {
        let swapped = b.add(carried[0], i);
        let inner = b.for_loop(zero, i, 2, &[swapped], |b, j, c| vec![b.add(c[0], j)]);
        // The carried values trade places.
        vec![carried[1], inner[0]]
    });
    let word = b.to_i32(sums[0]);
    b.store(Mem::I32, at(scratch, to), word);
    b.if_else(
        Cmp::Lt,
        sums[0],
        sums[1],
        |b| {
            let word = b.to_i32(sums[1]);
            b.store(Mem::I32, at(scratch, to).plus(4), word);
        },
        |b| {
            b.if_else(
                Cmp::Eq,
                unit,
                zero,
                |b| {
                    let word = b.iconst(-1, 1);
                    b.store(Mem::I32, at(scratch, to).plus(4), word);
                },
                |b| {
                    let word = b.iconst(77, 1);
                    b.store(Mem::I32, at(scratch, to).plus(4), word);
                },
            );
        },
    );
    let one_step = b.index(6);
    let empty = b.for_loop(one_step, zero, 1, &[unit], |_, _, c| vec![c[0]]);
    let once = b.for_loop(zero, one_step, 100, &empty, |b, i, c| {
        let next = b.add(c[0], i);
        vec![b.add(next, one)]
    });
    b.prefetch(at(out, to));
    for word in 0..2 {
        let value = b.load(Mem::I32, at(scratch, to).plus(4 * word), Ty::I32);
        b.store(Mem::I32, at(out, to).plus(4 * word), value);
    }
    let word = b.to_i32(once[0]);
    b.store(Mem::I32, at(out, to).plus(8), word);
    let kernel = b.finish();
    let ranges = [(0, 7), (5, 5), (9, 2), (-4, 11)];
    let case = |&(lo, hi): &(i64, i64)| Case {
        kernel: kernel.clone(),
        bufs: vec![vec![9; 16 * 8]],
        scalars: vec![lo, hi],
        units: 0..8,
    };
    let cases: Vec<Case> = ranges.iter().map(case).collect();
    check(&cases, false);
    check_cross_compiles(&[&kernel]);
}

/// Repeated neighbouring words, in and out of order, twice, with gaps, and across a store to the same place and a loop
/// that changes it: one load may serve for several of them only where nothing comes between.
#[test]
fn neighbouring_words_are_what_they_are_when_read() {
    let ty = Ty::i8(16);
    let mut b = KernelBuilder::new("neighbours");
    let (x, out) = (b.buf("x", Access::InOut), b.buf("out", Access::InOut));
    let unit = b.unit();
    let (place, to) = (b.mul_const(unit, 64), b.mul_const(unit, 16));
    let zero = b.iconst(0, 4);
    let ones = b.load(Mem::U8, at(out, to), Ty::u8(16));
    let ones = b.bits(ones, 0, 1);
    let mut sums = [zero; 2];
    // Words are neighbours by the index they are read at.
    let [together, apart, stored, looped] = [0; 4].map(|_| b.add_const(place, 64));
    let mut read = |b: &mut KernelBuilder, index: Val, words: &[i32]| {
        for &word in words {
            let value = b.load_splat(Mem::I8, at(x, index).plus(4 * word - 64), ty);
            // The order of words shows in the sums.
            sums[0] = b.dot4(sums[0], ones, value, 1);
            let shifted = b.shl(sums[1], 3);
            sums[1] = b.dot4(shifted, ones, value, 1);
        }
    };
    read(&mut b, together, &[0, 1, 2, 3, 7, 6, 5, 4]);
    read(&mut b, apart, &[9, 10, 11, 13, 14, 8, 8, 12, 15]);
    let word = b.iconst(0x1234_5678, 1);
    read(&mut b, stored, &[0, 1]);
    b.store(Mem::I32, at(x, place).plus(8), word);
    read(&mut b, stored, &[2, 3]);
    read(&mut b, looped, &[4, 5]);
    let (lo, hi) = (b.index(0), b.index(3));
    b.for_loop(lo, hi, 1, &[], |b, i, _| {
        let index = b.shl(i, 2);
        let index = b.add(index, place);
        let word = b.to_i32(index);
        b.store(Mem::I32, at(x, index).plus(16), word);
        Vec::new()
    });
    read(&mut b, looped, &[6, 7]);
    let sum = b.add(sums[0], sums[1]);
    b.store(Mem::I32, at(out, to), sum);
    let mut rng = Rng::new(12);
    let case = Case {
        kernel: b.finish(),
        bufs: vec![rng.bytes(64 * 6), rng.bytes(16 * 6)],
        scalars: Vec::new(),
        units: 0..6,
    };
    check(std::slice::from_ref(&case), false);
}

/// Hints far outside of every buffer change nothing and never fault.
#[test]
fn prefetches_may_lie_outside() {
    let mut b = KernelBuilder::new("prefetch");
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let scalars: Vec<Val> = (0..10).map(|i| b.scalar(format!("s{i}"))).collect();
    let unit = b.unit();
    let to = b.shl(unit, 2);
    let (zero, hi) = (b.index(0), b.index(5));
    let sums = b.for_loop(zero, hi, 1, &[zero], |b, i, sums| {
        let mut sum = sums[0];
        for &scalar in &scalars {
            let far = b.shl(scalar, 40);
            let index = b.add(scalar, i);
            b.prefetch(at(input, far).plus(-(1 << 30)));
            b.prefetch(at(input, index).plus(1 << 30));
            b.prefetch(at(input, scalar));
            sum = b.add(sum, index);
        }
        vec![sum]
    });
    let word = b.to_i32(sums[0]);
    b.store(Mem::I32, at(out, to), word);
    let bufs = vec![vec![0; 64], vec![0; 16]];
    let case = Case {
        kernel: b.finish(),
        bufs,
        scalars: (1..11).collect(),
        units: 0..4,
    };
    check(std::slice::from_ref(&case), false);
    check_cross_compiles(&[&case.kernel]);
}

#[test]
fn only_the_units_asked_for_run() {
    let mut b = KernelBuilder::new("units");
    let out = b.buf("out", Access::Out);
    let unit = b.unit();
    let (to, word) = (b.shl(unit, 2), b.to_i32(unit));
    b.store(Mem::I32, at(out, to), word);
    let kernel = b.finish();
    let case = |units| Case {
        kernel: kernel.clone(),
        bufs: vec![vec![0xff; 32]],
        scalars: Vec::new(),
        units,
    };
    let cases = [case(0..8), case(3..5), case(4..4), case(7..8)];
    check(&cases, false);
    let after = cases[1].interpret();
    assert_eq!(
        after[0][8..24],
        [[0xff; 4], [3, 0, 0, 0], [4, 0, 0, 0], [0xff; 4]].concat()
    );
}

/// A random program over vectors of floats and integers, with nested loops, from a list of choices.
fn random_program(choices: &[u8], lanes: u8) -> Kernel {
    let mut b = KernelBuilder::new("random");
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let width = i64::from(lanes) * 4;
    let from = b.mul_const(unit, 8 * width);
    let mut pool = Pool {
        lanes,
        floats: Vec::new(),
        ints: Vec::new(),
    };
    for i in 0..4 {
        pool.floats
            .push(b.load(Mem::F32, at(input, from).plus(i * width as i32), Ty::f32(lanes)));
        pool.ints.push(b.load(
            Mem::I32,
            at(input, from).plus((4 + i) * width as i32),
            Ty::i32(lanes),
        ));
    }
    pool.emit(&mut b, &mut choices.iter().copied(), 0);
    let to = b.mul_const(unit, 8 * width);
    for i in 0..4 {
        let (f, n) = (
            pool.floats[pool.floats.len() - 1 - i],
            pool.ints[pool.ints.len() - 1 - i],
        );
        b.store(Mem::F32, at(out, to).plus(i as i32 * width as i32), f);
        b.store(Mem::I32, at(out, to).plus((4 + i as i32) * width as i32), n);
    }
    b.finish()
}

/// Values that a random program can use.
#[derive(Clone)]
struct Pool {
    lanes: u8,
    floats: Vec<Val>,
    ints: Vec<Val>,
}

impl Pool {
    fn emit(&mut self, b: &mut KernelBuilder, choices: &mut impl Iterator<Item = u8>, depth: u32) {
        while let Some(choice) = choices.next() {
            let mut pick = |n: usize| usize::from(choices.next().unwrap_or(0)) % n;
            let f = [0; 3].map(|_| self.floats[pick(self.floats.len())]);
            let i = [0; 3].map(|_| self.ints[pick(self.ints.len())]);
            match choice % 24 {
                0 => self.floats.push(b.add(f[0], f[1])),
                1 => self.floats.push(b.sub(f[0], f[1])),
                2 => self.floats.push(b.mul(f[0], f[1])),
                3 => self.floats.push(b.fma(f[0], f[1], f[2])),
                4 => self.floats.push(b.fnma(f[0], f[1], f[2])),
                5 => self.floats.push(b.min(f[0], f[1])),
                6 => self.floats.push(b.max(f[0], f[1])),
                7 => self.floats.push(b.neg(f[0])),
                8 => self.floats.push(b.round(f[0])),
                9 => self.floats.push(b.cvt_f32(i[0])),
                10 => self.ints.push(b.add(i[0], i[1])),
                11 => self.ints.push(b.sub(i[0], i[1])),
                12 => self.ints.push(b.mul(i[0], i[1])),
                13 => self.ints.push(b.and(i[0], i[1])),
                14 => self.ints.push(b.or(i[0], i[1])),
                15 => self.ints.push(b.shr(i[0], 7)),
                16 => self.ints.push(b.max(i[0], i[1])),
                17 => self.ints.push(b.cmp(Cmp::Lt, f[0], f[1])),
                18 => self.ints.push(b.cmp(Cmp::Le, i[0], i[1])),
                19 => {
                    let mask = b.cmp(Cmp::Ne, i[0], i[1]);
                    self.floats.push(b.select(mask, f[0], f[1]));
                }
                20 => {
                    let sum = b.reduce_add(i[0]);
                    self.ints.push(b.splat(sum, self.lanes));
                }
                21 => {
                    let c = b.fconst(f32::from(choice) - 100.5, self.lanes);
                    self.floats.push(c);
                }
                _ if depth < 2 => self.emit_loop(b, choices, depth, f, i),
                _ => {}
            }
        }
    }

    fn emit_loop(
        &mut self,
        b: &mut KernelBuilder,
        choices: &mut impl Iterator<Item = u8>,
        depth: u32,
        f: [Val; 3],
        i: [Val; 3],
    ) {
        let trips = choices.next().unwrap_or(2) % 4;
        let body: Vec<u8> = choices.take(30).collect();
        let (lo, hi) = (b.index(0), b.index(i64::from(trips)));
        let init = [f[0], f[1], i[0], i[1], i[2]];
        let results = b.for_loop(lo, hi, 1, &init, |b, _, carried| {
            let mut inner = self.clone();
            inner.floats.extend(&carried[..2]);
            inner.ints.extend(&carried[2..]);
            inner.emit(b, &mut body.iter().copied(), depth + 1);
            let last = |values: &[Val], n: usize| values[values.len() - 1 - n];
            vec![
                last(&inner.floats, 0),
                last(&inner.floats, 1),
                last(&inner.ints, 0),
                last(&inner.ints, 2),
                last(&inner.ints, 1),
            ]
        });
        self.floats.extend(&results[..2]);
        self.ints.extend(&results[2..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_programs(choices in prop::collection::vec(any::<u8>(), 0..300), which in 0usize..4, seed: u64) {
        let lanes = [1, 4, 8, 16][which];
        let kernel = random_program(&choices, lanes);
        check_cross_compiles(&[&kernel]);
        let mut rng = Rng::new(seed);
        let mut data = Vec::new();
        for _ in 0..4 {
            data.extend(rng.f32_bytes(4 * usize::from(lanes)));
            data.extend(rng.bytes(16 * usize::from(lanes)));
        }
        let out = vec![0; data.len()];
        check(&[Case { kernel, bufs: vec![data, out], scalars: Vec::new(), units: 0..4 }], true);
    }
}
