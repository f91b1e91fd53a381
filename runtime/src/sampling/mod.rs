//! The sampling chain: what makes tokens less likely, temperature, truncations, then one draw; greedy where the
//! temperature is 0. [`SamplingParams`] says the order.
//!
//! The same logits, history, parameters and seed give the same token. After the first call nothing is allocated, but where
//! histories grow.

mod candidates;
mod logprobs;
mod params;
mod penalties;
mod rng;
#[cfg(test)]
mod tests;

use crate::error::Error;
pub use candidates::Candidates;
pub use lathe_ir::backend::argmax;
use lathe_ir::backend::peak;
pub use logprobs::{Logprobs, TokenLogprob, logprobs};
pub use params::{Dry, Mirostat, SamplingParams};
use penalties::Penalties;
pub use penalties::tokens_with;
pub use rng::Rng;

/// Which tokens may be picked. The default is all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restriction<'a> {
    /// A bit for each token that may be picked, token 0 the lowest of the first word; `None` for all.
    pub allowed: Option<&'a [u32]>,
    /// Tokens that may not.
    pub banned: &'a [u32],
}

impl Restriction<'_> {
    /// Whether a token may be picked.
    pub fn allows(&self, token: u32) -> bool {
        let word = |words: &[u32]| {
            words
                .get(token as usize / 32)
                .is_some_and(|w| w >> (token % 32) & 1 == 1)
        };
        self.allowed.is_none_or(word) && !self.banned.contains(&token)
    }

    fn is_none(&self) -> bool {
        self.allowed.is_none() && self.banned.is_empty()
    }
}

/// Picks tokens for one request.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    penalties: Penalties,
    /// The bound of Mirostat on the surprise of a token, in bits.
    bound: f64,
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    ///
    /// # Errors
    /// As [`SamplingParams::validate`].
    pub fn new(params: SamplingParams) -> Result<Sampler, Error> {
        params.validate()?;
        Ok(Sampler {
            rng: Rng::new(params.seed),
            penalties: Penalties::new(&params),
            bound: params.mirostat.map_or(0.0, |m| 2.0 * f64::from(m.tau)),
            params,
        })
    }

    /// A sampler that did not pick yet, for choice `number` of its request: at the start of a random sequence of its own.
    pub fn of_choice(&self, number: u32) -> Sampler {
        let seed = self.params.seed.wrapping_add(number.into());
        Sampler {
            rng: Rng::new(seed),
            ..self.clone()
        }
    }

    /// Whether it picks the largest logit, whatever came before.
    pub fn is_plain_greedy(&self) -> bool {
        self.params.is_plain_greedy()
    }

    /// Picks a token from one row of logits, given all tokens of the sequence so far; `candidates` is room to work in, which
    /// samplers can share. `None` where no token that may be picked has a finite logit.
    pub fn sample(
        &mut self,
        logits: &[f32],
        history: &[u32],
        restriction: Restriction,
        candidates: &mut Candidates,
    ) -> Option<u32> {
        if self.params.is_plain_greedy() && restriction.is_none() {
            return argmax(logits);
        }
        candidates.fill(logits, |token| restriction.allows(token));
        self.adjust(history, candidates);
        if self.params.temperature == 0.0 || candidates.list().is_empty() {
            return candidates.best();
        }
        candidates.soften(self.params.temperature);
        match self.params.mirostat {
            Some(mirostat) => Some(self.draw_surprise(mirostat, candidates)),
            None => {
                self.truncate(candidates);
                Some(candidates.at(self.rng.unit()).0)
            }
        }
    }

    /// Bias, penalties and DRY.
    fn adjust(&mut self, history: &[u32], candidates: &mut Candidates) {
        let params = &self.params;
        let mut banned = false;
        for &(token, bias) in &params.logit_bias {
            if let Some(logit) = candidates.logit_of(token) {
                *logit += bias;
                banned |= !logit.is_finite();
            }
        }
        if banned {
            candidates.drop_banned();
        }
        if params.penalizes() {
            self.penalties.penalize(params, history, candidates);
        }
        if params.dry.multiplier > 0.0 {
            self.penalties.dry(&params.dry, history, candidates);
        }
    }

    fn truncate(&mut self, candidates: &mut Candidates) {
        let params = &self.params;
        if params.top_n_sigma > 0.0 {
            candidates.top_n_sigma(params.top_n_sigma);
        }
        if params.top_k > 0 {
            candidates.top_k(params.top_k as usize);
        }
        if params.typical_p < 1.0 {
            candidates.typical(params.typical_p);
        }
        if params.top_p < 1.0 {
            candidates.top_p(params.top_p);
        }
        if params.min_p > 0.0 {
            candidates.min_p(params.min_p);
        }
        // The number is drawn whatever comes of it: how many a token takes does not depend on logits.
        if params.xtc_probability > 0.0 && self.rng.unit() < f64::from(params.xtc_probability) {
            candidates.exclude_top(params.xtc_threshold);
        }
    }

    /// A draw from the tokens within the bound on surprise, which then moves toward the surprise aimed at.
    fn draw_surprise(&mut self, mirostat: Mirostat, candidates: &mut Candidates) -> u32 {
        candidates.within_surprise(self.bound);
        let (token, probability) = candidates.at(self.rng.unit());
        let error = -probability.log2() - f64::from(mirostat.tau);
        self.bound -= f64::from(mirostat.eta) * error;
        token
    }
}

/// By how much the logit of `token` is above all others; below zero where it is not the largest.
pub(crate) fn lead(logits: &[f32], token: u32) -> f32 {
    let (before, rest) = logits.split_at((token as usize).min(logits.len()));
    let Some((own, after)) = rest.split_first() else {
        return f32::NEG_INFINITY;
    };
    own - peak(before).max(peak(after))
}
