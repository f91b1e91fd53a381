//! The routes.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod info;
mod logprobs;
pub mod message;
mod reply;
