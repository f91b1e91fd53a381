//! Ops on rows of floats: each gives back a new vector, rounds each element once, and knows no tensors.

use crate::graph::Activation;

/// `x · wᵀ`: `[rows, k]` times `[n, k]`, of the sizes `[rows, n, k]`.
pub(super) fn matmul(x: &[f32], w: &[f32], [rows, n, k]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * n);
    for row in 0..rows {
        for column in 0..n {
            out.push(dot(&x[row * k..][..k], &w[column * k..][..k]));
        }
    }
    out
}

/// The sum of products.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum::<f64>() as f32
}

/// Elementwise `f(a, b)`, where `b` repeats: it is as long as `a`, a row of it, or one number.
pub(super) fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    a.iter().zip(b.iter().cycle()).map(|(&a, &b)| f(a, b)).collect()
}

/// Elementwise `f(a)`.
pub(super) fn map(a: &[f32], f: impl Fn(f32) -> f32) -> Vec<f32> {
    a.iter().map(|&a| f(a)).collect()
}

/// An activation function.
pub(super) fn activation(func: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match func {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
    };
    y as f32
}

/// `cap · tanh(x / cap)`.
pub(super) fn softcap(cap: f32, x: f32) -> f32 {
    let cap = f64::from(cap);
    (cap * (f64::from(x) / cap).tanh()) as f32
}

/// RMS norm of each row as long as the weight.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let n = weight.len().max(1);
    let norm = |row: &[f32]| -> Vec<f32> {
        let squares = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let by = 1.0 / (squares / n as f64 + f64::from(eps)).sqrt();
        row.iter()
            .zip(weight)
            .map(|(&x, &w)| (f64::from(x) * by * f64::from(w)) as f32)
            .collect()
    };
    x.chunks_exact(n).flat_map(norm).collect()
}

/// Softmax of each row of `n`; a row of nothing but −∞ gives zeros.
pub(super) fn softmax(x: &[f32], n: usize) -> Vec<f32> {
    x.chunks_exact(n.max(1)).flat_map(softmax_row).collect()
}

fn softmax_row(row: &[f32]) -> Vec<f32> {
    let max = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    if max == f32::NEG_INFINITY {
        return vec![0.0; row.len()];
    }
    let exps: Vec<f64> = row
        .iter()
        .map(|&x| (f64::from(x) - f64::from(max)).exp())
        .collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| (e / sum) as f32).collect()
}
