//! The block pool: who holds a block, which blocks are free, and which must be copied before they are written.
//!
//! A block is free when nobody holds it. A free block keeps its content, and can be found by it, until its turn to be
//! used anew comes: blocks without findable content go first, then the least recently freed. A sequence gives back its
//! last block first, so prefixes outlive what follows them.
//!
//! A block is written by one holder only. [`BlockPool::reserve`] replaces blocks that others hold too, or that the prefix
//! cache finds, and says which contents must be copied. Layers with a sliding window keep all their blocks.

use super::free::FreeList;
use super::prefix::{BlockTokens, Link, PrefixCache};
use lathe_ir::plan::KV_BLOCK;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Positions of a block.
const SIZE: usize = KV_BLOCK as usize;

/// The number of a block of [`KV_BLOCK`] positions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Block(pub(super) u32);

impl Block {
    /// As in a block table.
    pub fn number(self) -> u32 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A copy of a block, in all layers, that must be made before the next step runs. Copies are made in the order given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCopy {
    /// The block to read.
    pub from: Block,
    /// The block to write.
    pub to: Block,
}

/// The blocks of one sequence. It must go back to its pool with [`BlockPool::release`].
#[derive(PartialEq, Eq, Debug)]
pub struct BlockTable {
    namespace: u64,
    blocks: Vec<Block>,
    /// Blocks from the start that are in the prefix cache.
    entered: usize,
}

impl BlockTable {
    /// The table of a sequence without blocks. Sequences share prefixes within a namespace only.
    pub fn new(namespace: u64) -> BlockTable {
        BlockTable {
            namespace,
            blocks: Vec::new(),
            entered: 0,
        }
    }

    /// The blocks, in order of position.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Positions that the blocks hold.
    pub fn positions(&self) -> usize {
        self.blocks.len() * SIZE
    }
}

/// How far a prompt is in the prefix cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefix {
    /// Blocks found.
    pub blocks: usize,
    /// Those of them that are free, and would no longer be.
    pub free: usize,
}

/// What the pool did since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Full blocks of prompts that were found.
    pub hits: u64,
    /// Full blocks of prompts that were not.
    pub misses: u64,
    /// Blocks that were given up for others to use while they could be found.
    pub evictions: u64,
    /// Blocks that turned out to hold what another block holds, and were given back.
    pub merged: u64,
    /// Contents that had to be copied.
    pub copies: u64,
}

/// Blocks, their holders and their contents.
#[derive(Clone, Debug)]
pub struct BlockPool<S = RandomState> {
    /// Holders of each block.
    references: Vec<u32>,
    free: FreeList,
    cache: PrefixCache<S>,
    stats: PoolStats,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: u32) -> BlockPool {
        BlockPool::with_hasher(blocks, RandomState::new())
    }
}

impl<S: BuildHasher> BlockPool<S> {
    /// A pool whose prefix cache uses a given hash function.
    pub fn with_hasher(blocks: u32, hasher: S) -> BlockPool<S> {
        BlockPool {
            references: vec![0; blocks as usize],
            free: FreeList::new(blocks),
            cache: PrefixCache::with_hasher(blocks, hasher),
            stats: PoolStats::default(),
        }
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.references.len()
    }

    /// The number of blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The prefix cache.
    pub fn cache(&self) -> &PrefixCache<S> {
        &self.cache
    }

    /// The number of holders of a block.
    pub fn references(&self, block: Block) -> u32 {
        self.references[block.index()]
    }

    /// What was done so far.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    /// Whether a write to a block is seen by its writer alone.
    pub fn writable(&self, block: Block) -> bool {
        self.references(block) == 1 && !self.cache.contains(block)
    }

    fn hold(&mut self, block: Block) {
        if self.references[block.index()] == 0 {
            self.free.remove(block);
        }
        self.references[block.index()] += 1;
    }

    fn let_go(&mut self, block: Block) {
        let count = &mut self.references[block.index()];
        *count -= 1;
        if *count == 0 {
            if self.cache.contains(block) {
                self.free.push_last(block);
            } else {
                self.free.push_first(block);
            }
        }
    }

    /// Takes a free block, which is no longer found by what it held.
    fn take(&mut self) -> Option<Block> {
        let block = self.free.pop()?;
        self.references[block.index()] = 1;
        self.stats.evictions += u64::from(self.cache.remove(block));
        Some(block)
    }

    /// The full blocks of `tokens` that are in the cache, in order. The block of the last token is never among them, so
    /// that at least one token is left to compute.
    fn known<'a>(&'a self, namespace: u64, tokens: &'a [u32]) -> impl Iterator<Item = Block> + 'a {
        let mut link = Some(Link::Root(namespace));
        let (full, _) = tokens[..tokens.len().saturating_sub(1)].as_chunks::<SIZE>();
        full.iter().map_while(move |tokens| {
            let block = self.cache.find(link?, tokens)?;
            link = self.cache.link_of(block);
            Some(block)
        })
    }

