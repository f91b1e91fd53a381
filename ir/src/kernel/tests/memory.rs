//! Loads and stores, loops and branches, scratch, and calls that cannot run.

use super::*;

fn pass(mem: Mem, ty: Ty, to: Mem, input: Vec<u8>) -> Result<Vec<u8>, InterpError> {
    let size = usize::from(ty.lanes) * to.bytes() as usize;
    run_one(&apply(mem, ty, to, |_, x| x), input, size)
}

#[test]
fn loads_widen() {
    let bytes = vec![0x80, 0xff, 0x7f, 1];
    let signed = pass(Mem::I8, Ty::i32(4), Mem::I32, bytes.clone()).expect("runs");
    assert_eq!(ints(&signed), [-128, -1, 127, 1]);
    let unsigned = pass(Mem::U8, Ty::i32(4), Mem::I32, bytes.clone()).expect("runs");
    assert_eq!(ints(&unsigned), [128, 255, 127, 1]);
    assert_eq!(pass(Mem::U8, Ty::u8(4), Mem::U8, bytes.clone()), Ok(bytes));
    let halves: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff]
        .iter()
        .flat_map(|h| h.to_le_bytes())
        .collect();
    let widened = pass(Mem::F16, Ty::f32(4), Mem::F32, halves).expect("runs");
    assert_eq!(floats(&widened), [1.0, -2.0, 5.960_464_5e-8, 65504.0]);
    let bf16: Vec<u8> = [0x3f80u16, 0xc040, 0x0001, 0x7f80]
        .iter()
        .flat_map(|h| h.to_le_bytes())
        .collect();
    let widened = pass(Mem::Bf16, Ty::f32(4), Mem::F32, bf16).expect("runs");
    assert_eq!(
        floats(&widened),
        [1.0, -3.0, f32::from_bits(1 << 16), f32::INFINITY]
    );
}

#[test]
fn stores_narrow() {
    let saturated = pass(Mem::I32, Ty::i32(4), Mem::I8, bytes_of_ints(&[200, -200, 5, -1])).expect("runs");
    assert_eq!(saturated, [127, 0x80, 5, 0xff]);
    // Halfway cases go to the even neighbour.
    let stored = pass(
        Mem::F32,
        Ty::f32(4),
        Mem::F16,
        bytes_of_floats(&[1.0, 2049.0, 2051.0, -65519.0]),
    );
    let halves = [0x3c00u16, 0x6800, 0x6802, 0xfbff];
    assert_eq!(stored, Ok(halves.iter().flat_map(|h| h.to_le_bytes()).collect()));
    let stored = pass(Mem::F32, Ty::F32, Mem::F16, bytes_of_floats(&[65520.0]));
    assert!(stored.is_err_and(|e| e.to_string().contains("`store` of 65520 as f16")));
    let stored = pass(
        Mem::F32,
        Ty::f32(4),
        Mem::Bf16,
        bytes_of_floats(&[1.003_906_2, 1.011_718_8, -1e-45, f32::MAX]),
    );
    let halves = [0x3f80u16, 0x3f82, 0x8000, 0x7f80];
    assert_eq!(stored, Ok(halves.iter().flat_map(|h| h.to_le_bytes()).collect()));
    let stored = pass(Mem::F32, Ty::F32, Mem::Bf16, bytes_of_floats(&[f32::NAN]));
    assert!(stored.is_err_and(|e| e.to_string().contains("`store` of a NaN as bf16")));
    let loaded = pass(Mem::F16, Ty::F32, Mem::F32, vec![0x00, 0x7c]);
    assert!(loaded.is_err_and(|e| e.to_string().contains("`load` of the f16 inf")));
}

#[test]
fn splats_repeat_an_element_or_four_bytes() {
    let splat = |mem: Mem, ty: Ty, to: Mem, input: Vec<u8>| {
        let kernel = apply(mem, Ty { lanes: 4, ..ty }, to, |b, _| {
            let x = b.index(0);
            b.load_splat(
                mem,
                Addr {
                    buf: crate::Id::new(0),
                    index: x,
                    disp: 1,
                },
                ty,
            )
        });
        run_one(&kernel, input, usize::from(ty.lanes) * to.bytes() as usize)
    };
    assert_eq!(
        splat(Mem::U8, Ty::u8(8), Mem::U8, vec![9, 1, 2, 3, 4]),
        Ok(vec![1, 2, 3, 4, 1, 2, 3, 4])
    );
    let ints_of_bytes = splat(Mem::I8, Ty::i32(4), Mem::I32, vec![0, 0xfe, 0, 0]);
    assert_eq!(ints(&ints_of_bytes.expect("runs")), [-2; 4]);
}

#[test]
fn an_index_is_loaded_with_its_sign() {
    let kernel = apply(Mem::I32, Ty::INDEX, Mem::I32, |b, x| {
        let shifted = b.sar(x, 8);
        b.to_i32(shifted)
    });
    assert_eq!(
        run_one(&kernel, bytes_of_ints(&[-512]), 4),
        Ok(bytes_of_ints(&[-2]))
    );
}

