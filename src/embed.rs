//! Embeddings of texts, for programs and for the command.

use crate::build::Built;
use crate::engine::{Error, Options};
use crate::session::{ModelVocabulary, prompt_tokens};
use lathe_frontend::text::TextModel;
use lathe_runtime::{Embedding, EmbeddingRequest, Engine, Pooling};
use std::sync::Arc;

/// A model that is compiled for embeddings: nothing that only logits need is computed or in memory. An embedding of a text
/// is the same, bit for bit, whatever is embedded beside it.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.gguf");
/// # use lathe_frontend::testing::{Family, TinyModel};
/// # TinyModel::new(Family::Llama).write(&path)?;
/// # let model = path.to_str().unwrap();
/// use lathe::{Embedder, Options, Pooling};
///
/// let mut embedder = Options::new().no_cache().load_embedder(model)?.with_pooling(Pooling::Mean);
/// let embeddings = embedder.embed(&["the cat", "the dog sat"])?;
/// let likeness: f32 = embeddings[0].values.iter().zip(&embeddings[1].values).map(|(a, b)| a * b).sum();
/// assert!((-1.0..=1.0).contains(&likeness));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Embedder {
    engine: Engine,
    text: TextModel,
    pooling: Pooling,
    normalize: bool,
}

impl Options {
    /// Loads a model for embeddings, as [`Options::load`] does for text.
    ///
    /// # Errors
    /// As [`Options::load`].
    pub fn load_embedder(&self, model: &str) -> Result<Embedder, Error> {
        Embedder::new(self.build(model, |options| options.for_embeddings())?)
    }
}

impl Embedder {
    /// Of a model that was built for embeddings.
    ///
    /// # Errors
    /// Where it was built for logits, or has no tokenizer that works.
    pub fn new(built: Built) -> Result<Embedder, Error> {
        let vocabulary = ModelVocabulary::new(&built.text).map_err(Error::Text)?;
        let pooling = built.pooling.ok_or_else(|| {
            Error::Text("the model is compiled for text: it gives no embeddings".to_owned())
        })?;
        Ok(Embedder {
            engine: Engine::new(built.executable, Arc::new(vocabulary)),
            text: built.text,
            pooling,
            normalize: true,
        })
    }

    /// The same with another pooling than the model's own.
    pub fn with_pooling(self, pooling: Pooling) -> Embedder {
        Embedder { pooling, ..self }
    }

    /// The same with embeddings that are scaled to a length of 1, as they are by default, or are not.
    pub fn with_normalize(self, normalize: bool) -> Embedder {
        Embedder { normalize, ..self }
    }

    /// How rows are pooled.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The request for the embedding of a text.
    ///
    /// # Errors
    /// A text without tokens, or with more than the context holds.
    pub fn request(&self, text: &str) -> Result<EmbeddingRequest, Error> {
        let request = EmbeddingRequest {
            tokens: prompt_tokens(&self.text, text, false).map_err(Error::Text)?,
            pooling: self.pooling,
            normalize: self.normalize,
        };
        self.engine.check_embedding(&request)?;
        Ok(request)
    }

    /// Embeds texts, in their order.
    ///
    /// # Errors
    /// As [`Embedder::request`]; all texts are checked before anything is computed.
    pub fn embed(&mut self, texts: &[impl AsRef<str>]) -> Result<Vec<Embedding>, Error> {
        let requests = texts.iter().map(|text| self.request(text.as_ref()));
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        self.run(&requests)
    }

    /// Runs requests, in their order.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn run(&mut self, requests: &[EmbeddingRequest]) -> Result<Vec<Embedding>, Error> {
        Ok(self.engine.embed(requests)?)
    }
}
