//! A simulated executor and its users, which check all that a scheduler promises.
//!
//! The executor keeps, where keys and values would be, the token and position that each place of each block holds. Its
//! "model" reads them through the block table, as attention does: what it says next depends on every token before, so
//! a wrong block shows up as a wrong token. What a request must give is worked out beside it, alone.

mod model;
mod saved;

use super::*;
use crate::kv::pool::Block;
use crate::sampling::Rng;
use lathe_ir::backend::Batch;
use model::{accept, expected, fold};
use saved::Saved;
use std::collections::HashMap;

/// A trace to play: how many requests of which form come how fast into which machine.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub seed: u64,
    pub requests: usize,
    pub config: Config,
    /// Most requests that arrive before a step.
    pub arrivals: u64,
    pub prompt: u64,
    pub max_new: u64,
    pub choices: u64,
    /// Percent of requests that are cancelled at some time, and that have a deadline.
    pub cancels: u64,
    pub deadlines: u64,
    /// Percent of requests that want the result of every row.
    pub every_row: u64,
    /// Whether tokens are proposed, right ones and wrong ones.
    pub drafts: bool,
    /// Whether the model sometimes says several tokens at once, as a grammar does.
    pub forced: bool,
    /// What keeping a block elsewhere and putting it back costs, in rows.
    pub swap_cost: f64,
    /// Whether prefixes are saved, forgotten and put back.
    pub saves: bool,
}

/// What came of a trace.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Report {
    pub finished: usize,
    pub cancelled: usize,
    pub expired: usize,
    pub refused: usize,
    pub cached_tokens: usize,
    /// Blocks that were saved and put back.
    pub restored: usize,
    pub stats: ScheduleStats,
    /// The share of the budget's rows that were used.
    pub filled: f64,
    /// The most steps between a request's arrival and its end.
    pub longest: u64,
}

fn below(rng: &mut Rng, bound: u64) -> u64 {
    if bound == 0 { 0 } else { rng.next_u64() % bound }
}

/// Namespace, position and token of each place of a block.
type Content = [(u64, u32, u32); KV_BLOCK as usize];

struct Expected {
    prompt: Vec<u32>,
    max_new: usize,
    arrived: u64,
    /// The step before which it is cancelled.
    cancel: Option<u64>,
    deadline: Option<Duration>,
    every_row: bool,
    open: u32,
}

struct Simulator {
    trace: Trace,
    rng: Rng,
    scheduler: Scheduler,
    kv: Vec<Content>,
    window_kv: Vec<Content>,
    swapped: HashMap<Ticket, Vec<(Content, Option<Content>)>>,
    saved: Option<Saved>,
    requests: HashMap<RequestId, Expected>,
    /// What each choice was given.
    made: HashMap<ChoiceId, Vec<u32>>,
    /// Rows that a choice computed.
    rows: HashMap<ChoiceId, usize>,
    cancels: Vec<(u64, RequestId)>,
    results: Results,
    clock: u64,
    report: Report,
}

/// Plays a trace to its end; panics where something is not as it must be.
pub(super) fn play(trace: &Trace) -> Report {
    let mut sim = Simulator {
        rng: Rng::new(trace.seed),
        scheduler: Scheduler::new(trace.config.clone()),
        kv: vec![[(0, u32::MAX, 0); KV_BLOCK as usize]; trace.config.blocks as usize],
        window_kv: match trace.config.windows {
            Some(pool) => vec![[(0, u32::MAX, 0); KV_BLOCK as usize]; pool.blocks as usize],
            None => Vec::new(),
        },
        swapped: HashMap::new(),
        saved: None,
        trace: trace.clone(),
        requests: HashMap::new(),
        made: HashMap::new(),
        rows: HashMap::new(),
        cancels: Vec::new(),
        results: Results::default(),
        clock: 0,
        report: Report::default(),
    };
    let mut to_come = trace.requests;
    while to_come > 0 || !sim.scheduler.is_idle() {
        for _ in 0..(1 + below(&mut sim.rng, trace.arrivals)).min(to_come as u64) {
            to_come -= 1;
            sim.arrive();
        }
        sim.round();
    }
    sim.finish()
}

impl Simulator {
    fn now(&self) -> Duration {
        Duration::from_millis(self.clock)
    }

    /// A prompt that often starts like others.
    fn prompt(&mut self) -> Vec<u32> {
        let shared = below(&mut self.rng, 3) as u32;
        let same = below(&mut self.rng, self.trace.prompt + 1);
        let len = 1 + below(&mut self.rng, self.trace.prompt);
        let end = below(&mut self.rng, 1000) as u32;
        let token = |i: u64| {
            if i < same {
                (i as u32 * 7 + shared) % 50
            } else {
                (i as u32 + end) % 50
            }
        };
        (0..len).map(token).collect()
    }

