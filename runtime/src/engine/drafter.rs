//! A smaller model of the same vocabulary that writes ahead what the model then checks in one step.
//!
//! It picks tokens just as the model's own sampler would: with a copy of it, at the same place of the same random sequence,
//! and under the same constraint. So where the two models agree on a distribution the drafts are right, and what is made
//! does not depend on them. Where it is in doubt its drafts are often wrong: what it picks then is the last.

use crate::constrain::Guide;
use crate::error::Error;
use crate::kv::pool::{BlockPool, BlockTable};
use crate::sampling::{Candidates, Restriction, Sampler, lead};
use crate::schedule::{ChoiceId, context};
use lathe_ir::backend::{Batch, Executable};
use std::collections::HashMap;

/// By how much a draft's logit is above all others at least, if more are to follow.
const DOUBT: f32 = 2.0;
/// Rows of a sequence that are no more than what was made of drafts before.
const FEW: usize = 2;

/// A sequence that drafts are wanted for.
pub(super) struct Wanted<'a> {
    pub id: ChoiceId,
    /// All its tokens.
    pub history: Vec<u32>,
    pub sampler: Sampler,
    pub guide: Option<&'a mut Guide>,
    /// Tokens that end it.
    pub stop_tokens: &'a [u32],
    /// Most tokens to draft.
    pub most: usize,
    /// The drafts, of which none are there before.
    pub drafts: Vec<u32>,
}

/// What the smaller model knows of a sequence.
struct Known {
    table: BlockTable,
    /// Tokens whose keys and values are there.
    computed: Vec<u32>,
    slot: u32,
    /// When it was last used.
    used: u64,
}

/// The smaller model.
pub(super) struct Drafter {
    executable: Box<dyn Executable>,
    pool: BlockPool,
    known: HashMap<ChoiceId, Known>,
    slots: Vec<u32>,
    /// `[slots][blocks of a sequence]`.
    tables: Vec<u32>,
    rounds: u64,
}

/// Rows of a step, and whose logits they give.
#[derive(Default)]
struct Rows {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    seqs: Vec<u32>,
    outputs: Vec<u32>,
    /// Which of the sequences wanted each output is of.
    of: Vec<usize>,
}

impl Drafter {
    pub(super) fn new(executable: Box<dyn Executable>) -> Drafter {
        let limits = executable.limits();
        Drafter {
            pool: BlockPool::new(executable.kv_blocks()),
            known: HashMap::new(),
            slots: (0..limits.seqs).rev().collect(),
            tables: vec![0; limits.seqs as usize * limits.blocks_per_seq() as usize],
            rounds: 0,
            executable,
        }
    }

    /// Forgets a sequence that ended; what is known of its beginning can be found again.
    pub(super) fn forget(&mut self, id: ChoiceId) {
        if let Some(mut known) = self.known.remove(&id) {
            self.pool.enter(&mut known.table, &known.computed);
            self.pool.release(&mut known.table);
            self.slots.push(known.slot);
        }
    }

    /// Drafts for as many of these sequences as there is room for. Returns whether it had more to compute than drafts, such
    /// as a prompt.
    ///
    /// # Errors
    /// Where a step breaks a bound of the smaller model's plan.
    pub(super) fn draft(
        &mut self,
        wanted: &mut [Wanted],
        candidates: &mut Candidates,
    ) -> Result<bool, Error> {
        self.rounds += 1;
        let ready: Vec<bool> = wanted.iter().map(|w| self.prepare(w)).collect::<Result<_, _>>()?;
        let open = |w: &Wanted| {
            w.drafts.len() < w.most && !w.drafts.last().is_some_and(|t| w.stop_tokens.contains(t))
        };
        let mut going: Vec<usize> = (0..wanted.len())
            .filter(|&i| ready[i] && wanted[i].most > 0)
            .collect();
        let mut caught_up = false;
        while !going.is_empty() {
            let rows = self.rows(wanted, &going);
            caught_up |= rows.tokens.len() > FEW * going.len();
            let batch = Batch {
                tokens: &rows.tokens,
                positions: &rows.positions,
                seqs: &rows.seqs,
                outputs: &rows.outputs,
                block_tables: &self.tables,
                window_tables: &[],
            };
            self.executable.run(&batch)?;
            let width = self.executable.width() as usize;
            for (row, &which) in rows.of.iter().enumerate() {
                let logits = &self.executable.output()[row * width..][..width];
                if !pick(&mut wanted[which], logits, candidates) {
                    going.retain(|&i| i != which);
                }
            }
            going.retain(|&i| open(&wanted[i]));
        }
        let guides = wanted.iter_mut().filter_map(|w| w.guide.as_mut());
        guides.for_each(|guide| guide.back());
        Ok(caught_up)
    }

