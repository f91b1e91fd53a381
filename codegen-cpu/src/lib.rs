//! CPU code: lowerings of kernels, packed weights, thread pool, executable.
//!
//! [`CpuExecutable`] is the whole: it compiles a plan's [`kernels`], packs its weights ([`pack`]), and runs its
//! steps on a [`pool`] of threads, each of which gets a fixed share of a step's units ([`partition`]) and may stay
//! on a processor of its own ([`topology`]).

mod affinity;
#[cfg(target_arch = "x86_64")]
mod amx;
mod clif;
mod code_memory;
mod error;
pub mod exec;
pub mod kernels;
pub mod limits;
mod memory;
pub mod pack;
pub mod partition;
pub mod pool;
pub mod target;
pub mod topology;
mod wide;

pub use error::Error;
pub use exec::{
    Artifact, CpuExecutable, CpuOptions, ProfileEntry, compile_kernels, pack_weights, rope_factors,
};
pub use kernels::{CompiledKernels, KernelText, kernel_code, kernel_text};
pub use pack::packed_bytes;
pub use target::{Arch, CpuFeatures, OptLevel};
