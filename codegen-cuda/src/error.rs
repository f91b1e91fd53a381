//! Why a model can't be built for, or run on, a CUDA device.

use crate::code::Version;
use lathe_ir::DType;

/// What went wrong, in one line.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Error {
    /// There is no driver library.
    #[error("no CUDA device: the NVIDIA driver (libcuda) is not installed")]
    NoDriver,
    /// There is a driver and no device.
    #[error("no CUDA device: {0}")]
    NoDevice(String),
    /// The device is older than what kernels are written for.
    #[error("the CUDA device {name} has compute capability {major}.{minor}, but 8.0 or later is needed")]
    OldDevice {
        /// Its name.
        name: String,
        /// Compute capability.
        major: u32,
        /// Compute capability.
        minor: u32,
    },
    /// An architecture that nothing is known of.
    #[error("architecture `{name}` is not known; {known} are")]
    Arch {
        /// As it was named.
        name: String,
        /// Those that are.
        known: String,
    },
    /// The driver is older than the compiler.
    #[error(
        "the NVIDIA driver supports CUDA {driver}, but the kernels need CUDA {need}: a newer driver, or an older NVRTC, is \
         needed"
    )]
    OldDriver {
        /// What it supports.
        driver: Version,
        /// What is asked of it.
        need: Version,
    },
    /// There is no NVRTC library.
    #[error(
        "the CUDA compiler NVRTC (libnvrtc, part of the CUDA toolkit) was not found; LATHE_NVRTC can name its folder"
    )]
    NoNvrtc,
    /// NVRTC does not know a kernel's language.
    #[error("NVRTC can't compile {kernel} for {arch}: {log}")]
    Compile {
        /// The first kernel of the source.
        kernel: String,
        /// The architecture.
        arch: String,
        /// The first line of the log that says error.
        log: String,
    },
    /// A driver call failed.
    #[error("CUDA: {call}: {what}")]
    Driver {
        /// What was done.
        call: String,
        /// What the driver says.
        what: String,
    },
    /// The device has too little memory.
    #[error(
        "the CUDA device has {free} MiB free, but {need} MiB are needed: {weights} MiB of weights, {kv} MiB of KV cache, \
         {rest} MiB of buffers{room}"
    )]
    Memory {
        /// Free.
        free: u64,
        /// Needed.
        need: u64,
        /// Of that, weights.
        weights: u64,
        /// Of that, the KV cache.
        kv: u64,
        /// Of that, the arena, tables, and what is left to the driver.
        rest: u64,
        /// What there is room for, if anything.
        room: String,
    },
    /// A node that no kernel computes.
    #[error("node {node} can't run on a CUDA device: {what}")]
    Unsupported {
        /// The node.
        node: String,
        /// Why.
        what: String,
    },
    /// A graph that is no model.
    #[error("the graph is no model: {0}")]
    Graph(String),
    /// A plan that breaks a rule.
    #[error("plan `{plan}`: {what}")]
    Plan {
        /// Its name.
        plan: String,
        /// The rule.
        what: String,
    },
    /// A weight that the model lacks.
    #[error("the model has no tensor `{0}`")]
    NoWeight(String),
    /// A weight of another type or shape than the plan was made for.
    #[error("tensor `{name}` is {rows} x {columns} {dtype}, but the plan was made for {want}")]
    WeightType {
        /// The tensor.
        name: String,
        /// Its rows.
        rows: u64,
        /// Elements of its rows.
        columns: u64,
        /// Its type.
        dtype: DType,
        /// The type in the plan.
        want: String,
    },
    /// A weight that can't be laid out.
    #[error("tensor `{name}`: {what}")]
    Pack {
        /// The tensor.
        name: String,
        /// Why.
        what: String,
    },
}