    fn arrive(&mut self) {
        let prompt = self.prompt();
        let mut request = Request::new(
            prompt.clone(),
            below(&mut self.rng, self.trace.max_new + 1) as usize,
        );
        request.choices = 1 + below(&mut self.rng, self.trace.choices) as u32;
        request.namespace = below(&mut self.rng, 2);
        request.priority = below(&mut self.rng, 5) as i32 - 2;
        let percent = |rng: &mut Rng, share| below(rng, 100) < share;
        let late = self.now() + Duration::from_millis(below(&mut self.rng, 60));
        request.deadline = percent(&mut self.rng, self.trace.deadlines).then_some(late);
        request.every_row = percent(&mut self.rng, self.trace.every_row);
        let cancel = self.clock + below(&mut self.rng, 60);
        let cancel = percent(&mut self.rng, self.trace.cancels).then_some(cancel);
        let expected = Expected {
            prompt,
            max_new: request
                .max_new
                .min(self.trace.config.context() + 1 - request.prompt.len()),
            arrived: self.clock,
            cancel,
            deadline: request.deadline,
            every_row: request.every_row,
            open: request.choices,
        };
        match self.scheduler.submit(request, self.now()) {
            Ok(id) => {
                self.cancels.extend(cancel.map(|at| (at, id)));
                self.requests.insert(id, expected);
            }
            Err(Refused::QueueFull { .. }) => self.report.refused += 1,
            Err(other) => panic!("{other}"),
        }
    }

    fn round(&mut self) {
        let clock = self.clock;
        let due = self.cancels.extract_if(.., |(at, _)| *at <= clock);
        due.for_each(|(_, id)| self.scheduler.cancel(id));
        if self.trace.drafts {
            self.propose();
        }
        let now = self.now();
        if self.trace.saves {
            self.save_and_restore();
        }
        self.scheduler.set_swap_cost(self.trace.swap_cost);
        self.scheduler.schedule(now);
        self.check_step();
        self.run();
        if below(&mut self.rng, 50) > 0 {
            // Else the step failed, and is made again.
            self.note_results();
            self.scheduler.commit(&self.results).expect("the results fit");
            self.check_blocks();
        }
        self.check_ends();
        self.clock += 1;
    }

    fn propose(&mut self) {
        let places = self.scheduler.running.clone();
        for place in places {
            let id = self.scheduler.sequences[place].id();
            let request = &self.requests[&id.request];
            let (mut draft, _) = expected(&request.prompt, id.choice, request.max_new, self.trace.forced);
            let made = self.scheduler.sequences[place].made();
            draft.drain(..made.min(draft.len()));
            draft.truncate(below(&mut self.rng, 6) as usize);
            if below(&mut self.rng, 2) == 0
                && let Some(last) = draft.last_mut()
            {
                *last += 1;
            }
            assert!(self.scheduler.set_draft(id, &draft));
        }
    }

