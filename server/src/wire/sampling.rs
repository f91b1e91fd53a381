//! The fields of a request that say how tokens are picked, under OpenAI's names and llama.cpp's, and their checks.

use crate::error::ApiError;
use lathe_runtime::SamplingParams;
use lathe_runtime::sampling::{Dry, Mirostat};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most strings that break repetitions, and the most bytes of one.
const BREAKERS: (usize, usize) = (64, 256);

/// How to pick tokens; what is absent is neutral, but for `temperature`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Divides logits; 1 where absent, as in OpenAI's API.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Most likely tokens kept; 0 or -1 for all.
    pub top_k: Option<i64>,
    /// Least probability relative to the best.
    pub min_p: Option<f32>,
    /// Locally typical sampling.
    pub typical_p: Option<f32>,
    /// Truncation by standard deviations of logits; 0 or -1 for none.
    pub top_n_sigma: Option<f32>,
    /// How often top choices are excluded.
    pub xtc_probability: Option<f32>,
    /// What makes a top choice.
    pub xtc_threshold: Option<f32>,
    /// Divides logits of tokens seen lately.
    pub repeat_penalty: Option<f32>,
    /// How many of the last tokens penalties look at; -1 for all.
    pub repeat_last_n: Option<i64>,
    /// Subtracted once for each time that a token was seen.
    pub frequency_penalty: Option<f32>,
    /// Subtracted where a token was seen.
    pub presence_penalty: Option<f32>,
    /// Strength of DRY; 0 for off.
    pub dry_multiplier: Option<f32>,
    /// Its growth with the length of a repetition.
    pub dry_base: Option<f32>,
    /// The longest repetition that costs nothing.
    pub dry_allowed_length: Option<i64>,
    /// How many of the last tokens it searches: -1 for all, 0 for off.
    pub dry_penalty_last_n: Option<i64>,
    /// Texts whose tokens no repetition goes across.
    pub dry_sequence_breakers: Option<Vec<String>>,
    /// 0 for truncations, 2 for Mirostat 2 in their place.
    pub mirostat: Option<i64>,
    /// Surprise that Mirostat aims at, in bits.
    pub mirostat_tau: Option<f32>,
    /// How fast it follows what it sees.
    pub mirostat_eta: Option<f32>,
    /// Added to the logits of tokens: an object of token ids and numbers between -100 and 100.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Random seed.
    pub seed: Option<i64>,
}

impl Sampling {
    /// The parameters, checked, but for DRY's breakers, which only a vocabulary knows; a seed is made up where none is
    /// given.
    ///
    /// # Errors
    /// Names the field and its range.
    pub fn params(&self) -> Result<SamplingParams, ApiError> {
        let neutral = SamplingParams::default();
        let window = count("repeat_last_n", self.repeat_last_n)?;
        let params = SamplingParams {
            temperature: range("temperature", self.temperature, 0.0, 2.0)?.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(neutral.top_p),
            top_k: count("top_k", self.top_k)?.flatten().unwrap_or(neutral.top_k),
            min_p: self.min_p.unwrap_or(neutral.min_p),
            typical_p: self.typical_p.unwrap_or(neutral.typical_p),
            top_n_sigma: self
                .top_n_sigma
                .filter(|&n| n != -1.0)
                .unwrap_or(neutral.top_n_sigma),
            xtc_probability: self.xtc_probability.unwrap_or(neutral.xtc_probability),
            xtc_threshold: self.xtc_threshold.unwrap_or(neutral.xtc_threshold),
            repeat_penalty: self.repeat_penalty.unwrap_or(neutral.repeat_penalty),
            penalty_window: window.map_or(neutral.penalty_window, |n| n.unwrap_or(u32::MAX)),
            frequency_penalty: range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?.unwrap_or(0.0),
            presence_penalty: range("presence_penalty", self.presence_penalty, -2.0, 2.0)?.unwrap_or(0.0),
            logit_bias: self.biases()?,
            dry: self.dry()?,
            mirostat: self.mirostat()?,
            seed: self.seed.map_or_else(random_seed, |s| s as u64),
        };
        params.validate()?;
        Ok(params)
    }

