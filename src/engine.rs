//! Lathe as a library: a model loaded by its compiled plan, and text made with it.

use crate::build::{BuildError, BuildOptions, Built};
use crate::plans::{BUILD, Plans, Source, SourceError, default_root};
use crate::session::{self, ModelVocabulary};
use crate::store::Quiet;
use lathe_codegen_cpu::topology::Topology;
use lathe_frontend::text::TextModel;
use lathe_runtime::cache::{Cache, CacheError};
use lathe_runtime::constrain::{Constraint, ConstraintError, Grammar, Grammars};
use lathe_runtime::{Completion, Request, SamplingParams};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// How to load a model. The default is what `lathe run` does: a thread for each physical core, the model's context but at
/// most 8192 positions, and the plan cache of this user.
#[derive(Clone, Debug, Default)]
pub struct Options {
    threads: Option<usize>,
    context: Option<u32>,
    cache: CacheChoice,
}

/// Where compiled plans are kept.
#[derive(Clone, Debug, Default)]
enum CacheChoice {
    /// Where the `lathe` command keeps them.
    #[default]
    Default,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    None,
}

/// What to generate, and how to pick tokens.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Generation {
    /// Most tokens to make; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Tokens to make before the model may end the text.
    pub min_tokens: usize,
    /// Never lets the model end the text.
    pub ignore_end: bool,
    /// Reports the log-probability of each token, and of so many of the most likely ones in its place.
    pub logprobs: Option<usize>,
    /// How tokens are picked; the default picks the most likely one.
    pub sampling: SamplingParams,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// What the text must be.
    pub constraint: Option<Constraint>,
}

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// `system`, `user` or `assistant`, as the model's template knows them.
    pub role: String,
    /// The text.
    pub content: String,
}

/// What was generated.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The text.
    pub text: String,
    /// Tokens, times, and why it ended.
    pub completion: Completion,
}

/// Why a model can't be loaded, or text not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name stands for no model.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model can't be compiled, or its plan not be run.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The plan cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The request can't be served.
    #[error(transparent)]
    Request(#[from] lathe_runtime::Error),
    /// The constraint can't be honoured.
    #[error("the constraint can't be honoured: {0}")]
    Constraint(#[from] ConstraintError),
    /// The model has no tokenizer or chat template that works.
    #[error("{0}")]
    Text(String),
}

impl Options {
    /// The default.
    pub fn new() -> Options {
        Options::default()
    }

    /// How many threads run the model.
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = Some(threads);
        self
    }

    /// Positions of the context.
    pub fn context(mut self, context: u32) -> Options {
        self.context = Some(context);
        self
    }

    /// Keeps compiled plans in a folder of the caller's.
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Options {
        self.cache = CacheChoice::Folder(folder.into());
        self
    }

    /// Keeps no compiled plan: the model is compiled in memory.
    pub fn no_cache(mut self) -> Options {
        self.cache = CacheChoice::None;
        self
    }

    /// Loads a model: a path to a GGUF file or to a compiled plan's folder, a plan's id, a built-in name, or
    /// `hf:OWNER/REPO[:FILE]`. It is compiled where no plan is kept.
    ///
    /// # Errors
    /// The message names the file and what is wrong with it.
    pub fn load(&self, model: &str) -> Result<Engine, Error> {
        let built = self.build(model, |options| options)?;
        let vocabulary = ModelVocabulary::new(&built.text).map_err(Error::Text)?;
        Ok(Engine {
            text: built.text,
            grammars: None,
            engine: lathe_runtime::Engine::new(built.executable, Arc::new(vocabulary)),
        })
    }

    /// Builds a model with options that `change` has the last word on.
    pub(crate) fn build(
        &self,
        model: &str,
        change: impl FnOnce(BuildOptions) -> BuildOptions,
    ) -> Result<Built, Error> {
        let threads = self.threads.unwrap_or_else(|| Topology::host().default_threads());
        let root = match &self.cache {
            CacheChoice::Default => Some(default_root().ok_or(CacheError::NoHome)?),
            CacheChoice::Folder(folder) => Some(folder.clone()),
            CacheChoice::None => None,
        };
        let cache = root.map(|root| Cache::open(&root, BUILD, threads)).transpose()?;
        let plans = cache.as_ref().map(|cache| Plans {
            cache,
            rehash: false,
            progress: &|_| (),
            notice: &|_| (),
        });
        let options = change(BuildOptions {
            threads,
            context: self.context,
            tuning: true,
            ..BuildOptions::default()
        });
        let source = Source::find(model, cache.as_ref(), &mut Quiet)?;
        Ok(source.load(&options, plans.as_ref())?)
    }
}