    /// The step keeps to its bounds, and something moves.
    fn check_step(&self) {
        let (scheduler, config) = (&self.scheduler, &self.trace.config);
        let step = scheduler.step();
        let batch = step.batch();
        assert!(batch.tokens.len() <= config.budget.min(config.limits.tokens) as usize);
        assert!(batch.outputs.len() <= config.limits.outputs as usize);
        assert!(scheduler.running.len() <= config.limits.seqs as usize);
        assert_eq!(
            (batch.positions.len(), batch.seqs.len()),
            (batch.tokens.len(), batch.tokens.len())
        );
        assert_eq!(
            step.is_empty(),
            scheduler.is_idle(),
            "work is there, and none is done"
        );
        let is_copy = |one: &Move| matches!(one, Move::Copy(_));
        assert!(config.copies || !scheduler.moves.iter().any(is_copy));
        assert!(scheduler.swapped_blocks() <= config.swap_blocks as usize);
        let mut slots: Vec<u32> = scheduler
            .running
            .iter()
            .filter_map(|&p| scheduler.sequences[p].slot)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), scheduler.running.len(), "a slot each");
        assert!(slots.last().is_none_or(|&s| s < config.limits.seqs));
        for part in step.sequences() {
            let cancel = self.requests[&part.id.request].cancel;
            assert!(
                cancel.is_none_or(|at| at > self.clock),
                "{:?} was cancelled",
                part.id
            );
        }
    }

    /// Between steps nobody holds blocks for more than its tokens.
    fn check_blocks(&self) {
        let running = self.scheduler.running.iter();
        for sequence in running.map(|&place| &self.scheduler.sequences[place]) {
            assert!(sequence.table.blocks().len() <= sequence.tokens.len().div_ceil(32));
            assert!(!sequence.scheduled && sequence.computed < sequence.tokens.len());
        }
    }

    /// Copies, writes, and reads: as an executor would, but that it looks at what it finds.
    fn run(&mut self) {
        self.results.clear();
        let moves: Vec<Move> = self.scheduler.drain_moves().collect();
        moves.into_iter().for_each(|one| self.make(one));
        let step = self.scheduler.step();
        let (batch, width) = (step.batch(), self.trace.config.limits.blocks_per_seq() as usize);
        let place = |slot: u32, p: usize| {
            (
                batch.block_tables[slot as usize * width + p / 32] as usize,
                p % 32,
            )
        };
        for part in step.sequences() {
            let sequence = &self.scheduler.sequences[part.place];
            let (blocks, namespace) = (sequence.table.blocks(), sequence.namespace);
            let known = self.scheduler.tokens(part.id).expect("it lives");
            assert_eq!(part.start, sequence.computed);
            for row in part.rows.clone() {
                let p = batch.positions[row] as usize;
                assert_eq!(
                    (p, batch.seqs[row]),
                    (part.start + row - part.rows.start, part.slot)
                );
                let (block, at) = place(part.slot, p);
                assert_eq!(block, blocks[p / 32].number() as usize);
                assert!(
                    self.scheduler.pool.writable(blocks[p / 32]),
                    "another sees what is written"
                );
                self.kv[block][at] = (namespace, p as u32, batch.tokens[row]);
                if self.trace.config.windows.is_some() {
                    let entry = batch.window_tables[part.slot as usize * width + p / 32];
                    self.window_kv[entry as usize][at] = (namespace, p as u32, batch.tokens[row]);
                }
            }
            self.check_windows(part, &batch, width);
            let mut state = 0;
            let mut said = Vec::new();
            let first_output = part.rows.end - part.outputs.len();
            for p in 0..part.start + part.rows.len() {
                let (block, at) = place(part.slot, p);
                let (from, position, token) = self.kv[block][at];
                assert_eq!((from, position as usize), (namespace, p), "{:?}", part.id);
                assert!(
                    p >= known.len() || known[p] == token,
                    "{:?} reads a wrong token at {p}",
                    part.id
                );
                state = fold(state, token);
                let row = (p + part.rows.start).checked_sub(part.start);
                if row.is_some_and(|row| row >= first_output && !part.outputs.is_empty()) {
                    said.push(state);
                }
            }
            assert_eq!(said.len(), part.outputs.len());
            if self.requests[&part.id.request].every_row {
                assert_eq!(part.outputs.len(), part.rows.len(), "every row has a result");
            }
            said.drain(..said.len().saturating_sub(1 + part.drafts));
            let drafts = &batch.tokens[part.rows.end - part.drafts..part.rows.end];
            for choice in part.id.choice..part.id.choice + part.lists {
                let (tokens, done) = accept(&said, drafts, choice, self.trace.forced);
                self.results.push(&tokens, done);
            }
        }
    }

    fn content(&self, block: Block, window: Option<Block>) -> (Content, Option<Content>) {
        let window = window.map(|window| self.window_kv[window.number() as usize]);
        (self.kv[block.number() as usize], window)
    }

    fn make(&mut self, one: Move) {
        let index = |block: Block| block.number() as usize;
        match one {
            Move::Copy(copy) => {
                self.kv[index(copy.to)] = self.kv[index(copy.from)];
                if let Some((from, to)) = copy.window {
                    self.window_kv[index(to)] = self.window_kv[index(from)];
                }
            }
            Move::Out(ticket, pairs) => {
                let content = pairs.iter().map(|&(block, window)| self.content(block, window));
                let before = self.swapped.insert(ticket, content.collect());
                assert!(before.is_none(), "numbers are given once");
            }
            Move::In { ticket, skip, to } => {
                let content = self.swapped.remove(&ticket).expect("it was kept");
                assert_eq!(content.len(), skip + to.len());
                for (&(block, window), (own, own_window)) in to.iter().zip(content.into_iter().skip(skip)) {
                    self.kv[index(block)] = own;
                    if let Some(window) = window {
                        self.window_kv[index(window)] = own_window.expect("it was seen");
                    }
                }
            }
            Move::Drop(ticket) => assert!(self.swapped.remove(&ticket).is_some(), "it was kept"),
        }
    }

    /// What rows see through a window is what they see without.
    fn check_windows(&self, part: &StepSequence, batch: &Batch, width: usize) {
        let Some(pool) = self.trace.config.windows else {
            return;
        };
        let tables = part.slot as usize * width;
        let first = (part.start + 1).saturating_sub(pool.positions as usize);
        for p in first..part.start + part.rows.len() {
            let own = batch.window_tables[tables + p / 32] as usize;
            let all = batch.block_tables[tables + p / 32] as usize;
            assert_eq!(
                self.window_kv[own][p % 32],
                self.kv[all][p % 32],
                "{:?} reads a wrong position through its window at {p}",
                part.id
            );
        }
    }

    /// Keeps what each choice is given, and counts what it computed, beside the scheduler.
    fn note_results(&mut self) {
        let mut list = 0;
        for part in self.scheduler.step().sequences() {
            *self.rows.entry(part.id).or_default() += part.rows.len();
            let max_new = self.requests[&part.id.request].max_new;
            for choice in part.id.choice..part.id.choice + part.lists {
                let made = self.made.entry(ChoiceId { choice, ..part.id }).or_default();
                made.extend_from_slice(self.results.list(list).0);
                made.truncate(max_new);
                list += 1;
            }
        }
        assert_eq!(list, self.results.len());
    }

    fn check_ends(&mut self) {
        let ended: Vec<Ended> = self.scheduler.drain_ended().collect();
        for end in ended {
            self.check_end(&end);
            let request = self.requests.get_mut(&end.id.request).expect("it was taken");
            request.open -= 1;
            if request.open == 0 {
                self.requests.remove(&end.id.request);
            }
        }
    }

    /// A sequence ended as it must, when it must, with the tokens that it gets alone.
    fn check_end(&mut self, end: &Ended) {
        let request = &self.requests[&end.id.request];
        let made = self.made.remove(&end.id).unwrap_or_default();
        let rows = self.rows.remove(&end.id).unwrap_or_default();
        let (want, reason) = expected(&request.prompt, end.id.choice, request.max_new, self.trace.forced);
        assert_eq!((end.made, end.prompt), (made.len(), request.prompt.len()));
        assert!(end.cached_tokens < end.prompt && end.cached_tokens.is_multiple_of(32));
        assert!(!request.every_row || end.cached_tokens == 0, "a row is left out");
        assert!(
            want.starts_with(&made),
            "{:?} was given {made:?}, and {want:?} alone",
            end.id
        );
        let since = |at: u64| at.max(request.arrived);
        match end.reason {
            Reason::Cancelled => {
                assert_eq!(request.cancel.map(since), Some(self.clock));
                self.report.cancelled += 1;
            }
            Reason::Expired => {
                let deadline = request.deadline.map(|at| since(at.as_millis() as u64));
                assert_eq!(deadline, Some(self.clock));
                self.report.expired += 1;
            }
            finished => {
                assert!(finished == reason || request.max_new == 0);
                assert_eq!(made, want);
                assert!(request.cancel.is_none_or(|at| at > self.clock));
                assert!(request.deadline.is_none_or(|at| at > self.now()));
                self.report.finished += 1;
                let plain = !self.trace.drafts && !self.trace.forced && self.trace.choices == 1;
                if plain && end.preemptions == 0 {
                    let once = end.prompt - end.cached_tokens + end.made.max(1) - 1;
                    assert_eq!(
                        rows, once,
                        "{:?} computed a position twice, or not at all",
                        end.id
                    );
                }
            }
        }
        self.report.cached_tokens += end.cached_tokens;
        self.report.longest = self.report.longest.max(self.clock - request.arrived);
    }

    /// Nothing is left over.
    fn finish(mut self) -> Report {
        assert!(self.requests.is_empty() && self.made.is_empty() && self.rows.is_empty());
        let pool = self.scheduler.pool();
        assert_eq!(pool.free(), pool.blocks(), "blocks are leaked");
        let windows = self.trace.config.windows.map(|windows| windows.blocks as usize);
        assert_eq!(pool.free_windows(), windows, "window blocks are leaked");
        let moves: Vec<Move> = self.scheduler.drain_moves().collect();
        moves.into_iter().for_each(|one| self.make(one));
        assert!(self.swapped.is_empty() && self.scheduler.swapped_blocks() == 0);
        assert_eq!(self.scheduler.slots.len(), self.trace.config.limits.seqs as usize);
        self.report.stats = self.scheduler.stats();
        let config = &self.trace.config;
        let budget = config.budget.min(config.limits.tokens) as f64;
        self.report.filled = self.report.stats.rows as f64 / (self.report.stats.steps as f64 * budget);
        self.report
    }
}
