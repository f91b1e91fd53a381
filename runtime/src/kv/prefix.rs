//! The prefix cache: full blocks found again by what they hold.
//!
//! What is in a block depends on all tokens up to its end. So a block is known by its own tokens and by the *node* before
//! it: the block that was found or made for the prefix. Nodes are numbered, and no number is ever used again; equal keys
//! thus mean equal prefixes, whatever the hash function does. A search compares the keys, tokens and all: two prefixes
//! that collide are told apart.

use super::pool::Block;
use lathe_ir::plan::KV_BLOCK;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// The tokens of one full block.
pub type BlockTokens = [u32; KV_BLOCK as usize];

/// What stands before a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// Nothing: the sequence starts here. Sequences of different namespaces (such as adapters or users) share nothing.
    Root(u64),
    /// The block that was entered as this node.
    Node(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    link: Link,
    tokens: BlockTokens,
}

/// Full blocks by their content. `S` hashes the keys; it can make the cache slow, but never wrong.
#[derive(Clone, Debug)]
pub struct PrefixCache<S = RandomState> {
    found: HashMap<Key, Block, S>,
    /// The node and key of each block that is in the cache.
    entries: Vec<Option<(u64, Key)>>,
    next_node: u64,
}

impl<S: BuildHasher> PrefixCache<S> {
    /// An empty cache for a pool of `blocks` blocks.
    pub fn with_hasher(blocks: u32, hasher: S) -> PrefixCache<S> {
        PrefixCache {
            found: HashMap::with_hasher(hasher),
            entries: vec![None; blocks as usize],
            next_node: 0,
        }
    }

    /// The block that holds `tokens` after `link`.
    pub fn find(&self, link: Link, tokens: &BlockTokens) -> Option<Block> {
        let key = Key {
            link,
            tokens: *tokens,
        };
        self.found.get(&key).copied()
    }

    /// What a block that follows `block` is linked to; `None` where `block` is not in the cache.
    pub fn link_of(&self, block: Block) -> Option<Link> {
        self.entries[block.index()].map(|(node, _)| Link::Node(node))
    }

    /// Whether a block can be found.
    pub fn contains(&self, block: Block) -> bool {
        self.entries[block.index()].is_some()
    }

    /// The number of blocks that can be found.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether no block can be found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Enters a block that is not in the cache. Nothing happens where another one has the same content.
    pub fn insert(&mut self, block: Block, link: Link, tokens: &BlockTokens) {
        let key = Key {
            link,
            tokens: *tokens,
        };
        if self.contains(block) || self.found.contains_key(&key) {
            return;
        }
        self.entries[block.index()] = Some((self.next_node, key));
        self.next_node += 1;
        self.found.insert(key, block);
    }

    /// Forgets what a block holds. Returns whether it was in the cache.
    pub fn remove(&mut self, block: Block) -> bool {
        let entry = self.entries[block.index()].take();
        entry.is_some_and(|(_, key)| self.found.remove(&key).is_some())
    }
}