    /// The texts whose tokens are DRY's breakers.
    ///
    /// # Errors
    /// Where there are too many, or one is too long.
    pub fn breakers(&self) -> Result<Vec<String>, ApiError> {
        let (most, longest) = BREAKERS;
        match &self.dry_sequence_breakers {
            None => Ok(Dry::BREAKERS.map(str::to_owned).to_vec()),
            Some(texts) if texts.len() <= most && texts.iter().all(|t| t.len() <= longest) => {
                Ok(texts.clone())
            }
            Some(_) => Err(ApiError::invalid(
                "dry_sequence_breakers",
                format!("`dry_sequence_breakers` takes at most {most} strings of at most {longest} bytes"),
            )),
        }
    }

    fn dry(&self) -> Result<Dry, ApiError> {
        let neutral = Dry::default();
        let window = count("dry_penalty_last_n", self.dry_penalty_last_n)?;
        let allowed = count("dry_allowed_length", self.dry_allowed_length)?;
        // Of Dry, a window of 0 is all tokens; of the API, none.
        let (off, window) = (window == Some(Some(0)), window.flatten());
        Ok(Dry {
            multiplier: self.dry_multiplier.filter(|_| !off).unwrap_or(neutral.multiplier),
            base: self.dry_base.unwrap_or(neutral.base),
            allowed_length: allowed.map_or(neutral.allowed_length, |n| n.unwrap_or(u32::MAX)),
            window: window.unwrap_or(neutral.window),
            breakers: Vec::new(),
        })
    }

    fn mirostat(&self) -> Result<Option<Mirostat>, ApiError> {
        let usual = Mirostat::default();
        let mirostat = Mirostat {
            tau: self.mirostat_tau.unwrap_or(usual.tau),
            eta: self.mirostat_eta.unwrap_or(usual.eta),
        };
        match self.mirostat {
            None | Some(0) => Ok(None),
            Some(2) => Ok(Some(mirostat)),
            Some(other) => Err(ApiError::invalid(
                "mirostat",
                format!("`mirostat` is {other}, but must be 0 for off, or 2 for Mirostat 2"),
            )),
        }
    }

    fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let invalid = |what: String| ApiError::invalid("logit_bias", format!("`logit_bias` {what}"));
        let biases = self.logit_bias.iter().flatten().map(|(token, &bias)| {
            let token = token
                .parse()
                .map_err(|_| invalid(format!("has the key `{token}`, which is no token id")))?;
            match (-100.0..=100.0).contains(&bias) {
                true => Ok((token, bias)),
                false => Err(invalid(format!(
                    "of {token} is {bias}, but must be between -100 and 100"
                ))),
            }
        });
        biases.collect()
    }
}

fn range(name: &'static str, value: Option<f32>, lo: f32, hi: f32) -> Result<Option<f32>, ApiError> {
    match value {
        Some(v) if !(lo..=hi).contains(&v) => Err(ApiError::invalid(
            name,
            format!("`{name}` is {v}, but must be between {lo} and {hi}"),
        )),
        v => Ok(v),
    }
}

