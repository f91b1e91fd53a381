//! The engine: step loop, paged KV, sampling, streaming. It knows executables and tokens, not backends or models.

pub mod cache;
pub mod engine;
pub mod error;
pub mod kv;
pub mod sampling;
pub mod schedule;
pub mod text;

pub use engine::{Completion, Engine, Finish, Request, Vocabulary};
pub use error::Error;
pub use sampling::SamplingParams;
