//! `lathe bench`: prefill and decode speed, and decode's share of the machine's memory bandwidth.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use crate::build::{BuildOptions, Built, DEFAULT_CONTEXT, build_model};
use crate::machine::{proc_bytes, stream_bandwidth};
use clap::Args;
use lathe_frontend::synthetic;
use lathe_runtime::Evaluator;
use serde_json::json;
use std::time::Instant;

/// Runs whose best is reported: the machine may be shared.
const REPEATS: usize = 3;

#[derive(Args, Debug)]
#[command(
    after_help = "Example: lathe bench smollm2-135m -p 512 -n 64 -t 2 --json\n         lathe bench --synthetic llama-3.1-8b:q4_0 -p 128 -n 16"
)]
pub struct Bench {
    /// A built-in name, a path to a .gguf file, or hf:OWNER/REPO[:FILE]
    #[arg(
        value_name = "MODEL",
        required_unless_present = "synthetic",
        conflicts_with = "synthetic"
    )]
    model: Option<String>,
    /// Random weights in the shape of a known model instead of a file, such as llama-3.1-8b:q4_k_m
    #[arg(long, value_name = "SHAPE:QUANT")]
    synthetic: Option<String>,
    /// Prompt tokens
    #[arg(short = 'p', long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    prompt: u32,
    /// Tokens to decode after the prompt
    #[arg(short = 'n', long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    decode: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the time of each kernel
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl Bench {
    pub fn run(&self) -> Result<(), CliError> {
        let mut options = self.run.build_options()?;
        let wanted = self.prompt + self.decode;
        // Not the length of every bench: each context is a plan of its own.
        if wanted > options.context.unwrap_or(DEFAULT_CONTEXT) {
            options.context = Some(wanted);
        }
        let Built { mut executable, .. } = self.build(&options)?;
        executable.set_profiling(self.profile);
        let vocab = lathe_ir::backend::Executable::plan(&executable).vocab;
        let tokens: Vec<u32> = (0..wanted)
            .map(|i| (i.wrapping_mul(7919) % vocab.saturating_sub(10).max(1)) + vocab.min(10) % vocab)
            .collect();
        let mut evaluator = Evaluator::new(Box::new(executable));
        let (mut prefill, mut decode) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..REPEATS {
            let (p, d) = self.measure(&mut evaluator, &tokens)?;
            (prefill, decode) = (prefill.min(p), decode.min(d));
        }
        self.report(
            &evaluator,
            f64::from(self.prompt) / prefill,
            f64::from(self.decode) / decode,
            options.threads,
        )
    }

    /// Builds the file's model or the synthetic one.
    fn build(&self, options: &BuildOptions) -> Result<Built, CliError> {
        match (&self.synthetic, &self.model) {
            (Some(name), _) => {
                let (shape, quant) = synthetic::parse(name).map_err(CliError::input)?;
                let start = Instant::now();
                let model = synthetic::model(&shape, &quant)?;
                Ok(build_model(model, ("make".to_owned(), start.elapsed()), options)?)
            }
            (None, Some(model)) => ModelArg { model: model.clone() }.load(&self.run, options),
            (None, None) => Err(CliError::input("name a model, or a shape with --synthetic")),
        }
    }

    /// Seconds of the prompt and of the decoded tokens, from an empty cache.
    fn measure(&self, evaluator: &mut Evaluator, tokens: &[u32]) -> Result<(f64, f64), CliError> {
        let (prompt, rest) = tokens.split_at(self.prompt as usize);
        let start = Instant::now();
        evaluator.begin(prompt)?;
        evaluator.forward()?;
        let prefill = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for &token in rest {
            evaluator.commit(token);
            evaluator.forward()?;
        }
        Ok((prefill, start.elapsed().as_secs_f64()))
    }

    fn report(
        &self,
        evaluator: &Evaluator,
        pp_tps: f64,
        tg_tps: f64,
        threads: usize,
    ) -> Result<(), CliError> {
        let executable = evaluator.executable();
        let bytes = executable.plan().weight_bytes_per_step().unwrap_or(0);
        let peak = proc_bytes("/proc/self/status", "VmHWM");
        let stream = stream_bandwidth(threads);
        let share = bytes as f64 * tg_tps / 1e9 / stream;
        if self.profile {
            eprint!("{}", executable.profile_text());
        }
        if self.json {
            let object = json!({"pp_tps": pp_tps, "tg_tps": tg_tps, "bytes_per_token": bytes,
                "stream_gbps": stream, "share_of_limit": share, "threads": threads,
                "weight_bytes": executable.report().weight_bytes, "kv_bytes": executable.report().kv_bytes,
                "arena_bytes": executable.report().arena_bytes, "kv_type": self.run.kv_types.unwrap_or_default().to_string(),
                "peak_bytes": peak,
                "target": executable.report().target});
            outln!("{object}");
        } else {
            outln!("{}", executable.report().target);
            outln!("prefill {:>5} tokens {pp_tps:10.1} tok/s", self.prompt);
            outln!("decode  {:>5} tokens {tg_tps:10.1} tok/s", self.decode);
            outln!(
                "decode reads {:.1} MB a token: {:.0} % of the {stream:.1} GB/s that {threads} threads can read",
                bytes as f64 / 1e6,
                100.0 * share
            );
        }
        Ok(())
    }
}