    /// How much of `tokens` [`BlockPool::attach`] would find.
    pub fn lookup(&self, namespace: u64, tokens: &[u32]) -> Prefix {
        let mut found = Prefix::default();
        for block in self.known(namespace, tokens) {
            found.blocks += 1;
            found.free += usize::from(self.references(block) == 0);
        }
        found
    }

    /// Gives an empty table the blocks of the longest prefix of `tokens` that is known, but never of all of them. Returns
    /// the number of positions found.
    pub fn attach(&mut self, table: &mut BlockTable, tokens: &[u32]) -> usize {
        debug_assert!(table.blocks.is_empty(), "a table takes its prefix first");
        let mut found = std::mem::take(&mut table.blocks);
        found.extend(self.known(table.namespace, tokens));
        found.iter().for_each(|&block| self.hold(block));
        table.entered = found.len();
        table.blocks = found;
        let (hits, full) = (table.entered as u64, tokens.len().saturating_sub(1) / SIZE);
        self.stats.hits += hits;
        self.stats.misses += full as u64 - hits;
        table.positions()
    }

    /// Makes a table ready for the positions of `write`, which start at or before the table's end: missing blocks are
    /// added, and those of the range that others see are replaced. Where such a block holds positions before the range,
    /// `copies` gets the copy to make. Returns whether there were enough free blocks; if not, nothing changes.
    pub fn reserve(
        &mut self,
        table: &mut BlockTable,
        write: Range<usize>,
        copies: &mut Vec<BlockCopy>,
    ) -> bool {
        debug_assert!(write.start <= table.positions(), "positions are written in order");
        if write.is_empty() {
            return true;
        }
        let (first, end) = (write.start / SIZE, write.end.div_ceil(SIZE));
        let there = first..end.min(table.blocks.len()).max(first);
        let shared = table.blocks[there.clone()].iter().filter(|&&b| !self.writable(b));
        if shared.count() + end.saturating_sub(table.blocks.len()) > self.free.len() {
            return false;
        }
        for index in there {
            let from = table.blocks[index];
            if self.writable(from) {
                continue;
            }
            let Some(to) = self.take() else { return false };
            if index == first && !write.start.is_multiple_of(SIZE) {
                copies.push(BlockCopy { from, to });
                self.stats.copies += 1;
            }
            self.let_go(from);
            table.blocks[index] = to;
        }
        table.entered = table.entered.min(first);
        while table.blocks.len() < end {
            let Some(block) = self.take() else { return false };
            table.blocks.push(block);
        }
        true
    }

    /// Gives back the blocks that hold no position below `positions`.
    pub fn truncate(&mut self, table: &mut BlockTable, positions: usize) {
        let kept = positions.div_ceil(SIZE).min(table.blocks.len());
        while table.blocks.len() > kept {
            if let Some(block) = table.blocks.pop() {
                self.let_go(block);
            }
        }
        table.entered = table.entered.min(positions / SIZE);
    }

    /// Gives back all blocks of a table.
    pub fn release(&mut self, table: &mut BlockTable) {
        self.truncate(table, 0);
    }

    /// Forgets the content of all free blocks, so that the prefix cache finds none of them.
    pub fn forget(&mut self) {
        for block in (0..self.references.len() as u32).map(Block) {
            if self.references(block) == 0 && self.cache.remove(block) {
                self.free.remove(block);
                self.free.push_first(block);
            }
        }
    }

    /// A second holder of the blocks of the first `positions` positions. The last of them may be filled in part: whoever
    /// writes to it first gets a copy from [`BlockPool::reserve`].
    pub fn fork(&mut self, table: &BlockTable, positions: usize) -> BlockTable {
        let kept = positions.div_ceil(SIZE).min(table.blocks.len());
        let blocks = table.blocks[..kept].to_vec();
        blocks.iter().for_each(|&block| self.hold(block));
        BlockTable {
            namespace: table.namespace,
            blocks,
            entered: table.entered.min(positions / SIZE),
        }
    }

    /// Enters the full blocks of a sequence into the prefix cache. `computed` are the tokens whose keys and values are
    /// there. A block whose content is known already is given back, and the known one is held in its place.
    pub fn enter(&mut self, table: &mut BlockTable, computed: &[u32]) {
        let (full, _) = computed.as_chunks::<SIZE>();
        for (index, tokens) in full.iter().enumerate().skip(table.entered) {
            let Some(link) = self.link_before(table, index) else {
                return;
            };
            let Some(&block) = table.blocks.get(index) else {
                return;
            };
            table.blocks[index] = self.enter_block(block, link, tokens);
            table.entered = index + 1;
        }
    }

    fn link_before(&self, table: &BlockTable, index: usize) -> Option<Link> {
        match index.checked_sub(1) {
            None => Some(Link::Root(table.namespace)),
            Some(before) => self.cache.link_of(table.blocks[before]),
        }
    }

    fn enter_block(&mut self, block: Block, link: Link, tokens: &BlockTokens) -> Block {
        match self.cache.find(link, tokens) {
            Some(known) if known != block => {
                self.hold(known);
                self.let_go(block);
                self.stats.merged += 1;
                known
            }
            _ => {
                self.cache.insert(block, link, tokens);
                block
            }
        }
    }
}
