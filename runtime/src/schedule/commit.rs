//! What a step's results change: tokens are added, choices part, drafts are dropped, sequences end.

use super::queue::Scheduler;
use super::sequence::{Place, Rank, Sequence};
use super::step::{CommitError, Results, StepSequence};
use super::{ChoiceId, Reason};
use crate::kv::pool::BlockTable;
use lathe_ir::plan::KV_BLOCK;

impl Scheduler {
    /// Takes the results of the last step.
    ///
    /// # Errors
    /// Results that do not belong to the step; nothing changes then.
    pub fn commit(&mut self, results: &Results) -> Result<(), CommitError> {
        self.check_results(results)?;
        let mut step = std::mem::take(&mut self.step);
        let mut list = 0;
        for part in &step.sequences {
            self.commit_rows(part);
            // Those of the step: others may have been proposed since.
            let drafts = &step.tokens[part.rows.end - part.drafts..part.rows.end];
            // The first choice goes last: the others part from the prompt.
            for more in (0..part.lists).rev() {
                let place = if more > 0 {
                    self.fork(part.place, more)
                } else {
                    part.place
                };
                let (tokens, done) = results.list(list + more as usize);
                self.extend(place, tokens, done, drafts);
            }
            list += part.lists as usize;
        }
        step.clear();
        self.step = step;
        Ok(())
    }

    fn check_results(&self, results: &Results) -> Result<(), CommitError> {
        let want = self.step.sequences.iter().map(|part| part.lists as usize).sum();
        let got = results.len();
        if got != want {
            return Err(CommitError::Lists { got, want });
        }
        let mut list = 0;
        for part in &self.step.sequences {
            let room = self.sequences[part.place].room();
            for _ in 0..part.lists {
                let (tokens, done) = results.list(list);
                if tokens.is_empty() && !done && room > 0 {
                    return Err(CommitError::NoToken { list });
                }
                list += 1;
            }
        }
        Ok(())
    }

    /// The rows of known tokens are computed now.
    fn commit_rows(&mut self, part: &StepSequence) {
        let sequence = &mut self.sequences[part.place];
        sequence.scheduled = false;
        sequence.computed += part.rows.len() - part.drafts;
        self.pool
            .enter(&mut sequence.table, &sequence.tokens[..sequence.computed]);
        self.pool.leave(&mut sequence.table, sequence.computed);
    }

    /// Adds tokens to a sequence. Drafts that were in the step and are among the tokens need not be computed again.
    fn extend(&mut self, place: Place, tokens: &[u32], done: bool, drafts: &[u32]) {
        let sequence = &mut self.sequences[place];
        let tokens = &tokens[..tokens.len().min(sequence.room())];
        let accepted = drafts.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        sequence.tokens.extend_from_slice(tokens);
        sequence.draft.clear();
        sequence.choices = 1;
        sequence.computed += accepted;
        self.stats.accepted += accepted as u64;
        let full = sequence.room() == 0;
        if !done && !full {
            // The logits of the last token are needed, so it is computed once more if it was a draft.
            sequence.computed = sequence.computed.min(sequence.tokens.len() - 1);
        }
        if !drafts.is_empty() {
            self.pool.truncate(&mut sequence.table, sequence.computed);
            self.pool
                .enter(&mut sequence.table, &sequence.tokens[..sequence.computed]);
        }
        if done {
            self.end(place, Reason::Stopped);
        } else if full {
            self.end(place, Reason::Length);
        }
    }

    /// A sequence with the same tokens, which shares what is computed of them. It waits where no slot is free.
    fn fork(&mut self, parent: Place, choice: u32) -> Place {
        self.stats.forks += 1;
        let slot = self.slots.pop();
        let from = &self.sequences[parent];
        let id = ChoiceId { choice, ..from.id() };
        let shared = match slot {
            None => 0,
            Some(_) if self.config.copies => from.computed,
            Some(_) => from.computed / KV_BLOCK as usize * KV_BLOCK as usize,
        };
        let table = match slot {
            None => BlockTable::new(from.namespace),
            Some(_) => self.pool.fork(&from.table, shared),
        };
        let child = Sequence {
            rank: Rank { id, ..from.rank },
            tokens: from.tokens.clone(),
            prompt: from.prompt,
            computed: shared,
            max_new: from.max_new,
            choices: 1,
            deadline: from.deadline,
            namespace: from.namespace,
            every_row: from.every_row,
            table,
            slot,
            draft: Vec::new(),
            cached: from.cached,
            preemptions: 0,
            swapped: None,
            served: from.served,
            scheduled: false,
        };
        self.add(child)
    }
}
