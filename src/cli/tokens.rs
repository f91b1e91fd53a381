//! `lathe tokenize` and `lathe detokenize`. Both work on a file that has a vocabulary and no weights.

use super::args::{ModelArg, parse_tokens};
use super::error::{CliError, read_text};
use super::plans::CacheArgs;
use clap::Args;
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe tokenize smollm2-135m \"Hello world\"")]
pub struct Tokenize {
    #[command(flatten)]
    model: ModelArg,
    /// The text
    #[arg(required_unless_present = "file")]
    text: Option<String>,
    /// A file with the text
    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Neither add BOS/EOS nor parse special tokens
    #[arg(long)]
    no_special: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Tokenize {
    pub fn run(&self) -> Result<(), CliError> {
        let text = match (&self.text, &self.file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_text(file)?,
            (None, None) => String::new(),
        };
        let options = if self.no_special {
            EncodeOptions::PLAIN
        } else {
            EncodeOptions::PROMPT
        };
        let ids = load(&self.model)?.encode(&text, options);
        if self.json {
            outln!("{}", json!(ids));
        } else {
            outln!("{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe detokenize smollm2-135m 19556 905")]
pub struct Detokenize {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by blanks or commas
    #[arg(required_unless_present = "file")]
    ids: Vec<String>,
    /// A file with token ids
    #[arg(long, conflicts_with = "ids")]
    file: Option<PathBuf>,
    /// Leave special tokens out
    #[arg(long)]
    no_special: bool,
    /// Print a JSON string
    #[arg(long)]
    json: bool,
}

impl Detokenize {
    pub fn run(&self) -> Result<(), CliError> {
        let text = match &self.file {
            Some(file) => read_text(file)?,
            None => self.ids.join(" "),
        };
        let ids = parse_tokens(&text)?;
        let tokenizer = load(&self.model)?;
        let size = tokenizer.vocab_size();
        if let Some(bad) = ids.iter().find(|&&id| id >= size) {
            return Err(CliError::input(format!(
                "token {bad} is not below {size}, the size of the vocabulary"
            )));
        }
        let text = tokenizer.decode(&ids, self.no_special);
        if self.json {
            outln!("{}", json!(text));
        } else {
            outln!("{text}");
        }
        Ok(())
    }
}

/// The tokenizer of a model, or of a file that has a vocabulary and no weights.
pub fn load(model: &ModelArg) -> Result<Arc<Tokenizer>, CliError> {
    let cache = CacheArgs::default().open(1)?;
    let source = model.source(cache.as_ref())?;
    source.text(cache.as_ref())?.tokenizer.map_err(CliError::input)
}
