//! CPU code: Cranelift lowering, packed weights, thread pool, executable.

pub mod clif;
mod error;
pub mod partition;
pub mod pool;
pub mod target;

pub use clif::{CompiledKernels, KernelText, kernel_text};
pub use error::Error;
pub use target::{Arch, CpuFeatures, OptLevel};
