//! Accuracy of composed functions against double precision, over dense sweeps.

use super::super::math;
use super::*;

const LANES: u8 = 16;

type Function = fn(&mut KernelBuilder, Val) -> Val;

/// `function` of every x, which are padded to whole vectors.
fn eval(function: Function, xs: &[f32]) -> Vec<f32> {
    let mut b = KernelBuilder::new("function");
    let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::Out));
    let (lo, vectors) = (b.index(0), b.scalar("vectors"));
    b.for_loop(lo, vectors, 1, &[], |b, i, _| {
        let index = b.mul_const(i, 4 * i64::from(LANES));
        let value = b.load(
            Mem::F32,
            Addr {
                buf: x,
                index,
                disp: 0,
            },
            Ty::f32(LANES),
        );
        let value = function(b, value);
        b.store(
            Mem::F32,
            Addr {
                buf: y,
                index,
                disp: 0,
            },
            value,
        );
        Vec::new()
    });
    let kernel = b.finish();
    let vectors = xs.len().div_ceil(LANES.into());
    let mut input = bytes_of_floats(xs);
    input.resize(vectors * 4 * usize::from(LANES), 0);
    let mut output = vec![0; input.len()];
    run(&kernel, &mut [&mut input, &mut output], &[vectors as i64], 0..1).expect("in bounds");
    floats(&output)[..xs.len()].to_vec()
}

fn sweep(lo: f32, hi: f32, count: usize) -> Vec<f32> {
    let step = (f64::from(hi) - f64::from(lo)) / count as f64;
    (0..=count)
        .map(|i| (f64::from(lo) + step * i as f64) as f32)
        .collect()
}

/// Error in units of the last place of the exact result.
fn ulps(got: f32, want: f64) -> f64 {
    let exponent = want.abs().log2().floor().max(-126.0);
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

fn worst(function: Function, exact: fn(f64) -> f64, xs: &[f32]) -> (f64, f32) {
    let errors = eval(function, xs)
        .into_iter()
        .zip(xs)
        .map(|(y, &x)| (ulps(y, exact(x.into())), x));
    errors.fold(
        (0.0, 0.0),
        |worst, e| if e.0 > worst.0 || e.0.is_nan() { e } else { worst },
    )
}

fn within(function: Function, exact: fn(f64) -> f64, xs: &[f32], bound: f64) {
    let (error, x) = worst(function, exact, xs);
    assert!(error <= bound, "{error} ulp at {x}");
}

/// Magnitudes from 1e-30 up to about `hi`, of both signs.
fn magnitudes(hi: f32) -> Vec<f32> {
    let positive = sweep(-69.0, hi.ln(), 20_000).into_iter().map(f32::exp);
    positive.flat_map(|x| [x, -x]).collect()
}

#[test]
fn exp_is_within_1_ulp() {
    within(math::exp, f64::exp, &sweep(-87.3, 88.3, 200_000), 1.0);
    within(math::exp, f64::exp, &sweep(-1.0, 1.0, 100_000), 1.0);
    within(math::exp, f64::exp, &magnitudes(80.0), 1.0);
}

#[test]
fn exp_underflows_to_zero_and_stays_finite() {
    let ys = eval(
        math::exp,
        &[-87.34, -88.0, -1e4, -1e30, f32::MIN, f32::NEG_INFINITY],
    );
    assert!(ys.iter().all(|y| y.to_bits() == 0), "{ys:?}");
    let ys = eval(math::exp, &[88.4, 1e4, f32::INFINITY]);
    assert!(ys.iter().all(|y| y.is_finite() && *y > 2.3e38), "{ys:?}");
    assert_eq!(eval(math::exp, &[0.0, -0.0]), [1.0, 1.0]);
}

#[test]
fn exp_never_decreases() {
    let ys = eval(math::exp, &sweep(-88.0, 89.0, 100_000));
    assert!(ys.is_sorted());
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn sigmoid_and_silu_are_accurate() {
    for xs in [sweep(-87.0, 88.0, 200_000), magnitudes(80.0)] {
        within(math::sigmoid, sigmoid, &xs, 3.0);
        within(math::silu, |x| x * sigmoid(x), &xs, 4.0);
    }
    assert_eq!(eval(math::sigmoid, &[1e30, f32::INFINITY]), [1.0, 1.0]);
    assert_eq!(eval(math::silu, &[1e30]), [1e30]);
    let low = eval(math::silu, &[-100.0, -1e4, -1e30]);
    assert!(low.iter().all(|y| y.abs() < 1e-8), "{low:?}");
}

#[test]
fn tanh_is_accurate_near_0_and_saturates() {
    for xs in [
        sweep(-12.0, 12.0, 200_000),
        sweep(-0.5, 0.5, 100_000),
        magnitudes(30.0),
    ] {
        within(math::tanh, f64::tanh, &xs, 5.0);
    }
    let far = [20.0, 100.0, 1e30, f32::INFINITY];
    assert_eq!(eval(math::tanh, &far), [1.0; 4]);
    assert_eq!(eval(math::tanh, &far.map(|x| -x)), [-1.0; 4]);
}

#[test]
fn gelu_is_accurate_relative_to_its_argument() {
    let exact =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    for xs in [sweep(-12.0, 12.0, 200_000), magnitudes(1e4)] {
        for (y, &x) in eval(math::gelu_tanh, &xs).into_iter().zip(&xs) {
            let error = (f64::from(y) - exact(x.into())).abs();
            assert!(
                error <= 3e-7 * f64::from(x.abs()),
                "gelu({x}) = {y}, not {}",
                exact(x.into())
            );
        }
    }
    assert_eq!(eval(math::gelu_tanh, &[1e30, -1e30]), [1e30, 0.0]);
}

#[test]
fn every_width_gives_the_same_bits() {
    for function in [math::exp, math::silu, math::tanh, math::gelu_tanh] as [Function; 4] {
        let xs = sweep(-9.0, 9.0, 15);
        let wide = eval(function, &xs);
        for (&x, y) in xs.iter().zip(wide) {
            let kernel = apply(Mem::F32, Ty::F32, Mem::F32, function);
            let scalar = run_one(&kernel, bytes_of_floats(&[x]), 4).expect("in bounds");
            assert_eq!(floats(&scalar)[0].to_bits(), y.to_bits(), "at {x}");
        }
    }
}
