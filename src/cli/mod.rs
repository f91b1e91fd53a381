//! The command line: one file a verb. Results go to stdout, everything else to stderr.
//!
//! Exit status: 0 done, 1 the work failed, 2 the command line or the input is wrong.

/// Writes a line to stdout. A reader that went away is an error like any other, not a panic.
macro_rules! outln {
    ($($text:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout().lock(), $($text)*).map_err(crate::cli::error::CliError::from)?
    }};
}

mod args;
mod bench;
mod cache;
mod chat;
mod compile;
mod constraint;
mod doctor;
mod draft;
mod embed;
mod error;
mod gpu;
mod inspect;
mod logits;
mod models;
mod npy;
mod opt;
mod perplexity;
mod plans;
mod progress;
mod run;
mod sampling;
mod serve;
mod session;
mod tokens;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles GGUF language models for this machine and runs them.
#[derive(Parser, Debug)]
#[command(name = "lathe", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Fetch a model into the local store
    Pull(models::Pull),
    /// List the models of the local store
    List(models::List),
    /// Show what a model is, and every reason why it could not be compiled
    Show(models::Show),
    /// Remove a model from the local store
    Rm(models::Rm),
    /// Complete a prompt
    Run(Box<run::Run>),
    /// Embed texts
    Embed(embed::Embed),
    /// Talk with a model
    Chat(Box<chat::Chat>),
    /// Serve the OpenAI API
    Serve(serve::Serve),
    /// Measure prefill and decode speed
    Bench(bench::Bench),
    /// Compile a model for this machine ahead of its first use
    Compile(compile::Compile),
    /// The compiled plans that are kept
    Cache(cache::CacheVerb),
    /// Write the logits of every position of a token sequence
    Logits(logits::Logits),
    /// Perplexity of a text, and its divergence from reference logits
    Perplexity(perplexity::Perplexity),
    /// Turn text into token ids
    Tokenize(tokens::Tokenize),
    /// Turn token ids into text
    Detokenize(tokens::Detokenize),
    /// Tell whether a text is what a schema, expression or grammar asks for
    Grammar(constraint::GrammarVerb),
    /// Print a model's intermediate representations
    Inspect(inspect::Inspect),
    /// Run passes over a textual graph
    Opt(opt::Opt),
    /// Show what this machine offers and what Lathe makes of it
    Doctor(doctor::Doctor),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.verb {
        Verb::Pull(v) => v.run(),
        Verb::List(v) => v.run(),
        Verb::Show(v) => v.run(),
        Verb::Rm(v) => v.run(),
        Verb::Run(v) => v.run(),
        Verb::Embed(v) => v.run(),
        Verb::Chat(v) => v.run(),
        Verb::Serve(v) => v.run(),
        Verb::Bench(v) => v.run(),
        Verb::Compile(v) => v.run(),
        Verb::Cache(v) => v.run(),
        Verb::Logits(v) => v.run(),
        Verb::Perplexity(v) => v.run(),
        Verb::Tokenize(v) => v.run(),
        Verb::Detokenize(v) => v.run(),
        Verb::Grammar(v) => v.run(),
        Verb::Inspect(v) => v.run(),
        Verb::Opt(v) => v.run(),
        Verb::Doctor(v) => v.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lathe: {error}");
            ExitCode::from(error.status())
        }
    }
}
