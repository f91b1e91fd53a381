//! A loaded model: everything that the rest of the system takes from a GGUF file.

use std::path::Path;

use lathe_ir::graph::Graph;

use crate::Error;
use crate::arch::build_graph;
use crate::config::Config;
use crate::gguf::{GgufFile, Metadata, Value};
use crate::text::TextModel;
use crate::weights::ModelWeights;

/// The metadata key of the token list.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// A model.
pub struct Model {
    /// Its hyperparameters.
    pub config: Config,
    /// One step of it, from tokens to logits.
    pub graph: Graph,
    /// The weights that the graph names.
    pub weights: ModelWeights,
    /// Its tokenizer and chat template.
    pub text: TextModel,
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
        let text = TextModel::from_metadata(metadata)?;
        Ok(Model {
            config,
            graph,
            weights,
            text,
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
