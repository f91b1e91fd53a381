//! Tests of the block pool and the prefix cache, some with a hash function that tells nothing apart.

use super::pool::{Block, BlockCopy, BlockPool, BlockTable, Prefix};
use proptest::prelude::*;
use std::hash::{BuildHasherDefault, Hasher};

/// Every key collides with every other.
#[derive(Default)]
struct Weak;

impl Hasher for Weak {
    fn finish(&self) -> u64 {
        0
    }
    fn write(&mut self, _: &[u8]) {}
}

type WeakPool = BlockPool<BuildHasherDefault<Weak>>;

fn weak(blocks: u32) -> WeakPool {
    BlockPool::with_hasher(blocks, BuildHasherDefault::default())
}

fn numbers(table: &BlockTable) -> Vec<u32> {
    table.blocks().iter().map(|b| b.number()).collect()
}

/// A table of a sequence that was computed whole.
fn computed(pool: &mut WeakPool, namespace: u64, tokens: &[u32]) -> BlockTable {
    let mut table = BlockTable::new(namespace);
    let start = pool.attach(&mut table, tokens);
    assert!(pool.reserve(&mut table, start..tokens.len(), &mut Vec::new()));
    pool.enter(&mut table, tokens);
    table
}

fn find(pool: &mut WeakPool, namespace: u64, tokens: &[u32]) -> usize {
    let mut table = BlockTable::new(namespace);
    let found = pool.attach(&mut table, tokens);
    pool.release(&mut table);
    found
}

fn ramp(from: u32, len: usize) -> Vec<u32> {
    (from..).take(len).collect()
}

#[test]
fn reserve_is_all_or_nothing() {
    let mut pool = weak(3);
    let (mut table, mut copies) = (BlockTable::new(0), Vec::new());
    assert!(pool.reserve(&mut table, 0..33, &mut copies));
    assert_eq!((numbers(&table), pool.free()), (vec![0, 1], 1));
    assert!(!pool.reserve(&mut table, 33..129, &mut copies));
    assert_eq!((table.positions(), pool.free()), (64, 1));
    assert!(pool.reserve(&mut table, 33..96, &mut copies));
    pool.truncate(&mut table, 32);
    assert_eq!((numbers(&table), pool.free()), (vec![0], 2));
    assert!(
        pool.reserve(&mut table, 32..32, &mut copies),
        "nothing to write, nothing to do"
    );
    assert_eq!((numbers(&table), copies), (vec![0], vec![]));
    pool.release(&mut table);
    assert_eq!(pool.free(), 3);
}

#[test]
fn a_prefix_is_found_while_held_and_when_free() {
    let mut pool = weak(8);
    let tokens = ramp(0, 80);
    let mut table = computed(&mut pool, 0, &tokens);
    assert_eq!(pool.cache().len(), 2, "the third block is not full");
    let whole = Prefix { blocks: 2, free: 0 };
    assert_eq!(pool.lookup(0, &tokens), whole);
    assert_eq!(find(&mut pool, 0, &tokens), 64);
    pool.release(&mut table);
    assert_eq!(pool.free(), 8);
    assert_eq!(pool.lookup(0, &tokens), Prefix { free: 2, ..whole });
    assert_eq!(find(&mut pool, 0, &tokens), 64);
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses), (4, 2));
}

#[test]
fn one_token_is_left_to_compute() {
    let mut pool = weak(8);
    let mut table = computed(&mut pool, 0, &ramp(0, 64));
    pool.release(&mut table);
    for (len, found) in [
        (0, 0),
        (1, 0),
        (32, 0),
        (33, 32),
        (63, 32),
        (64, 32),
        (65, 64),
        (70, 64),
    ] {
        assert_eq!(find(&mut pool, 0, &ramp(0, len)), found, "{len} tokens");
    }
}

