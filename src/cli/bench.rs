//! `lathe bench`: prefill and decode speed, and decode's share of the machine's memory bandwidth.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use crate::build::{BuildOptions, Built, DEFAULT_CONTEXT, build_model};
use crate::cli::plans::{notice, print_stages};
use crate::machine::{proc_bytes, stream_bandwidth};
use crate::plans::Kernels;
use clap::Args;
use lathe_codegen_cuda::code::{CodeStore, NoStore};
use lathe_frontend::synthetic;
use lathe_ir::backend::Executable;
use lathe_ir::plan::KV_BLOCK;
use lathe_runtime::{Engine, Evaluator, Event, Request, Vocabulary};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Runs whose best is reported: the machine may be shared.
const REPEATS: usize = 3;

#[derive(Args, Debug)]
#[command(
    after_help = "Example: lathe bench smollm2-135m -p 512 -n 64 -t 2 --json\n         lathe bench smollm2-135m -p 128 -n 64 -b 8\n         lathe bench --synthetic llama-3.1-8b:q4_0 -p 128 -n 16"
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
    /// Sequences side by side: rates are those of all together
    #[arg(short = 'b', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the time of each kernel
    #[arg(long)]
    profile: bool,
    /// Print how long each stage of the start took
    #[arg(long)]
    stages: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// A vocabulary without text.
struct Silent;

impl Vocabulary for Silent {
    fn token_bytes(&self, _token: u32) -> &[u8] {
        &[]
    }
}

/// The least of either time of several rounds.
fn best(mut round: impl FnMut() -> Result<(f64, f64), CliError>) -> Result<(f64, f64), CliError> {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..REPEATS {
        let (prefill, decode) = round()?;
        best = (best.0.min(prefill), best.1.min(decode));
    }
    Ok(best)
}

impl Bench {
    pub fn run(&self) -> Result<(), CliError> {
        let mut options = self.run.build_options()?;
        let wanted = self.prompt + self.decode;
        // Not the length of every bench: each context is a plan of its own.
        if wanted > options.context.unwrap_or(DEFAULT_CONTEXT) {
            options.context = Some(wanted);
        }
        if self.batch > 1 {
            options.seqs = options.seqs.max(self.batch);
            options.outputs = options.outputs.max(self.batch);
            options.kv_positions = Some((wanted + 1).next_multiple_of(KV_BLOCK).saturating_mul(self.batch));
        }
        let Built {
            mut executable,
            stages,
            ..
        } = self.build(&options)?;
        if self.stages {
            print_stages(&stages);
        }
        executable.set_profiling(self.profile);
        let vocab = executable.vocab();
        let tokens: Vec<u32> = (0..wanted)
            .map(|i| (i.wrapping_mul(7919) % vocab.saturating_sub(10).max(1)) + vocab.min(10) % vocab)
            .collect();
        // One sequence is timed without the engine: what the kernels do.
        if self.batch == 1 {
            let mut evaluator = Evaluator::new(executable);
            let best = best(|| self.measure(&mut evaluator, &tokens))?;
            self.report(evaluator.executable(), best, &options)
        } else {
            let mut engine = Engine::new(executable, Arc::new(Silent));
            let (prefill, whole) = best(|| self.measure_batch(&mut engine, &tokens))?;
            // The least of both, and not the least difference, which would be that of a slow prompt.
            self.report(engine.executable(), (prefill, whole - prefill), &options)
        }
    }

    /// Builds the file's model or the synthetic one.
    fn build(&self, options: &BuildOptions) -> Result<Built, CliError> {
        match (&self.synthetic, &self.model) {
            (Some(name), _) => {
                let (shape, quant) = synthetic::parse(name).map_err(CliError::input)?;
                let start = Instant::now();
                let model = synthetic::model(&shape, &quant)?;
                let made = ("make".to_owned(), start.elapsed());
                let cache = match options.on_cpu() {
                    true => None,
                    false => self.run.cache.open(options.threads)?,
                };
                let store = cache.as_ref().map(|cache| Kernels::new(cache, &notice));
                let code = store.as_ref().map_or(&NoStore as &dyn CodeStore, |store| store);
                Ok(build_model(model, made, options, code)?)
            }
            (None, Some(model)) => ModelArg { model: model.clone() }.load(&self.run, options),
            (None, None) => Err(CliError::input("name a model, or a shape with --synthetic")),
        }
    }

