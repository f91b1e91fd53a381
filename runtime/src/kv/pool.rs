//! The block pool: who holds a block, which blocks are free, and which must be copied before they are written.
//!
//! A block is free when nobody holds it. A free block keeps its content, and can be found by it, until its turn to be
//! used anew comes: blocks without findable content go first, then the least recently freed. A sequence gives back its
//! last block first, so prefixes outlive what follows them.
//!
//! A block is written by one holder only. [`BlockPool::reserve`] replaces blocks that others hold too, or that the prefix
//! cache finds, and says which contents must be copied.
//!
//! Layers with a sliding window may have blocks of their own ([`BlockPool::with_windows`]), which hold the same positions
//! and are used anew once no row sees them: [`BlockPool::open_windows`] gives them to blocks that are to be written,
//! [`BlockPool::leave`] takes them. A prefix is found as far as rows after it have what they see.

use super::free::FreeList;
use super::prefix::{BlockTokens, Link, PrefixCache};
use super::window::Windows;
use lathe_ir::backend::WindowPool;
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
    /// The same of the window blocks, where there are any.
    pub window: Option<(Block, Block)>,
}

/// The blocks of one sequence. It must go back to its pool with [`BlockPool::release`].
#[derive(PartialEq, Eq, Debug)]
pub struct BlockTable {
    namespace: u64,
    blocks: Vec<Block>,
    /// Blocks from the start that are in the prefix cache.
    entered: usize,
    /// Blocks from the start that the sequence's rows to come see nothing of through a window.
    left: usize,
}

