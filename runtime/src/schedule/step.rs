//! A step as the executor takes it, and the results that come back.

use super::ChoiceId;
use super::sequence::Place;
use lathe_ir::backend::Batch;
use std::ops::Range;

/// One sequence's part of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepSequence {
    pub(super) place: Place,
    /// Which sequence.
    pub id: ChoiceId,
    /// Its row of the block table.
    pub slot: u32,
    /// The position of its first row.
    pub start: usize,
    /// Its rows in the batch, drafts last.
    pub rows: Range<usize>,
    /// How many of its rows are drafts.
    pub drafts: usize,
    /// Its rows of the result: of its last token and of each draft, and empty while tokens of the prompt are left; where every
    /// row is wanted, of all its rows.
    pub outputs: Range<usize>,
    /// How many lists of tokens the results must give for it: none while tokens of the prompt are left, else one; after a
    /// prompt one a choice.
    pub lists: u32,
}

/// The rows of a step. Buffers are used again from step to step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Step {
    pub(super) sequences: Vec<StepSequence>,
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<u32>,
    pub(super) seqs: Vec<u32>,
    pub(super) outputs: Vec<u32>,
    pub(super) table: Vec<u32>,
    /// Of layers with a window, where they are apart; entries of blocks that no row sees are 0.
    pub(super) window_table: Vec<u32>,
}

impl Step {
    /// The sequences in the step, in the order of their rows.
    pub fn sequences(&self) -> &[StepSequence] {
        &self.sequences
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The rows, for [`lathe_ir::backend::Executable::run`].
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            tokens: &self.tokens,
            positions: &self.positions,
            seqs: &self.seqs,
            outputs: &self.outputs,
            block_tables: &self.table,
            window_tables: &self.window_table,
        }
    }

    pub(super) fn clear(&mut self) {
        self.sequences.clear();
        self.tokens.clear();
        self.positions.clear();
        self.seqs.clear();
        self.outputs.clear();
    }
}

/// What was picked from a step's result: for each sequence of the step in order as many lists as [`StepSequence::lists`]
/// says. Kept and cleared between steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Results {
    tokens: Vec<u32>,
    lists: Vec<(usize, bool)>,
}

impl Results {
    /// Forgets all lists.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.lists.clear();
    }

    /// Adds the next list: the tokens that follow, and whether the sequence ends with them. At least one token, or `done`.
    /// Accepted drafts come first, then the token after them; forced tokens may follow, and will be computed.
    pub fn push(&mut self, tokens: &[u32], done: bool) {
        self.tokens.extend_from_slice(tokens);
        self.lists.push((self.tokens.len(), done));
    }

    /// The number of lists.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// List `index`, and whether it ends its sequence.
    pub(super) fn list(&self, index: usize) -> (&[u32], bool) {
        let (end, done) = self.lists[index];
        let start = index.checked_sub(1).map_or(0, |before| self.lists[before].0);
        (&self.tokens[start..end], done)
    }
}

/// Results that do not belong to the step. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// Too many or too few.
    #[error("the results have {got} lists of tokens, but the step asks for {want}")]
    Lists {
        /// Lists given.
        got: usize,
        /// Lists that the step asks for.
        want: usize,
    },
    /// A sequence that goes on without a token would stand still.
    #[error("list {list} of the results is empty, but does not end its sequence")]
    NoToken {
        /// Which list.
        list: usize,
    },
}
