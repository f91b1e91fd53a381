//! The engine: schedules, runs and commits steps of one sequence, and keeps its KV blocks between requests.
//!
//! A step is `schedule → run → commit`. What is computed for a token depends on the tokens before it alone, so blocks of
//! a common prefix serve the next request as they are.

use crate::error::Error;
use crate::kv::BlockPool;
use crate::sampling::{Logprobs, Restriction, Sampler, SamplingParams, logprobs};
use crate::text::TextStream;
use lathe_ir::backend::{Batch, Executable};
use std::time::{Duration, Instant};

/// What the engine must know of a vocabulary to turn tokens into text.
pub trait Vocabulary: Send + Sync {
    /// The bytes that a token stands for; none for control tokens.
    fn token_bytes(&self, token: u32) -> &[u8];
}

/// A completion to make.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// How to pick tokens.
    pub sampling: SamplingParams,
    /// Most tokens to make; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Tokens to make before a stop token may be picked.
    pub min_tokens: usize,
    /// Never picks a stop token.
    pub ignore_stop_tokens: bool,
    /// Reports the log-probability of each token, and of so many of the most likely ones in its place.
    pub logprobs: Option<usize>,
    /// Strings that end the text; they are not shown.
    pub stop: Vec<String>,
    /// Tokens that end the sequence.
    pub stop_tokens: Vec<u32>,
}

/// Why a completion ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// A stop token or stop string.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// The receiver of the text wanted no more.
    Cancelled,
}

/// What came of a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Completion {
    /// Tokens made, the stop token included.
    pub tokens: Vec<u32>,
    /// For each token, what the model thought of it, where the request asks for that; else empty.
    pub logprobs: Vec<Logprobs>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose KV blocks were there already.
    pub cached_tokens: usize,
    /// Time from the start to the first token.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
}

/// One model, one sequence at a time.
pub struct Engine {
    executable: Box<dyn Executable>,
    pool: BlockPool,
    chunk: usize,
    sequence: Sequence,
    step: StepBuffers,
}

/// The tokens of a sequence and where its KV is.
#[derive(Default, Debug)]
struct Sequence {
    tokens: Vec<u32>,
    /// Tokens whose KV is in the cache.
    computed: usize,
    blocks: Vec<u32>,
}

/// Inputs of a step, reused.
#[derive(Default, Debug)]
struct StepBuffers {
    positions: Vec<u32>,
    seqs: Vec<u32>,
    outputs: Vec<u32>,
    table: Vec<u32>,
}

impl Engine {
    /// An engine over an executable. Prompts are cut into chunks of the plan's largest step.
    pub fn new(executable: Box<dyn Executable>) -> Engine {
        let limits = executable.plan().limits;
        let (tokens, context) = (limits.tokens as usize, limits.ctx as usize);
        let step = StepBuffers {
            positions: Vec::with_capacity(tokens),
            seqs: vec![0; tokens],
            outputs: Vec::with_capacity(limits.outputs as usize),
            table: vec![0; limits.blocks_per_seq() as usize * limits.seqs as usize],
        };
        let sequence = Sequence {
            tokens: Vec::with_capacity(context + 1),
            computed: 0,
            blocks: Vec::with_capacity(limits.blocks_per_seq() as usize),
        };
        Engine {
            pool: BlockPool::new(executable.kv_blocks()),
            chunk: tokens,
            executable,
            sequence,
            step,
        }
    }

    /// Cuts prompts into chunks of at most `tokens`; the plan's bound stays.
    pub fn set_chunk(&mut self, tokens: usize) {
        self.chunk = tokens.clamp(1, self.executable.plan().limits.tokens as usize);
    }

    /// The compiled model.
    pub fn executable(&self) -> &dyn Executable {
        self.executable.as_ref()
    }

    /// Most positions of a sequence: the plan's context, or what the pool holds if that is less.
    pub fn context(&self) -> usize {
        let pool = self.executable.kv_blocks() as usize * lathe_ir::plan::KV_BLOCK as usize;
        pool.min(self.executable.plan().limits.ctx as usize)
    }

    /// Forgets the last sequence, so that nothing of it is reused.
    pub fn reset(&mut self) {
        self.sequence.tokens.clear();
        self.sequence.computed = 0;
        self.pool.truncate(&mut self.sequence.blocks, 0);
    }

    fn check(&self, prompt: &[u32]) -> Result<(), Error> {
        let (vocab, context) = (self.executable.plan().vocab, self.context());
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() > context {
            return Err(Error::PromptTooLong {
                prompt: prompt.len(),
                context,
            });
        }
        let bad = prompt.iter().position(|&t| t >= vocab);
        bad.map_or(Ok(()), |index| {
            Err(Error::TokenRange {
                index,
                token: prompt[index],
                vocab,
            })
        })
    }

