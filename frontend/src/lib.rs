//! GGUF files, architectures, tokenizers and chat templates.

pub mod error;
pub mod gguf;
pub mod template;

pub use error::Error;