    /// Seconds of the prompt and of the decoded tokens, of each of which the largest logit is found, from an empty cache.
    fn measure(&self, evaluator: &mut Evaluator, tokens: &[u32]) -> Result<(f64, f64), CliError> {
        let (prompt, rest) = tokens.split_at(self.prompt as usize);
        let start = Instant::now();
        evaluator.begin(prompt)?;
        evaluator.forward()?;
        let prefill = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for &token in rest {
            evaluator.commit(token);
            evaluator.forward_largest()?;
        }
        Ok((prefill, start.elapsed().as_secs_f64()))
    }

    /// Seconds of the prompts of several sequences together, which differ from their first token on, and of the prompts and
    /// the decoded tokens, by greedy sampling.
    fn measure_batch(&self, engine: &mut Engine, tokens: &[u32]) -> Result<(f64, f64), CliError> {
        let prefill = self.run_batch(engine, tokens, 1)?;
        // The first token comes with the prompt.
        let whole = self.run_batch(engine, tokens, self.decode as usize + 1)?;
        Ok((prefill, whole))
    }

    /// Seconds until all sequences have `made` tokens, without prefixes of past ones.
    fn run_batch(&self, engine: &mut Engine, tokens: &[u32], made: usize) -> Result<f64, CliError> {
        engine.reset();
        let start = Instant::now();
        for number in 0..self.batch as usize {
            let mut prompt = tokens[..self.prompt as usize].to_vec();
            let len = prompt.len();
            prompt.rotate_left(number % len);
            engine.submit(Request {
                prompt,
                max_tokens: Some(made),
                ..Request::default()
            })?;
        }
        let mut failed = None;
        while engine.step(&mut |_, event| {
            if let Event::Done {
                result: Err(error), ..
            } = event
            {
                failed = Some(error);
            }
            true
        }) {}
        failed.map_or(Ok(start.elapsed().as_secs_f64()), |error| Err(error.into()))
    }

    fn report(
        &self,
        executable: &dyn Executable,
        (prefill, decode): (f64, f64),
        options: &BuildOptions,
    ) -> Result<(), CliError> {
        let threads = options.threads;
        let rate = |tokens: u32, seconds: f64| f64::from(tokens) * f64::from(self.batch) / seconds;
        let (pp_tps, tg_tps) = (rate(self.prompt, prefill), rate(self.decode, decode));
        let bytes = executable.weight_bytes_per_step().unwrap_or(0);
        let peak = proc_bytes("/proc/self/status", "VmHWM");
        // Every step reads the weights once, for all sequences.
        let read = bytes as f64 * tg_tps / f64::from(self.batch) / 1e9;
        // What the memory of a GPU can give is not measured here.
        let stream = options.on_cpu().then(|| stream_bandwidth(threads));
        let share = stream.map(|stream| read / stream);
        if self.profile {
            eprint!("{}", executable.profile_text());
        }
        if self.json {
            let object = json!({"pp_tps": pp_tps, "tg_tps": tg_tps, "bytes_per_token": bytes,
                "stream_gbps": stream, "share_of_limit": share, "threads": threads, "batch": self.batch,
                "weight_bytes": executable.report().weight_bytes, "kv_bytes": executable.report().kv_bytes,
                "arena_bytes": executable.report().arena_bytes, "kv_type": self.run.kv_types.unwrap_or_default().to_string(),
                "peak_bytes": peak,
                "target": executable.report().target});
            outln!("{object}");
        } else {
            outln!("{}", executable.report().target);
            outln!("prefill {:>5} tokens {pp_tps:10.1} tok/s", self.prompt);
            outln!("decode  {:>5} tokens {tg_tps:10.1} tok/s", self.decode);
            let step = bytes as f64 / 1e6;
            match (stream, share) {
                (Some(stream), Some(share)) => outln!(
                    "decode reads {step:.1} MB a step: {:.0} % of the {stream:.1} GB/s that {threads} threads can read",
                    100.0 * share
                ),
                _ => outln!("decode reads {step:.1} MB of weights a step: {read:.1} GB/s"),
            }
        }
        Ok(())
    }
}
