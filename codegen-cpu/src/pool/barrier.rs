//! A barrier that threads meet at many times a millisecond.
//!
//! Threads arrive at the leaves of a tree, [`FAN`] at each; the last one at a node goes on to its parent, and the last
//! one at the root starts the next generation, for which all others wait. So no counter is written by more than `FAN`
//! threads, and up to `FAN` threads share a single one: with 64 threads the critical path is two counters of eight
//! instead of one of 64. Every counter, and the generation that waiting threads read, has a cache line of its own, so
//! that an arrival does not take the line away from those that wait. Threads of a NUMA node have neighbouring numbers
//! and mostly meet among themselves first. A thread without work in a step does nothing but arrive.

use super::Waiter;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Threads, or nodes, that meet at one node.
const FAN: usize = 8;

/// A value on cache lines of its own: processors fetch pairs of 64 bytes, and some have lines of 128.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Line<T>(T);

impl<T> Deref for Line<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Where threads, or the last ones of other nodes, arrive.
struct Node {
    arrived: AtomicUsize,
    /// How many arrive in a generation.
    expected: usize,
    /// The number of the node where the last one arrives next; none for the root.
    parent: Option<usize>,
}

/// A meeting place for a fixed number of threads.
pub(super) struct Barrier {
    /// The leaves first, then level after level up to the root.
    nodes: Vec<Line<Node>>,
    generation: Line<AtomicUsize>,
    broken: Line<AtomicBool>,
}

impl Barrier {
    /// For `threads` threads, at least one.
    pub(super) fn new(threads: usize) -> Barrier {
        let mut nodes = Vec::new();
        let mut arriving = threads.max(1);
        loop {
            let level = arriving.div_ceil(FAN);
            let above = nodes.len() + level;
            for node in 0..level {
                nodes.push(Line(Node {
                    arrived: AtomicUsize::new(0),
                    expected: FAN.min(arriving - node * FAN),
                    parent: (level > 1).then_some(above + node / FAN),
                }));
            }
            if level == 1 {
                break;
            }
            arriving = level;
        }
        Barrier {
            nodes,
            generation: Line::default(),
            broken: Line::default(),
        }
    }

    /// Waits until every thread has come; `thread` is the number of this one.
    ///
    /// # Panics
    /// Where a thread has broken the barrier up: not all will come.
    pub(super) fn wait(&self, thread: usize) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrive(thread / FAN) {
            self.generation
                .store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut wait = Waiter::default();
        while self.generation.load(Ordering::Acquire) == generation {
            if self.broken.load(Ordering::Acquire) {
                panic!("another thread of the pool panicked");
            }
            wait.pause();
        }
    }

    /// Arrives at a node, and above it where this is the last one there; says whether it is the last of all.
    fn arrive(&self, mut node: usize) -> bool {
        loop {
            let here = &self.nodes[node];
            if here.arrived.fetch_add(1, Ordering::AcqRel) + 1 < here.expected {
                return false;
            }
            // Nobody arrives here again before the next generation, which begins later.
            here.arrived.store(0, Ordering::Relaxed);
            match here.parent {
                Some(parent) => node = parent,
                None => return true,
            }
        }
    }

    /// Tells waiting threads that this one does not come.
    pub(super) fn break_up(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Readies the barrier for the next job while no thread is in it; says whether it was broken up.
    pub(super) fn reset(&self) -> bool {
        for node in &self.nodes {
            node.arrived.store(0, Ordering::Relaxed);
        }
        self.broken.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_node_expects_those_beneath_it() {
        for threads in (1..=FAN * FAN * FAN + 1).step_by(7).chain([FAN, FAN + 1, 64, 65]) {
            let barrier = Barrier::new(threads);
            let leaves = threads.div_ceil(FAN);
            let mut beneath = vec![0; barrier.nodes.len()];
            (0..threads).for_each(|thread| beneath[thread / FAN] += 1);
            for (number, node) in barrier.nodes.iter().enumerate() {
                if let Some(parent) = node.parent {
                    assert!(parent >= leaves && parent > number);
                    beneath[parent] += 1;
                }
            }
            for (node, beneath) in barrier.nodes.iter().zip(beneath) {
                assert_eq!(node.expected, beneath, "{threads} threads");
                assert!(node.expected <= FAN);
            }
            let roots = barrier.nodes.iter().filter(|n| n.parent.is_none()).count();
            assert_eq!(roots, 1);
        }
    }

    #[test]
    fn counters_share_no_cache_line() {
        assert_eq!(
            (size_of::<Line<Node>>(), align_of::<Line<AtomicUsize>>()),
            (128, 128)
        );
    }

    proptest! {
        /// Whatever the order of arrival, the last one, and it alone, opens the barrier; and again in the next round.
        #[test]
        fn the_last_arrival_opens_the_barrier(
            order in (1usize..200).prop_flat_map(|n| Just((0..n).collect::<Vec<_>>()).prop_shuffle()),
        ) {
            let barrier = Barrier::new(order.len());
            for _ in 0..2 {
                let opened: Vec<bool> = order.iter().map(|&thread| barrier.arrive(thread / FAN)).collect();
                let (last, others) = opened.split_last().unwrap();
                prop_assert!(*last && others.iter().all(|o| !o));
            }
        }
    }
}
