//! The plan of a CUDA executable: kernels, and launches of them over offsets and names, as data.
//!
//! A plan has no pointer and no weight in it: arguments are buffers of the arena, sections, halves of the cache, inputs of
//! the step. Launches run one after another. Which calls of a launch run, and how many blocks they have, depends on the
//! number of rows and on the longest context of the step, and on nothing else.

pub mod print;
pub mod verify;

use crate::kernels::{Kernel, SEGMENT};
use lathe_ir::Arena;
use lathe_ir::graph::{KvPart, RowOrder};
use lathe_ir::plan::{
    Buffer, BufferDecl, Input, KernelId, KvLayer, Limits, ModelOutput, Rope, RopeDecl, Section,
};
use lathe_ir::types::{Sym, TensorType};

/// A model step on a CUDA device.
#[derive(Clone, Debug, Default)]
pub struct CudaPlan {
    /// The model's name.
    pub name: String,
    /// Bounds of the symbols and of the cache.
    pub limits: Limits,
    /// Tokens of the vocabulary: ids are below it.
    pub vocab: u32,
    /// Elements of a row of the hidden states that steps give, of every row, in an earlier part of a model; `None` where
    /// they give logits.
    pub leaves: Option<u32>,
    /// Elements of an embedding, where steps give embeddings.
    pub embedding: Option<u32>,
    /// Each kernel once.
    pub kernels: Arena<KernelId, Kernel>,
    /// Ranges of the arena; ranges that live at different times may overlap.
    pub buffers: Arena<Buffer, BufferDecl>,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Weights, each once.
    pub sections: Arena<Section, SectionDecl>,
    /// Rows of the tiles that [`Arg::Tiles`] lists; 0 where no kernel asks for them.
    pub tile_rows: u32,
    /// Rotations, each once.
    pub ropes: Arena<Rope, RopeDecl>,
    /// KV cache geometry, one entry a layer.
    pub kv_layers: Vec<KvLayer>,
    /// Run once, when the weights are there: what makes panels of them.
    pub unpacks: Vec<Call>,
    /// In order.
    pub launches: Vec<Launch>,
    /// What runs after the launches of a step of which nothing but the largest logit of each row is wanted.
    pub largest: Option<Launch>,
    /// Where the result is after the last launch: logits `[outputs, vocab]f32`, embeddings `[outputs,
    /// embedding]f32`, or hidden states `[tokens, leaves]f32`.
    pub logits: Option<Buffer>,
}

/// A weight and the form in which kernels read it.
#[derive(Clone, PartialEq, Debug)]
pub struct SectionDecl {
    /// The tensor's name, as in the graph.
    pub weight: String,
    /// Its type in the file.
    pub ty: TensorType,
    /// The form.
    pub form: Form,
    /// Order of the rows (of the elements, for a vector).
    pub order: RowOrder,
    /// Groups of rows that `order` works on; 0 for natural order.
    pub heads: u32,
    /// Leading rows of each group that `order` works on.
    pub dims: u32,
}

/// How a section lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As [`crate::layout::Matrix`] says.
    Matrix,
    /// As [`crate::layout::Panels`] says; made on the device, by a launch of [`CudaPlan::unpacks`].
    Panels {
        /// Whether a second weight of the same shape lies between its rows.
        paired: bool,
    },
    /// f32.
    Vector,
}

/// Calls of which those run whose rows fit the step.
#[derive(Clone, Debug)]
pub struct Launch {
    /// For people: the op and where it came from.
    pub label: String,
    /// What its rows are.
    pub rows: Sym,
    /// At most one fits a number of rows.
    pub calls: Vec<Call>,
}

/// A kernel with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    /// The kernel.
    pub kernel: KernelId,
    /// One a parameter of the kernel, after the number of rows.
    pub args: Vec<Arg>,
    /// Blocks, x before y before z.
    pub grid: [Extent; 3],
    /// Fewest rows that it is for.
    pub least: u32,
    /// Most rows that it is for.
    pub most: u32,
}

/// A number of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// This many.
    Const(u32),
    /// One for so many rows, or for what is left of them.
    Rows(u32),
    /// One for each segment of the longest context.
    Segments,
    /// One for each segment of the longest context, so many at most.
    Splits(u32),
    /// One for each tile of [`Arg::Tiles`].
    Tiles,
}

