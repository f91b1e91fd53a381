//! How a step is filled: decoding, prefill, admission, drafts.

use super::queue::Scheduler;
use super::sequence::Place;
use super::step::{Step, StepSequence};
use super::swap::Move;
use crate::kv::pool::{Block, Prefix};
use lathe_ir::plan::KV_BLOCK;
use std::time::Duration;

/// What is left of a step.
struct Room {
    rows: usize,
    outputs: usize,
}

impl Scheduler {
    /// Makes the next step; an empty one if there is nothing to do. Ends what was cancelled or is past its deadline. A step
    /// before this that was not committed is as if it had not been made, but for its moves, which must have been made.
    pub fn schedule(&mut self, now: Duration) -> &Step {
        self.forget_step();
        self.end_unwanted(now);
        let limits = self.config.limits;
        let mut room = Room {
            rows: self.config.budget.min(limits.tokens) as usize,
            outputs: limits.outputs as usize,
        };
        let preempted = self.stats.preemptions;
        self.serve_decoding(&mut room);
        self.serve_prefill(&mut room);
        // After a preemption blocks are too scarce to give them to others at once.
        if preempted == self.stats.preemptions {
            self.admit(&mut room);
        }
        self.add_drafts(&mut room);
        self.write_rows();
        &self.step
    }

    fn forget_step(&mut self) {
        for part in &self.step.sequences {
            let sequence = &mut self.sequences[part.place];
            sequence.scheduled = false;
            if part.drafts > 0 {
                self.pool.truncate(&mut sequence.table, sequence.tokens.len());
            }
        }
        self.step.clear();
    }

    /// Rows for the sequences that have one token left to compute; first for those served least lately if not for all.
    fn serve_decoding(&mut self, room: &mut Room) {
        let mut picked = std::mem::take(&mut self.scratch);
        let ready = self.running.iter().filter(|&&p| self.sequences[p].left() == 1);
        picked.extend(ready.copied());
        if picked.len() > room.rows.min(room.outputs) {
            picked.sort_by_key(|&p| (self.sequences[p].served, self.sequences[p].rank));
        }
        for place in picked.drain(..) {
            self.serve(place, room);
        }
        self.scratch = picked;
    }

    /// Chunks for the sequences that have more left, best rank first.
    fn serve_prefill(&mut self, room: &mut Room) {
        let mut picked = std::mem::take(&mut self.scratch);
        let ready = self.running.iter().filter(|&&p| self.sequences[p].left() > 1);
        picked.extend(ready.copied());
        for place in picked.drain(..) {
            self.serve(place, room);
        }
        self.scratch = picked;
    }

    /// Puts as many rows of a running sequence into the step as there is room for; none if it gave up its blocks before,
    /// or must do so now.
    fn serve(&mut self, place: Place, room: &mut Room) {
        let sequence = &self.sequences[place];
        let Some(slot) = sequence.slot else { return };
        let left = sequence.left();
        let mut rows = left.min(room.rows);
        if sequence.every_row {
            rows = rows.min(room.outputs);
        } else if rows == left && room.outputs == 0 {
            rows -= 1;
        }
        if rows == 0 || !self.reserve(place, rows) {
            return;
        }
        self.stats.steps += u64::from(self.step.is_empty());
        let sequence = &mut self.sequences[place];
        let last = rows == left;
        let outputs = if sequence.every_row {
            rows
        } else {
            usize::from(last)
        };
        sequence.scheduled = true;
        sequence.served = self.stats.steps;
        room.rows -= rows;
        room.outputs -= outputs;
        self.step.sequences.push(StepSequence {
            place,
            id: sequence.id(),
            slot,
            start: sequence.computed,
            rows: 0..rows,
            drafts: 0,
            outputs: 0..outputs,
            lists: if last { sequence.choices } else { 0 },
        });
    }

    /// Blocks for the next `rows` rows of a sequence. Returns whether it has them: where none are free, the worst-ranked
    /// sequence outside the step gives up its own, which may be this one.
    fn reserve(&mut self, place: Place, rows: usize) -> bool {
        loop {
            let sequence = &mut self.sequences[place];
            let write = sequence.computed..sequence.computed + rows;
            let table = &mut sequence.table;
            let reserved = self.pool.reserve(table, write.clone(), &mut self.copies);
            self.moves.extend(self.copies.drain(..).map(Move::Copy));
            if reserved && self.pool.open_windows(table, write) {
                return true;
            }
            let outside = |&&other: &&Place| !self.sequences[other].scheduled;
            let Some(&victim) = self.running.iter().rev().find(outside) else {
                return false;
            };
            self.preempt(victim);
            if victim == place {
                return false;
            }
        }
    }

