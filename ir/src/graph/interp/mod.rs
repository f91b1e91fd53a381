//! What every op means: a slow, obvious interpreter, the oracle of passes and kernels.
//!
//! Values are f32; sums are made in f64 and rounded once. A fused op is computed as the ops that it stands for, one after
//! another, with the same roundings between them, so that a graph before and after a fusion gives the same values. What
//! quantizes activations rounds them as [`crate::layout::quantize_row_q8a`] does, and products read the rounded values.
//! Weights are those of the model file, decoded exactly.

mod attention;
mod eval;
mod kv;
mod linear;
mod ops;
mod rope;
mod tensor;
#[cfg(test)]
mod tests;
mod weights;

pub use eval::{Inputs, eval};
pub use kv::KvCache;
pub use tensor::{Data, Tensor};
pub use weights::MemoryWeights;

use super::verify::VerifyError;
use crate::quant::QuantError;
use crate::types::TensorType;

/// Why a graph could not be evaluated.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EvalError {
    /// The graph breaks a rule.
    #[error("the graph does not verify: {0}")]
    Invalid(VerifyError),
    /// A parameter has no input.
    #[error("parameter %{0} has no input")]
    NoInput(String),
    /// An input does not have the type of its parameter, or its dims contradict those of others.
    #[error("the input of parameter %{name} is {got}, but must be {want}")]
    Input {
        /// The parameter.
        name: String,
        /// The input's dims and type.
        got: String,
        /// The parameter's type, with the sizes known so far.
        want: String,
    },
    /// The source of weights lacks one.
    #[error("there is no weight @{0}")]
    NoWeight(String),
    /// The source of weights has one of another type.
    #[error("weight @{name} is {got}, but the graph declares {want}")]
    Weight {
        /// The weight.
        name: String,
        /// What the source has.
        got: String,
        /// What the graph declares.
        want: TensorType,
    },
    /// A weight can't be decoded.
    #[error("weight @{name}: {source}")]
    Decode {
        /// The weight.
        name: String,
        /// Why.
        source: QuantError,
    },
    /// Activations can't be quantized.
    #[error("{0}")]
    Quantize(QuantError),
    /// An index is out of range.
    #[error("{what} {got} of row {row} is not in 0..{limit}")]
    Range {
        /// What the index is.
        what: &'static str,
        /// The row that has it.
        row: usize,
        /// The index.
        got: i64,
        /// The bound.
        limit: usize,
    },
    /// A row attends to a position that nothing has stored.
    #[error("layer {layer}: position {position} of sequence {seq} is attended to, but is not in the cache")]
    NotCached {
        /// The layer.
        layer: u32,
        /// The sequence.
        seq: u32,
        /// The position.
        position: u32,
    },
}
