//! The sampling chain: penalties, temperature, top-k, top-p, min-p, then one draw; greedy where the temperature is 0.
//!
//! The same logits, history, parameters and seed give the same token. After the first call nothing is allocated.

mod rng;

use crate::error::Error;
pub use rng::Rng;

/// How to pick tokens. [`SamplingParams::default`] is greedy without penalties.
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
    /// Divides positive and multiplies negative logits of tokens seen lately (Keskar et al., CTRL); 1 for none.
    pub repeat_penalty: f32,
    /// How many of the last tokens the three penalties look at.
    pub penalty_window: u32,
    /// Subtracted from a token's logit once for each time it was seen.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it was seen.
    pub presence_penalty: f32,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            penalty_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// Checks ranges.
    ///
    /// # Errors
    /// Names the first parameter that is out of range, its value and its range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |name, value: f32, ok: bool, bound| {
            if ok && value.is_finite() {
                Ok(())
            } else {
                Err(Error::Parameter { name, value, bound })
            }
        };
        check(
            "temperature",
            self.temperature,
            self.temperature >= 0.0,
            "at least 0",
        )?;
        check(
            "top_p",
            self.top_p,
            (0.0..=1.0).contains(&self.top_p),
            "between 0 and 1",
        )?;
        check(
            "min_p",
            self.min_p,
            (0.0..=1.0).contains(&self.min_p),
            "between 0 and 1",
        )?;
        check(
            "repeat_penalty",
            self.repeat_penalty,
            self.repeat_penalty > 0.0,
            "above 0",
        )?;
        check("frequency_penalty", self.frequency_penalty, true, "a number")?;
        check("presence_penalty", self.presence_penalty, true, "a number")
    }

    fn penalizes(&self) -> bool {
        self.repeat_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }
}

/// A token under consideration.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Candidate {
    token: u32,
    logit: f32,
}

impl Candidate {
    /// Most likely first; equal logits by token.
    fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

/// Picks tokens for one request.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    candidates: Vec<Candidate>,
    /// The window's tokens, sorted.
    recent: Vec<u32>,
}

impl Sampler {
    /// A sampler over `vocab` tokens.
    ///
    /// # Errors
    /// As [`SamplingParams::validate`].
    pub fn new(params: SamplingParams, vocab: usize) -> Result<Sampler, Error> {
        params.validate()?;
        let rng = Rng::new(params.seed);
        let recent = Vec::with_capacity(params.penalty_window as usize);
        Ok(Sampler {
            params,
            rng,
            candidates: Vec::with_capacity(vocab),
            recent,
        })
    }

    /// Picks a token from one row of logits, given all tokens of the sequence so far. Logits that are not finite are
    /// never picked unless all are; then the answer is token 0.
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> u32 {
        if self.params.temperature == 0.0 && !self.params.penalizes() {
            return argmax(logits);
        }
        self.candidates.clear();
        let finite = logits.iter().enumerate().filter(|(_, l)| l.is_finite());
        self.candidates.extend(finite.map(|(i, &logit)| Candidate {
            token: i as u32,
            logit,
        }));
        if self.params.penalizes() {
            self.penalize(history);
        }
        if self.params.temperature == 0.0 {
            return self
                .candidates
                .iter()
                .min_by(|a, b| Candidate::order(a, b))
                .map_or(0, |c| c.token);
        }
        self.truncate();
        self.draw()
    }

    /// Applies the three penalties. Candidates are still in order of token.
    fn penalize(&mut self, history: &[u32]) {
        let from = history.len().saturating_sub(self.params.penalty_window as usize);
        self.recent.clear();
        self.recent.extend_from_slice(&history[from..]);
        self.recent.sort_unstable();
        for run in self.recent.chunk_by(|a, b| a == b) {
            let Ok(i) = self.candidates.binary_search_by_key(&run[0], |c| c.token) else {
                continue;
            };
            let logit = &mut self.candidates[i].logit;
            let repeat = self.params.repeat_penalty;
            *logit = if *logit > 0.0 {
                *logit / repeat
            } else {
                *logit * repeat
            };
            *logit -= run.len() as f32 * self.params.frequency_penalty + self.params.presence_penalty;
        }
    }