    /// Lets sequences run while they fit, best rank first, and gives them their first rows.
    fn admit(&mut self, room: &mut Room) {
        while room.rows > 0 {
            let Some(&(rank, place)) = self.waiting.first() else {
                return;
            };
            if !self.fits(place) {
                return;
            }
            let Some(slot) = self.slots.pop() else { return };
            self.waiting.remove(&(rank, place));
            let sequence = &mut self.sequences[place];
            sequence.slot = Some(slot);
            sequence.computed = match sequence.every_row {
                true => 0,
                false => self.pool.attach(&mut sequence.table, &sequence.tokens),
            };
            sequence.cached.get_or_insert(sequence.computed);
            let write = sequence.computed..sequence.tokens.len();
            let all = self.pool.reserve(&mut sequence.table, write, &mut self.copies);
            debug_assert!(
                all && self.copies.is_empty(),
                "blocks were counted, and are whole"
            );
            self.swap_in(place);
            self.stats.admissions += 1;
            self.run(place);
            self.serve(place, room);
        }
    }

    /// Whether there are free blocks for all tokens of a sequence, and the headroom of those that run.
    fn fits(&self, place: Place) -> bool {
        let sequence = &self.sequences[place];
        let found = match sequence.every_row {
            true => Prefix::default(),
            false => self.pool.lookup(sequence.namespace, &sequence.tokens),
        };
        let all = sequence.tokens.len().div_ceil(KV_BLOCK as usize);
        let headroom = self.running.len() * self.config.headroom as usize;
        let rows = self.config.budget.min(self.config.limits.tokens) as usize;
        all - found.blocks + found.free + headroom <= self.pool.free()
            && self.pool.windows_suffice(all, rows, headroom)
    }

    /// Adds rows for proposed tokens to the sequences that come to their last token.
    fn add_drafts(&mut self, room: &mut Room) {
        for part in &mut self.step.sequences {
            let sequence = &mut self.sequences[part.place];
            if part.lists != 1 || sequence.draft.is_empty() {
                continue;
            }
            let useful = sequence.draft.len().min(sequence.room().saturating_sub(1));
            let mut count = useful.min(room.rows).min(room.outputs);
            let len = sequence.tokens.len();
            let reserved = self
                .pool
                .reserve(&mut sequence.table, len..len + count, &mut self.copies);
            self.moves.extend(self.copies.drain(..).map(Move::Copy));
            if !reserved {
                // What the last block holds beside the tokens needs no free block.
                count = count.min(sequence.table.positions() - len);
            }
            if !self.pool.open_windows(&sequence.table, len..len + count) {
                count = count.min(len.next_multiple_of(KV_BLOCK as usize) - len);
            }
            part.drafts = count;
            part.rows.end += count;
            part.outputs.end += count;
            room.rows -= count;
            room.outputs -= count;
        }
    }

    /// Writes the batch of the sequences picked.
    fn write_rows(&mut self) {
        let width = self.config.limits.blocks_per_seq() as usize;
        let step = &mut self.step;
        for part in &mut step.sequences {
            let sequence = &self.sequences[part.place];
            let (first, rows, outputs) = (step.tokens.len(), part.rows.len(), part.outputs.len());
            let known = &sequence.tokens[part.start..part.start + rows - part.drafts];
            step.tokens.extend_from_slice(known);
            step.tokens.extend_from_slice(&sequence.draft[..part.drafts]);
            step.positions
                .extend((part.start..part.start + rows).map(|p| p as u32));
            step.seqs.extend(std::iter::repeat_n(part.slot, rows));
            part.outputs = step.outputs.len()..step.outputs.len() + outputs;
            part.rows = first..first + rows;
            step.outputs
                .extend((part.rows.end - outputs..part.rows.end).map(|r| r as u32));
            let row = &mut step.table[part.slot as usize * width..][..width];
            for (entry, block) in row.iter_mut().zip(sequence.table.blocks()) {
                *entry = block.number();
            }
            if !step.window_table.is_empty() {
                let row = &mut step.window_table[part.slot as usize * width..][..width];
                for (entry, &block) in row.iter_mut().zip(sequence.table.blocks()) {
                    *entry = self.pool.window_of(block).map_or(0, Block::number);
                }
            }
            self.stats.drafts += part.drafts as u64;
        }
        self.stats.rows += step.tokens.len() as u64;
        self.stats.outputs += step.outputs.len() as u64;
    }
}
