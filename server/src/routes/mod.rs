//! The routes.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod info;
pub mod message;
mod reply;
