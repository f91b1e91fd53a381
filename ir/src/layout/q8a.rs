//! Int8 activations: what `quantize` ops make and integer products read.

use super::BLOCK;
use crate::dtype::DType;
use crate::quant::QuantError;

/// A row of K int8 activations, K a multiple of 32; its parts in this order:
///
/// ```text
/// codes i8 [K]; scale f32 [K/32]; nsum32 i32 [K/32]; nsum16 i32 [K/16]
/// ```
///
/// `scale` = absmax / 127, `code` = `x · (127 / absmax)` rounded to the nearest, ties to even; both 0 where absmax is.
/// `nsum32` and `nsum16` are the negated sums of 32 and of 16 codes: what a weight's minimum is multiplied with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Q8a;

impl Q8a {
    /// Bytes of a row of `k` elements: 1.5 a element.
    pub const fn row_stride(k: u64) -> u64 {
        k + k / 2
    }

    /// Offset in a row of the codes.
    pub const fn codes(_k: u64) -> u64 {
        0
    }

    /// Offset in a row of the scales.
    pub const fn scale(k: u64) -> u64 {
        k
    }

    /// Offset in a row of the negated sums of 32 codes.
    pub const fn nsum32(k: u64) -> u64 {
        k + k / 8
    }

    /// Offset in a row of the negated sums of 16 codes.
    pub const fn nsum16(k: u64) -> u64 {
        k + k / 4
    }
}

/// Checks that a row of `k` elements has whole blocks and is `got` bytes long.
fn check(k: usize, got: usize) -> Result<(), QuantError> {
    if !k.is_multiple_of(BLOCK) {
        return Err(QuantError::Ragged {
            dtype: DType::Q8A,
            elements: k as u64,
            block: BLOCK as u64,
        });
    }
    let expected = Q8a::row_stride(k as u64);
    if got as u64 != expected {
        return Err(QuantError::Length {
            what: "bytes of a q8a row",
            expected,
            got: got as u64,
        });
    }
    Ok(())
}

/// Quantizes a row; values must be finite.
///
/// # Errors
/// Where the length of `x` is no multiple of 32 or `out` is not as long as a row of that many.
pub fn quantize_row_q8a(x: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    check(x.len(), out.len())?;
    let (codes, rest) = out.split_at_mut(x.len());
    let (scales, rest) = rest.split_at_mut(x.len() / 8);
    let (nsum32, nsum16) = rest.split_at_mut(x.len() / 8);
    for (b, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
        let absmax = x.iter().fold(0f32, |a, v| a.max(v.abs()));
        let inverse = if absmax == 0.0 { 0.0 } else { 127.0 / absmax };
        let block: [i8; BLOCK] = x.map(|v| (v * inverse).round_ties_even() as i8);
        let sums = [0, 1].map(|half| {
            -block[half * 16..half * 16 + 16]
                .iter()
                .map(|&c| i32::from(c))
                .sum::<i32>()
        });
        for (out, code) in codes[b * BLOCK..].iter_mut().zip(block) {
            *out = code as u8;
        }
        scales[b * 4..b * 4 + 4].copy_from_slice(&(absmax / 127.0).to_le_bytes());
        nsum32[b * 4..b * 4 + 4].copy_from_slice(&(sums[0] + sums[1]).to_le_bytes());
        for (half, sum) in sums.iter().enumerate() {
            let at = b * 8 + half * 4;
            nsum16[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    Ok(())
}

/// The values `scale · code` of a row.
///
/// # Errors
/// As [`quantize_row_q8a`].
pub fn dequantize_row_q8a(row: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    check(out.len(), row.len())?;
    let (codes, rest) = row.split_at(out.len());
    let blocks = out
        .as_chunks_mut::<BLOCK>()
        .0
        .iter_mut()
        .zip(codes.as_chunks::<BLOCK>().0);
    for ((out, codes), scale) in blocks.zip(rest.as_chunks::<4>().0) {
        let scale = f32::from_le_bytes(*scale);
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(code as i8);
        }
    }
    Ok(())
}
