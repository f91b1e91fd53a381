//! How many tokens to draft: by what drafts cost, how often they are right and how often the draft model is sure enough to go
//! on, all measured while they are made.
//!
//! A draft is right with a probability `r`, is followed by another with `f`, and both with `b`, where those before it were.
//! So of at most `n` drafts `1 + f + … + fⁿ⁻¹` are made, and give `1 + r · (1 + b + … + bⁿ⁻¹)` tokens. They take as many
//! steps of the draft model and one of the model, whose time is taken to grow by the same for each more row.

use std::time::Duration;

/// What each new measurement leaves of the older ones.
const MEMORY: f64 = 0.95;
/// Where to begin: two numbers, so that there is a line through what they take.
const FIRST: [usize; 3] = [4, 1, 4];
/// Where rates begin, and how many trials that counts for.
const PRIOR: (f64, f64) = (0.7, 3.0);
/// One step in so many has two drafts where none would be best: texts change.
const EXPLORE: u64 = 24;

/// What came of the drafts of a step, or of one sequence in it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Checked {
    /// Sequences.
    pub sequences: usize,
    /// Their drafts.
    pub drafts: usize,
    /// Drafts that were right, and those looked at: up to the first wrong one.
    pub right: Share,
    /// Drafts that others followed, of those that had room for it.
    pub followed: Share,
    /// Drafts that were right and followed, of those looked at that had room.
    pub both: Share,
}

/// So many of so many.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Share {
    part: usize,
    of: usize,
}

impl Checked {
    /// Of a sequence that had room for so many drafts, of which the first `right` were right.
    pub(super) fn new(room: usize, drafts: usize, right: usize) -> Checked {
        let looked_at = drafts.min(right + 1);
        let with_room = |n: usize| n.min(room.saturating_sub(1));
        let share = |part, of| Share { part, of };
        Checked {
            sequences: usize::from(drafts > 0),
            drafts,
            right: share(right, looked_at),
            followed: share(drafts.saturating_sub(1), with_room(drafts)),
            both: share(right.min(drafts.saturating_sub(1)), with_room(looked_at)),
        }
    }

    pub(super) fn add(&mut self, other: Checked) {
        let share = |sum: &mut Share, one: Share| {
            sum.part += one.part;
            sum.of += one.of;
        };
        self.sequences += other.sequences;
        self.drafts += other.drafts;
        share(&mut self.right, other.right);
        share(&mut self.followed, other.followed);
        share(&mut self.both, other.both);
    }

    /// Drafts of a sequence.
    fn each(&self) -> f64 {
        self.drafts as f64 / self.sequences.max(1) as f64
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// What the draft model took, where it had nothing else to do.
    pub drafting: Option<Duration>,
    /// What the model took to check them.
    pub checking: Duration,
    /// The drafts of all sequences.
    pub checked: Checked,
}

/// How often something is so; older trials count less.
#[derive(Clone, Copy, Default, Debug)]
struct Rate {
    part: f64,
    of: f64,
}

impl Rate {
    fn add(&mut self, share: Share) {
        self.part = self.part * MEMORY + share.part as f64;
        self.of = self.of * MEMORY + share.of as f64;
    }

    fn get(&self) -> f64 {
        (self.part + PRIOR.0 * PRIOR.1) / (self.of + PRIOR.1)
    }
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
    right: Rate,
    followed: Rate,
    both: Rate,
    /// Seconds of the draft model for a number of drafts, and of the model.
    drafting: Line,
    checking: Line,
}

/// `1 + x + … + xⁿ⁻¹`.
fn powers(x: f64, n: usize) -> f64 {
    (0..n).map(|i| x.powi(i as i32)).sum()
}

impl Tuner {
    /// The most drafts for the next step, at most `most`.
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

    /// Tokens a second that at most so many drafts promise.
    fn rate(&self, number: usize) -> f64 {
        let tokens = 1.0 + self.right.get() * powers(self.both.get(), number);
        let drafts = powers(self.followed.get(), number);
        match number {
            0 => 1.0 / self.checking.at(0.0).max(1e-9),
            _ => tokens / (self.drafting.at(drafts) + self.checking.at(drafts)).max(1e-9),
        }
    }

