//! Blocks for layers with a sliding window: a pool of their own, beside that of the layers that see everything.
//!
//! A block of the pool has at most one window block, which holds the same positions for the layers with a window. It is
//! needed as long as a sequence that holds the block sees some of it. After that it keeps its content until its turn to
//! be used anew comes, and the block stays without one: what it holds for the other layers is as good as before.

use super::free::FreeList;
use super::pool::Block;
use lathe_ir::backend::WindowPool;
use lathe_ir::plan::KV_BLOCK;

/// Window blocks, and whose they are.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Positions that a row sees, its own the last.
    positions: usize,
    /// The window block of each block.
    of: Vec<Option<Block>>,
    /// The block of each window block.
    owners: Vec<Option<Block>>,
    /// Holders of each block that see some of it.
    seen: Vec<u32>,
    /// Those of blocks that nobody sees.
    free: FreeList,
}

impl Windows {
    /// Window blocks for a pool of `blocks` blocks, none of which has one.
    pub(super) fn new(pool: WindowPool, blocks: u32) -> Windows {
        Windows {
            positions: pool.positions as usize,
            of: vec![None; blocks as usize],
            owners: vec![None; pool.blocks as usize],
            seen: vec![0; blocks as usize],
            free: FreeList::new(pool.blocks),
        }
    }

    /// The number of those that nobody needs.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Most that a sequence needs in a step of `rows` of its rows.
    pub(super) fn needed(&self, rows: usize) -> usize {
        let size = KV_BLOCK as usize;
        self.positions.div_ceil(size) + rows.div_ceil(size) + 2
    }

    /// The window block of a block.
    pub(super) fn of(&self, block: Block) -> Option<Block> {
        self.of[block.index()]
    }

    /// Which block of a table is the first that rows from the start of the block of `position` on see.
    pub(super) fn first(&self, position: usize) -> usize {
        let size = KV_BLOCK as usize;
        (position / size * size + 1).saturating_sub(self.positions) / size
    }

    /// A further holder sees a block.
    pub(super) fn see(&mut self, block: Block) {
        self.seen[block.index()] += 1;
        if let (1, Some(own)) = (self.seen[block.index()], self.of(block)) {
            self.free.remove(own);
        }
    }

    /// A holder sees nothing of a block any more; `found` says whether others may find it by its content.
    pub(super) fn leave(&mut self, block: Block, found: bool) {
        self.seen[block.index()] -= 1;
        if let (0, Some(own)) = (self.seen[block.index()], self.of(block)) {
            match found {
                true => self.free.push_last(own),
                false => self.free.push_first(own),
            }
        }
    }

    /// Gives a block that somebody sees a window block if it has none. Returns whether there was one.
    pub(super) fn give(&mut self, block: Block) -> bool {
        if self.of(block).is_some() {
            return true;
        }
        let Some(own) = self.free.pop() else {
            return false;
        };
        if let Some(before) = self.owners[own.index()].replace(block) {
            self.of[before.index()] = None;
        }
        self.of[block.index()] = Some(own);
        true
    }

    /// Takes the window block of a block that nobody holds, since its content is no longer its.
    pub(super) fn forget(&mut self, block: Block) {
        if let Some(own) = self.of[block.index()].take() {
            self.owners[own.index()] = None;
            self.free.remove(own);
            self.free.push_first(own);
        }
    }

    /// Hands the window block of one block to another of the same content that has none; both are seen.
    pub(super) fn hand_on(&mut self, from: Block, to: Block) {
        if self.of(to).is_none()
            && let Some(own) = self.of[from.index()].take()
        {
            self.owners[own.index()] = Some(to);
            self.of[to.index()] = Some(own);
        }
    }

    /// How many of these blocks, from the first on, can be the start of a sequence: rows after them must find what they
    /// see.
    pub(super) fn whole(&self, blocks: &[Block]) -> usize {
        let mut end = blocks.len();
        loop {
            let first = self.first(end * KV_BLOCK as usize);
            match (first..end).rev().find(|&i| self.of(blocks[i]).is_none()) {
                Some(lacks) => end = lacks,
                None => return end,
            }
        }
    }
}
