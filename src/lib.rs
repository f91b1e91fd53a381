//! Lathe: compiles GGUF language models into plans for one machine and runs them.
//!
//! [`Engine`] loads a model and makes text, [`Embedder`] embeds text; [`Options`] say how. The rest is what the `lathe` command is made of.

pub mod build;
pub mod cli;
mod embed;
mod engine;
pub mod gpu;
pub mod machine;
pub mod plans;
pub mod session;
pub mod store;
pub mod tune;

pub use embed::Embedder;
pub use engine::{Engine, Error, Generation, Message, Options, Output};
pub use lathe_runtime::constrain::Constraint;
pub use lathe_runtime::{Completion, Embedding, Finish, Pooling, SamplingParams};
