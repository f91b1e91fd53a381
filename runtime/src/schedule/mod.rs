//! The scheduler: which rows of which sequences the next step computes. Data in, data out: no thread, no clock, no model.
//!
//! A round is [`Scheduler::schedule`], a run of the step's batch, and [`Scheduler::commit`] with the tokens picked from
//! its result. The rules, in the order in which a step fills:
//! - **Rank.** A request's rank is its arrival, put earlier by [`Config::aging`] for each level of priority. So a waiting
//!   request passes later ones of higher priority in time, and nothing starves. Equals go by arrival.
//! - **Decoding first.** Sequences with one token left to compute get their row; where rows or outputs do not suffice for
//!   all, those that waited longest.
//! - **Prefill.** What is left of the budget goes to prompts in order of rank, first come first served, in chunks.
//! - **Admission.** Then waiting requests are admitted strictly in order of rank, each with blocks for all its tokens
//!   beside a headroom for those that run. Nothing is admitted past a request that does not fit.
//! - **Drafts.** Proposed tokens take the rows and outputs that are still left, and blocks only where they are free.
//! - **Preemption.** Where a row needs a block and none is free, the worst-ranked sequence that is not in the step gives
//!   up its blocks and waits again, with its tokens so far as prompt. Its blocks are kept elsewhere where that is cheaper
//!   than computing them again; else the prefix cache finds what was not reused since.
//!
//! The best-ranked sequence can always take blocks from others, and alone it fits: so there is always progress.

mod commit;
mod fill;
mod prefix;
mod queue;
mod sequence;
#[cfg(test)]
mod sim;
mod step;
mod swap;
#[cfg(test)]
mod tests;

pub use queue::Scheduler;
pub use step::{CommitError, Results, Step, StepSequence};
pub use swap::{Move, Pair, Ticket};

use lathe_ir::backend::WindowPool;
use lathe_ir::plan::{KV_BLOCK, Limits};
use std::time::Duration;

/// Most positions of a sequence: the plan's context, or what a pool of `blocks` blocks holds if that is less.
pub fn context(limits: Limits, blocks: u32) -> usize {
    limits.ctx.min(blocks.saturating_mul(KV_BLOCK)) as usize
}

/// What bounds the work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The plan's bounds.
    pub limits: Limits,
    /// Blocks of the KV pool.
    pub blocks: u32,
    /// The pool of layers with a sliding window, where it is apart. It must have as many blocks as the window and a step's rows
    /// fill, each rounded up, and two.
    pub windows: Option<WindowPool>,
    /// Most rows of a step; the plan's bound stays.
    pub budget: u32,
    /// Most sequences that wait.
    pub queue: usize,
    /// Blocks that an admission leaves free for each sequence that runs.
    pub headroom: u32,
    /// The head start that a level of priority gives.
    pub aging: Duration,
    /// Most blocks that are kept elsewhere for sequences that gave them up; 0 for none.
    pub swap_blocks: u32,
    /// Whether the executor can copy blocks. If not, forks compute the last part of a block anew, up to 31 tokens.
    pub copies: bool,
}

impl Config {
    /// The usual configuration of a plan and a pool: whole steps, a queue of 1024, ten seconds a priority.
    pub fn new(limits: Limits, blocks: u32) -> Config {
        Config {
            limits,
            blocks,
            windows: None,
            budget: limits.tokens,
            queue: 1024,
            headroom: 1,
            aging: Duration::from_secs(10),
            swap_blocks: 0,
            copies: true,
        }
    }

    /// Most positions of a sequence, as [`context`]; 0 where a bound lets nothing run.
    pub fn context(&self) -> usize {
        let Limits {
            tokens,
            outputs,
            seqs,
            ..
        } = self.limits;
        match tokens.min(outputs).min(seqs).min(self.budget) {
            0 => 0,
            _ => context(self.limits, self.blocks),
        }
    }
}

/// A number that the scheduler gives to a request; never given again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// One of the sequences of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChoiceId {
    /// The request.
    pub request: RequestId,
    /// Which of its choices, from 0.
    pub choice: u32,
}

/// What is asked for. Times count from an origin of the caller's choice, the same for all calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The prompt's tokens; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to make in each choice. Fewer are made where the context ends: a prompt of `p` tokens leaves room for
    /// `context + 1 - p`, since the last token is not computed. 0 computes the prompt alone.
    pub max_new: usize,
    /// Choices: sequences that part after the prompt. At least 1.
    pub choices: u32,
    /// Higher goes first.
    pub priority: i32,
    /// When to give up.
    pub deadline: Option<Duration>,
    /// Who may share KV blocks with it: equal numbers only.
    pub namespace: u64,
    /// Whether the result of every row is wanted, not of the last alone. Then all rows are computed, whatever the prefix
    /// cache has, and again after a preemption.
    pub every_row: bool,
}

impl Request {
    /// A request for one choice, without priority and deadline.
    pub fn new(prompt: Vec<u32>, max_new: usize) -> Request {
        Request {
            prompt,
            max_new,
            choices: 1,
            priority: 0,
            deadline: None,
            namespace: 0,
            every_row: false,
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is nothing to continue.
    #[error("the prompt is empty: it has no token to go on from")]
    EmptyPrompt,
    /// No choice was asked for.
    #[error("the request asks for 0 choices")]
    NoChoice,
    /// It would not fit if it were alone.
    #[error("the prompt has {prompt} tokens, but the context holds {context}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Positions of the context.
        context: usize,
    },
    /// Too many wait already.
    #[error("{waiting} sequences wait and {choices} more would, but the queue holds {limit}")]
    QueueFull {
        /// Sequences that wait.
        waiting: usize,
        /// Sequences of this request.
        choices: u32,
        /// The queue's bound.
        limit: usize,
    },
}

/// Why a sequence ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The results said so.
    Stopped,
    /// It has all tokens that it may have.
    Length,
    /// [`Scheduler::cancel`] was called.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

/// A sequence that ended. Each choice of a request ends once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Which one.
    pub id: ChoiceId,
    /// Why.
    pub reason: Reason,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens made.
    pub made: usize,
    /// Tokens of the prompt that the prefix cache had when the request was first admitted.
    pub cached_tokens: usize,
    /// Times that it gave up its blocks.
    pub preemptions: u32,
}

/// What was decided so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScheduleStats {
    /// Steps with rows.
    pub steps: u64,
    /// Rows of all steps.
    pub rows: u64,
    /// Rows that were drafts.
    pub drafts: u64,
    /// Drafts that were accepted.
    pub accepted: u64,
    /// Rows whose result was wanted.
    pub outputs: u64,
    /// Admissions, of preempted sequences too.
    pub admissions: u64,
    /// Sequences that gave up their blocks.
    pub preemptions: u64,
    /// Blocks of theirs that were kept elsewhere, and that were put back.
    pub swapped_out: u64,
    /// See above.
    pub swapped_in: u64,
    /// Forks.
    pub forks: u64,
}