/// A model that is ready to make text, one sequence at a time. Keys and values of past sequences are kept while there is room,
/// so that what a prompt shares with one of them from the start is not computed again, up to whole blocks of 32 tokens.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.gguf");
/// # use lathe_frontend::testing::{Family, TinyModel};
/// # TinyModel::new(Family::Llama).write(&path)?;
/// # let (model, cache) = (path.to_str().unwrap(), folder.path().join("cache"));
/// use lathe::{Generation, Options};
///
/// let mut engine = Options::new().cache_folder(&cache).load(model)?;
/// let generation = Generation { max_tokens: Some(8), ..Generation::default() };
/// let output = engine.generate("the cat", &generation)?;
/// assert!(output.completion.tokens.len() <= 8);
///
/// // The plan is kept: loading it again compiles nothing.
/// let mut again = Options::new().cache_folder(&cache).load(model)?;
/// assert_eq!(again.generate("the cat", &generation)?.text, output.text);
///
/// // A text that must be JSON of a certain form.
/// let schema = serde_json::json!({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"],
///     "additionalProperties": false});
/// let generation = Generation { constraint: Some(lathe::Constraint::JsonSchema(schema)), ..Generation::default() };
/// let answer: serde_json::Value = serde_json::from_str(&engine.generate("the cat", &generation)?.text)?;
/// assert!(answer["sure"].is_boolean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    engine: lathe_runtime::Engine,
    text: TextModel,
    /// Of the model's vocabulary, once a constraint was asked for.
    grammars: Option<Grammars>,
}

impl Engine {
    /// Loads a model as [`Options::load`] does by default.
    ///
    /// # Errors
    /// As [`Options::load`].
    pub fn load(model: &str) -> Result<Engine, Error> {
        Options::new().load(model)
    }

    /// Positions of the context.
    pub fn context(&self) -> usize {
        self.engine.context()
    }

    /// The tokens of a text, special ones as the model wants them at the start of a prompt.
    ///
    /// # Errors
    /// Where the model has no tokenizer that works.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, Error> {
        session::prompt_tokens(&self.text, text, false).map_err(Error::Text)
    }

    /// The text of tokens, without control tokens.
    ///
    /// # Errors
    /// Where the model has no tokenizer that works.
    pub fn detokenize(&self, tokens: &[u32]) -> Result<String, Error> {
        Ok(session::tokenizer(&self.text)
            .map_err(Error::Text)?
            .decode(tokens, true))
    }

    /// Continues a text.
    ///
    /// # Errors
    /// Where the prompt does not fit the context or a parameter is out of range.
    pub fn generate(&mut self, prompt: &str, generation: &Generation) -> Result<Output, Error> {
        self.stream(prompt, generation, |_| ControlFlow::Continue(()))
    }

    /// Continues a text and hands on each piece of it as it is made, until the receiver breaks off.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("model.gguf");
    /// # use lathe_frontend::testing::{Family, TinyModel};
    /// # TinyModel::new(Family::Llama).write(&path)?;
    /// # let model = path.to_str().unwrap();
    /// use lathe::{Generation, Options};
    /// use std::ops::ControlFlow;
    ///
    /// let mut engine = Options::new().no_cache().load(model)?;
    /// let generation = Generation { max_tokens: Some(16), ..Generation::default() };
    /// let mut streamed = String::new();
    /// let output = engine.stream("the cat", &generation, |piece| {
    ///     streamed.push_str(piece);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(streamed, output.text);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn stream(
        &mut self,
        prompt: &str,
        generation: &Generation,
        receive: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output, Error> {
        let tokens = self.tokenize(prompt)?;
        self.run(tokens, generation, receive)
    }

    /// Answers a conversation, in the model's chat template.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("model.gguf");
    /// # use lathe_frontend::testing::{Family, TinyModel};
    /// # TinyModel::new(Family::Llama).write(&path)?;
    /// # let model = path.to_str().unwrap();
    /// use lathe::{Generation, Message, Options};
    /// use std::ops::ControlFlow;
    ///
    /// let mut engine = Options::new().no_cache().load(model)?;
    /// let messages = [Message { role: "user".into(), content: "the cat".into() }];
    /// let generation = Generation { max_tokens: Some(16), ..Generation::default() };
    /// let answer = engine.chat(&messages, &generation, |_| ControlFlow::Continue(()))?;
    /// println!("{}", answer.text);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the model has no chat template or it refuses the conversation; as [`Engine::generate`].
    pub fn chat(
        &mut self,
        messages: &[Message],
        generation: &Generation,
        receive: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output, Error> {
        let messages: Vec<_> = messages
            .iter()
            .map(|m| json!({"role": m.role, "content": m.content}))
            .collect();
        let tokens = session::chat_tokens(&self.text, &messages).map_err(Error::Text)?;
        self.run(tokens, generation, receive)
    }

    fn grammar(&mut self, constraint: &Constraint) -> Result<Grammar, Error> {
        let tokenizer = session::tokenizer(&self.text).map_err(Error::Text)?;
        let grammars = self
            .grammars
            .get_or_insert_with(|| Grammars::new(tokenizer.clone()));
        Ok(grammars.compile(constraint)?)
    }

    fn run(
        &mut self,
        prompt: Vec<u32>,
        generation: &Generation,
        mut receive: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output, Error> {
        let request = Request {
            prompt,
            sampling: generation.sampling.clone(),
            max_tokens: generation.max_tokens,
            min_tokens: generation.min_tokens,
            ignore_stop_tokens: generation.ignore_end,
            logprobs: generation.logprobs,
            stop: generation.stop.clone(),
            stop_tokens: session::stop_tokens(&self.text),
            constraint: generation
                .constraint
                .as_ref()
                .map(|c| self.grammar(c))
                .transpose()?,
            ..Request::default()
        };
        request.sampling.validate()?;
        let mut text = String::new();
        let completion = self.engine.generate(&request, &mut |piece| {
            text.push_str(piece);
            receive(piece).is_continue()
        })?;
        Ok(Output { text, completion })
    }
}