impl BlockTable {
    /// The table of a sequence without blocks. Sequences share prefixes within a namespace only.
    pub fn new(namespace: u64) -> BlockTable {
        BlockTable {
            namespace,
            blocks: Vec::new(),
            entered: 0,
            left: 0,
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

/// The tokens whose blocks a prompt may find: at least one is left to compute.
fn before_last(tokens: &[u32]) -> &[u32] {
    &tokens[..tokens.len().saturating_sub(1)]
}

/// Blocks, their holders and their contents.
#[derive(Clone, Debug)]
pub struct BlockPool<S = RandomState> {
    /// Holders of each block.
    references: Vec<u32>,
    free: FreeList,
    cache: PrefixCache<S>,
    /// Blocks of layers with a window, where they are apart.
    windows: Option<Windows>,
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
            windows: None,
            stats: PoolStats::default(),
        }
    }

    /// The same pool, whose blocks are free, with blocks of their own for layers with a sliding window.
    pub fn with_windows(self, pool: Option<WindowPool>) -> BlockPool<S> {
        let blocks = self.references.len() as u32;
        BlockPool {
            windows: pool.map(|pool| Windows::new(pool, blocks)),
            ..self
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

    /// The number of window blocks that nobody needs, where there are any.
    pub fn free_windows(&self) -> Option<usize> {
        self.windows.as_ref().map(Windows::free)
    }

    /// Whether enough window blocks are free for a sequence of `blocks` blocks that computes at most `rows` rows in a step,
    /// and `more`.
    pub fn windows_suffice(&self, blocks: usize, rows: usize, more: usize) -> bool {
        let fits = |windows: &Windows| windows.needed(rows).min(blocks) + more <= windows.free();
        self.windows.as_ref().is_none_or(fits)
    }

    /// The window block of a block, where it has one.
    pub fn window_of(&self, block: Block) -> Option<Block> {
        self.windows.as_ref()?.of(block)
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

    /// Counts a holder of a block, and whether it sees the block through a window.
    fn hold(&mut self, block: Block, sees: bool) {
        if let Some(windows) = self.windows.as_mut().filter(|_| sees) {
            windows.see(block);
        }
        if self.references[block.index()] == 0 {
            self.free.remove(block);
        }
        self.references[block.index()] += 1;
    }

    fn let_go(&mut self, block: Block, sees: bool) {
        if let Some(windows) = self.windows.as_mut().filter(|_| sees) {
            windows.leave(block, self.cache.contains(block));
        }
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
        if let Some(windows) = &mut self.windows {
            windows.forget(block);
            windows.see(block);
        }
        Some(block)
    }

    /// The full blocks of `tokens` that are in the cache, in order.
    fn known<'a>(&'a self, namespace: u64, tokens: &'a [u32]) -> impl Iterator<Item = Block> + 'a {
        let mut link = Some(Link::Root(namespace));
        let (full, _) = tokens.as_chunks::<SIZE>();
        full.iter().map_while(move |tokens| {
            let block = self.cache.find(link?, tokens)?;
            link = self.cache.link_of(block);
            Some(block)
        })
    }

    /// How much of `tokens` [`BlockPool::attach`] would find.
    pub fn lookup(&self, namespace: u64, tokens: &[u32]) -> Prefix {
        let mut found = Prefix::default();
        let mut count = |block| {
            found.blocks += 1;
            found.free += usize::from(self.references(block) == 0);
        };
        let known = self.known(namespace, before_last(tokens));
        match &self.windows {
            None => known.for_each(count),
            Some(windows) => {
                let known: Vec<Block> = known.collect();
                known[..windows.whole(&known)]
                    .iter()
                    .for_each(|&block| count(block));
            }
        }
        found
    }

    /// The blocks of the longest prefix of `tokens` that is known, be it all of them, each with its window block where rows
    /// after the prefix see it.
    pub fn known_pairs(&self, namespace: u64, tokens: &[u32]) -> Vec<(Block, Option<Block>)> {
        let mut found: Vec<Block> = self.known(namespace, tokens).collect();
        if let Some(windows) = &self.windows {
            found.truncate(windows.whole(&found));
        }
        self.pairs_of(&found, 0..found.len(), self.first_seen(found.len() * SIZE))
    }

    /// Some of a sequence's blocks, each with its window block from the block `first` on.
    fn pairs_of(&self, blocks: &[Block], range: Range<usize>, first: usize) -> Vec<(Block, Option<Block>)> {
        let window = |index: usize| (index >= first).then(|| self.window_of(blocks[index]));
        range
            .map(|index| (blocks[index], window(index).flatten()))
            .collect()
    }

    /// Gives an empty table the blocks of the longest prefix of `tokens` that is known, but never of all of them. Returns
    /// the number of positions found.
    pub fn attach(&mut self, table: &mut BlockTable, tokens: &[u32]) -> usize {
        debug_assert!(table.blocks.is_empty(), "a table takes its prefix first");
        let mut found = std::mem::take(&mut table.blocks);
        found.extend(self.known(table.namespace, before_last(tokens)));
        if let Some(windows) = &self.windows {
            found.truncate(windows.whole(&found));
            table.left = windows.first(found.len() * SIZE);
        }
        for (index, &block) in found.iter().enumerate() {
            self.hold(block, index >= table.left);
        }
        table.entered = found.len();
        table.blocks = found;
        let (hits, full) = (table.entered as u64, before_last(tokens).len() / SIZE);
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
        // A copy needs a window block at once: it is filled before the step.
        if !write.start.is_multiple_of(SIZE)
            && let Some(&from) = table.blocks.get(first)
            && !self.writable(from)
            && self.free_windows() == Some(0)
        {
            return false;
        }
        for index in there {
            let from = table.blocks[index];
            if self.writable(from) {
                continue;
            }
            let Some(to) = self.take() else { return false };
            if index == first && !write.start.is_multiple_of(SIZE) {
                let windows = self.windows.as_mut();
                let window = windows.and_then(|windows| {
                    windows.give(to);
                    windows.of(from).zip(windows.of(to))
                });
                copies.push(BlockCopy { from, to, window });
                self.stats.copies += 1;
            }
            self.let_go(from, true);
            table.blocks[index] = to;
        }
        table.entered = table.entered.min(first);
        while table.blocks.len() < end {
            let Some(block) = self.take() else { return false };
            table.blocks.push(block);
        }
        true
    }

    /// Gives window blocks to the blocks of the positions of `write`, which are reserved. Returns whether there were enough;
    /// if not, nothing changes.
    pub fn open_windows(&mut self, table: &BlockTable, write: Range<usize>) -> bool {
        let Some(windows) = self.windows.as_mut().filter(|_| !write.is_empty()) else {
            return true;
        };
        let blocks = &table.blocks[write.start / SIZE..write.end.div_ceil(SIZE)];
        let lacking = blocks.iter().filter(|&&block| windows.of(block).is_none());
        if lacking.count() > windows.free() {
            return false;
        }
        blocks.iter().all(|&block| windows.give(block))
    }

    /// Which block of a table is the first that rows from `position` on see through a window.
    pub fn first_seen(&self, position: usize) -> usize {
        self.windows.as_ref().map_or(0, |windows| windows.first(position))
    }

    /// Some of the blocks of a table, each with its window block where the sequence sees it.
    pub fn pairs(&self, table: &BlockTable, blocks: Range<usize>) -> Vec<(Block, Option<Block>)> {
        self.pairs_of(&table.blocks, blocks, table.left)
    }

    /// Lets go of the window blocks that rows from `position` on don't see; nothing before the block of `position` is
    /// computed again.
    pub fn leave(&mut self, table: &mut BlockTable, position: usize) {
        let Some(windows) = &mut self.windows else { return };
        let first = windows.first(position).min(table.blocks.len());
        while table.left < first {
            let block = table.blocks[table.left];
            windows.leave(block, self.cache.contains(block));
            table.left += 1;
        }
    }

    /// Gives back the blocks that hold no position below `positions`.
    pub fn truncate(&mut self, table: &mut BlockTable, positions: usize) {
        let kept = positions.div_ceil(SIZE).min(table.blocks.len());
        while table.blocks.len() > kept {
            if let Some(block) = table.blocks.pop() {
                self.let_go(block, table.blocks.len() >= table.left);
            }
        }
        table.entered = table.entered.min(positions / SIZE);
        table.left = table.left.min(table.blocks.len());
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
        let left = table.left.min(kept);
        for (index, &block) in blocks.iter().enumerate() {
            self.hold(block, index >= left);
        }
        BlockTable {
            namespace: table.namespace,
            blocks,
            entered: table.entered.min(positions / SIZE),
            left,
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
            let Some(entered) = self.enter_block(block, link, tokens, index >= table.left) else {
                return;
            };
            table.blocks[index] = entered;
            table.entered = index + 1;
        }
    }

    fn link_before(&self, table: &BlockTable, index: usize) -> Option<Link> {
        match index.checked_sub(1) {
            None => Some(Link::Root(table.namespace)),
            Some(before) => self.cache.link_of(table.blocks[before]),
        }
    }

    /// The block that holds these tokens from now on; none where it would lack a window block that the holder sees and that
    /// another holder of its own needs, too.
    fn enter_block(&mut self, block: Block, link: Link, tokens: &BlockTokens, sees: bool) -> Option<Block> {
        match self.cache.find(link, tokens) {
            Some(known) if known != block => {
                let lacks = sees && self.windows.as_ref().is_some_and(|w| w.of(known).is_none());
                if lacks && self.references(block) > 1 {
                    return None;
                }
                self.hold(known, sees);
                if let Some(windows) = self.windows.as_mut().filter(|_| lacks) {
                    windows.hand_on(block, known);
                }
                self.let_go(block, sees);
                self.stats.merged += 1;
                Some(known)
            }
            _ => {
                self.cache.insert(block, link, tokens);
                Some(block)
            }
        }
    }
}
