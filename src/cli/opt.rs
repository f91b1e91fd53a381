//! `lathe opt`: passes over a textual graph.

use super::error::{CliError, read_text};
use clap::Args;
use lathe_ir::graph::interp::{Inputs, KvCache, MemoryWeights, Tensor, eval};
use lathe_ir::graph::{Graph, parse, print, verify};
use lathe_passes::{Pass, PipelineOptions, passes_by_name, pipeline, run_passes};
use std::io::Write;
use std::path::PathBuf;

/// Elements of weights that `--interpret` makes up at most.
const LIMIT: u64 = 1 << 26;
/// Rows of the batch that `--interpret` runs.
const ROWS: u32 = 5;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lathe inspect smollm2-135m > graph.lir\n  \
    lathe opt graph.lir --passes fuse-matmul,fuse-glu,dce\n  lathe opt graph.lir --passes all --verify")]
pub struct Opt {
    /// A file with one graph
    #[arg(value_name = "FILE.lir")]
    file: PathBuf,
    /// Passes in order, separated by commas; `all` for the pipeline
    #[arg(long, value_delimiter = ',')]
    passes: Vec<String>,
    /// Verify the graph after every pass
    #[arg(long)]
    verify: bool,
    /// Do not print the graph; run it on random weights and five tokens, and print its outputs
    #[arg(long)]
    interpret: bool,
    /// Seed of the random weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Opt {
    pub fn run(&self) -> Result<(), CliError> {
        let name = self.file.display();
        let mut graph =
            parse::parse(&read_text(&self.file)?).map_err(|e| CliError::input(format!("{name}:{e}")))?;
        verify::verify(&graph).map_err(|errors| CliError::input(format!("{name}: {}", errors[0])))?;
        let options = PipelineOptions {
            verify: self.verify,
            after_each: None,
        };
        run_passes(&mut graph, &self.passes()?, options).map_err(CliError::failed)?;
        let mut out = std::io::stdout().lock();
        if !self.interpret {
            return Ok(write!(out, "{}", print::print(&graph))?);
        }
        for output in self.interpret(&graph)? {
            let values = output
                .to_f32()
                .ok_or_else(|| CliError::input("an output is no tensor of numbers"))?;
            let row = output.dims.last().copied().unwrap_or(1).max(1);
            for row in values.chunks(row) {
                writeln!(
                    out,
                    "{}",
                    row.iter().map(|v| format!("{v:e}")).collect::<Vec<_>>().join(" ")
                )?;
            }
        }
        Ok(())
    }

    fn passes(&self) -> Result<Vec<Pass>, CliError> {
        let names: Vec<&str> = self.passes.iter().map(String::as_str).collect();
        if names == ["all"] {
            return Ok(pipeline().to_vec());
        }
        passes_by_name(&names).map_err(CliError::input)
    }

    /// The outputs for five tokens of one sequence and the logits of the last two.
    fn interpret(&self, graph: &Graph) -> Result<Vec<Tensor>, CliError> {
        let total: Option<u64> = graph
            .weights
            .values()
            .try_fold(0u64, |sum, w| sum.checked_add(w.ty.elements()?));
        if total.is_none_or(|n| n > LIMIT) {
            return Err(CliError::input(format!(
                "the weights have more than {LIMIT} elements: too many to make up"
            )));
        }
        let weights = MemoryWeights::random(graph, self.seed).map_err(CliError::input)?;
        let rows: Vec<u32> = (0..ROWS).collect();
        let inputs = Inputs::batch(&rows, &rows, &[0; ROWS as usize], &[ROWS - 2, ROWS - 1]);
        eval(graph, &weights, &inputs, &mut KvCache::new()).map_err(CliError::input)
    }
}
