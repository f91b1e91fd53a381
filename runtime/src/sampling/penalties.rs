//! What makes tokens less likely that were seen before: penalties, and repetition of sequences.

use super::candidates::Candidates;
use super::params::{Dry, SamplingParams};
use crate::engine::Vocabulary;

/// The tokens of a vocabulary of `tokens` whose bytes contain one of `strings`; empty strings are in none.
pub fn tokens_with(vocabulary: &dyn Vocabulary, tokens: u32, strings: &[String]) -> Vec<u32> {
    let wanted: Vec<&[u8]> = strings
        .iter()
        .map(String::as_bytes)
        .filter(|s| !s.is_empty())
        .collect();
    let has = |bytes: &[u8]| wanted.iter().any(|s| bytes.windows(s.len()).any(|w| w == *s));
    (0..tokens).filter(|&t| has(vocabulary.token_bytes(t))).collect()
}

/// The penalties of one request, with room to work in.
#[derive(Clone, Debug, Default)]
pub(super) struct Penalties {
    /// The window's tokens, sorted.
    recent: Vec<u32>,
    /// Lengths of matches: see [`Penalties::repetitions`].
    matches: Vec<u32>,
    /// Tokens that would continue a repetition, and how long it is already.
    continued: Vec<(u32, u32)>,
    /// Breakers, sorted.
    breakers: Vec<u32>,
}

impl Penalties {
    pub(super) fn new(params: &SamplingParams) -> Penalties {
        let mut breakers = params.dry.breakers.clone();
        breakers.sort_unstable();
        Penalties {
            breakers,
            ..Penalties::default()
        }
    }

    /// Applies the three penalties to candidates in order of token.
    pub(super) fn penalize(&mut self, params: &SamplingParams, history: &[u32], candidates: &mut Candidates) {
        let from = history.len().saturating_sub(params.penalty_window as usize);
        self.recent.clear();
        self.recent.extend_from_slice(&history[from..]);
        self.recent.sort_unstable();
        for run in self.recent.chunk_by(|a, b| a == b) {
            let Some(logit) = candidates.logit_of(run[0]) else {
                continue;
            };
            let repeat = params.repeat_penalty;
            *logit = if *logit > 0.0 {
                *logit / repeat
            } else {
                *logit * repeat
            };
            *logit -= run.len() as f32 * params.frequency_penalty + params.presence_penalty;
        }
    }

    /// Makes tokens less likely that would continue a repetition; candidates are in order of token.
    pub(super) fn dry(&mut self, dry: &Dry, history: &[u32], candidates: &mut Candidates) {
        let window = match dry.window {
            0 => history.len(),
            n => history.len().min(n as usize),
        };
        self.repetitions(&history[history.len() - window..], dry.allowed_length);
        self.continued.sort_unstable();
        for run in self.continued.chunk_by(|a, b| a.0 == b.0) {
            // Sorted: the last is the longest.
            let Some(&(token, length)) = run.last() else {
                continue;
            };
            if let Some(logit) = candidates.logit_of(token) {
                let over = (length - dry.allowed_length).min(i32::MAX as u32) as i32;
                let penalty = f64::from(dry.multiplier) * f64::from(dry.base).powi(over);
                // A logit stays finite: the token is the last to be picked, not impossible.
                *logit = (f64::from(*logit) - penalty).max(f64::from(f32::MIN)) as f32;
            }
        }
    }

    /// Finds each place in `history` before which the same tokens stand as at its end, at least `least` and at least one of
    /// them; `continued` gets the token there and the length of the match.
    ///
    /// With the history reversed, these lengths are its Z function: `z[i]` is how far it agrees with itself shifted by i.
    fn repetitions(&mut self, history: &[u32], least: u32) {
        let n = history.len();
        let back = |i: usize| history[n - 1 - i];
        let breaks = |token| self.breakers.binary_search(&token).is_ok();
        // No match goes across a breaker, and one across it would have it at the same place from the end.
        let limit = (0..n).find(|&i| breaks(back(i))).unwrap_or(n);
        self.continued.clear();
        self.matches.clear();
        self.matches.resize(n, 0);
        let (mut left, mut right) = (0, 0);
        for i in 1..n {
            let mut z = match i < right {
                true => (self.matches[i - left] as usize).min(right - i),
                false => 0,
            };
            while i + z < n && back(z) == back(i + z) {
                z += 1;
            }
            if i + z > right {
                (left, right) = (i, i + z);
            }
            self.matches[i] = z as u32;
            let (length, next) = (z.min(limit) as u32, back(i - 1));
            if length >= least.max(1) && !breaks(next) {
                self.continued.push((next, length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn continued(history: &[u32], least: u32, breakers: &[u32]) -> Vec<(u32, u32)> {
        let mut penalties = Penalties {
            breakers: breakers.to_vec(),
            ..Penalties::default()
        };
        penalties.repetitions(history, least);
        penalties.continued.sort_unstable();
        penalties.continued
    }

    #[test]
    fn repetitions_are_found_with_what_continues_them() {
        // … 1 2 3 | 1 2: a 3 would make it longer.
        assert_eq!(continued(&[9, 1, 2, 3, 1, 2], 2, &[]), [(3, 2)]);
        assert_eq!(continued(&[9, 1, 2, 3, 1, 2], 3, &[]), []);
        // Not across a 1, and no 3 is ever punished.
        assert_eq!(continued(&[9, 1, 2, 3, 1, 2], 1, &[1]), [(3, 1)]);
        assert_eq!(continued(&[9, 1, 2, 3, 1, 2], 1, &[3]), []);
        assert_eq!(continued(&[7, 7, 7, 7], 2, &[]), [(7, 2), (7, 3)]);
        assert_eq!(continued(&[], 0, &[]), []);
    }

    proptest! {
        #[test]
        fn repetitions_are_those_of_the_definition(
            history in prop::collection::vec(0u32..4, 0..40),
            least in 0u32..4,
            breakers in prop::collection::btree_set(0u32..4, 0..2),
        ) {
            let breakers: Vec<u32> = breakers.into_iter().collect();
            let n = history.len();
            let mut want = Vec::new();
            for end in 1..n {
                let same = |k: &usize| history[end - 1 - k] == history[n - 1 - k] && !breakers.contains(&history[end - 1 - k]);
                let length = (0..end).take_while(same).count() as u32;
                if length >= least.max(1) && !breakers.contains(&history[end]) {
                    want.push((history[end], length));
                }
            }
            want.sort_unstable();
            prop_assert_eq!(continued(&history, least, &breakers), want);
        }
    }
}
