//! The engine: scheduling, step loop, paged KV, sampling, streaming. It knows executables and tokens, not backends or models.

pub mod cache;
pub mod constrain;
pub mod engine;
pub mod error;
pub mod evaluator;
pub mod kv;
pub mod parts;
pub mod sampling;
pub mod schedule;
pub mod session;
pub mod text;
pub mod tools;

pub use engine::{
    Completion, Embedding, EmbeddingRequest, Engine, Event, Finish, Reopen, Reopened, Request, RequestId,
    SwapWhen, Vocabulary,
};
pub use error::Error;
pub use evaluator::Evaluator;
pub use lathe_frontend::pooling::Pooling;
pub use parts::{Parts, PartsError};
pub use sampling::SamplingParams;
