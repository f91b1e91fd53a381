//! What the manifests of compiled plans and of packed weights say, and the names of their files: see docs/plan.md.

use lathe_frontend::pooling::Pooling;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Steps, buffers and sections; kernels without bodies. Text, as `lathe inspect --stage plan` prints it.
pub(super) const PLAN: &str = "plan.lir";
/// The kernels in full. Text.
pub(super) const KERNELS: &str = "kernels.lir";
/// Machine code.
pub(super) const CODE: &str = "code";
/// Packed weights.
pub(super) const WEIGHTS: &str = "packed";
/// Machine code of a kernel for GPUs.
pub(super) const CUBIN: &str = "cubin";
/// The tokenizer's tables.
pub(super) const TOKENIZER: &str = "tokenizer";

/// What the manifest of a plan says.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct PlanData {
    /// The model's name.
    pub model: String,
    /// The file that it was compiled from.
    pub source: PathBuf,
    /// Features of the processor that the code may use, as `x86_64+avx2+…`.
    pub features: String,
    /// Threads that shapes of kernels were chosen for.
    pub threads: usize,
    /// How keys and values are stored, as `--kv-type` names it.
    pub kv_types: String,
    /// Most rows of a step.
    pub chunk: u32,
    /// How embeddings are pooled where nobody says; `None` for a plan of logits.
    pub pooling: Option<Pooling>,
    /// Most rows of a step whose result is wanted.
    pub outputs: u32,
    /// Most sequences of a step.
    pub seqs: u32,
    /// Positions of the context.
    pub context: u32,
    /// The id of the packed weights.
    pub weights: String,
    /// Start of each kernel's machine code.
    pub entries: Vec<u64>,
    /// Frequency divisors of each rotation that has any.
    pub rope_factors: Vec<Option<Vec<f32>>>,
    /// Stages of compiling and their time in seconds.
    pub stages: Vec<(String, f64)>,
}

/// What the manifest of a GPU kernel's machine code says.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct KernelData {
    /// The kernel's name.
    pub kernel: String,
    /// The architecture, as in `sm_90`.
    pub arch: String,
    /// The version of NVRTC that compiled it.
    pub nvrtc: String,
}

/// What the manifest of packed weights says.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct WeightsData {
    /// The model's name.
    pub model: String,
    /// The file that they were packed from.
    pub source: PathBuf,
    /// The source of the chat template.
    pub chat_template: Option<String>,
    /// Why there is no tokenizer.
    pub no_tokenizer: Option<String>,
}