#[test]
fn collisions_are_told_apart() {
    let mut pool = weak(16);
    // The second blocks are equal, the first are not: what they hold differs.
    let (mut a, mut b) = (ramp(0, 33), ramp(500, 33));
    a.extend(ramp(1000, 40));
    b.extend(ramp(1000, 40));
    let mut held = computed(&mut pool, 0, &a);
    assert_eq!(find(&mut pool, 0, &b), 0);
    let mut other = computed(&mut pool, 0, &b);
    assert_eq!(find(&mut pool, 0, &a), 64);
    assert_eq!(find(&mut pool, 0, &b), 64);
    assert!(
        held.blocks()[..2]
            .iter()
            .all(|block| !other.blocks().contains(block))
    );
    for at in 0..64 {
        let mut near = a.clone();
        near[at] ^= 1;
        assert_eq!(find(&mut pool, 0, &near), at / 32 * 32, "token {at} differs");
    }
    // The second block alone, as a start; and the first block twice.
    assert_eq!(find(&mut pool, 0, &a[32..]), 0);
    let twice = [&a[..32], &a[..33]].concat();
    assert_eq!(find(&mut pool, 0, &twice), 32);
    assert_eq!(find(&mut pool, 1, &a), 0, "another namespace");
    let mut apart = computed(&mut pool, 1, &a);
    assert!(held.blocks().iter().all(|block| !apart.blocks().contains(block)));
    pool.release(&mut apart);
    pool.release(&mut held);
    pool.release(&mut other);
}

#[test]
fn a_reused_block_is_no_longer_found_nor_what_followed_it() {
    let mut pool = weak(3);
    let (first, second) = (ramp(0, 96), ramp(900, 64));
    let mut table = computed(&mut pool, 0, &first);
    pool.release(&mut table);
    let mut table = computed(&mut pool, 0, &second);
    assert_eq!(pool.stats().evictions, 2, "the ends of the first sequence");
    assert_eq!(find(&mut pool, 0, &first), 32);
    pool.release(&mut table);
    // The first block comes back as a new node: stale followers would be linked to the old one.
    let mut table = computed(&mut pool, 0, &ramp(2000, 96));
    pool.release(&mut table);
    assert_eq!((find(&mut pool, 0, &first), find(&mut pool, 0, &second)), (0, 0));
}

#[test]
fn what_nobody_holds_is_forgotten_on_demand() {
    let mut pool = weak(8);
    let mut held = computed(&mut pool, 0, &ramp(0, 64));
    let mut free = computed(&mut pool, 0, &ramp(0, 130));
    pool.release(&mut free);
    pool.forget();
    assert_eq!((pool.cache().len(), find(&mut pool, 0, &ramp(0, 130))), (2, 64));
    let mut again = computed(&mut pool, 0, &ramp(0, 130));
    assert_eq!(
        (find(&mut pool, 0, &ramp(0, 130)), pool.stats().evictions),
        (128, 0)
    );
    pool.release(&mut held);
    pool.release(&mut again);
    pool.forget();
    assert_eq!((pool.cache().is_empty(), pool.free()), (true, 8));
}

#[test]
fn equal_blocks_become_one() {
    let mut pool = weak(8);
    let tokens = ramp(0, 70);
    let (mut a, mut b) = (BlockTable::new(0), BlockTable::new(0));
    for table in [&mut a, &mut b] {
        assert!(pool.reserve(table, 0..70, &mut Vec::new()));
    }
    assert_eq!(pool.free(), 2);
    pool.enter(&mut a, &tokens);
    pool.enter(&mut b, &tokens);
    assert_eq!((pool.free(), pool.stats().merged), (4, 2));
    assert_eq!(
        (&a.blocks()[..2], a.blocks()[2] == b.blocks()[2]),
        (&b.blocks()[..2], false)
    );
    pool.release(&mut a);
    pool.release(&mut b);
    assert_eq!(pool.free(), 8);
}

#[test]
fn a_fork_copies_the_part_block_when_it_writes() {
    let mut pool = weak(6);
    let mut parent = computed(&mut pool, 0, &ramp(0, 40));
    let mut child = pool.fork(&parent, 40);
    let mut copies = Vec::new();
    assert!(pool.reserve(&mut child, 40..41, &mut copies));
    let (from, to) = (parent.blocks()[1], child.blocks()[1]);
    assert_eq!(
        copies,
        [BlockCopy {
            from,
            to,
            window: None,
        }]
    );
    assert_ne!(from, to);
    assert_eq!(parent.blocks()[0], child.blocks()[0]);
    // The last holder writes in place.
    assert!(pool.reserve(&mut parent, 40..41, &mut copies));
    assert_eq!((copies.len(), parent.blocks()[1]), (1, from));
    // At a boundary nothing is copied.
    let mut even = pool.fork(&parent, 32);
    assert!(pool.reserve(&mut even, 32..33, &mut copies));
    assert_eq!(copies.len(), 1);
    for table in [&mut parent, &mut child, &mut even] {
        pool.release(table);
    }
    assert_eq!(pool.free(), 6);
}

