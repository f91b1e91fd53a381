//! Rotary position embedding: from the scaling that a file asks for to the attributes and factors of the `rope` op.
//!
//! The op knows one frequency scale, one magnitude and a divisor a pair. Linear scaling is the first; YaRN's mixture of
//! stretched and unstretched frequencies is the second and the third.

use std::f32::consts::TAU;

use lathe_ir::graph::{RopePairs, RopeSpec};

use crate::config::{RopeConfig, RopeScaling, Yarn};

/// The attributes of the op and, where frequencies are not just powers of the base, their divisors `[dims/2]`.
pub(super) fn lower(rope: &RopeConfig, pairs: RopePairs) -> (RopeSpec, Option<Vec<f32>>) {
    let RopeConfig {
        dims,
        base,
        scaling,
        attention_factor: magnitude,
    } = *rope;
    let spec = RopeSpec {
        pairs,
        dims,
        base,
        freq_scale: 1.0,
        magnitude,
    };
    match scaling {
        RopeScaling::None => (spec, None),
        RopeScaling::Linear { factor } => (
            RopeSpec {
                freq_scale: 1.0 / factor,
                ..spec
            },
            None,
        ),
        // Without extrapolation nothing is left of YaRN but the linear scaling.
        RopeScaling::Yarn(Yarn {
            factor,
            extrapolation: 0.0,
            ..
        }) => (
            RopeSpec {
                freq_scale: 1.0 / factor,
                ..spec
            },
            None,
        ),
        RopeScaling::Yarn(yarn) => {
            let magnitude = magnitude * yarn_magnitude(&yarn);
            (
                RopeSpec { magnitude, ..spec },
                Some(yarn_factors(&yarn, dims, base)),
            )
        }
    }
}

/// What YaRN multiplies cosine and sine by: `0.1 · ln(factor) + 1` (the paper's 1/√t), less what the variant with a
/// multiplier takes back.
fn yarn_magnitude(yarn: &Yarn) -> f32 {
    let scale = |multiplier: f32| match yarn.factor {
        factor if factor > 1.0 => 0.1 * multiplier * factor.ln() + 1.0,
        _ => 1.0,
    };
    match yarn.log_multiplier {
        0.0 => scale(1.0),
        multiplier => scale(1.0) / scale(multiplier),
    }
}

/// The divisor of each pair's frequency: 1 for pairs that turn often, `factor` for pairs that turn rarely.
fn yarn_factors(yarn: &Yarn, dims: u32, base: f32) -> Vec<f32> {
    // The pair, as a real number, that turns `turns` times over the original context.
    let pair_of =
        |turns: f32| dims as f32 * (yarn.original_context as f32 / (turns * TAU)).ln() / (2.0 * base.ln());
    let low = pair_of(yarn.beta_fast).floor().max(0.0);
    let high = pair_of(yarn.beta_slow).ceil().min(dims as f32 - 1.0);
    let stretched = 1.0 / yarn.factor;
    (0..dims / 2)
        .map(|pair| {
            let ramp = (pair as f32 - low) / (high - low).max(0.001);
            let kept = (1.0 - ramp.clamp(0.0, 1.0)) * yarn.extrapolation;
            1.0 / (stretched * (1.0 - kept) + kept)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YARN: Yarn = Yarn {
        factor: 16.0,
        original_context: 16384,
        beta_fast: 32.0,
        beta_slow: 1.0,
        extrapolation: 1.0,
        log_multiplier: 0.0,
    };

    fn rope(scaling: RopeScaling) -> RopeConfig {
        RopeConfig {
            dims: 128,
            base: 1e6,
            scaling,
            attention_factor: 1.0,
        }
    }

    #[test]
    fn linear_scaling_is_a_frequency_scale() {
        let (spec, factors) = lower(&rope(RopeScaling::Linear { factor: 8.0 }), RopePairs::Half);
        assert_eq!((spec.freq_scale, spec.magnitude, factors), (0.125, 1.0, None));
    }

    #[test]
    fn yarn_keeps_high_frequencies_and_stretches_low_ones() {
        let (spec, factors) = lower(&rope(RopeScaling::Yarn(YARN)), RopePairs::Adjacent);
        let factors = factors.unwrap();
        assert_eq!(spec.freq_scale, 1.0);
        assert!((spec.magnitude - (0.1 * 16f32.ln() + 1.0)).abs() < 1e-6);
        assert_eq!((factors.len(), factors[0], factors[63]), (64, 1.0, 16.0));
        assert!(factors.is_sorted());
        // Pair 30 turns 16384 / 2π · 1e6^(-60/128) = 4.0 times: between 32 and 1, so inside the ramp from 20 to 37.
        let kept = 1.0 - 10.0 / 17.0;
        assert!(
            (factors[30] - 1.0 / ((1.0 - kept) / 16.0 + kept)).abs() < 1e-4,
            "{}",
            factors[30]
        );
    }

    #[test]
    fn a_log_multiplier_of_one_cancels_the_magnitude() {
        let yarn = Yarn {
            log_multiplier: 1.0,
            ..YARN
        };
        assert_eq!(
            lower(&rope(RopeScaling::Yarn(yarn)), RopePairs::Half).0.magnitude,
            1.0
        );
    }

    #[test]
    fn yarn_without_extrapolation_is_linear() {
        let yarn = Yarn {
            extrapolation: 0.0,
            ..YARN
        };
        let (spec, factors) = lower(&rope(RopeScaling::Yarn(yarn)), RopePairs::Half);
        assert_eq!(
            (spec.freq_scale, spec.magnitude, factors),
            (1.0 / 16.0, 1.0, None)
        );
    }
}
