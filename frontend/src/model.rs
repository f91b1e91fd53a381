//! A loaded model: everything that the rest of the system takes from a GGUF file.

use std::path::Path;

use lathe_ir::graph::Graph;
use lathe_ir::plan::ModelOutput;
use lathe_ir::types::Sym;

use crate::Error;
use crate::arch::build_graph;
use crate::config::Config;
use crate::gguf::{GgufFile, Metadata, Value};
use crate::pooling::Pooling;
use crate::text::TextModel;
use crate::weights::ModelWeights;

/// The metadata key of the token list.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// A model.
pub struct Model {
    /// Its hyperparameters.
    pub config: Config,
    /// One step of it, from tokens to logits, embeddings or hidden states.
    pub graph: Graph,
    /// How rows are pooled where nobody says; `None` where they are logits.
    pub pooling: Option<Pooling>,
    /// The weights that the graph names.
    pub weights: ModelWeights,
    /// Its tokenizer and chat template.
    pub text: TextModel,
}

impl Model {
    /// What its graph gives.
    pub fn output(&self) -> ModelOutput {
        let result = self.graph.outputs.first();
        let every_row = result.is_some_and(|&v| self.graph.ty(v).dims.first() == Some(&Sym::Tokens.into()));
        match (every_row, self.pooling) {
            (true, _) => ModelOutput::Hidden,
            (false, Some(_)) => ModelOutput::Embeddings,
            (false, None) => ModelOutput::Logits,
        }
    }

    /// Loads the model at `path`, for logits: a file, or the first of a split set.
    ///
    /// # Errors
    /// The file can't be read, is damaged, contradicts itself or needs something unsupported; the message names the
    /// file, the thing and the bound.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::load_for(path, ModelOutput::Logits)
    }

    /// The same for this output.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_for(path: impl AsRef<Path>, output: ModelOutput) -> Result<Model, Error> {
        Model::from_weights(ModelWeights::new(GgufFile::open(path)?), output)
    }

    /// Makes a model of an opened file, for logits.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_file(file: GgufFile) -> Result<Model, Error> {
        Model::from_weights(ModelWeights::new(file), ModelOutput::Logits)
    }

    /// Makes a model of the file beneath a weight table that declares nothing yet.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_weights(mut weights: ModelWeights, output: ModelOutput) -> Result<Model, Error> {
        let config = Config::from_gguf(weights.file())?;
        check_vocabulary(weights.file().metadata(), config.vocab_size)?;
        let graph = build_graph(&config, &mut weights, output)?;
        let metadata = weights.file().metadata();
        let pooling = match output {
            ModelOutput::Logits | ModelOutput::Hidden => None,
            ModelOutput::Embeddings => Some(Pooling::from_metadata(metadata, config.architecture)?),
        };
        let text = TextModel::from_metadata(metadata)?;
        Ok(Model {
            config,
            graph,
            pooling,
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
