//! How the units of a step are split over threads: contiguous ranges of about equal cost, fixed by the counts alone.

use std::ops::Range;

/// The calls of a step in order, as one line of cost: each unit of a call takes `cost` of it.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    total: u128,
    threads: u128,
}

impl Split {
    /// Splits a step whose calls have these `(units, cost of a unit)` over `threads` threads.
    pub fn new(calls: impl Iterator<Item = (u64, u64)>, threads: usize) -> Split {
        let total = calls
            .map(|(units, cost)| u128::from(units) * u128::from(cost))
            .sum();
        Split {
            total,
            threads: threads.max(1) as u128,
        }
    }

    /// The cost of the whole step.
    pub fn total(&self) -> u128 {
        self.total
    }

    /// The units of a call that thread `thread` runs: those whose cost begins in the thread's share of the line, where
    /// `before` is the cost of the calls before this one.
    pub fn units(&self, thread: usize, before: u128, units: u64, cost: u64) -> Range<u64> {
        let start = |thread: u128| {
            let share = (self.total * thread).div_ceil(self.threads);
            let first = share.saturating_sub(before).div_ceil(u128::from(cost.max(1)));
            first.min(u128::from(units)) as u64
        };
        start(thread as u128)..start(thread as u128 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_unit_runs_once_and_shares_are_even(
            calls in prop::collection::vec((0u64..300, 1u64..1000), 1..6),
            threads in 1usize..9,
        ) {
            let split = Split::new(calls.iter().copied(), threads);
            let mut shares = vec![0u128; threads];
            let mut before = 0;
            for &(units, cost) in &calls {
                let mut next = 0;
                for (thread, share) in shares.iter_mut().enumerate() {
                    let range = split.units(thread, before, units, cost);
                    prop_assert_eq!(range.start, next);
                    prop_assert!(range.end >= range.start);
                    next = range.end;
                    *share += u128::from(range.end - range.start) * u128::from(cost);
                }
                prop_assert_eq!(next, units);
                before += u128::from(units) * u128::from(cost);
            }
            let most = calls.iter().map(|c| u128::from(c.1)).max().unwrap();
            for share in shares {
                prop_assert!(share <= split.total().div_ceil(threads as u128) + most);
            }
        }
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let split = Split::new([(1 << 40, u64::MAX)].into_iter(), 2);
        assert_eq!(split.units(0, 0, 1 << 40, u64::MAX), 0..1 << 39);
        assert_eq!(split.units(1, 0, 1 << 40, u64::MAX), 1 << 39..1 << 40);
    }
}
