//! Sequences as the scheduler keeps them, and the table they live in.

use super::ChoiceId;
use super::swap::Swapped;
use crate::kv::pool::BlockTable;
use std::ops::{Index, IndexMut};
use std::time::Duration;

/// The order of requests, best first: arrival less the head start of priority in nanoseconds, then the order of
/// submission, then the choice. It does not change in time, since all that wait age alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    pub due: i128,
    pub id: ChoiceId,
}

impl Rank {
    pub(super) fn new(arrival: Duration, priority: i32, aging: Duration, id: ChoiceId) -> Rank {
        // Each product is below 2^125, since a Duration is below 2^94 nanoseconds.
        let due = arrival.as_nanos() as i128 - i128::from(priority) * aging.as_nanos() as i128;
        Rank { due, id }
    }
}

/// The place of a sequence in [`Sequences`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u32);

/// A sequence that waits or runs.
#[derive(Debug)]
pub(super) struct Sequence {
    pub rank: Rank,
    /// The prompt, then the tokens made.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens from the start whose KV is in the table's blocks. Less than all of them.
    pub computed: usize,
    pub max_new: usize,
    /// Lists of tokens that the prompt's result is to give; 1 once the choices parted.
    pub choices: u32,
    pub deadline: Option<Duration>,
    pub namespace: u64,
    /// Whether the result of every row is wanted.
    pub every_row: bool,
    pub table: BlockTable,
    /// Row of the step's block table while it runs.
    pub slot: Option<u32>,
    /// Proposed tokens after `tokens`.
    pub draft: Vec<u32>,
    /// Tokens found in the prefix cache at the first admission.
    pub cached: Option<usize>,
    pub preemptions: u32,
    /// What is kept of its blocks while it waits.
    pub swapped: Option<Swapped>,
    /// The last step that it was in.
    pub served: u64,
    /// Whether it is in the step that is being made or run.
    pub scheduled: bool,
}

impl Sequence {
    pub(super) fn id(&self) -> ChoiceId {
        self.rank.id
    }

    /// Tokens made.
    pub(super) fn made(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Tokens that it may still make.
    pub(super) fn room(&self) -> usize {
        self.max_new - self.made()
    }

    /// Tokens that wait to be computed.
    pub(super) fn left(&self) -> usize {
        self.tokens.len() - self.computed
    }
}

/// All sequences. Places of those that ended are used again.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    places: Vec<Option<Sequence>>,
    free: Vec<Place>,
}

impl Sequences {
    pub(super) fn insert(&mut self, sequence: Sequence) -> Place {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            Place(self.places.len() as u32 - 1)
        });
        self.places[place.0 as usize] = Some(sequence);
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Sequence> {
        let sequence = self.places[place.0 as usize].take()?;
        self.free.push(place);
        Some(sequence)
    }
}

impl Index<Place> for Sequences {
    type Output = Sequence;
    fn index(&self, place: Place) -> &Sequence {
        self.places[place.0 as usize]
            .as_ref()
            .expect("the place is taken")
    }
}

impl IndexMut<Place> for Sequences {
    fn index_mut(&mut self, place: Place) -> &mut Sequence {
        self.places[place.0 as usize]
            .as_mut()
            .expect("the place is taken")
    }
}
