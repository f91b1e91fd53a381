//! GGUF files, architectures, tokenizers and chat templates.

pub mod error;
pub mod gguf;
pub mod template;
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;

pub use error::Error;
