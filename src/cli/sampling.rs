//! Flags that say how tokens are picked.

use super::error::CliError;
use clap::Args;
use lathe_runtime::sampling::{Dry, Mirostat, tokens_with};
use lathe_runtime::{SamplingParams, Vocabulary};

/// Sampling flags; docs of [`SamplingParams`] say in which order they apply.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Sampling temperature; 0 picks the most likely token
    #[arg(long = "temp", env = "LATHE_TEMP", default_value_t = 0.0)]
    temperature: f32,
    /// Keep this many most likely tokens; 0 keeps all
    #[arg(long, env = "LATHE_TOP_K", default_value_t = 0)]
    top_k: u32,
    /// Keep the most likely tokens that together have this probability
    #[arg(long, env = "LATHE_TOP_P", default_value_t = 1.0)]
    top_p: f32,
    /// Drop tokens less likely than this times the most likely one
    #[arg(long, env = "LATHE_MIN_P", default_value_t = 0.0)]
    min_p: f32,
    /// Keep the tokens nearest to the expected surprise that together have this probability
    #[arg(long, env = "LATHE_TYPICAL_P", default_value_t = 1.0)]
    typical_p: f32,
    /// Keep tokens within so many standard deviations of the largest logit; 0 keeps all
    #[arg(long, env = "LATHE_TOP_N_SIGMA", default_value_t = 0.0)]
    top_n_sigma: f32,
    /// How often to drop all top choices but the least likely of them (XTC)
    #[arg(long, env = "LATHE_XTC_PROBABILITY", default_value_t = 0.0)]
    xtc_probability: f32,
    /// The probability that makes a top choice
    #[arg(long, env = "LATHE_XTC_THRESHOLD", default_value_t = 0.1)]
    xtc_threshold: f32,
    /// Seed of the random numbers
    #[arg(long, env = "LATHE_SEED", default_value_t = 0)]
    seed: u64,
    /// Divide the logits of tokens seen lately by this
    #[arg(long, env = "LATHE_REPEAT_PENALTY", default_value_t = 1.0)]
    repeat_penalty: f32,
    /// How many of the last tokens penalties look at
    #[arg(long, env = "LATHE_REPEAT_LAST_N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    repeat_last_n: u32,
    /// Subtracted from a token's logit for each time it was seen lately
    #[arg(
        long,
        env = "LATHE_FREQUENCY_PENALTY",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    frequency_penalty: f32,
    /// Subtracted from a token's logit if it was seen lately
    #[arg(
        long,
        env = "LATHE_PRESENCE_PENALTY",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    presence_penalty: f32,
    /// Added to a token's logit, as in 42=-1.5; -inf bans it (may be given several times)
    #[arg(long, value_name = "ID=BIAS", value_parser = parse_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Make tokens less likely that continue a repetition, the longer the more (DRY); 0 for off, 0.8 is usual
    #[arg(long, env = "LATHE_DRY_MULTIPLIER", default_value_t = 0.0)]
    dry_multiplier: f32,
    /// How much each token of a repetition adds
    #[arg(long, env = "LATHE_DRY_BASE", default_value_t = 1.75)]
    dry_base: f32,
    /// The longest repetition that costs nothing
    #[arg(long, env = "LATHE_DRY_ALLOWED_LENGTH", default_value_t = 2)]
    dry_allowed_length: u32,
    /// How many of the last tokens are searched for repetitions; 0 for all
    #[arg(long, env = "LATHE_DRY_LAST_N", default_value_t = 0)]
    dry_last_n: u32,
    /// No repetition goes across tokens with this text (may be given several times) [default: line end, colon, quote, asterisk]
    #[arg(long, value_name = "TEXT")]
    dry_breaker: Vec<String>,
    /// Aim at this surprise, in bits, in place of truncations (Mirostat 2); 5 is usual
    #[arg(long, env = "LATHE_MIROSTAT_TAU")]
    mirostat_tau: Option<f32>,
    /// How fast Mirostat follows what it sees
    #[arg(long, env = "LATHE_MIROSTAT_ETA", default_value_t = 0.1)]
    mirostat_eta: f32,
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(token, bias)| {
        let bias: f32 = bias.trim().parse().ok()?;
        Some((token.trim().parse().ok()?, bias)).filter(|_| !bias.is_nan())
    });
    parsed.ok_or_else(|| format!("`{text}` is not TOKEN=BIAS, as in 42=-1.5"))
}

impl SamplingArgs {
    /// Checks ranges, before a model is loaded for nothing.
    pub fn validate(&self) -> Result<(), CliError> {
        Ok(self.with_breakers(Vec::new()).validate()?)
    }

    /// As the engine wants them, for a vocabulary of `tokens` tokens.
    pub fn params(&self, vocabulary: &dyn Vocabulary, tokens: u32) -> SamplingParams {
        let breakers = match (self.dry_multiplier, &self.dry_breaker[..]) {
            (0.0, _) => Vec::new(),
            (_, []) => tokens_with(vocabulary, tokens, &Dry::BREAKERS.map(str::to_owned)),
            (_, given) => tokens_with(vocabulary, tokens, given),
        };
        self.with_breakers(breakers)
    }

    fn with_breakers(&self, breakers: Vec<u32>) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            top_n_sigma: self.top_n_sigma,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            repeat_penalty: self.repeat_penalty,
            penalty_window: self.repeat_last_n,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            dry: Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                window: self.dry_last_n,
                breakers,
            },
            mirostat: self.mirostat_tau.map(|tau| Mirostat {
                tau,
                eta: self.mirostat_eta,
            }),
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_read() {
        assert_eq!(parse_bias("42=-1.5"), Ok((42, -1.5)));
        assert_eq!(parse_bias("7=-inf"), Ok((7, f32::NEG_INFINITY)));
        for bad in ["42", "x=1", "1=nan", "=", "-1=2"] {
            assert!(parse_bias(bad).is_err(), "{bad}");
        }
    }
}
