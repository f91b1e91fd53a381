//! GGUF files, architectures, tokenizers and chat templates.

pub mod template;
