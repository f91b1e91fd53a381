//! What a request says about picking tokens.

use crate::error::Error;

/// How to pick tokens. [`SamplingParams::default`] is greedy without penalties.
///
/// What is not neutral is applied in this order: `logit_bias`, the three penalties, DRY, `temperature`, `top_n_sigma`,
/// `top_k`, `typical_p`, `top_p`, `min_p`, XTC, one draw. Mirostat takes the place of what stands between temperature and
/// draw.
#[derive(Clone, PartialEq, Debug)]
pub struct SamplingParams {
    /// Divides logits; 0 picks the most likely token.
    pub temperature: f32,
    /// Keeps this many most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest most likely tokens whose probabilities sum to at least this: 1 keeps all, 0 one.
    pub top_p: f32,
    /// Drops tokens less likely than this times the most likely one; 0 drops none.
    pub min_p: f32,
    /// Keeps the fewest tokens with a probability near the expected one whose probabilities sum to at least this (Meister
    /// et al., "Locally Typical Sampling"); 1 keeps all.
    pub typical_p: f32,
    /// Keeps tokens whose logit is less than this many standard deviations below the largest (Tang et al., "Top-nσ"); 0
    /// keeps all.
    pub top_n_sigma: f32,
    /// How often all of the tokens with at least `xtc_threshold` are dropped but the least likely of them ("Exclude Top
    /// Choices"); 0 for never.
    pub xtc_probability: f32,
    /// The probability from which a token is a top choice; above 0.5 there is never a second one.
    pub xtc_threshold: f32,
    /// Divides positive and multiplies negative logits of tokens seen lately (Keskar et al., CTRL); 1 for none.
    pub repeat_penalty: f32,
    /// How many of the last tokens the three penalties look at.
    pub penalty_window: u32,
    /// Subtracted from a token's logit once for each time it was seen.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it was seen.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens, each named once; negative infinity bans one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Repetition of sequences.
    pub dry: Dry,
    /// Surprise that is aimed at, in place of truncations; `None` for truncations.
    pub mirostat: Option<Mirostat>,
    /// Start of the random sequence.
    pub seed: u64,
}

/// "Don't Repeat Yourself": a token that would continue a repetition of more than `allowed_length` tokens loses
/// `multiplier · base^(length − allowed_length)`.
#[derive(Clone, PartialEq, Debug)]
pub struct Dry {
    /// Strength; 0 for off.
    pub multiplier: f32,
    /// Growth with each token of the repetition; at least 1.
    pub base: f32,
    /// The longest repetition that costs nothing.
    pub allowed_length: u32,
    /// How many of the last tokens are searched; 0 for all.
    pub window: u32,
    /// Tokens that no repetition goes across and that are never made less likely, such as line ends.
    pub breakers: Vec<u32>,
}

/// Mirostat 2 (Basu et al., "Mirostat: a neural text decoding algorithm that directly controls perplexity").
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mirostat {
    /// Surprise aimed at, in bits.
    pub tau: f32,
    /// How fast the bound follows what was observed.
    pub eta: f32,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repeat_penalty: 1.0,
            penalty_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            dry: Dry::default(),
            mirostat: None,
            seed: 0,
        }
    }
}

impl Dry {
    /// The texts whose tokens are breakers where nobody says otherwise, as in llama.cpp.
    pub const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];
}

impl Default for Dry {
    fn default() -> Self {
        Dry {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            window: 0,
            breakers: Vec::new(),
        }
    }
}

impl Default for Mirostat {
    fn default() -> Self {
        Mirostat { tau: 5.0, eta: 0.1 }
    }
}

fn check(name: &'static str, value: f32, ok: bool, bound: &'static str) -> Result<(), Error> {
    if ok && value.is_finite() {
        return Ok(());
    }
    Err(Error::Parameter { name, value, bound })
}

fn at_least(name: &'static str, value: f32, least: f32, bound: &'static str) -> Result<(), Error> {
    check(name, value, value >= least, bound)
}

fn share(name: &'static str, value: f32) -> Result<(), Error> {
    check(name, value, (0.0..=1.0).contains(&value), "between 0 and 1")
}

impl SamplingParams {
    /// Checks ranges.
    ///
    /// # Errors
    /// Names the first parameter that is out of range, its value and its range.
    pub fn validate(&self) -> Result<(), Error> {
        at_least("temperature", self.temperature, 0.0, "at least 0")?;
        share("top_p", self.top_p)?;
        share("min_p", self.min_p)?;
        share("typical_p", self.typical_p)?;
        at_least("top_n_sigma", self.top_n_sigma, 0.0, "at least 0")?;
        share("xtc_probability", self.xtc_probability)?;
        share("xtc_threshold", self.xtc_threshold)?;
        let repeat = self.repeat_penalty;
        check("repeat_penalty", repeat, repeat > 0.0, "above 0")?;
        check("frequency_penalty", self.frequency_penalty, true, "a number")?;
        check("presence_penalty", self.presence_penalty, true, "a number")?;
        for &(_, value) in &self.logit_bias {
            if value.is_nan() || value == f32::INFINITY {
                check("logit_bias", value, false, "a number, or negative infinity")?;
            }
        }
        self.dry.validate()?;
        self.mirostat.map_or(Ok(()), Mirostat::validate)
    }

    /// Whether the logits of tokens depend on the tokens before.
    pub(super) fn penalizes(&self) -> bool {
        self.repeat_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    /// Whether the most likely token is picked as the model has it.
    pub(super) fn is_plain_greedy(&self) -> bool {
        self.temperature == 0.0
            && !self.penalizes()
            && self.logit_bias.is_empty()
            && self.dry.multiplier == 0.0
    }
}

impl Dry {
    fn validate(&self) -> Result<(), Error> {
        at_least("dry_multiplier", self.multiplier, 0.0, "at least 0")?;
        at_least("dry_base", self.base, 1.0, "at least 1")
    }
}

impl Mirostat {
    fn validate(self) -> Result<(), Error> {
        at_least("mirostat_tau", self.tau, 0.0, "at least 0")?;
        share("mirostat_eta", self.eta)
    }
}
