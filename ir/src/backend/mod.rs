//! What a backend and an executable are, so that the runtime knows neither Cranelift nor CUDA.

mod check;
mod largest;

pub use check::BatchCheck;
pub use largest::{argmax, largest_of_rows, peak};

use crate::dtype::DType;
use crate::plan::{Limits, ModelOutput};
use crate::types::{Dim, TensorType};
use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

/// Raw weights by name, as stored in the model file.
pub trait WeightSource: Sync {
    /// The tensor with this name, as the graph names it (without a trailing `.weight`).
    fn weight(&self, name: &str) -> Option<WeightData<'_>>;

    /// Says that these bytes of a tensor will hardly be read again: a source that holds them in memory only because they
    /// were read may let go of them. Reading them again is slower then, and as right as before.
    fn release(&self, name: &str, bytes: Range<u64>) {
        let _ = (name, bytes);
    }
}

/// One stored tensor.
pub struct WeightData<'a> {
    /// Element type.
    pub dtype: DType,
    /// Rows; 1 for a vector.
    pub rows: u64,
    /// Elements of a row.
    pub columns: u64,
    /// The rows, one after another, `dtype.row_bytes(columns)` each.
    pub bytes: Cow<'a, [u8]>,
}

impl WeightData<'_> {
    /// Whether it is of a type: a matrix of these rows and columns, or a vector of as many elements.
    pub fn is(&self, ty: &TensorType) -> bool {
        let fits = match ty.dims[..] {
            [Dim::Const(rows), Dim::Const(columns)] => (self.rows, self.columns) == (rows, columns),
            [Dim::Const(n)] => self.rows.checked_mul(self.columns) == Some(n),
            _ => false,
        };
        fits && self.dtype == ty.dtype
    }

    /// Checks that its bytes are as many as its rows take.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_bytes(&self) -> Result<(), String> {
        let row = self.dtype.row_bytes(self.columns);
        let want = row.and_then(|row| row.checked_mul(self.rows));
        let got = self.bytes.len() as u64;
        match want {
            Some(want) if want == got => Ok(()),
            Some(want) => Err(format!("it has {got} bytes instead of {want}")),
            None => Err("its size overflows or its rows are no whole blocks".to_owned()),
        }
    }
}

/// One step of work: rows of tokens of any mix of sequences. All slices are borrowed; nothing is kept.
///
/// Rows of one sequence must be in order of position. `tokens`, `positions` and `seqs` have one entry a row.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Positions in the row's sequence.
    pub positions: &'a [u32],
    /// Sequence slots: rows of `block_tables`.
    pub seqs: &'a [u32],
    /// Rows whose result is wanted.
    pub outputs: &'a [u32],
    /// `[seqs][plan.limits.blocks_per_seq()]`: the KV block that holds positions `32·i ..` of the slot's sequence.
    pub block_tables: &'a [u32],
    /// The same for layers with a sliding window, where they have a pool of their own ([`Executable::windows`]): of a row
    /// the blocks that it sees count alone. Not read where they have none.
    pub window_tables: &'a [u32],
}

/// A pool of blocks for the layers with a sliding window alone, which need no others once no row sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowPool {
    /// Blocks: numbers are below this.
    pub blocks: u32,
    /// Positions that a row sees of any such layer, its own the last.
    pub positions: u32,
}

/// A compiled model.
pub trait Executable: Send {
    /// Bounds of a step and of the cache.
    fn limits(&self) -> Limits;

    /// Tokens of the vocabulary; token ids are below this.
    fn vocab(&self) -> u32;

    /// What a step gives.
    fn gives(&self) -> ModelOutput;

    /// Elements of a row of that.
    fn width(&self) -> u32;

    /// KV blocks in the pool; block numbers are below this.
    fn kv_blocks(&self) -> u32;

    /// The pool of layers with a sliding window, where it is not the one of all layers.
    fn windows(&self) -> Option<WindowPool> {
        None
    }

    /// Elements of a row of the hidden states that a step takes, where this is a later part of a model: it is run by
    /// [`Executable::run_on`] then.
    fn takes(&self) -> Option<u32> {
        None
    }

