//! A loaded model: everything that the rest of the system takes from a GGUF file.

use std::path::Path;
use std::sync::Arc;

use lathe_ir::graph::Graph;

use crate::Error;
use crate::arch::build_graph;
use crate::config::Config;
use crate::gguf::{GgufFile, Metadata, Value};
use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::Tokenizer;
use crate::weights::ModelWeights;

/// The metadata key of the token list.
const TOKENS: &str = "tokenizer.ggml.tokens";
/// The metadata key of the chat template.
const TEMPLATE: &str = "tokenizer.chat_template";

/// A model.
pub struct Model {
    /// Its hyperparameters.
    pub config: Config,
    /// One step of it, from tokens to logits.
    pub graph: Graph,
    /// The weights that the graph names.
    pub weights: ModelWeights,
    /// Its tokenizer, or why it has none that works; token ids can be computed with all the same.
    pub tokenizer: Result<Arc<Tokenizer>, Error>,
    /// Its chat template, where it has one and there is a tokenizer for its special tokens, or why it does not compile.
    pub chat_template: Option<Result<ChatTemplate, TemplateError>>,
}

impl Model {
    /// Loads the model at `path`: a file, or the first of a split set.
    ///
    /// # Errors
    /// The file can't be read, is damaged, contradicts itself or needs something unsupported; the message names the
    /// file, the thing and the bound.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::from_file(GgufFile::open(path)?)
    }

    /// Makes a model of an opened file.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_file(file: GgufFile) -> Result<Model, Error> {
        Model::from_weights(ModelWeights::new(file))
    }

    /// Makes a model of the file beneath a weight table that declares nothing yet.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_weights(mut weights: ModelWeights) -> Result<Model, Error> {
        let config = Config::from_gguf(weights.file())?;
        check_vocabulary(weights.file().metadata(), config.vocab_size)?;
        let graph = build_graph(&config, &mut weights)?;
        let metadata = weights.file().metadata();
        let tokenizer = Tokenizer::from_metadata(metadata).map(Arc::new);
        let chat_template = match &tokenizer {
            Ok(tokenizer) => chat_template(metadata, tokenizer)?,
            Err(_) => None,
        };
        Ok(Model {
            config,
            graph,
            weights,
            tokenizer,
            chat_template,
        })
    }
}

/// Checks that the token list, where there is one, is as long as the embedding.
fn check_vocabulary(metadata: &Metadata, vocab_size: u32) -> Result<(), Error> {
    match metadata.get(TOKENS) {
        Some(Value::Array(tokens)) if tokens.len() != vocab_size as usize => {
            let problem = format!(
                "it has {} tokens, but the embedding `token_embd.weight` has {vocab_size} rows",
                tokens.len()
            );
            Err(metadata.reject(TOKENS, problem))
        }
        _ => Ok(()),
    }
}

/// The chat template, compiled.
fn chat_template(
    metadata: &Metadata,
    tokenizer: &Tokenizer,
) -> Result<Option<Result<ChatTemplate, TemplateError>>, Error> {
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or("");
    let source = metadata.opt_str(TEMPLATE)?;
    Ok(source.map(|source| ChatTemplate::new(source, text(tokenizer.bos()), text(tokenizer.eos()))))
}
