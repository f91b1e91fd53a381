//! Functions composed of kernel ops: exp, sigmoid, silu, tanh, gelu. The order of operations is fixed, so every lowering
//! gives the same bits.

use super::{Cmp, KernelBuilder, Val};

/// `eˣ`, within 1 ulp on [−87.3, 88.3]: `2ⁿ · p(r)` with `n = round(x / ln 2)` and `r = x − n·ln 2` in two parts (Cody &
/// Waite). `p(r) = 1 + r + r²·q(r)`, where q of degree 4 minimizes the largest relative error for |r| ≤ ln 2 / 2: it is
/// 3.1e-9. Gives 0 below −87.33, so for −∞; above 88.37 the result is capped at about 2¹²⁷·√2. NaN does not propagate.
pub fn exp(b: &mut KernelBuilder, x: Val) -> Val {
    let lanes = b.ty(x).lanes;
    let f = |b: &mut KernelBuilder, v: f32| b.fconst(v, lanes);
    let (lo, hi) = (f(b, -87.336_54), f(b, 88.376_26));
    let clamped = b.max(x, lo);
    let clamped = b.min(clamped, hi);
    let log2e = f(b, std::f32::consts::LOG2_E);
    let n = b.mul(clamped, log2e);
    let n = b.round(n);
    let (ln2_hi, ln2_lo) = (f(b, 0.693_359_4), f(b, -2.121_944_4e-4));
    let r = b.fnma(n, ln2_hi, clamped);
    let r = b.fnma(n, ln2_lo, r);
    let mut p = f(b, 0.001_381_454);
    for c in [0.008_368_745, 0.041_668_39, 0.166_665_21, 0.499_999_94, 1.0, 1.0] {
        let c = f(b, c);
        p = b.fma(p, r, c);
    }
    let n = b.cvt_i32(n);
    let bias = b.iconst(127, lanes);
    let exponent = b.add(n, bias);
    let exponent = b.shl(exponent, 23);
    let power = b.bitcast(exponent);
    let y = b.mul(p, power);
    let zero = f(b, 0.0);
    let under = b.cmp(Cmp::Lt, x, lo);
    b.select(under, zero, y)
}

/// `1 / (1 + e⁻ˣ)`, within 3 ulp on [−87, 88].
pub fn sigmoid(b: &mut KernelBuilder, x: Val) -> Val {
    let lanes = b.ty(x).lanes;
    let minus = b.neg(x);
    let e = exp(b, minus);
    let one = b.fconst(1.0, lanes);
    let d = b.add(one, e);
    b.div(one, d)
}

/// `x · sigmoid(x)`, within 4 ulp on [−87, 88].
pub fn silu(b: &mut KernelBuilder, x: Val) -> Val {
    let s = sigmoid(b, x);
    b.mul(x, s)
}

/// `tanh(x)`, within 5 ulp: an odd polynomial near 0, `(1 − e^(−2|x|)) / (1 + e^(−2|x|))` with the sign put back elsewhere.
pub fn tanh(b: &mut KernelBuilder, x: Val) -> Val {
    let lanes = b.ty(x).lanes;
    let f = |b: &mut KernelBuilder, v: f32| b.fconst(v, lanes);
    let a = b.abs(x);
    let two = f(b, -2.0);
    let m = b.mul(a, two);
    let e = exp(b, m);
    let one = f(b, 1.0);
    let (num, den) = (b.sub(one, e), b.add(one, e));
    let t = b.div(num, den);
    let minus = b.neg(t);
    let zero = f(b, 0.0);
    let negative = b.cmp(Cmp::Lt, x, zero);
    let large = b.select(negative, minus, t);
    let x2 = b.mul(x, x);
    let mut p = f(b, 0.021_869_488);
    for c in [-0.053_968_254, 0.133_333_33, -0.333_333_34] {
        let c = f(b, c);
        p = b.fma(p, x2, c);
    }
    let x3 = b.mul(x2, x);
    let small = b.fma(p, x3, x);
    let bound = f(b, 0.25);
    let is_small = b.cmp(Cmp::Lt, a, bound);
    b.select(is_small, small, large)
}

/// GELU, tanh approximation: `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`. Source: Hendrycks & Gimpel.
pub fn gelu_tanh(b: &mut KernelBuilder, x: Val) -> Val {
    let lanes = b.ty(x).lanes;
    let (c, root) = (b.fconst(0.044_715, lanes), b.fconst(0.797_884_6, lanes));
    let x2 = b.mul(x, x);
    let x3 = b.mul(x2, x);
    let inner = b.fma(c, x3, x);
    let inner = b.mul(inner, root);
    let t = tanh(b, inner);
    let (one, half) = (b.fconst(1.0, lanes), b.fconst(0.5, lanes));
    let t = b.add(one, t);
    let h = b.mul(x, half);
    b.mul(h, t)
}
