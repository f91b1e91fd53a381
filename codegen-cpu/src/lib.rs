//! CPU code: Cranelift lowering, packed weights, thread pool, executable.
//!
//! [`CpuExecutable`] is the whole: it compiles a plan's kernels ([`clif`]), packs its weights ([`pack`]), and runs its
//! steps on a [`pool`] of threads, each of which gets a fixed share of a step's units ([`partition`]).

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod clif;
mod error;
pub mod exec;
pub mod limits;
mod memory;
pub mod pack;
pub mod partition;
pub mod pool;
pub mod target;
mod wide;

pub use clif::{CompiledKernels, KernelText, kernel_code, kernel_text};
pub use error::Error;
pub use exec::{CpuExecutable, CpuOptions, ProfileEntry};
pub use target::{Arch, CpuFeatures, OptLevel};
