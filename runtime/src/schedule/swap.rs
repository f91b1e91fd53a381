//! Preemption by swapping: blocks of a sequence that gives way are kept elsewhere, where that is cheaper than computing
//! them again, and are put back when it goes on.
//!
//! The scheduler says what to move and when; whoever runs the steps has the bytes. All moves of a step are made in their
//! order before it runs.

use super::queue::Scheduler;
use super::sequence::Place;
use crate::kv::pool::{Block, BlockCopy};
use lathe_ir::plan::KV_BLOCK;

/// What is kept elsewhere of one sequence; numbers are never given again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

/// A block, and its window block where its rows to come see it through one.
pub type Pair = (Block, Option<Block>);

/// Something to do before a step runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Move {
    /// Copies a block.
    Copy(BlockCopy),
    /// Keeps the content of blocks, in order.
    Out(Ticket, Vec<Pair>),
    /// Puts the content back from block `skip` of those that were kept on, and forgets it.
    In {
        /// Whose.
        ticket: Ticket,
        /// Blocks that are not wanted, since they were found otherwise.
        skip: usize,
        /// Where to.
        to: Vec<Pair>,
    },
    /// Forgets it.
    Drop(Ticket),
}

/// A sequence's blocks that are kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Swapped {
    ticket: Ticket,
    blocks: usize,
    /// Tokens whose keys and values they hold.
    computed: usize,
}

impl Scheduler {
    /// Says what keeping a block elsewhere and putting it back costs, in rows that could be computed meanwhile.
    pub fn set_swap_cost(&mut self, rows: f64) {
        self.swap_cost = rows;
    }

    /// Blocks that are kept elsewhere.
    pub fn swapped_blocks(&self) -> usize {
        self.swapped_blocks
    }

    /// Keeps the blocks of a sequence that is about to give them up, where there is room and it is cheaper than computing
    /// them again.
    pub(super) fn swap_out(&mut self, place: Place) {
        let sequence = &mut self.sequences[place];
        let computed = sequence.computed;
        let blocks = computed.div_ceil(KV_BLOCK as usize);
        let room = (self.config.swap_blocks as usize).saturating_sub(self.swapped_blocks);
        let cheap = blocks as f64 * self.swap_cost < computed as f64;
        // Who wants every row gets it again.
        if blocks == 0 || blocks > room || !cheap || sequence.every_row {
            return;
        }
        let ticket = Ticket(self.next_ticket);
        let pairs = self.pool.pairs(&sequence.table, 0..blocks);
        sequence.swapped = Some(Swapped {
            ticket,
            blocks,
            computed,
        });
        self.next_ticket += 1;
        self.swapped_blocks += blocks;
        self.stats.swapped_out += blocks as u64;
        self.moves.push(Move::Out(ticket, pairs));
    }

    /// Puts back what is kept of a sequence that was just given blocks for all its tokens, where that is more than the
    /// prefix cache had.
    pub(super) fn swap_in(&mut self, place: Place) {
        let sequence = &mut self.sequences[place];
        let Some(swapped) = sequence.swapped.take() else {
            return;
        };
        self.swapped_blocks -= swapped.blocks;
        let skip = sequence.computed / KV_BLOCK as usize;
        let first = self.pool.first_seen(swapped.computed).max(skip);
        let seen = first * KV_BLOCK as usize..swapped.computed;
        if skip >= swapped.blocks || !self.pool.open_windows(&sequence.table, seen) {
            self.moves.push(Move::Drop(swapped.ticket));
            return;
        }
        self.pool.leave(&mut sequence.table, swapped.computed);
        sequence.computed = swapped.computed;
        self.stats.swapped_in += (swapped.blocks - skip) as u64;
        self.moves.push(Move::In {
            ticket: swapped.ticket,
            skip,
            to: self.pool.pairs(&sequence.table, skip..swapped.blocks),
        });
    }

    /// Forgets what is kept of a sequence that ended.
    pub(super) fn drop_swapped(&mut self, swapped: Option<Swapped>) {
        if let Some(swapped) = swapped {
            self.swapped_blocks -= swapped.blocks;
            self.moves.push(Move::Drop(swapped.ticket));
        }
    }
}
