//! GGUF files, architectures, tokenizers and chat templates.

pub mod arch;
pub mod config;
pub mod error;
pub mod gguf;
pub mod model;
pub mod pooling;
pub mod synthetic;
pub mod template;
#[doc(hidden)]
pub mod testing;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use error::Error;
pub use model::Model;
