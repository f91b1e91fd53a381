//! One sequence, step by step, for those who want logits themselves: evaluation, benchmarks. Text is made by the
//! [engine](crate::engine).

use crate::error::Error;
use crate::schedule::context;
use lathe_ir::backend::{Batch, ExecError, Executable};
use lathe_ir::plan::KV_BLOCK;

/// An executable and one sequence of tokens, of which some are computed.
pub struct Evaluator {
    executable: Box<dyn Executable>,
    tokens: Vec<u32>,
    /// Tokens from the start whose keys and values are in the cache.
    computed: usize,
    step: StepBuffers,
}

/// Inputs of a step, reused.
struct StepBuffers {
    positions: Vec<u32>,
    seqs: Vec<u32>,
    outputs: Vec<u32>,
    /// Block `i` of the pool holds the sequence's positions `32·i ..`.
    table: Vec<u32>,
    /// Of layers with a sliding window: their blocks are used in turn.
    window_table: Vec<u32>,
}

/// Checks the tokens of a prompt.
pub(crate) fn check_tokens(prompt: &[u32], vocab: u32, context: usize) -> Result<(), Error> {
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

impl Evaluator {
    /// An evaluator of an executable, without a sequence.
    pub fn new(executable: Box<dyn Executable>) -> Evaluator {
        let limits = executable.limits();
        let context = context(limits, executable.kv_blocks());
        let blocks = context.div_ceil(KV_BLOCK as usize);
        let mut table: Vec<u32> = (0..blocks as u32).collect();
        table.resize(limits.blocks_per_seq() as usize * limits.seqs as usize, 0);
        let step = StepBuffers {
            positions: Vec::with_capacity(limits.tokens as usize),
            seqs: vec![0; limits.tokens as usize],
            outputs: Vec::with_capacity(limits.outputs as usize),
            window_table: match executable.windows() {
                Some(pool) => table.iter().map(|block| block % pool.blocks).collect(),
                None => Vec::new(),
            },
            table,
        };
        Evaluator {
            tokens: Vec::with_capacity(context + 1),
            computed: 0,
            executable,
            step,
        }
    }

    /// The compiled model.
    pub fn executable(&self) -> &dyn Executable {
        self.executable.as_ref()
    }

    /// Most positions of the sequence.
    pub fn context(&self) -> usize {
        context(self.executable.limits(), self.executable.kv_blocks())
    }

    /// Starts a new sequence with `prompt`; nothing of it is computed.
    ///
    /// # Errors
    /// An empty or too long prompt, or a token out of range.
    pub fn begin(&mut self, prompt: &[u32]) -> Result<(), Error> {
        check_tokens(prompt, self.executable.vocab(), self.context())?;
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt);
        self.computed = 0;
        Ok(())
    }

    /// Computes the tokens that are not computed yet, in steps as large as the plan allows; returns the logits of the last
    /// one.
    ///
    /// # Errors
    /// Where a step breaks a bound of the plan.
    pub fn forward(&mut self) -> Result<&[f32], Error> {
        let rest = self.forward_but_last()?;
        self.run_step(rest, 1)
    }

    /// The same where the place of the largest logit is all that is wanted; `None` where none is finite.
    ///
    /// # Errors
    /// As [`Evaluator::forward`].
    pub fn forward_largest(&mut self) -> Result<Option<u32>, Error> {
        let rest = self.forward_but_last()?;
        let mut largest = Vec::with_capacity(1);
        self.step_of(rest, 1, |executable, batch| {
            executable.run_largest(batch, &mut largest)
        })?;
        Ok(largest.first().copied().flatten())
    }

    /// Runs all steps but the last; the rows of that.
    fn forward_but_last(&mut self) -> Result<usize, Error> {
        let chunk = self.executable.limits().tokens as usize;
        while self.tokens.len() - self.computed > chunk {
            self.run_step(chunk, 0)?;
        }
        Ok(self.tokens.len() - self.computed)
    }

    /// Runs the next `rows` tokens with logits for the last `outputs` of them.
    ///
    /// # Errors
    /// Where the step breaks a bound of the plan, or the sequence is at the end of the context.
    pub fn run_step(&mut self, rows: usize, outputs: usize) -> Result<&[f32], Error> {
        self.step_of(rows, outputs, |executable, batch| {
            executable.run(batch).map(|_| ())
        })?;
        Ok(self.executable.output())
    }

    fn step_of(
        &mut self,
        rows: usize,
        outputs: usize,
        run: impl FnOnce(&mut dyn Executable, &Batch) -> Result<(), ExecError>,
    ) -> Result<(), Error> {
        let (context, end) = (self.context(), self.computed + rows);
        if end > context {
            return Err(Error::PromptTooLong { prompt: end, context });
        }
        let step = &mut self.step;
        step.positions.clear();
        step.positions.extend((self.computed..end).map(|p| p as u32));
        step.outputs.clear();
        step.outputs.extend((rows - outputs..rows).map(|r| r as u32));
        let batch = Batch {
            tokens: &self.tokens[self.computed..end],
            positions: &step.positions,
            seqs: &step.seqs[..rows],
            outputs: &step.outputs,
            block_tables: &step.table,
            window_tables: &step.window_table,
        };
        run(self.executable.as_mut(), &batch)?;
        self.computed = end;
        Ok(())
    }

    /// Adds a token to the sequence: the next [`Evaluator::forward`] computes it.
    pub fn commit(&mut self, token: u32) {
        self.tokens.push(token);
    }
}
