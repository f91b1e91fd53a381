//! A model in two parts, each an executable of its own, that run one after the other: the layers of the first give the hidden
//! states of all rows, and the rest goes on with them.
//!
//! Both have the same bounds and know blocks by the same numbers, so that the scheduler sees one cache. Where a part keeps
//! layers with a sliding window in a pool of their own, the scheduler plans that pool; a part that does not holds all
//! blocks of those layers, too.

use lathe_ir::backend::{Batch, BatchCheck, BuildReport, ExecError, Executable, WindowPool};
use lathe_ir::plan::{Limits, ModelOutput};

/// Two executables as one.
pub struct Parts {
    first: Box<dyn Executable>,
    rest: Box<dyn Executable>,
    /// Before a part writes anything.
    check: BatchCheck,
    kv_blocks: u32,
    windows: Option<WindowPool>,
    /// Bytes of a block of each part, without a window block and with one, where both give theirs away.
    content: Option<[[usize; 2]; 2]>,
    /// Whether the last step ran to its end.
    whole: bool,
    report: BuildReport,
}

/// Why two executables are no model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PartsError {
    /// What one gives is not what the other takes.
    #[error("the first part gives {gives} elements of hidden states, and the rest takes {takes}")]
    Width {
        /// Given; 0 where it gives something else.
        gives: u32,
        /// Taken; 0 where it takes tokens.
        takes: u32,
    },
    /// They were compiled for different steps.
    #[error("the parts of the model have different bounds")]
    Limits,
    /// A part does not give a block away, though it says so.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// The window block, for a part that has any.
fn window_of(part: &dyn Executable, window: Option<u32>) -> Option<u32> {
    window.filter(|_| part.windows().is_some())
}

/// Bytes of a block of a part, without a window block and with one.
fn content_bytes(part: &mut dyn Executable) -> Result<[usize; 2], ExecError> {
    let mut bytes = Vec::new();
    let mut read = |window| {
        bytes.clear();
        part.read_block(0, window_of(part, window), &mut bytes)?;
        Ok(bytes.len())
    };
    Ok([read(None)?, read(Some(0))?])
}

/// The pool that serves both parts: the scheduler knows one.
fn common_windows(first: Option<WindowPool>, rest: Option<WindowPool>) -> Option<WindowPool> {
    match (first, rest) {
        (Some(a), Some(b)) => Some(WindowPool {
            blocks: a.blocks.min(b.blocks),
            positions: a.positions.max(b.positions),
        }),
        (one, other) => one.or(other),
    }
}

impl Parts {
    /// A model of a first part and the rest, with names for people, such as `layers 0-5`.
    ///
    /// # Errors
    /// Where they do not fit together.
    pub fn new(
        mut first: Box<dyn Executable>,
        mut rest: Box<dyn Executable>,
        names: [&str; 2],
    ) -> Result<Parts, PartsError> {
        let gives = match first.gives() {
            ModelOutput::Hidden => first.width(),
            ModelOutput::Logits | ModelOutput::Embeddings => 0,
        };
        let takes = rest.takes().unwrap_or(0);
        if gives != takes || takes == 0 {
            return Err(PartsError::Width { gives, takes });
        }
        if first.limits() != rest.limits() {
            return Err(PartsError::Limits);
        }
        let content = match (first.block_bytes(), rest.block_bytes()) {
            (Some(_), Some(_)) => Some([content_bytes(first.as_mut())?, content_bytes(rest.as_mut())?]),
            _ => None,
        };
        let kv_blocks = first.kv_blocks().min(rest.kv_blocks());
        let windows = common_windows(first.windows(), rest.windows());
        let vocab = first.vocab().min(rest.vocab());
        Ok(Parts {
            check: BatchCheck::new(rest.limits(), vocab, kv_blocks).with_windows(windows),
            report: merged([first.report(), rest.report()], names),
            first,
            rest,
            kv_blocks,
            windows,
            content,
            whole: false,
        })
    }