    /// Temperature, top-k, top-p, min-p. Leaves the kept candidates in order of likelihood; `logit` then holds the
    /// unnormalized probability.
    fn truncate(&mut self) {
        let keep = match self.params.top_k as usize {
            0 => self.candidates.len(),
            k => k.min(self.candidates.len()),
        };
        if keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep, Candidate::order);
            self.candidates.truncate(keep);
        }
        self.candidates.sort_unstable_by(Candidate::order);
        let Some(&Candidate { logit: peak, .. }) = self.candidates.first() else {
            return;
        };
        for c in &mut self.candidates {
            c.logit = ((c.logit - peak) / self.params.temperature).exp();
        }
        if self.params.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|c| f64::from(c.logit)).sum();
            let wanted = total * f64::from(self.params.top_p);
            let mut sum = 0.0;
            let reached = self.candidates.iter().position(|c| {
                sum += f64::from(c.logit);
                sum >= wanted
            });
            self.candidates.truncate(reached.map_or(usize::MAX, |i| i + 1));
        }
        let least = self.params.min_p;
        let kept = self.candidates.partition_point(|c| c.logit >= least).max(1);
        self.candidates.truncate(kept);
    }

    fn draw(&mut self) -> u32 {
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.logit)).sum();
        let mut point = self.rng.unit() * total;
        for c in &self.candidates {
            point -= f64::from(c.logit);
            if point < 0.0 {
                return c.token;
            }
        }
        self.candidates.last().map_or(0, |c| c.token)
    }
}

/// The first of the largest logits; ignores NaN.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (i as u32, logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(params: SamplingParams, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(params, logits.len()).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.sample(logits, &[]) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_picks_the_first_largest_and_skips_nan() {
        let mut s = Sampler::new(SamplingParams::default(), 4).unwrap();
        assert_eq!(s.sample(&[1.0, 3.0, 3.0, f32::NAN], &[]), 1);
        assert_eq!(s.sample(&[f32::NAN, f32::NAN], &[]), 0);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0];
        let draws = 40_000;
        for temperature in [1.0f32, 0.5, 2.0] {
            let counts = counts(
                SamplingParams {
                    temperature,
                    seed: 7,
                    ..Default::default()
                },
                &logits,
                draws,
            );
            let weights: Vec<f64> = logits.iter().map(|l| f64::from(l / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let chi: f64 = counts
                .iter()
                .zip(&weights)
                .map(|(&c, w)| {
                    let want = w / total * draws as f64;
                    (c as f64 - want).powi(2) / want
                })
                .sum();
            assert!(
                chi < 16.3,
                "chi-square {chi} of 3 degrees is beyond p = 0.001 at T = {temperature}"
            );
        }
    }

    #[test]
    fn truncations_keep_what_they_say() {
        let logits = [0.0, 1.0, 2.0, 3.0];
        let base = SamplingParams {
            temperature: 1.0,
            ..Default::default()
        };
        let kept = |params| {
            counts(params, &logits, 2000)
                .iter()
                .map(|&c| c > 0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kept(SamplingParams {
                top_k: 2,
                ..base.clone()
            }),
            [false, false, true, true]
        );
        // p = 0.032, 0.087, 0.237, 0.644
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.65,
                ..base.clone()
            }),
            [false, false, true, true]
        );
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.64,
                ..base.clone()
            }),
            [false, false, false, true]
        );
        assert_eq!(
            kept(SamplingParams {
                min_p: 0.3,
                ..base.clone()
            }),
            [false, false, true, true]
        );
        assert_eq!(kept(base), [true; 4]);
    }

    #[test]
    fn penalties_turn_away_from_the_window() {
        let logits = [2.0, 1.9, -1.0];
        let greedy = |params: SamplingParams, history: &[u32]| {
            Sampler::new(params, 3).unwrap().sample(&logits, history)
        };
        let repeat = SamplingParams {
            repeat_penalty: 1.2,
            penalty_window: 2,
            ..Default::default()
        };
        assert_eq!(greedy(repeat.clone(), &[0]), 1);
        assert_eq!(greedy(repeat, &[0, 2, 2]), 0);
        let frequency = SamplingParams {
            frequency_penalty: 0.06,
            ..Default::default()
        };
        assert_eq!(greedy(frequency.clone(), &[0]), 0);
        assert_eq!(greedy(frequency, &[0, 0]), 1);
        let presence = SamplingParams {
            presence_penalty: 0.2,
            ..Default::default()
        };
        assert_eq!(greedy(presence, &[0]), 1);
    }

    #[test]
    fn the_seed_decides() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |seed| {
            let params = SamplingParams {
                temperature: 1.0,
                seed,
                ..Default::default()
            };
            let mut s = Sampler::new(params, 100).unwrap();
            (0..50).map(|_| s.sample(&logits, &[])).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn bad_parameters_are_named() {
        let bad = SamplingParams {
            top_p: 1.5,
            ..Default::default()
        };
        let message = Sampler::new(bad, 1).unwrap_err().to_string();
        assert_eq!(message, "top_p is 1.5, but must be between 0 and 1");
        assert!(
            SamplingParams {
                temperature: f32::NAN,
                ..Default::default()
            }
            .validate()
            .is_err()
        );
    }
}