#[test]
fn accesses_outside_are_errors() {
    let load = |disp: i32, len: usize| {
        let kernel = apply(Mem::F32, Ty::F32, Mem::F32, |b, _| {
            let index = b.index(4);
            b.load(
                Mem::F32,
                Addr {
                    buf: crate::Id::new(0),
                    index,
                    disp,
                },
                Ty::f32(4),
            )
        });
        run_one(&kernel, vec![0; len], 16)
    };
    assert!(load(0, 20).is_ok());
    assert!(load(-4, 16).is_ok());
    let past = load(1, 20).expect_err("one byte past the end").to_string();
    assert_eq!(
        past,
        "kernel @apply, unit 0: `load` of 16 bytes at 5 of $x, which has 20"
    );
    let before = load(-5, 20).expect_err("one byte before the start").to_string();
    assert_eq!(
        before,
        "kernel @apply, unit 0: `load` of 16 bytes at -1 of $x, which has 20"
    );
    let stored =
        run_one(&apply(Mem::F32, Ty::F32, Mem::F32, |_, x| x), vec![0; 4], 3).expect_err("a short output");
    assert_eq!(
        stored.to_string(),
        "kernel @apply, unit 0: `store` of 4 bytes at 0 of $y, which has 3"
    );
}

#[test]
fn prefetches_may_lie_outside() {
    let kernel = apply(Mem::F32, Ty::F32, Mem::F32, |b, x| {
        let index = b.index(i64::MAX);
        b.prefetch(Addr {
            buf: crate::Id::new(0),
            index,
            disp: i32::MAX,
        });
        x
    });
    assert!(run_one(&kernel, vec![0; 4], 4).is_ok());
}

/// Fibonacci numbers: the carried values change places at once.
#[test]
fn loops_carry_values() {
    let fibonacci = |lo: i64, hi: i64, step: i64| {
        let kernel = apply(Mem::I32, Ty::I32, Mem::I32, |b, _| {
            let (zero, one) = (b.iconst(0, 1), b.iconst(1, 1));
            let (lo, hi) = (b.index(lo), b.index(hi));
            b.for_loop(lo, hi, step, &[zero, one], |b, _, c| {
                vec![c[1], b.add(c[0], c[1])]
            })[0]
        });
        ints(&run_one(&kernel, vec![0; 4], 4).expect("runs"))[0]
    };
    assert_eq!(fibonacci(0, 10, 1), 55);
    assert_eq!(fibonacci(-3, 3, 1), 8);
    assert_eq!(fibonacci(0, 10, 3), 3, "at 0, 3, 6 and 9");
    assert_eq!(fibonacci(5, 5, 1), 0);
    assert_eq!(fibonacci(5, -5, 1), 0);
    assert_eq!(
        fibonacci(i64::MAX - 2, i64::MAX, 2),
        1,
        "the index stays in range"
    );
}

#[test]
fn units_scalars_and_branches() {
    let mut b = KernelBuilder::new("branch");
    let out = b.buf("out", Access::Out);
    let limit = b.scalar("limit");
    let unit = b.unit();
    let index = b.shl(unit, 2);
    for (i, cmp) in Cmp::ALL.into_iter().enumerate() {
        let disp = 16 * i as i32;
        let store = |b: &mut KernelBuilder, n: i32| {
            let n = b.iconst(n, 1);
            b.store(
                Mem::I32,
                Addr {
                    buf: out,
                    index,
                    disp,
                },
                n,
            );
        };
        b.if_else(cmp, unit, limit, |b| store(b, 1), |b| store(b, 2));
    }
    let kernel = b.finish();
    let mut bytes = vec![0; 64];
    run(&kernel, &mut [&mut bytes], &[2], 1..4).expect("runs");
    let expected = [[0, 2, 1, 2], [0, 1, 2, 1], [0, 1, 2, 2], [0, 1, 1, 2]];
    assert_eq!(ints(&bytes), expected.as_flattened());
}

/// Each unit reads scratch before it writes it: it never sees what the unit before left there.
#[test]
fn scratch_is_poisoned_for_every_unit() {
    let mut b = KernelBuilder::new("scratch");
    let out = b.buf("out", Access::Out);
    let scratch = b.scratch(8);
    let (unit, at) = (b.unit(), start(&mut b, scratch).plus(4));
    let before = b.load(Mem::F32, at, Ty::F32);
    let one = b.fconst(1.0, 1);
    b.store(Mem::F32, at, one);
    let after = b.load(Mem::F32, at, Ty::F32);
    let index = b.shl(unit, 3);
    b.store(
        Mem::F32,
        Addr {
            buf: out,
            index,
            disp: 0,
        },
        before,
    );
    b.store(
        Mem::F32,
        Addr {
            buf: out,
            index,
            disp: 4,
        },
        after,
    );
    let mut bytes = vec![0; 16];
    run(&b.finish(), &mut [&mut bytes], &[], 0..2).expect("runs");
    let read = floats(&bytes);
    assert!(read[0].is_nan() && read[2].is_nan(), "{read:?}");
    assert_eq!([read[1], read[3]], [1.0, 1.0]);
}

#[test]
fn calls_fit_their_kernel() {
    let kernel = apply(Mem::F32, Ty::F32, Mem::F32, |_, x| x);
    let few = run(&kernel, &mut [&mut [0; 4]], &[], 0..1).expect_err("one buffer is missing");
    assert_eq!(few.to_string(), "kernel @apply takes 2 buffers, not 1");
    let many = run(&kernel, &mut [&mut [0; 4], &mut [0; 4]], &[1], 0..1).expect_err("a scalar too many");
    assert_eq!(many.to_string(), "kernel @apply takes 0 scalars, not 1");
    let mut invalid = kernel;
    invalid.body.insts.remove(0);
    let error =
        run(&invalid, &mut [&mut [0; 4], &mut [0; 4]], &[], 0..0).expect_err("a value is not defined");
    assert!(
        error
            .to_string()
            .starts_with("kernel @apply is invalid: %2 = load: %1 is used"),
        "{error}"
    );
}
