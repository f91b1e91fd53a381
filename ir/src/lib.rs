//! The intermediate representations of Lathe and what all of its crates share.
//!
//! Three levels, each with a text form, a verifier and an interpreter: [`graph`] (typed tensor values),
//! [`kernel`] (what one kernel does) and [`plan`] (kernels in order, with their buffers).
//! This crate depends on none of the others.

pub mod backend;
pub mod dtype;
pub mod graph;
pub mod id;
pub mod kernel;
pub mod layout;
pub mod plan;
pub mod quant;
pub mod types;

pub use dtype::DType;
pub use id::{Arena, Id};
pub use types::{Dim, Sym, TensorType};