    fn each(&mut self) -> [&mut dyn Executable; 2] {
        [self.first.as_mut(), self.rest.as_mut()]
    }

    /// Checks the numbers of a block and a window block.
    fn check_content(&self, block: u32, window: Option<u32>) -> Result<(), ExecError> {
        self.check.check_copy(block, block)?;
        window.map_or(Ok(()), |window| self.check.check_window_copy(window, window))
    }
}

/// What building both took, and takes.
fn merged([first, rest]: [&BuildReport; 2], names: [&str; 2]) -> BuildReport {
    let stages = |report: &BuildReport, part: &str| {
        let stages = report.stages.iter();
        let named = stages.map(|(name, time)| (format!("{name}, {part}"), *time));
        named.collect::<Vec<_>>()
    };
    BuildReport {
        stages: [stages(first, names[0]), stages(rest, names[1])].concat(),
        kernels: first.kernels + rest.kernels,
        code_bytes: first.code_bytes + rest.code_bytes,
        weight_bytes: first.weight_bytes + rest.weight_bytes,
        kv_bytes: first.kv_bytes + rest.kv_bytes,
        arena_bytes: first.arena_bytes + rest.arena_bytes,
        target: format!("{}: {}; {}: {}", names[0], first.target, names[1], rest.target),
    }
}

impl Executable for Parts {
    fn limits(&self) -> Limits {
        self.rest.limits()
    }

    fn vocab(&self) -> u32 {
        self.first.vocab().min(self.rest.vocab())
    }

    fn gives(&self) -> ModelOutput {
        self.rest.gives()
    }

    fn width(&self) -> u32 {
        self.rest.width()
    }

    fn kv_blocks(&self) -> u32 {
        self.kv_blocks
    }

    fn windows(&self) -> Option<WindowPool> {
        self.windows
    }

    fn takes(&self) -> Option<u32> {
        self.first.takes()
    }

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        self.run_on(batch, &[])
    }

    fn run_on(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&[f32], ExecError> {
        self.check.check(batch)?;
        self.whole = false;
        let hidden = self.first.run_on(batch, hidden)?;
        self.rest.run_on(batch, hidden)?;
        self.whole = true;
        Ok(self.output())
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.check.check_copy(from, to)?;
        self.each()
            .into_iter()
            .try_for_each(|part| part.copy_block(from, to))
    }

    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.check.check_window_copy(from, to)?;
        let parts = self.each().into_iter().filter(|part| part.windows().is_some());
        parts
            .into_iter()
            .try_for_each(|part| part.copy_window_block(from, to))
    }

    fn block_bytes(&self) -> Option<u64> {
        Some(self.first.block_bytes()? + self.rest.block_bytes()?)
    }

    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        self.check_content(block, window)?;
        self.each().into_iter().try_for_each(|part| {
            let window = window_of(part, window);
            part.read_block(block, window, out)
        })
    }

    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        self.check_content(block, window)?;
        let Some(content) = self.content else {
            return Err(ExecError::Device(
                "blocks of a part of the model can't be written".into(),
            ));
        };
        let [first, rest] = content.map(|of| of[usize::from(window.is_some())]);
        let want = first + rest;
        if bytes.len() < want {
            return Err(ExecError::Length {
                what: "bytes of a block",
                got: bytes.len(),
                want,
            });
        }
        let (own, others) = bytes.split_at(first);
        for (part, bytes) in self.each().into_iter().zip([own, others]) {
            let window = window_of(part, window);
            part.write_block(block, window, bytes)?;
        }
        Ok(())
    }

    fn output(&self) -> &[f32] {
        if self.whole { self.rest.output() } else { &[] }
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        Some(self.first.weight_bytes_per_step()? + self.rest.weight_bytes_per_step()?)
    }

    fn set_profiling(&mut self, on: bool) {
        self.each().into_iter().for_each(|part| part.set_profiling(on));
    }

    fn profile_text(&self) -> String {
        self.first.profile_text() + &self.rest.profile_text()
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}

#[cfg(test)]
mod tests;