/// What a parameter points to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arg {
    /// A range of the arena.
    Buffer(Buffer),
    /// A packed weight.
    Section(Section),
    /// The angles of a rotation at position 1, f64.
    Angles(Rope),
    /// A layer's keys or values.
    Kv(KvPart, u32),
    /// An input of the step.
    Input(Input),
    /// The step's rows in [`crate::tiles`].
    Tiles,
    /// A key for each row of the logits, zeros at the start of a step.
    Keys,
}

/// What a step has, as far as launches depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sizes {
    /// Rows.
    pub tokens: u32,
    /// Rows with logits.
    pub outputs: u32,
    /// Positions of the longest context.
    pub ctx: u32,
    /// Tiles of rows.
    pub tiles: u32,
}

impl Sizes {
    /// The number of rows that `sym` stands for.
    pub fn rows(&self, sym: Sym) -> u32 {
        match sym {
            Sym::Tokens => self.tokens,
            Sym::Outputs => self.outputs,
            Sym::Ctx => self.ctx,
        }
    }
}

impl Extent {
    /// The number of blocks for a launch of `rows` rows.
    pub fn at(self, rows: u32, sizes: &Sizes) -> u32 {
        match self {
            Extent::Const(n) => n,
            Extent::Rows(per) => rows.div_ceil(per),
            Extent::Tiles => sizes.tiles,
            Extent::Segments => sizes.ctx.div_ceil(SEGMENT),
            Extent::Splits(most) => sizes.ctx.div_ceil(SEGMENT).min(most),
        }
    }
}

impl Launch {
    /// The call for so many rows, if any runs.
    pub fn call(&self, rows: u32) -> Option<&Call> {
        self.calls
            .iter()
            .find(|c| rows > 0 && (c.least..=c.most).contains(&rows))
    }
}

impl CudaPlan {
    /// Elements of a row of the result.
    pub fn width(&self) -> u32 {
        self.leaves.or(self.embedding).unwrap_or(self.vocab)
    }

    /// What steps give.
    pub fn gives(&self) -> ModelOutput {
        ModelOutput::of(self.leaves, self.embedding)
    }

    /// What the rows of the result are.
    pub fn result_rows(&self) -> Sym {
        self.gives().rows()
    }

    /// Bytes of matrices that a step of one row reads whole: those of products.
    pub fn weight_bytes_per_step(&self) -> u64 {
        let calls = self.launches.iter().filter_map(|l| l.call(1));
        let products =
            calls.filter(|c| matches!(self.kernels[c.kernel], Kernel::Product(_) | Kernel::Dense(_)));
        let sections = products.flat_map(|c| &c.args).filter_map(|arg| match arg {
            Arg::Section(id) => Some(&self.sections[*id]),
            _ => None,
        });
        sections.filter_map(SectionDecl::bytes).sum()
    }
}

impl SectionDecl {
    /// The matrix that it is, if it is one that kernels read.
    pub fn matrix(&self) -> Option<crate::layout::Matrix> {
        match (self.form, &self.ty.dims[..]) {
            (Form::Matrix, [rows, columns]) => {
                crate::layout::Matrix::of(self.ty.dtype, rows.constant()?, columns.constant()?)
            }
            _ => None,
        }
    }

    /// The panels that it is, if it is any.
    pub fn panels(&self) -> Option<crate::layout::Panels> {
        match (self.form, &self.ty.dims[..]) {
            (Form::Panels { paired }, [rows, k]) => Some(crate::layout::Panels {
                rows: u32::try_from(rows.constant()?).ok()?,
                k: u32::try_from(k.constant()?).ok()?,
                paired,
            }),
            _ => None,
        }
    }

    /// Its bytes in device memory.
    pub fn bytes(&self) -> Option<u64> {
        match self.form {
            Form::Matrix => Some(self.matrix()?.bytes()),
            Form::Panels { .. } => Some(self.panels()?.bytes()),
            Form::Vector => self.ty.elements()?.checked_mul(4),
        }
    }
}
