//! Tuning: shapes of a model's products are tried on this machine, and the best are kept in a file for later builds.
//!
//! A shape changes no result, only time: every tile does the same float operations in the same order. [`probe`] runs a
//! product's kernels as models run them, [`search`] says which shapes are tried and which one wins, [`mod@file`] keeps them.

pub mod file;
mod probe;
mod search;

pub use search::{BUSY, Trial, Tuned, keep, tune};

/// Why tuning failed.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The tuning file.
    #[error(transparent)]
    File(#[from] file::FileError),
    /// A build up to the plan.
    #[error(transparent)]
    Build(#[from] crate::build::BuildError),
    /// A step that measures.
    #[error("{0}")]
    Step(#[from] lathe_ir::backend::ExecError),
}

impl From<lathe_codegen_cpu::Error> for TuneError {
    fn from(error: lathe_codegen_cpu::Error) -> TuneError {
        TuneError::Build(error.into())
    }
}

impl From<lathe_passes::lower::LowerError> for TuneError {
    fn from(error: lathe_passes::lower::LowerError) -> TuneError {
        TuneError::Build(error.into())
    }
}
