//! The OpenAI-compatible HTTP server: `/v1/chat/completions`, `/v1/completions` or `/v1/embeddings`; `/v1/models`, `/health`.
//!
//! It knows requests and text; what runs them is an [`Engine`](lathe_runtime::Engine) behind a queue.

pub mod error;
pub mod queue;
mod routes;
pub mod tools;
pub mod wire;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use error::ApiError;
use lathe_runtime::constrain::{Constraint, ConstraintError, Grammar};
use lathe_runtime::tools::{Format, Reasoning};
use lathe_runtime::{Pooling, Vocabulary};
use queue::Queue;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// Largest request body in bytes.
const BODY_LIMIT: usize = 32 << 20;

/// A conversation as chat templates take it.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Messages: `role`, `content`, `tool_calls`, …
    pub messages: Vec<Value>,
    /// Tools that the model is told of; empty for none.
    pub tools: Vec<Value>,
    /// More variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// A conversation as a model takes it, and how its answer will be written.
#[derive(Clone, Debug, Default)]
pub struct ChatPrompt {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// How calls of tools are written, where the template shows a way that is known.
    pub format: Option<Format>,
    /// How reasoning is marked, where it is.
    pub reasoning: Option<Reasoning>,
    /// Control tokens that are marks of calls or reasoning.
    pub marks: Vec<u32>,
}

/// What the server must know of a model to turn requests into tokens.
pub trait Prompter: Send + Sync {
    /// The prompt of a conversation that the model shall continue.
    ///
    /// # Errors
    /// One sentence: why there is no template, or what it said.
    fn chat(&self, conversation: &Conversation) -> Result<ChatPrompt, String>;

    /// The control token of this name, if text can't spell it.
    fn control_token(&self, name: &str) -> Option<u32>;

    /// Tokens of a text, with what the model expects at the start of one.
    ///
    /// # Errors
    /// One sentence.
    fn text(&self, text: &str) -> Result<Vec<u32>, String>;

    /// What a text must be, compiled for the model's vocabulary.
    ///
    /// # Errors
    /// What can't be honoured, and where.
    fn grammar(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError>;

    /// What tokens stand for.
    fn vocabulary(&self) -> &dyn Vocabulary;

    /// The tokens whose text contains one of these; it looks at the whole vocabulary.
    fn tokens_with(&self, strings: &[String]) -> Vec<u32>;

    /// Tokens that end an answer.
    fn stop_tokens(&self) -> &[u32];

    /// Most positions of a sequence.
    fn context(&self) -> usize;
}

/// The state that routes share.
pub struct Served {
    /// The name clients call the model by.
    pub model: String,
    /// Seconds since 1970 at the start.
    pub created: u64,
    /// Text to tokens.
    pub prompter: Arc<dyn Prompter>,
    /// The way to the engine.
    pub queue: Queue,
    /// How embeddings are pooled, where the model is served for them; `None` where it is served for text.
    pub pooling: Option<Pooling>,
    /// Most tokens to guess ahead in a step by what came before, and by a draft model.
    pub guesses: (usize, usize),
}

impl Served {
    /// A model under `name`, for text.
    pub fn new(name: impl Into<String>, prompter: Arc<dyn Prompter>, queue: Queue) -> Served {
        Served {
            model: name.into(),
            created: now(),
            prompter,
            queue,
            pooling: None,
            guesses: (0, 0),
        }
    }

    /// The same for embeddings.
    pub fn with_pooling(self, pooling: Pooling) -> Served {
        Served {
            pooling: Some(pooling),
            ..self
        }
    }

    /// Checks that text is asked for where text is served.
    fn check_text(&self) -> Result<(), ApiError> {
        match self.pooling {
            None => Ok(()),
            Some(_) => Err(ApiError::body(format!(
                "`{}` is served for embeddings here, not for text: ask /v1/embeddings",
                self.model
            ))),
        }
    }

    /// Checks that embeddings are asked for where they are served. Returns how they are pooled.
    fn check_embeddings(&self) -> Result<Pooling, ApiError> {
        self.pooling.ok_or_else(|| {
            ApiError::body(format!(
                "`{}` is served for text here: `lathe serve --embeddings` serves a model for embeddings",
                self.model
            ))
        })
    }

    /// The same with guesses: by what came before, and by the engine's draft model.
    pub fn with_guesses(mut self, lookup: usize, draft: usize) -> Served {
        self.guesses = (lookup, draft);
        self
    }

    /// Checks that a request asks for the model that is served; one without a name does.
    fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(name) if name != self.model => Err(ApiError::model(name, &self.model)),
            _ => Ok(()),
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// The routes over a model.
pub fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/health", get(routes::info::health))
        .route("/v1/models", get(routes::info::models))
        .route("/v1/models/{*id}", get(routes::info::model))
        .route("/v1/chat/completions", post(routes::chat::create))
        .route("/v1/completions", post(routes::completions::create))
        .route("/v1/embeddings", post(routes::embeddings::create))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(served)
}

async fn unknown(method: Method, uri: Uri) -> ApiError {
    let message = format!("there is no {method} {}", uri.path());
    ApiError {
        status: axum::http::StatusCode::NOT_FOUND,
        message,
        param: None,
        code: None,
    }
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError {
        status: axum::http::StatusCode::METHOD_NOT_ALLOWED,
        message,
        param: None,
        code: None,
    }
}

/// Serves until `stop` completes; answers under way are finished.
///
/// # Errors
/// Where the socket fails.
pub async fn serve(
    listener: TcpListener,
    served: Arc<Served>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(served))
        .with_graceful_shutdown(stop)
        .await
}
