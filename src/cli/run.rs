//! `lathe run`: one completion, streamed.

use super::args::{ModelArg, RunArgs};
use super::constraint::ConstraintArgs;
use super::draft::DraftArgs;
use super::error::{CliError, read_text};
use super::plans::print_stages;
use super::sampling::SamplingArgs;
use super::session::SessionArgs;
use crate::build::Built;
use crate::machine::proc_bytes;
use crate::session::{ModelVocabulary, stop_tokens, tokenizer};
use clap::Args;
use clap::builder::BoolishValueParser;
use lathe_runtime::constrain::{Grammars, Start};
use lathe_runtime::sampling::TokenLogprob;
use lathe_runtime::{Completion, Engine, Finish, Request};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Tokens to make before the model may end the text
    #[arg(long, env = "LATHE_MIN_TOKENS", default_value_t = 0)]
    min_tokens: usize,
    /// Never let the model end the text
    #[arg(long, env = "LATHE_IGNORE_EOS", value_parser = BoolishValueParser::new())]
    ignore_eos: bool,
    /// With --json: the log-probability of each token, and of so many of the most likely ones
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u32).range(0..=100))]
    logprobs: Option<u32>,
    /// Guess so many tokens ahead where the text repeats what came before, and check them in one step; the text stays the same
    #[arg(long, env = "LATHE_LOOKUP", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=15))]
    lookup: u32,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    session: SessionArgs,
    /// A string that ends the text (may be given several times)
    #[arg(long)]
    stop: Vec<String>,
    #[command(flatten)]
    constraint: ConstraintArgs,
    /// The constraint begins after this text, such as </think>
    #[arg(long, value_name = "TEXT", help_heading = "Constraint")]
    constrain_after: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

impl Run {
    pub fn run(&self) -> Result<(), CliError> {
        let start = Instant::now();
        self.sampling.validate()?;
        // What can't be read should not cost a load.
        let constraint = self.constraint.read()?;
        let session = self.session.read()?;
        let prompt = match (&self.prompt, &self.file) {
            (Some(prompt), _) => prompt.clone(),
            (None, Some(file)) => read_text(file)?,
            (None, None) => String::new(),
        };
        let options = self.run.build_options()?;
        let built = self.model.load(&self.run, &options)?;
        let tokens =
            crate::session::prompt_tokens(&built.text, &prompt, self.chat).map_err(CliError::input)?;
        let vocabulary = ModelVocabulary::new(&built.text).map_err(CliError::input)?;
        let tokenizer = tokenizer(&built.text).map_err(CliError::input)?.clone();
        let constraint = constraint
            .map(|constraint| constraint.compile(&Grammars::new(tokenizer.clone())))
            .transpose()?;
        let request = Request {
            prompt: tokens,
            sampling: self.sampling.params(&vocabulary, built.executable.vocab()),
            max_tokens: Some(self.max_tokens),
            min_tokens: self.min_tokens,
            ignore_stop_tokens: self.ignore_eos,
            logprobs: self.logprobs.map(|n| n as usize),
            lookup: self.lookup as usize,
            draft: self.draft.length(),
            stop: self.stop.clone(),
            stop_tokens: stop_tokens(&built.text),
            constraint,
            constrain_from: self.constrain_after.clone().map_or(Start::Now, Start::After),
            ..Request::default()
        };
        let Built {
            text: model,
            executable,
            identity,
            stages,
            ..
        } = built;
        // Its metadata and the mapped file are of no more use, and tokens of large vocabularies fill megabytes.
        drop(model);
        let engine = Engine::new(executable, Arc::new(vocabulary));
        let mut engine = self.draft.equip(engine, &tokenizer, &self.run, &options)?;
        drop(tokenizer);
        let session = session
            .map(|session| session.restore(identity, &mut engine))
            .transpose()?;
        let mut text = String::new();
        let mut broken = None;
        let mut out = std::io::stdout().lock();
        let mut first_text = None;
        let completion = engine.generate(&request, &mut |piece| {
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
        if let Some(session) = session {
            let tokens = [request.prompt.clone(), completion.tokens.clone()].concat();
            session.save(&mut engine, &tokens, session.note.clone())?;
        }
        if self.stages {
            print_stages(&stages);
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

/// What it took, in a line.
pub fn summary(c: &Completion) -> String {
    let memory =
        proc_bytes("/proc/self/status", "VmHWM").map_or(String::new(), |b| format!(", {} MiB", b >> 20));
    let guesses = match c.drafts {
        (0, _) => String::new(),
        (made, right) => format!(", {right} of {made} guesses right"),
    };
    let known = match c.cached_tokens {
        0 => String::new(),
        known => format!(" ({known} known)"),
    };
    format!(
        "[{} prompt tokens{known} at {:.1} tok/s, {} tokens at {:.1} tok/s{guesses}{memory}, {}]",
        c.prompt_tokens,
        prefill_rate(c),
        c.tokens.len(),
        decode_rate(c),
        finish(c.finish)
    )
}

fn summary_json(text: &str, c: &Completion) -> serde_json::Value {
    let entry = |t: &TokenLogprob| json!({"token": t.token, "logprob": finite(t.logprob)});
    let logprobs = c.logprobs.iter().map(|l| {
        let top: Vec<_> = l.top.iter().map(entry).collect();
        json!({"token": l.picked.token, "logprob": finite(l.picked.logprob), "top": top})
    });
    let mut summary = json!({"text": text, "tokens": c.tokens, "finish": finish(c.finish), "prompt_tokens": c.prompt_tokens,
        "cached_tokens": c.cached_tokens, "guesses": c.drafts.0, "right_guesses": c.drafts.1, "prefill_tps": prefill_rate(c), "decode_tps": decode_rate(c),
        "prefill_seconds": c.prefill.as_secs_f64(), "decode_seconds": c.decode.as_secs_f64()});
    if !c.logprobs.is_empty() {
        summary["logprobs"] = logprobs.collect();
    }
    summary
}

/// JSON has no infinity: what has no probability is null.
fn finite(logprob: f32) -> Option<f32> {
    logprob.is_finite().then_some(logprob)
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Cancelled => "cancelled",
        Finish::Expired => "expired",
    }
}
