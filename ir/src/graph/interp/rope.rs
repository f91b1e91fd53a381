//! Rotary position embedding.

use crate::graph::{RopePairs, RopeSpec};

/// Rotates heads `[rows, heads, d]` by the positions `[rows]`; see [`RopeSpec`]. Angles are f64.
pub(super) fn rope(
    x: &[f32],
    heads: usize,
    d: usize,
    positions: &[i32],
    spec: &RopeSpec,
    factors: Option<&[f32]>,
) -> Vec<f32> {
    let mut out = x.to_vec();
    let row_len = (heads * d).max(1);
    for (row, &position) in out.chunks_exact_mut(row_len).zip(positions) {
        let turns = rotations(f64::from(position), spec, factors);
        for head in row.chunks_exact_mut(d) {
            for (i, &(sin, cos)) in turns.iter().enumerate() {
                let (first, second) = pair(spec, i);
                let (a, b) = (f64::from(head[first]), f64::from(head[second]));
                head[first] = (a * cos - b * sin) as f32;
                head[second] = (a * sin + b * cos) as f32;
            }
        }
    }
    out
}

/// Sine and cosine of each pair's angle at a position, times the magnitude.
fn rotations(position: f64, spec: &RopeSpec, factors: Option<&[f32]>) -> Vec<(f64, f64)> {
    let turn = |i: u32| {
        let frequency = f64::from(spec.base).powf(-2.0 * f64::from(i) / f64::from(spec.dims));
        let factor = factors.map_or(1.0, |f| f64::from(f[i as usize]));
        let (sin, cos) = (position * f64::from(spec.freq_scale) * frequency / factor).sin_cos();
        let magnitude = f64::from(spec.magnitude);
        (sin * magnitude, cos * magnitude)
    };
    (0..spec.dims / 2).map(turn).collect()
}

/// The two elements of a head that pair `i` rotates.
fn pair(spec: &RopeSpec, i: usize) -> (usize, usize) {
    match spec.pairs {
        RopePairs::Adjacent => (2 * i, 2 * i + 1),
        RopePairs::Half => (i, i + spec.dims as usize / 2),
    }
}
