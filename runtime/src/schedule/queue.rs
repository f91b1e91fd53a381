//! Requests: taken, cancelled, expired, preempted and ended.

use super::sequence::{Place, Rank, Sequence, Sequences};
use super::step::Step;
use super::swap::Move;
use super::{ChoiceId, Config, Ended, Reason, Refused, Request, RequestId, ScheduleStats};
use crate::kv::pool::{BlockCopy, BlockPool, BlockTable};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Decides what each step computes: see the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: Config,
    pub(super) pool: BlockPool,
    pub(super) sequences: Sequences,
    live: BTreeMap<ChoiceId, Place>,
    /// Those without blocks, best rank first.
    pub(super) waiting: BTreeSet<(Rank, Place)>,
    /// Those with a slot, best rank first.
    pub(super) running: Vec<Place>,
    deadlines: BTreeSet<(Duration, Place)>,
    pub(super) slots: Vec<u32>,
    cancelled: Vec<RequestId>,
    ended: Vec<Ended>,
    next_request: u64,
    pub(super) step: Step,
    /// Moves that were not handed out yet.
    pub(super) moves: Vec<Move>,
    pub(super) next_ticket: u64,
    /// Blocks kept elsewhere.
    pub(super) swapped_blocks: usize,
    pub(super) swap_cost: f64,
    /// Room for copies, used again.
    pub(super) copies: Vec<BlockCopy>,
    pub(super) stats: ScheduleStats,
    /// Room for a list of places, used again.
    pub(super) scratch: Vec<Place>,
}

impl Scheduler {
    /// A scheduler without requests.
    pub fn new(config: Config) -> Scheduler {
        let entries = config.limits.blocks_per_seq() as usize * config.limits.seqs as usize;
        Scheduler {
            pool: BlockPool::new(config.blocks).with_windows(config.windows),
            sequences: Sequences::default(),
            live: BTreeMap::new(),
            waiting: BTreeSet::new(),
            running: Vec::new(),
            deadlines: BTreeSet::new(),
            slots: (0..config.limits.seqs).rev().collect(),
            cancelled: Vec::new(),
            ended: Vec::new(),
            next_request: 0,
            step: Step {
                table: vec![0; entries],
                window_table: vec![0; config.windows.map_or(0, |_| entries)],
                ..Step::default()
            },
            moves: Vec::new(),
            next_ticket: 0,
            swapped_blocks: 0,
            swap_cost: 0.0,
            copies: Vec::new(),
            stats: ScheduleStats::default(),
            scratch: Vec::new(),
            config,
        }
    }

    /// Takes a request that arrives `now`.
    ///
    /// # Errors
    /// A request that can't be served, or a full queue.
    pub fn submit(&mut self, request: Request, now: Duration) -> Result<RequestId, Refused> {
        self.check(&request)?;
        let id = ChoiceId {
            request: RequestId(self.next_request),
            choice: 0,
        };
        self.next_request += 1;
        let prompt = request.prompt.len();
        let sequence = Sequence {
            rank: Rank::new(now, request.priority, self.config.aging, id),
            tokens: request.prompt,
            prompt,
            computed: 0,
            max_new: request.max_new.min(self.config.context() + 1 - prompt),
            choices: request.choices,
            deadline: request.deadline,
            namespace: request.namespace,
            every_row: request.every_row,
            table: BlockTable::new(request.namespace),
            slot: None,
            draft: Vec::new(),
            cached: None,
            preemptions: 0,
            swapped: None,
            served: 0,
            scheduled: false,
        };
        self.add(sequence);
        Ok(id.request)
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        let (prompt, context) = (request.prompt.len(), self.config.context());
        let (waiting, choices, limit) = (self.waiting.len(), request.choices, self.config.queue);
        if prompt == 0 {
            return Err(Refused::EmptyPrompt);
        }
        if choices == 0 {
            return Err(Refused::NoChoice);
        }
        if prompt > context {
            return Err(Refused::TooLong { prompt, context });
        }
        if choices as usize > limit.saturating_sub(waiting) {
            return Err(Refused::QueueFull {
                waiting,
                choices,
                limit,
            });
        }
        Ok(())
    }

    /// Ends all choices of a request at the next call of [`Scheduler::schedule`]. Nothing happens if it ended before.
    pub fn cancel(&mut self, request: RequestId) {
        self.cancelled.push(request);
    }