/// A number of tokens, where it is said; `Some(None)` for -1, which stands for all.
fn count(name: &'static str, value: Option<i64>) -> Result<Option<Option<u32>>, ApiError> {
    let read = |n: i64| match u32::try_from(n) {
        Ok(n) => Ok(Some(n)),
        Err(_) if n == -1 => Ok(None),
        Err(_) => Err(ApiError::invalid(
            name,
            format!(
                "`{name}` is {n}, but must be -1 for all, or between 0 and {}",
                u32::MAX
            ),
        )),
    };
    value.map(read).transpose()
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn params(body: Value) -> Result<SamplingParams, ApiError> {
        serde_json::from_value::<Sampling>(body).unwrap().params()
    }

    #[test]
    fn fields_become_parameters() {
        let given = json!({"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "typical_p": 0.8,
            "top_n_sigma": 1.5, "xtc_probability": 0.5, "xtc_threshold": 0.2, "repeat_penalty": 1.1, "repeat_last_n": 32,
            "frequency_penalty": 0.25, "presence_penalty": -0.5, "dry_multiplier": 0.8, "dry_base": 2,
            "dry_allowed_length": 3, "dry_penalty_last_n": 99, "mirostat": 2, "mirostat_tau": 4, "mirostat_eta": 0.2,
            "logit_bias": {"7": 100}, "seed": 5});
        let want = SamplingParams {
            temperature: 0.5,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.05,
            typical_p: 0.8,
            top_n_sigma: 1.5,
            xtc_probability: 0.5,
            xtc_threshold: 0.2,
            repeat_penalty: 1.1,
            penalty_window: 32,
            frequency_penalty: 0.25,
            presence_penalty: -0.5,
            logit_bias: vec![(7, 100.0)],
            dry: Dry {
                multiplier: 0.8,
                base: 2.0,
                allowed_length: 3,
                window: 99,
                breakers: Vec::new(),
            },
            mirostat: Some(Mirostat { tau: 4.0, eta: 0.2 }),
            seed: 5,
        };
        assert_eq!(params(given).unwrap(), want);
    }

    #[test]
    fn absent_and_off_are_neutral() {
        let neutral = SamplingParams {
            temperature: 1.0,
            ..SamplingParams::default()
        };
        let off = json!({"top_k": -1, "top_n_sigma": -1, "mirostat": 0, "mirostat_tau": 3, "dry_multiplier": 0.8,
            "dry_penalty_last_n": 0, "logit_bias": {}, "seed": 0});
        for body in [json!({"seed": 0}), off] {
            assert_eq!(params(body.clone()).unwrap(), neutral, "{body}");
        }
        let all =
            params(json!({"repeat_last_n": -1, "dry_multiplier": 1, "dry_penalty_last_n": -1})).unwrap();
        assert_eq!(
            (all.penalty_window, all.dry.window, all.dry.multiplier),
            (u32::MAX, 0, 1.0)
        );
        let seed = || params(json!({})).unwrap().seed;
        assert_ne!(seed(), seed(), "each request has its own");
    }

    #[test]
    fn bad_values_are_named() {
        for (field, value) in [
            ("temperature", json!(3)),
            ("top_p", json!(1.5)),
            ("top_k", json!(-2)),
            ("min_p", json!(-0.1)),
            ("typical_p", json!(2)),
            ("top_n_sigma", json!(-2)),
            ("xtc_probability", json!(1.1)),
            ("xtc_threshold", json!(-1)),
            ("repeat_penalty", json!(0)),
            ("repeat_last_n", json!(-7)),
            ("frequency_penalty", json!(2.5)),
            ("presence_penalty", json!(-2.5)),
            ("dry_multiplier", json!(-1)),
            ("dry_base", json!(0.5)),
            ("dry_allowed_length", json!(-3)),
            ("dry_penalty_last_n", json!(1_i64 << 32)),
            ("mirostat", json!(1)),
            ("logit_bias", json!({"x": 1})),
            ("logit_bias", json!({"1": 101})),
            ("logit_bias", json!({"-1": 1})),
        ] {
            let error = params(json!({field: value})).unwrap_err();
            assert_eq!(error.param, Some(field), "{error:?}");
            assert!(error.message.contains(field), "{error:?}");
        }
        for (field, value) in [("mirostat_tau", -1.0), ("mirostat_eta", 1.5)] {
            let error = params(json!({"mirostat": 2, field: value})).unwrap_err();
            assert_eq!(error.param, Some(field));
        }
        let error = params(json!({"temperature": 3})).unwrap_err();
        assert_eq!(error.message, "`temperature` is 3, but must be between 0 and 2");
    }

    #[test]
    fn breakers_are_texts() {
        let breakers = |body: Value| serde_json::from_value::<Sampling>(body).unwrap().breakers();
        assert_eq!(breakers(json!({})).unwrap(), Dry::BREAKERS);
        assert_eq!(
            breakers(json!({"dry_sequence_breakers": ["a", "b"]})).unwrap(),
            ["a", "b"]
        );
        assert!(breakers(json!({"dry_sequence_breakers": []})).unwrap().is_empty());
        for bad in [json!(vec!["a"; 65]), json!(["a".repeat(257)])] {
            let error = breakers(json!({"dry_sequence_breakers": bad})).unwrap_err();
            assert_eq!(error.param, Some("dry_sequence_breakers"));
        }
    }
}
