//! Prompt lookup: what followed the last few tokens when they came before is a guess at what follows now (Saxena,
//! "Prompt Lookup Decoding"). Texts that quote their prompt, such as an edited file, are guessed well.

use std::collections::HashMap;

/// Tokens that must come again before what followed them is a guess: longer ones first.
const LONGEST: usize = 4;
const SHORTEST: usize = 2;

/// An index of a growing history.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Where runs of each length last ended, but for the run that ends the history.
    ends: [HashMap<[u32; LONGEST], usize>; LONGEST - SHORTEST + 1],
    /// Tokens of the history whose runs are in the index.
    indexed: usize,
    guess: Vec<u32>,
}

/// The last `length` tokens, padded.
fn run(history: &[u32], length: usize) -> [u32; LONGEST] {
    let mut run = [u32::MAX; LONGEST];
    run[..length].copy_from_slice(&history[history.len() - length..]);
    run
}

impl Lookup {
    /// At most `most` tokens that followed the longest run at the end of `history` when it came last.
    pub(super) fn guess(&mut self, history: &[u32], most: usize) -> &[u32] {
        self.guess.clear();
        // Runs that end before the last token: a run is not found at the end itself.
        for end in self.indexed.max(1)..history.len() {
            for length in (SHORTEST..=LONGEST).filter(|&l| l <= end) {
                self.ends[length - SHORTEST].insert(run(&history[..end], length), end);
            }
        }
        self.indexed = history.len().max(1);
        let mut lengths = (SHORTEST..=LONGEST).rev().filter(|&l| l <= history.len());
        let found = lengths.find_map(|length| self.ends[length - SHORTEST].get(&run(history, length)));
        if let Some(&at) = found {
            // What follows may run into the guess itself, as in a repetition.
            for i in 0..most {
                let from = at + i;
                let token = match from < history.len() {
                    true => history[from],
                    false => self.guess[from - history.len()],
                };
                self.guess.push(token);
            }
        }
        &self.guess
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_followed_before_is_guessed() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 1, 2], 3), [3, 4, 5]);
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 1, 2, 9], 3), [0u32; 0]);
        // The longest run decides, and the latest of equal ones.
        let mut lookup = Lookup::default();
        assert_eq!(lookup.guess(&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 1), [3]);
        assert_eq!(
            lookup.guess(&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2, 5, 5, 1, 2], 1),
            [5]
        );
        // A repetition goes on.
        assert_eq!(Lookup::default().guess(&[6, 6, 6], 4), [6, 6, 6, 6]);
        assert_eq!(Lookup::default().guess(&[1, 2, 1, 2], 5), [1, 2, 1, 2, 1]);
        assert_eq!(Lookup::default().guess(&[], 5), [0u32; 0]);
        assert_eq!(Lookup::default().guess(&[1], 5), [0u32; 0]);
    }

    proptest! {
        /// An index that grew with the history finds what a search of all of it finds.
        #[test]
        fn guesses_are_those_of_a_search(history in prop::collection::vec(0u32..3, 0..60), cuts in prop::collection::vec(0usize..60, 0..5)) {
            let mut lookup = Lookup::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(history.len())).collect();
            cuts.sort();
            cuts.push(history.len());
            for cut in cuts {
                let history = &history[..cut];
                let found = lookup.guess(history, 1).first().copied();
                let want = (SHORTEST..=LONGEST).rev().filter(|&l| l < history.len()).find_map(|length| {
                    let last = &history[history.len() - length..];
                    (length..history.len()).rev().find(|&end| &history[end - length..end] == last).map(|end| history[end])
                });
                prop_assert_eq!(found, want);
            }
        }
    }
}