    /// Proposes the tokens that follow those of a sequence, to be checked in the next step that has room for them; they
    /// replace what was proposed before. They are forgotten when the sequence gets tokens. Returns whether the sequence is
    /// there.
    pub fn set_draft(&mut self, id: ChoiceId, draft: &[u32]) -> bool {
        let Some(&place) = self.live.get(&id) else {
            return false;
        };
        let own = &mut self.sequences[place].draft;
        own.clear();
        own.extend_from_slice(draft);
        true
    }

    /// The tokens of a sequence, prompt first; `None` if it ended.
    pub fn tokens(&self, id: ChoiceId) -> Option<&[u32]> {
        let place = self.live.get(&id)?;
        Some(&self.sequences[*place].tokens)
    }

    /// The last step made; empty once it is committed.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// What to move, in this order, before the last step made runs, even where that is empty. Moves are handed out once.
    pub fn drain_moves(&mut self) -> std::vec::Drain<'_, Move> {
        self.moves.drain(..)
    }

    /// The sequences that ended since the last call, in order.
    pub fn drain_ended(&mut self) -> std::vec::Drain<'_, Ended> {
        self.ended.drain(..)
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The numbers of sequences that wait and that run.
    pub fn load(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// Forgets the prefixes that no running sequence has: what comes is computed whole.
    pub fn forget_prefixes(&mut self) {
        self.pool.forget();
    }

    /// The blocks.
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// What was decided so far.
    pub fn stats(&self) -> ScheduleStats {
        self.stats
    }

    /// What bounds the work.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a sequence to those that run if it has a slot, else to those that wait.
    pub(super) fn add(&mut self, sequence: Sequence) -> Place {
        let (rank, slot, deadline) = (sequence.rank, sequence.slot, sequence.deadline);
        let place = self.sequences.insert(sequence);
        self.live.insert(rank.id, place);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, place));
        }
        if slot.is_some() {
            self.run(place);
        } else {
            self.waiting.insert((rank, place));
        }
        place
    }

    /// Puts a sequence among those that run.
    pub(super) fn run(&mut self, place: Place) {
        let rank = self.sequences[place].rank;
        let at = self
            .running
            .partition_point(|&other| self.sequences[other].rank < rank);
        self.running.insert(at, place);
    }

    /// Takes a sequence's blocks and slot, if it has them.
    fn stop(&mut self, place: Place) {
        let sequence = &mut self.sequences[place];
        self.pool.release(&mut sequence.table);
        if let Some(slot) = sequence.slot.take() {
            self.slots.push(slot);
            self.running.retain(|&other| other != place);
        }
    }

    /// Sends a running sequence back to where its rank puts it among those that wait.
    pub(super) fn preempt(&mut self, place: Place) {
        self.swap_out(place);
        self.stop(place);
        let sequence = &mut self.sequences[place];
        sequence.computed = 0;
        sequence.preemptions += 1;
        self.stats.preemptions += 1;
        self.waiting.insert((sequence.rank, place));
    }

    /// Ends a sequence, and the choices that did not part from it yet.
    pub(super) fn end(&mut self, place: Place, reason: Reason) {
        self.stop(place);
        let Some(sequence) = self.sequences.remove(place) else {
            return;
        };
        self.drop_swapped(sequence.swapped);
        self.waiting.remove(&(sequence.rank, place));
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, place));
        }
        let id = sequence.id();
        self.live.remove(&id);
        self.ended.extend((0..sequence.choices).map(|more| Ended {
            id: ChoiceId {
                choice: id.choice + more,
                ..id
            },
            reason,
            prompt: sequence.prompt,
            made: sequence.made(),
            cached_tokens: sequence.cached.unwrap_or(0),
            preemptions: sequence.preemptions,
        }));
    }

    /// Ends what was cancelled and what is too late.
    pub(super) fn end_unwanted(&mut self, now: Duration) {
        let mut cancelled = std::mem::take(&mut self.cancelled);
        for request in cancelled.drain(..) {
            let all = ChoiceId { request, choice: 0 }..=ChoiceId {
                request,
                choice: u32::MAX,
            };
            while let Some((_, &place)) = self.live.range(all.clone()).next() {
                self.end(place, Reason::Cancelled);
            }
        }
        self.cancelled = cancelled;
        while let Some(&(deadline, place)) = self.deadlines.first()
            && deadline <= now
        {
            self.end(place, Reason::Expired);
        }
    }
}
