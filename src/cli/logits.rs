//! `lathe logits`: float32 logits of every position of a token sequence.

use super::args::{ModelArg, RunArgs, parse_tokens};
use super::error::{CliError, read_text};
use super::npy::NpyWriter;
use crate::build::DEFAULT_CONTEXT;
use clap::Args;
use lathe_runtime::Evaluator;
use std::path::PathBuf;

/// Rows whose logits are computed in one step.
pub const ROWS: u32 = 64;

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe logits smollm2-135m --tokens 1,2,3 --output logits.npy")]
pub struct Logits {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by commas
    #[arg(long, required_unless_present = "tokens_file")]
    tokens: Option<String>,
    /// A file of token ids
    #[arg(long, conflicts_with = "tokens")]
    tokens_file: Option<PathBuf>,
    /// The .npy file to write: float32 [tokens, vocab]
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

impl Logits {
    pub fn run(&self) -> Result<(), CliError> {
        let text = match (&self.tokens, &self.tokens_file) {
            (Some(tokens), _) => tokens.clone(),
            (None, Some(file)) => read_text(file)?,
            (None, None) => String::new(),
        };
        let tokens = parse_tokens(&text)?;
        let mut options = self.run.build_options()?;
        options.chunk = options.chunk.min(ROWS);
        options.outputs = options.chunk;
        // Not the length of every text: each context is a plan of its own.
        if tokens.len() > options.context.unwrap_or(DEFAULT_CONTEXT) as usize {
            options.context = Some(tokens.len() as u32);
        }
        let built = self.model.load(&self.run, &options)?;
        let mut evaluator = Evaluator::new(built.executable);
        let columns = evaluator.executable().vocab() as usize;
        let mut writer = None;
        for_each_row(&mut evaluator, &tokens, |_, rows| {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(NpyWriter::create(&self.output, tokens.len(), columns)?),
            };
            writer.values(rows)
        })?;
        writer.map_or(Ok(()), NpyWriter::finish)
    }
}

/// Runs `tokens` from the start and hands the logits of each chunk of rows to `take`, with the number of its first row.
pub fn for_each_row(
    evaluator: &mut Evaluator,
    tokens: &[u32],
    mut take: impl FnMut(usize, &[f32]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    evaluator.begin(tokens)?;
    let limits = evaluator.executable().limits();
    let chunk = limits.tokens.min(limits.outputs) as usize;
    for (n, rows) in tokens.chunks(chunk).enumerate() {
        let logits = evaluator.run_step(rows.len(), rows.len())?;
        take(n * chunk, logits)?;
    }
    Ok(())
}
