//! Errors of lowering.

/// Why a graph can't be lowered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LowerError {
    /// A node or its types have no kernel.
    #[error("node {node} can't be compiled: {what}")]
    Unsupported {
        /// The node, its op and its weight.
        node: String,
        /// What is missing.
        what: String,
    },
    /// A weight's type or shape has no packed form.
    #[error("tensor `{name}` ({ty}) can't be compiled: {what}")]
    Weight {
        /// The tensor.
        name: String,
        /// Its type.
        ty: String,
        /// What is wrong, and what would work.
        what: String,
    },
    /// A graph parameter that no step input stands for.
    #[error("graph parameter %{0} is none of tok, pos, seq, outputs, kv")]
    Param(String),
    /// The graph's outputs are not one matrix.
    #[error("the graph has {0} outputs in memory where one `[outputs, width]f32` is needed")]
    Outputs(usize),
    /// A graph of embeddings without tokens.
    #[error("the graph embeds no tokens: their number is not known")]
    NoVocabulary,
    /// Two different kernels have one name: a generator's name leaves out one of its parameters.
    #[error("two different kernels are named `{0}`")]
    KernelName(String),
}
