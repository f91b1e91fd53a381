//! Lathe: compiles GGUF language models into plans for one machine and runs them.

pub mod build;
pub mod cli;
pub mod machine;
pub mod session;
pub mod store;
pub mod tune;
