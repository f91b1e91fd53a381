//! Attention over the cache: scores, mask, weighted sums, and all of them in one.

use super::kv::KvCache;
use super::tensor::{Tensor, index};
use super::{EvalError, ops};
use crate::graph::KvPart;

/// A layer of the cache as `kv_heads` heads, with the sequence of each row.
pub(super) struct Layer<'a> {
    pub(super) cache: &'a KvCache,
    pub(super) layer: u32,
    pub(super) kv_heads: usize,
    pub(super) seqs: &'a [i32],
}

/// The parameters of attention in one op.
pub(super) struct Fused {
    pub(super) scale: f32,
    /// 0 for none.
    pub(super) cap: f32,
    /// 0 for none.
    pub(super) window: u32,
}

impl Layer<'_> {
    /// The sequence of a row.
    fn seq(&self, row: usize) -> Result<u32, EvalError> {
        index("sequence", row, self.seqs[row], i32::MAX as usize).map(|seq| seq as u32)
    }

    /// The cached head that a query head reads, of `d` elements.
    fn head(
        &self,
        part: KvPart,
        seq: u32,
        position: usize,
        head: usize,
        heads: usize,
        d: usize,
    ) -> Option<&[f32]> {
        let row = self.cache.row(self.layer, part, seq, position as u32)?;
        row.get(head * self.kv_heads / heads * d..)?.get(..d)
    }

    /// `[rows, heads, d] → [rows, heads, ctx]`: products with the keys of each row's sequence; −∞ where it has none.
    pub(super) fn scores(&self, q: &Tensor) -> Result<Tensor, EvalError> {
        let (rows, heads, d) = (q.dims[0], q.dims[1], q.dims[2]);
        let ctx = self.cache.positions(self.layer);
        let mut out = Vec::new();
        for row in 0..rows {
            let seq = self.seq(row)?;
            for head in 0..heads {
                let q = &q.floats()[(row * heads + head) * d..][..d];
                out.extend((0..ctx).map(|position| {
                    let key = self.head(KvPart::K, seq, position, head, heads, d);
                    key.map_or(f32::NEG_INFINITY, |key| ops::dot(q, key))
                }));
            }
        }
        Ok(Tensor::f32(&[rows, heads, ctx], out))
    }

    /// `[rows, heads, ctx] → [rows, heads, d]`: sums of the values of each row's sequence, weighted.
    pub(super) fn mix(&self, p: &Tensor, d: usize) -> Result<Tensor, EvalError> {
        let (rows, heads, ctx) = (p.dims[0], p.dims[1], p.dims[2]);
        let mut out = Vec::new();
        for row in 0..rows {
            let seq = self.seq(row)?;
            for head in 0..heads {
                let mut sums = vec![0f64; d];
                let weights = &p.floats()[(row * heads + head) * ctx..][..ctx];
                for (position, &weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                    // Where scores overflow, weights of positions that the mask hides are not numbers either.
                    if weight.is_nan() {
                        sums.fill(f64::NAN);
                        continue;
                    }
                    let value = self.head(KvPart::V, seq, position, head, heads, d);
                    let value = value.ok_or(EvalError::NotCached {
                        layer: self.layer,
                        seq,
                        position: position as u32,
                    })?;
                    for (sum, &x) in sums.iter_mut().zip(value) {
                        *sum += f64::from(weight) * f64::from(x);
                    }
                }
                out.extend(sums.iter().map(|&sum| sum as f32));
            }
        }
        Ok(Tensor::f32(&[rows, heads, d], out))
    }

    /// `[rows, heads, d] → [rows, heads · d]`: scores, scale, cap, mask, softmax, sums, heads merged.
    pub(super) fn fused(&self, q: &Tensor, positions: &[i32], how: &Fused) -> Result<Tensor, EvalError> {
        let mut scores = self.scores(q)?;
        let mut x = ops::map(scores.floats(), |x| x * how.scale);
        if how.cap != 0.0 {
            x = ops::map(&x, |x| ops::softcap(how.cap, x));
        }
        scores = Tensor::f32(&scores.dims, x);
        scores = causal_mask(&scores, positions, how.window);
        let p = ops::softmax(scores.floats(), scores.dims[2]);
        let mixed = self.mix(&Tensor::f32(&scores.dims, p), q.dims[2])?;
        Ok(Tensor {
            dims: vec![q.dims[0], q.dims[1] * q.dims[2]],
            ..mixed
        })
    }
}

/// −∞ where the key's position exceeds the row's, or lies `window` or more behind it (0: no window).
pub(super) fn causal_mask(s: &Tensor, positions: &[i32], window: u32) -> Tensor {
    let (heads, ctx) = (s.dims[1], s.dims[2]);
    let masked = s.floats().iter().enumerate().map(|(i, &x)| {
        // There is an element, so that `ctx` and `heads` are not zero.
        let (row, key) = (i / ctx / heads, (i % ctx) as i64);
        let behind = i64::from(positions[row]) - key;
        let seen = behind >= 0 && (window == 0 || behind < i64::from(window));
        if seen { x } else { f32::NEG_INFINITY }
    });
    Tensor::f32(&s.dims, masked.collect())
}