    /// Starts a new sequence with `prompt`, keeping the KV of the longest prefix shared with the last one. At least one
    /// token is left to compute. Returns the number of tokens kept.
    ///
    /// # Errors
    /// An empty or too long prompt, or a token out of range.
    pub fn begin(&mut self, prompt: &[u32]) -> Result<usize, Error> {
        self.check(prompt)?;
        let seq = &mut self.sequence;
        let same = seq.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = same.min(seq.computed).min(prompt.len() - 1);
        self.pool.truncate(&mut seq.blocks, kept);
        seq.tokens.clear();
        seq.tokens.extend_from_slice(prompt);
        seq.computed = kept;
        Ok(kept)
    }

    /// Computes the tokens that are not computed yet, a chunk a step; returns the logits of the last one.
    ///
    /// # Errors
    /// Where a step breaks a bound of the plan.
    pub fn forward(&mut self) -> Result<&[f32], Error> {
        while self.sequence.tokens.len() - self.sequence.computed > self.chunk {
            self.run_step(self.chunk, 0)?;
        }
        let rest = self.sequence.tokens.len() - self.sequence.computed;
        self.run_step(rest, 1)
    }

    /// Runs the next `rows` tokens with logits for the last `outputs` of them.
    ///
    /// # Errors
    /// Where the step breaks a bound of the plan, or no KV block is left.
    pub fn run_step(&mut self, rows: usize, outputs: usize) -> Result<&[f32], Error> {
        let context = self.context();
        let seq = &mut self.sequence;
        let end = seq.computed + rows;
        if !self.pool.reserve(&mut seq.blocks, end) {
            return Err(Error::PromptTooLong { prompt: end, context });
        }
        let step = &mut self.step;
        step.positions.clear();
        step.positions.extend((seq.computed..end).map(|p| p as u32));
        step.outputs.clear();
        step.outputs.extend((rows - outputs..rows).map(|r| r as u32));
        step.table[..seq.blocks.len()].copy_from_slice(&seq.blocks);
        let batch = Batch {
            tokens: &seq.tokens[seq.computed..end],
            positions: &step.positions,
            seqs: &step.seqs[..rows],
            outputs: &step.outputs,
            block_tables: &step.table,
        };
        let logits = self.executable.run(&batch)?;
        seq.computed = end;
        Ok(logits)
    }

    /// Adds a token to the sequence: the next [`Engine::forward`] computes it.
    pub fn commit(&mut self, token: u32) {
        self.sequence.tokens.push(token);
    }

    /// Makes a completion, handing text to `show` as it comes; `show` returns whether it wants more.
    ///
    /// # Errors
    /// A bad prompt or bad parameters; nothing was shown then.
    pub fn generate(
        &mut self,
        request: &Request,
        vocabulary: &dyn Vocabulary,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, Error> {
        let start = Instant::now();
        let mut sampler = Sampler::new(request.sampling.clone(), self.executable.plan().vocab as usize)?;
        let cached = self.begin(&request.prompt)?;
        let room = self.context() + 1 - request.prompt.len();
        let limit = request.max_tokens.unwrap_or(usize::MAX).min(room);
        let mut text = TextStream::new(&request.stop);
        let mut tokens = Vec::with_capacity(limit.min(self.context()));
        let mut thoughts = Vec::new();
        let mut wanted = true;
        let mut first = None;
        let finish = loop {
            if tokens.len() == limit {
                break Finish::Length;
            }
            self.forward()?;
            let token = self.pick(&mut sampler, request, tokens.len())?;
            first.get_or_insert_with(Instant::now);
            tokens.push(token);
            if let Some(top) = request.logprobs {
                thoughts.push(logprobs(self.executable.logits(), token, top));
            }
            if request.stop_tokens.contains(&token) {
                break Finish::Stop;
            }
            self.commit(token);
            text.push(vocabulary.token_bytes(token), &mut |s| wanted = wanted && show(s));
            if text.stopped() {
                break Finish::Stop;
            }
            if !wanted {
                break Finish::Cancelled;
            }
        };
        if finish != Finish::Cancelled {
            text.finish(&mut |s| wanted = wanted && show(s));
        }
        let (end, first) = (Instant::now(), first);
        Ok(Completion {
            tokens,
            logprobs: thoughts,
            finish,
            prompt_tokens: request.prompt.len(),
            cached_tokens: cached,
            prefill: first.unwrap_or(end) - start,
            decode: end - first.unwrap_or(end),
        })
    }

    /// The token after `made` new ones.
    fn pick(&mut self, sampler: &mut Sampler, request: &Request, made: usize) -> Result<u32, Error> {
        let no_stop = request.ignore_stop_tokens || made < request.min_tokens;
        let restriction = Restriction {
            banned: if no_stop { &request.stop_tokens } else { &[] },
            ..Restriction::default()
        };
        // The logits of the step that just ran are still in the executable.
        let token = sampler.sample(self.executable.logits(), &self.sequence.tokens, restriction);
        token.ok_or(Error::NoToken)
    }
}
