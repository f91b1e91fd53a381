//! Model files for tests: a GGUF writer and tiny random models, so that tests need no download.
//!
//! This is test support, public because the tests of every crate use it; it is no part of the stable interface. The
//! models are complete (metadata, tokenizer, chat template, weights) and small enough to compile and run in
//! milliseconds. Their weights are random: the text that they make means nothing, but it is always the same.

mod models;
mod rng;
mod vocab;
mod writer;

pub use models::{Family, TinyModel};
pub use rng::Rng;
pub use writer::GgufWriter;
