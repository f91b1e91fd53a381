//! The tables of a step, which one upload brings.

use lathe_ir::plan::{Input, Limits};

/// Offsets of the tables of a step: the numbers of rows first, block tables last.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub(super) tokens: u64,
    pub(super) positions: u64,
    pub(super) seqs: u64,
    pub(super) outputs: u64,
    pub(super) tiles: u64,
    pub(super) keys: u64,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
}

impl Tables {
    pub(super) fn new(limits: &Limits) -> Tables {
        let mut end = 0;
        let mut next = |entries: u64| {
            let start = end;
            end = (start + 4 * entries).next_multiple_of(64);
            start
        };
        next(2);
        let [tokens, positions, seqs] = [(); 3].map(|()| next(limits.tokens.into()));
        let outputs = next(limits.outputs.into());
        // First row and number of rows of each; every row may be a tile.
        let tiles = next(2 * u64::from(limits.tokens));
        let keys = next(2 * u64::from(limits.outputs));
        let blocks = next(u64::from(limits.seqs) * u64::from(limits.blocks_per_seq()));
        Tables {
            tokens,
            positions,
            seqs,
            outputs,
            tiles,
            keys,
            blocks,
            bytes: end,
        }
    }

    pub(super) fn of(&self, input: Input) -> u64 {
        match input {
            Input::Tokens => self.tokens,
            Input::Positions => self.positions,
            Input::Seqs => self.seqs,
            Input::Outputs => self.outputs,
            Input::BlockTables | Input::WindowTables => self.blocks,
        }
    }
}
