//! `lathe embed`: embeddings of texts.

use super::args::{ModelArg, RunArgs};
use super::error::{CliError, read_text};
use crate::embed::Embedder;
use crate::engine::Error;
use clap::Args;
use lathe_runtime::{Embedding, Pooling};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// Texts whose embeddings are computed before the first of them is written.
const WINDOW: usize = 256;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lathe embed smollm2-135m \"The cat sat\" \"A dog barked\" --pooling mean\n  \
    lathe embed smollm2-135m --file lines.txt --json"
)]
pub struct Embed {
    #[command(flatten)]
    model: ModelArg,
    /// The texts
    #[arg(value_name = "TEXT", required_unless_present = "file")]
    texts: Vec<String>,
    /// A file with a text on each line
    #[arg(short = 'f', long, conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// How the hidden states of a text's tokens become one: mean, last, cls (the first), or none (a row a token) [default:
    /// what the model's file says, else last]
    #[arg(long, env = "LATHE_POOLING")]
    pooling: Option<Pooling>,
    /// Leave rows as long as they are, instead of scaling each to a Euclidean length of 1
    #[arg(long, env = "LATHE_NO_NORMALIZE", value_parser = clap::builder::BoolishValueParser::new())]
    no_normalize: bool,
    /// Print one JSON object a text: {index, tokens, embedding}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// What `--json` prints of a text.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    tokens: usize,
    embedding: Values<'a>,
}

/// Numbers, or with `--pooling none` a list of them for each token.
#[derive(Serialize)]
#[serde(untagged)]
enum Values<'a> {
    One(&'a [f32]),
    Rows(Vec<&'a [f32]>),
}

impl Embed {
    pub fn run(&self) -> Result<(), CliError> {
        let file = self.file.as_deref().map(read_text).transpose()?;
        let texts: Vec<&str> = match &file {
            Some(file) => file.lines().collect(),
            None => self.texts.iter().map(String::as_str).collect(),
        };
        if texts.is_empty() {
            return Err(CliError::input("the file has no line"));
        }
        let built = self
            .model
            .load(&self.run, &self.run.build_options()?.for_embeddings())?;
        let embedder = Embedder::new(built)?.with_normalize(!self.no_normalize);
        let pooling = self.pooling.unwrap_or(embedder.pooling());
        let mut embedder = embedder.with_pooling(pooling);
        let requests = texts.iter().zip(1..).map(|(text, number)| {
            let what = if file.is_some() { "line" } else { "text" };
            let error = |e| CliError::input(format!("{what} {number}: {e}"));
            embedder.request(text).map_err(error)
        });
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for (window, first) in requests.chunks(WINDOW).zip((0..).step_by(WINDOW)) {
            for (embedding, index) in embedder.run(window)?.iter().zip(first..) {
                match self.json {
                    true => write_json(&mut out, index, embedding, pooling)?,
                    false => write_text(&mut out, index, embedding, pooling)?,
                }
            }
        }
        Ok(out.flush()?)
    }
}

fn write_json(
    out: &mut impl Write,
    index: usize,
    embedding: &Embedding,
    pooling: Pooling,
) -> Result<(), CliError> {
    let values = match pooling {
        Pooling::None => Values::Rows(embedding.rows().collect()),
        Pooling::Mean | Pooling::Cls | Pooling::Last => Values::One(&embedding.values),
    };
    let line = Line {
        index,
        tokens: embedding.tokens,
        embedding: values,
    };
    let text = serde_json::to_string(&line).map_err(CliError::failed)?;
    Ok(writeln!(out, "{text}")?)
}

/// A row a line; where a text has several, an empty line stands before those of the next.
fn write_text(
    out: &mut impl Write,
    index: usize,
    embedding: &Embedding,
    pooling: Pooling,
) -> Result<(), CliError> {
    if pooling == Pooling::None && index > 0 {
        writeln!(out)?;
    }
    for row in embedding.rows() {
        let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
        writeln!(out, "{}", numbers.join(" "))?;
    }
    Ok(())
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        match error {
            Error::Source(error) => error.into(),
            Error::Build(error) => error.into(),
            Error::Cache(error) => error.into(),
            Error::Request(error) => error.into(),
            Error::Text(_) | Error::Constraint(_) => CliError::input(error),
        }
    }
}