#[test]
fn a_write_into_a_findable_block_leaves_it_alone() {
    let mut pool = weak(4);
    let tokens = ramp(0, 64);
    let mut table = computed(&mut pool, 0, &tokens);
    let old: Vec<Block> = table.blocks().to_vec();
    pool.truncate(&mut table, 40);
    let mut copies = Vec::new();
    assert!(pool.reserve(&mut table, 40..50, &mut copies));
    assert_eq!(
        copies,
        [BlockCopy {
            from: old[1],
            to: table.blocks()[1],
            window: None,
        }]
    );
    assert_eq!(
        find(&mut pool, 0, &ramp(0, 65)),
        64,
        "what was there is still found"
    );
    let mut changed = ramp(0, 40);
    changed.extend(ramp(700, 24));
    pool.enter(&mut table, &changed);
    changed.push(0);
    assert_eq!(find(&mut pool, 0, &changed), 64);
    pool.release(&mut table);
    assert_eq!(pool.free(), 4);
}

/// A pool beside a model of it: what each block holds, as the tokens up to each position.
fn check_against_contents(ops: &[(u8, usize, usize)]) {
    let mut pool = weak(12);
    let mut content: Vec<Vec<Vec<u32>>> = vec![vec![vec![]; 32]; 12];
    let mut sequences: Vec<(BlockTable, Vec<u32>)> = Vec::new();
    for &(op, a, b) in ops {
        let at = a % sequences.len().max(1);
        match op {
            // Starts one of a few prompts that share prefixes, or forks, or goes on, or goes back, or ends.
            0 => {
                let tokens: Vec<u32> = (0..b as u32 % 100)
                    .map(|i| i.min(40) + u32::from(i as usize > a))
                    .collect();
                let mut table = BlockTable::new(0);
                let kept = pool.attach(&mut table, &tokens);
                sequences.push((table, tokens[..kept].to_vec()));
            }
            1 if !sequences.is_empty() => {
                let (table, tokens) = &sequences[at];
                let keep = b % (tokens.len() + 1);
                let fork = (pool.fork(table, keep), tokens[..keep].to_vec());
                sequences.push(fork);
            }
            2 if !sequences.is_empty() => {
                let (table, tokens) = &mut sequences[at];
                let (start, mut copies) = (tokens.len(), Vec::new());
                if pool.reserve(table, start..start + b % 50, &mut copies) {
                    for copy in copies {
                        content[copy.to.index()] = content[copy.from.index()].clone();
                    }
                    for p in start..start + b % 50 {
                        tokens.push((p as u32).min(40) + u32::from(p > a));
                        let block = table.blocks()[p / 32];
                        assert!(pool.writable(block));
                        content[block.index()][p % 32] = tokens.clone();
                    }
                    pool.enter(table, tokens);
                }
            }
            3 if !sequences.is_empty() => {
                let (table, tokens) = &mut sequences[at];
                tokens.truncate(b);
                pool.truncate(table, tokens.len());
            }
            4 if !sequences.is_empty() => pool.release(&mut sequences.swap_remove(at).0),
            _ => {}
        }
        for (table, tokens) in &sequences {
            for p in 0..tokens.len() {
                let block = table.blocks()[p / 32];
                assert_eq!(content[block.index()][p % 32], tokens[..=p]);
            }
        }
        let held: usize = (0..12).filter(|&b| pool.references(Block(b)) > 0).count();
        assert_eq!(held + pool.free(), 12);
    }
    sequences.iter_mut().for_each(|(table, _)| pool.release(table));
    assert_eq!(pool.free(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_sequence_sees_its_own_tokens(ops in prop::collection::vec((0u8..5, 0usize..60, 0usize..100), 1..60)) {
        check_against_contents(&ops);
    }
}