    /// Runs one step and returns its result `[outputs, width]`, row-major, valid until the next step: logits or embeddings,
    /// as the plan says; or `[rows, width]` hidden states, whatever rows are wanted.
    ///
    /// The result of a row depends on nothing but its sequence up to its position: not on other rows of the batch, not on
    /// how the sequence was cut into steps, not on the number of threads.
    ///
    /// # Errors
    /// Where the batch breaks a bound of the plan; nothing is written then. Where the device fails.
    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError>;

    /// Runs one step of which nothing but the largest logit of each row is wanted, and adds their places to `largest`:
    /// [`argmax`] of the logits that [`Executable::run`] gives. [`Executable::output`] may be empty then.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn run_largest(&mut self, batch: &Batch, largest: &mut Vec<Option<u32>>) -> Result<(), ExecError> {
        largest_of_rows(self, batch, largest)
    }

    /// Runs one step of a later part of a model on the hidden states `[rows, takes]` that the part before it gave.
    /// Tokens are checked like the rest of the batch, and not read.
    ///
    /// # Errors
    /// As [`Executable::run`]; where it takes no hidden states, or not so many.
    fn run_on(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&[f32], ExecError> {
        match hidden {
            [] => self.run(batch),
            _ => Err(ExecError::Length {
                what: "elements of hidden states",
                got: hidden.len(),
                want: 0,
            }),
        }
    }

    /// Copies the keys and values of block `from` to block `to`, in all layers that have blocks of this pool.
    ///
    /// # Errors
    /// Where there is no such block; nothing is written then. Where the device fails.
    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError>;

    /// The same of the pool of layers with a sliding window.
    ///
    /// # Errors
    /// As [`Executable::copy_block`]; where there is no such pool.
    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        let _ = to;
        Err(ExecError::Range {
            what: "the window block",
            row: 0,
            got: from.into(),
            limit: 0,
        })
    }

    /// Bytes of a block and of a window block, where their content can be read and written; `None` where it can't.
    fn block_bytes(&self) -> Option<u64> {
        None
    }

    /// Adds the keys and values of a block, then those of a window block, to `out`.
    ///
    /// # Errors
    /// Where there is no such block, or the device does not give its blocks away.
    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        let _ = (block, window, out);
        Err(ExecError::Device("blocks of this device can't be read".into()))
    }

    /// Puts back what [`Executable::read_block`] gave: into a block, and into a window block where one is named.
    ///
    /// # Errors
    /// Where there is no such block, the bytes are too few, or the device takes none.
    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        let _ = (block, window, bytes);
        Err(ExecError::Device("blocks of this device can't be written".into()))
    }

    /// What the last step returned; empty before the first.
    fn output(&self) -> &[f32];

    /// Bytes of packed weights that a step reads whole, whatever its number of rows; `None` where that is not known.
    fn weight_bytes_per_step(&self) -> Option<u64>;

    /// Starts or stops measuring where the time of steps goes, where the backend can.
    fn set_profiling(&mut self, on: bool) {
        let _ = on;
    }

    /// Where the time of the steps so far went, for people; empty where that is not measured.
    fn profile_text(&self) -> String {
        String::new()
    }

    /// What building it took and takes.
    fn report(&self) -> &BuildReport;
}

/// A figure of a build.
#[derive(Clone, Debug, Default)]
pub struct BuildReport {
    /// Names of stages and their time, in order.
    pub stages: Vec<(String, Duration)>,
    /// Different kernels compiled.
    pub kernels: usize,
    /// Bytes of machine code.
    pub code_bytes: u64,
    /// Bytes of packed weights.
    pub weight_bytes: u64,
    /// Bytes of the KV pool.
    pub kv_bytes: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// The machine that code was made for, such as `x86_64+avx512vnni, cranelift W=4, 2 threads`.
    pub target: String,
}

/// Why a step did not run: the batch breaks a bound of the plan, or the device failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExecError {
    /// A count exceeds the plan's limit.
    #[error("the step has {got} {what}, more than the plan's {limit}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The count.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Two inputs that belong together differ in length.
    #[error("the step has {got} {what}, but {want} were expected")]
    Length {
        /// The input.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length expected.
        want: usize,
    },
    /// A value is out of range.
    #[error("{what} {got} of row {row} is not below {limit}")]
    Range {
        /// The input.
        what: &'static str,
        /// The row.
        row: usize,
        /// The value.
        got: u64,
        /// The bound.
        limit: u64,
    },
    /// The device failed. What it holds is lost, and no later step will run.
    #[error("{0}")]
    Device(String),
}
