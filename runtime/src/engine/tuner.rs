//! How many tokens to draft: by what drafts cost and how often they are right, both measured while they are made.
//!
//! With a probability `p` that a draft is right where those before it were, `n` drafts make `1 + p + … + pⁿ` tokens. They
//! take `n` steps of the draft model and one of the model, whose time is taken to grow by the same for each more row.

use std::time::Duration;

/// What each new measurement leaves of the older ones.
const MEMORY: f64 = 0.95;
/// Where to begin: two numbers, so that there is a line through what they take.
const FIRST: [usize; 3] = [4, 1, 4];
/// Drafts thought right of those thought made before anything is known.
const PRIOR: (f64, f64) = (2.1, 3.0);
/// One step in so many has two drafts where none would be best: texts change.
const EXPLORE: u64 = 24;

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Drafts of each sequence.
    pub number: usize,
    /// What the draft model took, where it had nothing else to do.
    pub drafting: Option<Duration>,
    /// What the model took to check them.
    pub checking: Duration,
    /// Drafts that were right, and sequences of which one was wrong.
    pub right: usize,
    pub wrong: usize,
}

/// Sums for a line through points `(x, y)` by least squares; older points count less.
#[derive(Clone, Copy, Default, Debug)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        for (sum, new) in [
            (&mut self.weight, 1.0),
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
        ] {
            *sum = *sum * MEMORY + new;
        }
    }

    /// The line at `x`; it does not fall.
    fn at(&self, x: f64) -> f64 {
        let weight = self.weight.max(1e-9);
        let spread = self.xx - self.x * self.x / weight;
        let slope = match spread > 1e-3 {
            true => ((self.xy - self.x * self.y / weight) / spread).max(0.0),
            false => 0.0,
        };
        (self.y + slope * (x * weight - self.x)) / weight
    }
}

/// Chooses.
#[derive(Clone, Default, Debug)]
pub(super) struct Tuner {
    steps: u64,
    right: f64,
    wrong: f64,
    /// Seconds of the draft model for a number of drafts, and of the model.
    drafting: Line,
    checking: Line,
}

impl Tuner {
    /// The number for the next step, at most `most`.
    pub(super) fn choose(&mut self, most: usize) -> usize {
        self.steps += 1;
        let first = FIRST.get(self.steps as usize - 1).copied();
        let best = || {
            let rate = |&a: &usize, &b: &usize| self.rate(a).total_cmp(&self.rate(b));
            let best = (0..=most).max_by(rate).unwrap_or(0);
            let again = best == 0 && self.steps.is_multiple_of(EXPLORE);
            if again { 2 } else { best }
        };
        first.unwrap_or_else(best).min(most)
    }

    /// Tokens a second that a number of drafts promises.
    fn rate(&self, number: usize) -> f64 {
        let trials = self.right + self.wrong + PRIOR.1;
        let right = (self.right + PRIOR.0) / trials;
        let tokens: f64 = (0..=number).map(|i| right.powi(i as i32)).sum();
        let drafting = if number == 0 {
            0.0
        } else {
            self.drafting.at(number as f64)
        };
        tokens / (drafting + self.checking.at(number as f64)).max(1e-9)
    }

    /// Takes what came of the number chosen last.
    pub(super) fn learn(&mut self, outcome: Outcome) {
        self.right = self.right * MEMORY + outcome.right as f64;
        self.wrong = self.wrong * MEMORY + outcome.wrong as f64;
        let number = outcome.number as f64;
        self.checking.add(number, outcome.checking.as_secs_f64());
        if let Some(time) = outcome.drafting.filter(|_| outcome.number > 0) {
            self.drafting.add(number, time.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that is chosen most of 300 times, where a draft is right with a probability, costs so much of a step, and
    /// checking it so much more; and how often it is.
    fn play(right: f64, drafting: f64, checking: f64) -> (usize, usize) {
        let (mut tuner, mut chosen, mut seed) = (Tuner::default(), [0; 16], 7u64);
        for _ in 0..300 {
            let number = tuner.choose(9);
            chosen[number] += 1;
            let mut rights = 0;
            let mut draw = || {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (seed >> 11) as f64 / (1u64 << 53) as f64
            };
            while rights < number && draw() < right {
                rights += 1;
            }
            let noise = 1.0 + 0.1 * draw();
            let seconds = |time: f64| Duration::from_secs_f64(1e-2 * time * noise);
            tuner.learn(Outcome {
                number,
                drafting: Some(seconds(drafting * number as f64)),
                checking: seconds(1.0 + checking * number as f64),
                right: rights,
                wrong: usize::from(rights < number),
            });
        }
        let most = (0..16).max_by_key(|&n| chosen[n]).unwrap();
        (most, chosen[most])
    }

    #[test]
    fn numbers_near_the_best_are_found() {
        let (long, times) = play(0.97, 0.02, 0.01);
        assert!(long == 9 && times > 250, "{long}, {times} times");
        let (none, times) = play(0.2, 0.5, 0.1);
        assert!(none == 0 && times > 250, "{none}, {times} times");
        let (some, _) = play(0.85, 0.2, 0.1);
        assert!((2..=5).contains(&some), "{some}");
        assert_eq!(Tuner::default().choose(0), 0);
    }
}
