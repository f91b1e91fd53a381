//! What can go wrong between a plan and its first step.

use lathe_ir::DType;

/// An error of the CPU backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processor lacks what every kernel needs.
    #[error("this {arch} processor has no {missing}, which the compiled kernels need")]
    Unsupported {
        /// The architecture.
        arch: &'static str,
        /// The features it lacks.
        missing: String,
    },
    /// A feature list names something that is no feature of the architecture.
    #[error("`{name}` is no CPU feature that {arch} code can use; known are {known}")]
    UnknownFeature {
        /// The name in the list.
        name: String,
        /// The architecture.
        arch: &'static str,
        /// The names there are.
        known: String,
    },
    /// A feature list asks for a feature that the processor lacks.
    #[error("this processor does not have the CPU feature `{0}`")]
    MissingFeature(String),
    /// The code generator refused the target.
    #[error("no code can be generated for {target}: {what}")]
    Target {
        /// The target.
        target: String,
        /// What the code generator said.
        what: String,
    },
    /// An op of a kernel has operands that no code can be generated for.
    #[error("kernel @{kernel}: no code for `{op}` of {ty}")]
    Op {
        /// The kernel.
        kernel: String,
        /// The op's keyword.
        op: &'static str,
        /// The type at fault.
        ty: String,
    },
    /// The code generator failed on a kernel.
    #[error("kernel @{kernel}: {what}")]
    Compile {
        /// The kernel.
        kernel: String,
        /// What the code generator said.
        what: String,
    },
    /// The operating system gave no memory.
    #[error("could not map {bytes} bytes for {what}: {source}")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: u64,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There are not as many processors as threads that are to be pinned.
    #[error("{threads} threads can't be pinned: this process may run on {cpus} processors")]
    TooFewCpus {
        /// Threads asked for.
        threads: usize,
        /// Processors that the process may run on.
        cpus: usize,
    },
    /// A thread of the pool could not be pinned.
    #[error("could not pin thread {index} to processor {cpu}: {source}")]
    Pin {
        /// The thread's number.
        index: usize,
        /// The processor's.
        cpu: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A thread of the pool could not be started.
    #[error("could not start thread {index}: {source}")]
    Thread {
        /// Its number.
        index: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Machine code that was made earlier is not that of the plan's kernels.
    #[error("{bytes} bytes of machine code with {entries} entries are not those of {kernels} kernels")]
    Image {
        /// Kernels of the plan.
        kernels: usize,
        /// Entries of the image.
        entries: usize,
        /// Its size.
        bytes: usize,
    },
    /// Packed weights could not be written to where they go.
    #[error("packed weights can't be written: {0}")]
    Sink(std::io::Error),
    /// The plan needs a tensor that the model does not have.
    #[error("the model has no tensor `{0}`")]
    NoWeight(String),
    /// A tensor differs from what the plan was made for.
    #[error("tensor `{name}` is {got_rows} x {got_columns} {got}, but the plan was made for {want}")]
    WeightType {
        /// The tensor.
        name: String,
        /// Its type.
        got: DType,
        /// Its rows.
        got_rows: u64,
        /// Its columns.
        got_columns: u64,
        /// The type in the plan.
        want: String,
    },
    /// A tensor could not be packed.
    #[error("tensor `{name}` cannot be packed: {what}")]
    Pack {
        /// The tensor.
        name: String,
        /// Why.
        what: String,
    },
    /// The plan contradicts itself.
    #[error("plan `{plan}`: {what}")]
    Plan {
        /// The plan.
        plan: String,
        /// The first contradiction.
        what: String,
    },
}
