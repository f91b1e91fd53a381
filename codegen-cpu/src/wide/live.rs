//! Liveness: where each virtual register holds a value that is read later, as ranges of positions.
//!
//! Instruction i reads at position 2i and writes at 2i + 1. A range is half open; a register that dies at an instruction
//! and one that it writes do not overlap, so that they can share a machine register.

use super::mir::{Function, Label, MInst, MOp};
use std::collections::HashMap;

/// A half-open range of positions.
pub(super) type Range = (u32, u32);

/// A run of instructions that is entered at its first and left at its last.
struct Block {
    first: usize,
    last: usize,
    successors: [Option<usize>; 2],
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(len: usize) -> Set {
        Set(vec![0; len.div_ceil(64)])
    }
    fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }
    fn remove(&mut self, i: usize) {
        self.0[i / 64] &= !(1 << (i % 64));
    }
    fn union(&mut self, other: &Set) -> bool {
        let mut grew = false;
        for (word, &more) in self.0.iter_mut().zip(&other.0) {
            grew |= more & !*word != 0;
            *word |= more;
        }
        grew
    }
    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(w, &bits)| {
            let mut rest = bits;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(w * 64 + bit)
            })
        })
    }
}

/// The ranges of every register, in ascending order.
pub(super) fn ranges(function: &Function) -> Vec<Vec<Range>> {
    let (code, count) = (&function.code, function.vregs.len());
    let blocks = blocks(code);
    let live_out = live_out(code, &blocks, count);
    let mut ranges: Vec<Vec<Range>> = vec![Vec::new(); count];
    // Backwards, so that ranges come in descending order; `end` is where the open range of a register ends.
    let mut end: Vec<Option<u32>> = vec![None; count];
    for (block, out) in blocks.iter().zip(&live_out).rev() {
        for r in out.iter() {
            end[r] = Some(2 * block.last as u32 + 2);
        }
        for i in (block.first..=block.last).rev() {
            let (inst, at) = (&code[i], 2 * i as u32);
            if let Some(dst) = inst.dst {
                let stop = end[dst as usize].take().unwrap_or(at + 2);
                ranges[dst as usize].push((at + 1, stop));
            }
            for r in inst.uses() {
                end[r as usize].get_or_insert(at + 1);
            }
        }
        for (r, end) in end.iter_mut().enumerate() {
            if let Some(stop) = end.take() {
                ranges[r].push((2 * block.first as u32, stop));
            }
        }
    }
    for ranges in &mut ranges {
        ranges.reverse();
        join(ranges);
    }
    ranges
}

/// Joins ranges that touch.
fn join(ranges: &mut Vec<Range>) {
    ranges.dedup_by(|next, last| {
        let touch = next.0 <= last.1;
        if touch {
            last.1 = last.1.max(next.1);
        }
        touch
    });
}

fn blocks(code: &[MInst]) -> Vec<Block> {
    let mut starts = vec![0];
    for (i, inst) in code.iter().enumerate() {
        match inst.op {
            MOp::Label(_) => starts.push(i),
            MOp::Jump(_) | MOp::Branch(..) | MOp::Return => starts.push(i + 1),
            _ => {}
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|&s| s < code.len());
    let ends = starts.iter().skip(1).copied().chain([code.len()]);
    let mut blocks: Vec<Block> = starts
        .iter()
        .zip(ends)
        .map(|(&first, end)| Block {
            first,
            last: end - 1,
            successors: [None; 2],
        })
        .collect();
    let labels: HashMap<Label, usize> = blocks
        .iter()
        .enumerate()
        .filter_map(|(b, block)| match code[block.first].op {
            MOp::Label(label) => Some((label, b)),
            _ => None,
        })
        .collect();
    for (b, block) in blocks.iter_mut().enumerate() {
        let next = Some(b + 1).filter(|&n| n < starts.len());
        block.successors = match code[block.last].op {
            MOp::Jump(to) => [labels.get(&to).copied(), None],
            MOp::Branch(_, to) => [labels.get(&to).copied(), next],
            MOp::Return => [None; 2],
            _ => [next, None],
        };
    }
    blocks
}

/// The registers that are read after each block before they are written.
fn live_out(code: &[MInst], blocks: &[Block], count: usize) -> Vec<Set> {
    let mut live_in: Vec<Set> = vec![Set::new(count); blocks.len()];
    let mut live_out = live_in.clone();
    loop {
        let mut changed = false;
        for (b, block) in blocks.iter().enumerate().rev() {
            for &next in block.successors.iter().flatten() {
                live_out[b].union(&live_in[next]);
            }
            let mut live = live_out[b].clone();
            for inst in code[block.first..=block.last].iter().rev() {
                if let Some(dst) = inst.dst {
                    live.remove(dst as usize);
                }
                inst.uses().for_each(|r| live.insert(r as usize));
            }
            changed |= live_in[b].union(&live);
        }
        if !changed {
            return live_out;
        }
    }
}

/// Whether two lists of ranges share a position.
pub(super) fn overlap(a: &[Range], b: &[Range]) -> bool {
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].1 <= b[j].0 {
            i += 1;
        } else if b[j].1 <= a[i].0 {
            j += 1;
        } else {
            return true;
        }
    }
    false
}

/// The union of two lists of ranges that share no position.
pub(super) fn merge(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut all: Vec<Range> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    join(&mut all);
    all
}
