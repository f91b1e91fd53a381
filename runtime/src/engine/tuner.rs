//! How many tokens to draft: by what was measured, tokens made in a second for each number.
//!
//! What is best depends on the two models, the text, the number of sequences and the machine. Nothing is assumed of them:
//! each number is tried, the best is used, and its neighbours are tried again now and then.

use std::time::Duration;

/// Numbers that are tried.
const NUMBERS: [usize; 7] = [0, 1, 2, 3, 4, 6, 9];
/// Where to begin.
const FIRST: usize = 4;
/// Steps that each number gets before it is judged.
const TRIALS: u32 = 3;
/// One step in so many tries another number than the best.
const EXPLORE: u64 = 12;
/// Weight of a new measurement.
const WEIGHT: f64 = 0.1;

/// What is known of a number.
#[derive(Clone, Copy, Default, Debug)]
struct Arm {
    steps: u32,
    tokens: f64,
    seconds: f64,
}

impl Arm {
    fn rate(&self) -> f64 {
        self.tokens / self.seconds.max(1e-9)
    }
}

/// Chooses.
#[derive(Clone, Default, Debug)]
pub(super) struct Tuner {
    arms: [Arm; NUMBERS.len()],
    steps: u64,
    chosen: Option<usize>,
}

impl Tuner {
    /// The number for the next step, of those up to `most`.
    pub(super) fn choose(&mut self, most: usize) -> usize {
        let usable = NUMBERS.iter().filter(|&&n| n <= most).count().max(1);
        self.steps += 1;
        let untried = |arm: &usize| self.arms[*arm].steps < TRIALS;
        let first = (FIRST.min(usable - 1)..usable)
            .chain((0..usable).rev())
            .find(untried);
        let arm = first.unwrap_or_else(|| self.judge(usable));
        self.chosen = Some(arm);
        NUMBERS[arm]
    }

    fn judge(&self, usable: usize) -> usize {
        let rate = |&a: &usize, &b: &usize| self.arms[a].rate().total_cmp(&self.arms[b].rate());
        let best = (0..usable).max_by(rate).unwrap_or(0);
        if !self.steps.is_multiple_of(EXPLORE) {
            return best;
        }
        match self.steps / EXPLORE % 2 {
            0 => (best + 1).min(usable - 1),
            _ => best.saturating_sub(1),
        }
    }

    /// Takes what came of the number chosen last.
    pub(super) fn learn(&mut self, tokens: usize, time: Duration) {
        let Some(arm) = self.chosen.take() else { return };
        let arm = &mut self.arms[arm];
        arm.steps += 1;
        let weight = WEIGHT.max(1.0 / f64::from(arm.steps));
        arm.tokens += weight * (tokens as f64 - arm.tokens);
        arm.seconds += weight * (time.as_secs_f64() - arm.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps that choose each number, where a draft token is right with a probability and costs so much of a step.
    fn play(right: f64, cost: f64) -> usize {
        let mut tuner = Tuner::default();
        let mut chosen = [0; 16];
        for _ in 0..600 {
            let number = tuner.choose(9);
            chosen[number] += 1;
            // The expected number of tokens stands for a draw.
            let tokens: f64 = (0..=number).map(|i| right.powi(i as i32)).sum();
            let time = Duration::from_secs_f64((1.0 + cost * number as f64) / tokens);
            tuner.learn(1, time);
        }
        let most = (0..16).max_by_key(|&n| chosen[n]).unwrap();
        assert!(chosen[most] > 450, "{chosen:?}");
        most
    }

    #[test]
    fn the_best_number_is_found() {
        assert_eq!(play(0.95, 0.02), 9);
        assert_eq!(play(0.3, 0.5), 0);
        assert_eq!(play(0.8, 0.2), 4);
        assert!(Tuner::default().choose(0) == 0);
    }
}
