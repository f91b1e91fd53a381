//! `lathe run`: one completion, streamed.

use super::args::{ModelArg, RunArgs};
use super::error::{CliError, read_text};
use crate::build::Built;
use crate::machine::proc_bytes;
use crate::session::{ModelVocabulary, stop_tokens};
use clap::Args;
use lathe_runtime::{Completion, Engine, Finish, Request, SamplingParams};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe run smollm2-135m -p \"The capital of France is\" -n 32")]
pub struct Run {
    #[command(flatten)]
    model: ModelArg,
    /// The prompt
    #[arg(short = 'p', long, required_unless_present = "file")]
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(short = 'f', long, conflicts_with = "prompt")]
    file: Option<PathBuf>,
    /// Most tokens to make
    #[arg(
        short = 'n',
        long = "max-tokens",
        env = "LATHE_MAX_TOKENS",
        default_value_t = 128
    )]
    max_tokens: usize,
    /// Put the prompt into the model's chat template as a user message
    #[arg(long)]
    chat: bool,
    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,
    /// No closing summary
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Print how long each stage from start to first token took
    #[arg(long)]
    stages: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// A string that ends the text (may be given several times)
    #[arg(long)]
    stop: Vec<String>,
    #[command(flatten)]
    run: RunArgs,
}

/// Sampling flags.
#[derive(Args, Clone, Debug)]
pub struct SamplingArgs {
    /// Sampling temperature; 0 picks the most likely token
    #[arg(long = "temp", env = "LATHE_TEMP", default_value_t = 0.0)]
    temperature: f32,
    /// Keep this many most likely tokens; 0 keeps all
    #[arg(long, env = "LATHE_TOP_K", default_value_t = 0)]
    top_k: u32,
    /// Keep the most likely tokens that together have this probability
    #[arg(long, env = "LATHE_TOP_P", default_value_t = 1.0)]
    top_p: f32,
    /// Drop tokens less likely than this times the most likely one
    #[arg(long, env = "LATHE_MIN_P", default_value_t = 0.0)]
    min_p: f32,
    /// Seed of the random numbers
    #[arg(long, env = "LATHE_SEED", default_value_t = 0)]
    seed: u64,
    /// Divide the logits of tokens seen lately by this
    #[arg(long, env = "LATHE_REPEAT_PENALTY", default_value_t = 1.0)]
    repeat_penalty: f32,
    /// How many of the last tokens penalties look at
    #[arg(long, env = "LATHE_REPEAT_LAST_N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    repeat_last_n: u32,
    /// Subtracted from a token's logit for each time it was seen lately
    #[arg(
        long,
        env = "LATHE_FREQUENCY_PENALTY",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    frequency_penalty: f32,
    /// Subtracted from a token's logit if it was seen lately
    #[arg(
        long,
        env = "LATHE_PRESENCE_PENALTY",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    presence_penalty: f32,
}

impl SamplingArgs {
    /// As the engine wants them.
    pub fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            penalty_window: self.repeat_last_n,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
        }
    }
}

impl Run {
    pub fn run(&self) -> Result<(), CliError> {
        let start = Instant::now();
        let params = self.sampling.params();
        params.validate()?;
        let prompt = match (&self.prompt, &self.file) {
            (Some(prompt), _) => prompt.clone(),
            (None, Some(file)) => read_text(file)?,
            (None, None) => String::new(),
        };
        let built = self.model.load(&self.run, &self.run.build_options()?)?;
        let tokens =
            crate::session::prompt_tokens(&built.text, &prompt, self.chat).map_err(CliError::input)?;
        let vocabulary = ModelVocabulary::new(&built.text).map_err(CliError::input)?;
        let request = Request {
            prompt: tokens,
            sampling: params,
            max_tokens: Some(self.max_tokens),
            stop: self.stop.clone(),
            stop_tokens: stop_tokens(&built.text),
        };
        let Built {
            text: model,
            executable,
            stages,
        } = built;
        // Its metadata and the mapped file are of no more use, and tokens of large vocabularies fill megabytes.
        drop(model);
        let mut engine = Engine::new(Box::new(executable));
        let mut text = String::new();
        let mut broken = None;
        let mut out = std::io::stdout().lock();
        let mut first_text = None;
        let completion = engine.generate(&request, &vocabulary, &mut |piece| {
            first_text.get_or_insert_with(|| start.elapsed());
            if self.json {
                text.push_str(piece);
                return true;
            }
            let written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            broken = written.err();
            broken.is_none()
        })?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        if self.json {
            writeln!(out, "{}", summary_json(&text, &completion))?;
        } else {
            writeln!(out)?;
        }
        if self.stages {
            for (stage, time) in &stages {
                eprintln!("{stage:>20} {:9.1} ms", time.as_secs_f64() * 1e3);
            }
            eprintln!(
                "{:>20} {:9.1} ms",
                "prefill",
                completion.prefill.as_secs_f64() * 1e3
            );
            if let Some(time) = first_text {
                eprintln!(
                    "{:>20} {:9.1} ms",
                    "start to first text",
                    time.as_secs_f64() * 1e3
                );
            }
        }
        if !self.quiet && !self.json {
            eprintln!("{}", summary(&completion));
        }
        Ok(())
    }
}

/// Tokens a second; 0 where nothing was timed.
fn rate(tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        tokens as f64 / seconds
    } else {
        0.0
    }
}

fn decode_rate(c: &Completion) -> f64 {
    rate(c.tokens.len().saturating_sub(1), c.decode.as_secs_f64())
}

fn prefill_rate(c: &Completion) -> f64 {
    rate(c.prompt_tokens - c.cached_tokens, c.prefill.as_secs_f64())
}

fn summary(c: &Completion) -> String {
    let memory =
        proc_bytes("/proc/self/status", "VmHWM").map_or(String::new(), |b| format!(", {} MiB", b >> 20));
    format!(
        "[{} prompt tokens at {:.1} tok/s, {} tokens at {:.1} tok/s{memory}, {}]",
        c.prompt_tokens,
        prefill_rate(c),
        c.tokens.len(),
        decode_rate(c),
        finish(c.finish)
    )
}

fn summary_json(text: &str, c: &Completion) -> serde_json::Value {
    json!({"text": text, "tokens": c.tokens, "finish": finish(c.finish), "prompt_tokens": c.prompt_tokens,
        "prefill_tps": prefill_rate(c), "decode_tps": decode_rate(c),
        "prefill_seconds": c.prefill.as_secs_f64(), "decode_seconds": c.decode.as_secs_f64()})
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Cancelled => "cancelled",
    }
}
