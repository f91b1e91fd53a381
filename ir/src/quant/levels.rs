//! Scales of two levels as they are in the file: small integers a group, and what multiplies them a block.

use super::unpack::{array, block_of, each, field, iq4_xs_scale, q3_k_scales, six_bits, words};
use super::{FormatScales, QuantFormat};
use crate::dtype::DType;
use half::f16;

/// The scales and minima of a block of 256. [`super::Canonical`] has `d · scales[g]` and `dmin · mins[g]`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Levels {
    /// Multiplies scales.
    pub d: f16,
    /// Multiplies minima; 0 in formats without them.
    pub dmin: f16,
    /// A scale each group.
    pub scales: [i8; 16],
    /// A minimum each group.
    pub mins: [u8; 16],
}

impl QuantFormat {
    /// How many levels its scales have.
    pub fn scale_levels(&self) -> FormatScales {
        match self.dtype {
            DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K | DType::Iq4Xs => {
                FormatScales::Two
            }
            _ => FormatScales::One,
        }
    }

    /// The two levels of a block's scales; `None` for formats with one.
    ///
    /// # Panics
    /// Where `block` is not [`QuantFormat::block_bytes`] long.
    pub fn levels(&self, block: &[u8]) -> Option<Levels> {
        let f16_at = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        let none = f16::ZERO;
        Some(match self.dtype {
            DType::Q2K => {
                let packed: [u64; 2] = words(&block_of::<84>(block)[..16]);
                let (scales, mins) = (field(packed, 0, 15), field(packed, 4, 15));
                Levels::new(f16_at(80), f16_at(82), scales, mins)
            }
            DType::Q3K => {
                let scales = q3_k_scales(array(&block_of::<110>(block)[96..108]));
                Levels::new(f16_at(108), none, scales, [0; 2])
            }
            DType::Q4K | DType::Q5K => {
                let [scales, mins] = six_bits(array(&block[4..16]));
                Levels::new(f16_at(0), f16_at(2), [scales, 0], [mins, 0])
            }
            DType::Q6K => {
                let scales = words(&block_of::<210>(block)[192..208]);
                Levels::new(f16_at(208), none, scales, [0; 2])
            }
            DType::Iq4Xs => {
                let block = block_of::<136>(block);
                let mut levels = Levels::new(f16_at(0), none, [each(0); 2], [0; 2]);
                for (g, scale) in levels.scales[..8].iter_mut().enumerate() {
                    *scale = iq4_xs_scale(block, g);
                }
                levels
            }
            _ => return None,
        })
    }
}

impl Levels {
    fn new(d: f16, dmin: f16, scales: [u64; 2], mins: [u64; 2]) -> Levels {
        let bytes = |words: [u64; 2], i: usize| words[i / 8].to_le_bytes()[i % 8];
        Levels {
            d,
            dmin,
            scales: std::array::from_fn(|i| bytes(scales, i) as i8),
            mins: std::array::from_fn(|i| bytes(mins, i)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Canonical, FORMATS};
    use super::*;

    #[test]
    fn the_product_of_the_levels_is_the_canonical_scale() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for format in FORMATS {
            for _ in 0..50 {
                let block: Vec<u8> = (0..format.block_bytes).map(|_| random()).collect();
                let mut canonical = Canonical::ZERO;
                format.unpack(&block, &mut canonical);
                let Some(levels) = format.levels(&block) else {
                    assert_eq!(format.scale_levels(), FormatScales::One);
                    continue;
                };
                let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                for g in 0..format.groups() {
                    let scale = levels.d.to_f32() * f32::from(levels.scales[g]);
                    let min = levels.dmin.to_f32() * f32::from(levels.mins[g]);
                    assert!(same(scale, canonical.scales[g]), "{} group {g}", format.dtype);
                    assert!(
                        !format.has_min || same(min, canonical.mins[g]),
                        "{} group {g}",
                        format.dtype
                    );
                }
            }
        }
    }
}