    /// Makes room for what a sequence has and gets. Returns whether there is any.
    fn prepare(&mut self, wanted: &Wanted) -> Result<bool, Error> {
        let end = wanted.history.len() + wanted.most;
        let limit = context(self.executable.limits(), self.executable.kv_blocks());
        if end > limit || !self.admit(wanted) {
            return Ok(false);
        }
        loop {
            let Some(known) = self.known.get_mut(&wanted.id) else {
                return Ok(false);
            };
            known.used = self.rounds;
            // The last token's logits are needed, so it is computed again if it was a draft.
            let same = known
                .computed
                .iter()
                .zip(&wanted.history)
                .take_while(|(a, b)| a == b)
                .count();
            known.computed.truncate(same.min(wanted.history.len() - 1));
            let start = known.computed.len();
            self.pool.truncate(&mut known.table, start);
            let mut copies = Vec::new();
            if self.pool.reserve(&mut known.table, start..end, &mut copies) {
                for copy in copies {
                    self.executable.copy_block(copy.from.number(), copy.to.number())?;
                }
                let row = known.slot as usize * self.executable.limits().blocks_per_seq() as usize;
                let blocks = known.table.blocks().iter().map(|block| block.number());
                self.tables[row..]
                    .iter_mut()
                    .zip(blocks)
                    .for_each(|(entry, block)| *entry = block);
                return Ok(true);
            }
            if !self.make_room() {
                return Ok(false);
            }
        }
    }

    /// Takes a sequence in, with what is known of its beginning.
    fn admit(&mut self, wanted: &Wanted) -> bool {
        if self.known.contains_key(&wanted.id) {
            return true;
        }
        if self.slots.is_empty() && !self.make_room() {
            return false;
        }
        let Some(slot) = self.slots.pop() else {
            return false;
        };
        let mut table = BlockTable::new(0);
        let found = self.pool.attach(&mut table, &wanted.history);
        let computed = wanted.history[..found].to_vec();
        let known = Known {
            table,
            computed,
            slot,
            used: self.rounds,
        };
        self.known.insert(wanted.id, known);
        true
    }

    /// Forgets the sequence that was used least lately, but none of this round.
    fn make_room(&mut self) -> bool {
        let old = self.known.iter().filter(|(_, known)| known.used < self.rounds);
        let oldest = old.min_by_key(|(_, known)| known.used).map(|(&id, _)| id);
        oldest.map(|id| self.forget(id)).is_some()
    }

    /// The next rows of the sequences that go on: what is not computed of each, as far as there is room in a step.
    fn rows(&mut self, wanted: &[Wanted], going: &[usize]) -> Rows {
        let limits = self.executable.limits();
        let mut rows = Rows::default();
        for &which in going {
            let w = &wanted[which];
            let Some(known) = self.known.get_mut(&w.id) else {
                continue;
            };
            let (start, end) = (known.computed.len(), w.history.len() + w.drafts.len());
            let full = rows.outputs.len() == limits.outputs as usize;
            let room = limits.tokens as usize - rows.tokens.len();
            // The last row waits where there is no room for its logits.
            let take = (end - start - usize::from(full)).min(room);
            let tokens = w.history.iter().chain(&w.drafts).skip(start).take(take);
            known.computed.extend(tokens.clone());
            rows.tokens.extend(tokens);
            rows.positions
                .extend((start..start + take).map(|position| position as u32));
            rows.seqs.extend(std::iter::repeat_n(known.slot, take));
            if take > 0 && start + take == end {
                rows.outputs.push(rows.tokens.len() as u32 - 1);
                rows.of.push(which);
            }
        }
        rows
    }
}

/// Picks a draft as the model will; returns whether more may follow.
fn pick(wanted: &mut Wanted, logits: &[f32], candidates: &mut Candidates) -> bool {
    let forced = wanted
        .guide
        .as_mut()
        .and_then(|guide| guide.forced().first().copied());
    let mask = match wanted.guide.as_mut().map(|guide| guide.mask()) {
        Some(Ok(mask)) => mask,
        // The model's own pick will tell.
        Some(Err(_)) => return false,
        None => None,
    };
    let restriction = Restriction {
        allowed: mask,
        ..Restriction::default()
    };
    let known = wanted.history.len();
    wanted.history.extend(&wanted.drafts);
    let mut sample = || {
        wanted
            .sampler
            .sample(logits, &wanted.history, restriction, candidates)
    };
    let token = forced.or_else(&mut sample);
    wanted.history.truncate(known);
    let Some(token) = token else { return false };
    wanted.drafts.push(token);
    let sure = forced.is_some() || lead(logits, token) >= DOUBT;
    let guide = wanted.guide.as_mut();
    sure && guide.is_none_or(|guide| guide.ahead(token) && !guide.is_done())
}
