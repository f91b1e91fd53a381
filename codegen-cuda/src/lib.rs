//! CUDA code: lowering of graphs to launches, kernel generators, NVRTC, packed weights, executable.
//!
//! [`lower()`] makes a [`plan::CudaPlan`] of an optimized graph, and [`kernels`] the text of its kernels. [`exec::CudaExecutable`]
//! runs a plan on any [`device::Device`]: a GPU ([`driver::Gpu`]), or, in tests, an emulator of the CUDA thread model on the
//! CPU. Nothing here is linked to CUDA: the driver and the compiler are looked for when they are used.

pub mod arch;
pub mod code;
pub mod device;
pub mod driver;
pub mod error;
pub mod exec;

pub mod kernels;
pub mod layout;
pub mod lower;
pub mod nvrtc;
pub mod pack;
pub mod plan;
pub mod tiles;

pub use error::Error;
pub use lower::{LowerOptions, PanelsIn, lower};
