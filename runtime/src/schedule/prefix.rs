//! Prefixes that go elsewhere and come back: which blocks hold one, and how one that was computed before is made known.

use super::queue::Scheduler;
use super::swap::Pair;
use crate::kv::pool::BlockTable;
use lathe_ir::plan::KV_BLOCK;

/// The namespace of sequences that any request may share.
const SHARED: u64 = 0;

impl Scheduler {
    /// The blocks of the longest prefix of `tokens` that the prefix cache has, in order, each with its window block where
    /// rows after the prefix see it.
    pub fn known_blocks(&self, tokens: &[u32]) -> Vec<Pair> {
        self.pool.known_pairs(SHARED, tokens)
    }

    /// Free blocks for a prefix of `blocks` blocks whose content is to be written, each with a window block where rows
    /// after the prefix see it; `None` where there are not enough.
    pub fn take_prefix(&mut self, blocks: usize) -> Option<(BlockTable, Vec<Pair>)> {
        let (mut table, end) = (BlockTable::new(SHARED), blocks * KV_BLOCK as usize);
        // A new table's blocks are nobody else's: nothing is copied.
        if !self.pool.reserve(&mut table, 0..end, &mut self.copies) {
            return None;
        }
        let seen = self.pool.first_seen(end) * KV_BLOCK as usize..end;
        if !self.pool.open_windows(&table, seen) {
            self.pool.release(&mut table);
            return None;
        }
        self.pool.leave(&mut table, end);
        let pairs = self.pool.pairs(&table, 0..blocks);
        Some((table, pairs))
    }

    /// Makes a prefix known whose blocks hold the keys and values of `tokens`. Nobody holds it then: it stays as others in
    /// the prefix cache do.
    pub fn give_prefix(&mut self, mut table: BlockTable, tokens: &[u32]) {
        self.pool.enter(&mut table, tokens);
        self.pool.release(&mut table);
    }

    /// Gives back blocks of which nothing came.
    pub fn drop_prefix(&mut self, mut table: BlockTable) {
        self.pool.release(&mut table);
    }
}
