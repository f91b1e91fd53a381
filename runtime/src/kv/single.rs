//! The KV block pool: which blocks are free, and which block holds which positions of a sequence.

use lathe_ir::plan::KV_BLOCK;

/// Blocks of [`KV_BLOCK`] positions, numbered from 0.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<u32>,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: u32) -> BlockPool {
        BlockPool {
            free: (0..blocks).rev().collect(),
        }
    }

    /// The number of free blocks.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Makes `table` long enough for `positions` positions. Returns whether there were enough free blocks; if not,
    /// nothing changes.
    pub fn reserve(&mut self, table: &mut Vec<u32>, positions: usize) -> bool {
        let wanted = positions.div_ceil(KV_BLOCK as usize);
        let missing = wanted.saturating_sub(table.len());
        if missing > self.free.len() {
            return false;
        }
        table.extend(self.free.drain(self.free.len() - missing..).rev());
        true
    }

    /// Gives back the blocks that hold no position below `positions`.
    pub fn truncate(&mut self, table: &mut Vec<u32>, positions: usize) {
        let kept = positions.div_ceil(KV_BLOCK as usize).min(table.len());
        self.free.extend(table.drain(kept..).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_and_go() {
        let mut pool = BlockPool::new(3);
        let mut table = Vec::new();
        assert!(pool.reserve(&mut table, 33));
        assert_eq!((table.as_slice(), pool.free()), (&[0, 1][..], 1));
        assert!(!pool.reserve(&mut table, 97 + 32));
        assert_eq!(table.len(), 2);
        assert!(pool.reserve(&mut table, 96));
        pool.truncate(&mut table, 32);
        assert_eq!((table.as_slice(), pool.free()), (&[0][..], 2));
        assert!(pool.reserve(&mut table, 64));
        assert_eq!(table, [0, 1]);
    }
}