    /// Takes what came of the number chosen last.
    pub(super) fn learn(&mut self, outcome: Outcome) {
        let checked = outcome.checked;
        self.right.add(checked.right);
        self.followed.add(checked.followed);
        self.both.add(checked.both);
        self.checking.add(checked.each(), outcome.checking.as_secs_f64());
        if let Some(time) = outcome.drafting.filter(|_| checked.drafts > 0) {
            self.drafting.add(checked.each(), time.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A draft model: how often a draft is right where it is sure and where it is not, how often it is sure, and what a draft
    /// costs of a step, and its row.
    struct Drafts {
        sure_right: f64,
        unsure_right: f64,
        sure: f64,
        drafting: f64,
        checking: f64,
    }

    fn random(seed: &mut u64) -> f64 {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*seed >> 11) as f64 / (1u64 << 53) as f64
    }

    impl Drafts {
        /// Drafts and how many were right, with room for so many.
        fn draft(&self, room: usize, seed: &mut u64) -> (usize, usize) {
            let (mut drafts, mut right, mut wrong) = (0, 0, false);
            while drafts < room {
                let sure = random(seed) < self.sure;
                let is_right = random(seed) < if sure { self.sure_right } else { self.unsure_right };
                drafts += 1;
                wrong |= !is_right;
                right += usize::from(!wrong);
                if !sure {
                    break;
                }
            }
            (drafts, right)
        }

        /// Steps that this takes, of a model that takes one for a row.
        fn time(&self, drafts: usize) -> f64 {
            1.0 + drafts as f64 * (self.drafting + self.checking)
        }

        /// Tokens a step's time with so many drafts at most, over many steps.
        fn speed(&self, room: usize, seed: &mut u64) -> f64 {
            let (mut tokens, mut time) = (0, 0.0);
            for _ in 0..20_000 {
                let (drafts, right) = self.draft(room, seed);
                tokens += right + 1;
                time += self.time(drafts);
            }
            tokens as f64 / time
        }

        /// The number that is chosen most of 300 times, and how often it is.
        fn play(&self) -> (usize, usize) {
            let (mut tuner, mut chosen, mut seed) = (Tuner::default(), [0; 16], 7u64);
            for _ in 0..300 {
                let number = tuner.choose(9);
                chosen[number] += 1;
                let (drafts, right) = self.draft(number, &mut seed);
                let noise = 1.0 + 0.1 * random(&mut seed);
                let seconds = |time: f64| Duration::from_secs_f64(1e-2 * time * noise);
                tuner.learn(Outcome {
                    drafting: Some(seconds(self.drafting * drafts as f64)),
                    checking: seconds(1.0 + self.checking * drafts as f64),
                    checked: Checked::new(number, drafts, right),
                });
            }
            let most = (0..16).max_by_key(|&n| chosen[n]).unwrap();
            (most, chosen[most])
        }
    }

    fn drafts(right: f64, drafting: f64, checking: f64) -> Drafts {
        Drafts {
            sure_right: right,
            unsure_right: right,
            sure: 1.0,
            drafting,
            checking,
        }
    }

    #[test]
    fn numbers_near_the_best_are_found() {
        let (long, times) = drafts(0.97, 0.02, 0.01).play();
        assert!(long == 9 && times > 250, "{long}, {times} times");
        let (none, times) = drafts(0.2, 0.5, 0.1).play();
        assert!(none == 0 && times > 250, "{none}, {times} times");
        let (some, _) = drafts(0.85, 0.2, 0.1).play();
        assert!((2..=5).contains(&some), "{some}");
        assert_eq!(Tuner::default().choose(0), 0);
    }

    #[test]
    fn drafts_that_end_in_doubt_may_be_long() {
        let doubtful = Drafts {
            sure_right: 0.95,
            unsure_right: 0.4,
            sure: 0.75,
            drafting: 0.25,
            checking: 0.05,
        };
        let (chosen, _) = doubtful.play();
        let best = (0..=9).map(|n| doubtful.speed(n, &mut 1)).fold(0.0, f64::max);
        let found = doubtful.speed(chosen, &mut 2);
        assert!(
            chosen >= 4 && found > 0.98 * best,
            "{chosen}: {found:.3} of {best:.3}"
        );
        // As often right, but never in doubt: such drafts must be short.
        let sure = drafts(0.75 * 0.95 + 0.25 * 0.4, 0.25, 0.05);
        assert!(sure.play().0 < chosen, "{}", sure.play().0);
    }

    #[test]
    fn what_a_sequence_tells_depends_on_its_room() {
        let of = |checked: Checked| {
            [checked.right, checked.followed, checked.both].map(|share| (share.part, share.of))
        };
        // Four of four, all right; two more might have followed.
        assert_eq!(of(Checked::new(6, 4, 4)), [(4, 4), (3, 4), (3, 4)]);
        // There was no room: whether the last would have been followed is not known.
        assert_eq!(of(Checked::new(4, 4, 4)), [(4, 4), (3, 3), (3, 3)]);
        // The second was wrong; the fourth was in doubt.
        assert_eq!(of(Checked::new(6, 4, 1)), [(1, 2), (3, 4), (1, 2)]);
        assert_eq!(of(Checked::new(6, 0, 0)), [(0, 0); 3]);
    }
}
