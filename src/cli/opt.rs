//! `lathe opt`: passes over a textual graph.

use super::args::{ModelArg, parse_tokens};
use super::error::{CliError, read_text};
use clap::Args;
use lathe_frontend::model::Model;
use lathe_ir::backend::WeightSource;
use lathe_ir::graph::interp::{Inputs, KvCache, MemoryWeights, Tensor, eval};
use lathe_ir::graph::{Graph, parse, print, verify};
use lathe_passes::{Pass, PipelineOptions, passes_by_name, pipeline, run_passes};
use std::io::Write;
use std::path::PathBuf;

/// Elements of weights that `--interpret` makes up at most.
const LIMIT: u64 = 1 << 26;
/// Tokens that `--interpret` runs where none are named: 0, 1, ….
const TOKENS: u32 = 5;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lathe inspect smollm2-135m > graph.lir\n  \
    lathe opt graph.lir --passes fuse-matmul,fuse-glu,dce\n  lathe opt graph.lir --passes all --verify\n  \
    lathe opt graph.lir --passes all --interpret --weights smollm2-135m --tokens 1,2,3")]
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
    /// Write the graph to stderr as it is after this pass; may be repeated
    #[arg(long, value_name = "PASS")]
    print_after: Vec<String>,
    /// Do not print the graph; run it on one sequence of tokens, and print its outputs, a line a token
    #[arg(long)]
    interpret: bool,
    /// The model whose weights --interpret reads [default: random weights]
    #[arg(long, value_name = "MODEL", requires = "interpret")]
    weights: Option<String>,
    /// Token ids for --interpret, separated by commas [default: 0,1,2,3,4]
    #[arg(long, requires = "interpret")]
    tokens: Option<String>,
    /// Seed of the random weights
    #[arg(long, default_value_t = 1, conflicts_with = "weights")]
    seed: u64,
}

impl Opt {
    pub fn run(&self) -> Result<(), CliError> {
        let name = self.file.display();
        let mut graph =
            parse::parse(&read_text(&self.file)?).map_err(|e| CliError::input(format!("{name}:{e}")))?;
        verify::verify(&graph).map_err(|errors| CliError::input(format!("{name}: {}", errors[0])))?;
        let passes = self.passes()?;
        self.check_print_after(&passes)?;
        let mut show = |pass: &Pass, graph: &Graph| {
            if self.print_after.iter().any(|name| name == pass.name) {
                eprint!("; after {}\n{graph}", pass.name);
            }
        };
        let options = PipelineOptions {
            verify: self.verify,
            after_each: Some(&mut show),
            ..PipelineOptions::default()
        };
        run_passes(&mut graph, &passes, options).map_err(CliError::failed)?;
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

    /// A pass to print after must be one that runs.
    fn check_print_after(&self, passes: &[Pass]) -> Result<(), CliError> {
        let runs = |name: &String| passes.iter().any(|pass| pass.name == name);
        match self.print_after.iter().find(|name| !runs(name)) {
            Some(name) => Err(CliError::input(format!(
                "`{name}` of --print-after is none of the passes of --passes"
            ))),
            None => Ok(()),
        }
    }

    /// The outputs for one sequence of tokens from position 0, with logits for each of them.
    fn interpret(&self, graph: &Graph) -> Result<Vec<Tensor>, CliError> {
        let tokens = match &self.tokens {
            Some(text) => parse_tokens(text)?,
            None => (0..TOKENS).collect(),
        };
        if tokens.is_empty() {
            return Err(CliError::input("--tokens has no token ids"));
        }
        if let Some(token) = tokens.iter().find(|&&t| i32::try_from(t).is_err()) {
            return Err(CliError::input(format!("token {token} is in no vocabulary")));
        }
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let inputs = Inputs::batch(&tokens, &rows, &vec![0; tokens.len()], &rows);
        let run = |weights: &dyn WeightSource| {
            eval(graph, weights, &inputs, &mut KvCache::new()).map_err(CliError::input)
        };
        match &self.weights {
            Some(model) => {
                let model = ModelArg { model: model.clone() };
                run(&Model::load(model.path()?)?.weights)
            }
            None => run(&self.random_weights(graph)?),
        }
    }

    fn random_weights(&self, graph: &Graph) -> Result<MemoryWeights, CliError> {
        let total: Option<u64> = graph
            .weights
            .values()
            .try_fold(0u64, |sum, w| sum.checked_add(w.ty.elements()?));
        if total.is_none_or(|n| n > LIMIT) {
            return Err(CliError::input(format!(
                "the weights have more than {LIMIT} elements: too many to make up; --weights names a model that has them"
            )));
        }
        MemoryWeights::random(graph, self.seed).map_err(CliError::input)
    }
}
