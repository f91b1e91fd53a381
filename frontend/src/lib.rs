//! GGUF files, architectures, tokenizers and chat templates.
