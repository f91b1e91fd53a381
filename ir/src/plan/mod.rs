//! The plan: kernels in order, with arena offsets, weight sections and unit counts.
//!
//! A plan is data: no pointers, no handles, no weights inline. It says which kernels run in which order on which byte
//! ranges; a backend compiles the kernels, packs the sections and runs the steps.

mod lex;
pub mod memory;
mod names;
pub mod parse;
pub mod print;
pub mod verify;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;

use crate::graph::{KvPart, RopeSpec, RowOrder};
use crate::id::{Arena, define_id};
use crate::kernel::{Kernel, Region};
use crate::layout::{KvLayout, KvTypes};
use crate::types::{Sym, TensorType};

define_id!(
    /// A kernel of a plan.
    KernelId, "k"
);
define_id!(
    /// A range of the arena.
    Buffer, "b"
);
define_id!(
    /// A packed weight.
    Section, "s"
);
define_id!(
    /// A table of rotations.
    Rope, "r"
);

/// Positions in one KV block.
pub const KV_BLOCK: u32 = 32;

/// A compiled model step.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Bounds of the symbols and of the cache.
    pub limits: Limits,
    /// Tokens of the vocabulary: ids are below it.
    pub vocab: u32,
    /// Elements of an embedding, where steps give embeddings; `None` where they give logits.
    pub embedding: Option<u32>,
    /// Elements of a row of the hidden states that steps take instead of embedding tokens; `None` but in a later part of a
    /// model.
    pub takes: Option<u32>,
    /// Elements of a row of the hidden states that steps give, of every row; `None` but in an earlier part of a model.
    pub leaves: Option<u32>,
    /// Each kernel once.
    pub kernels: Arena<KernelId, Kernel>,
    /// Ranges of the arena; ranges that live at different times may overlap.
    pub buffers: Arena<Buffer, BufferDecl>,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Weights, each once.
    pub sections: Arena<Section, SectionDecl>,
    /// Rotations, each once.
    pub ropes: Arena<Rope, RopeDecl>,
    /// KV cache geometry, one entry a layer.
    pub kv_layers: Vec<KvLayer>,
    /// Launches in order; a barrier stands between two steps.
    pub steps: Vec<Step>,
    /// Where the result is after the last step: `[outputs, width]f32`, or `[tokens, width]f32` of hidden states.
    pub output: Option<Buffer>,
}

/// What a step gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ModelOutput {
    /// A logit for each token of the vocabulary, for the rows that are wanted.
    #[default]
    Logits,
    /// The hidden state after the final norm, of the rows that are wanted.
    Embeddings,
    /// The hidden state after the last layer, of every row: what the layers of another part of the model go on with.
    Hidden,
}

impl ModelOutput {
    /// What a plan gives that has so many elements in a row of hidden states or in an embedding, where it gives those.
    pub fn of(leaves: Option<u32>, embedding: Option<u32>) -> ModelOutput {
        match (leaves, embedding) {
            (Some(_), _) => ModelOutput::Hidden,
            (None, Some(_)) => ModelOutput::Embeddings,
            (None, None) => ModelOutput::Logits,
        }
    }

    /// What the rows of a result are.
    pub fn rows(self) -> Sym {
        match self {
            ModelOutput::Hidden => Sym::Tokens,
            ModelOutput::Logits | ModelOutput::Embeddings => Sym::Outputs,
        }
    }
}

/// Upper bounds that a plan is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Most rows in a step.
    pub tokens: u32,
    /// Most rows whose result is wanted in a step.
    pub outputs: u32,
    /// Most sequences with a block table.
    pub seqs: u32,
    /// Most positions of a sequence; a multiple of [`KV_BLOCK`].
    pub ctx: u32,
}

impl Limits {
    /// Entries of one sequence's row of the block table.
    pub fn blocks_per_seq(&self) -> u32 {
        self.ctx.div_ceil(KV_BLOCK)
    }

    /// The bound of a symbol.
    pub fn bound(&self, sym: Sym) -> u32 {
        match sym {
            Sym::Tokens => self.tokens,
            Sym::Outputs => self.outputs,
            Sym::Ctx => self.ctx,
        }
    }
}

impl Plan {
    /// What steps give.
    pub fn gives(&self) -> ModelOutput {
        ModelOutput::of(self.leaves, self.embedding)
    }

    /// The largest sliding window of a layer; `None` where all layers see everything.
    pub fn window(&self) -> Option<u32> {
        let windows = self.kv_layers.iter().map(|layer| layer.window);
        windows.max().filter(|&window| window > 0)
    }

    /// Elements of a row of the result: those of a hidden state or an embedding, or a logit for each token.
    pub fn width(&self) -> u32 {
        self.leaves.or(self.embedding).unwrap_or(self.vocab)
    }

    /// What the rows of the result are.
    pub fn result_rows(&self) -> Sym {
        self.gives().rows()
    }

    /// The same plan with kernels that declare their parameters and have no body: what running compiled code needs.
    pub fn without_bodies(&self) -> Plan {
        let mut plan = self.clone();
        for id in self.kernels.ids() {
            plan.kernels[id].body = Region::default();
        }
        plan
    }

    /// Bytes of packed weights that a step reads whole, whatever its number of rows: those of calls whose units do not
    /// depend on the batch. `None` where a section has no packed form.
    pub fn weight_bytes_per_step(&self) -> Option<u64> {
        let whole = self
            .steps
            .iter()
            .flat_map(|s| &s.calls)
            .filter(|c| c.units.sym.is_none());
        let mut total = 0u64;
        for arg in whole.flat_map(|c| &c.args) {
            let Arg::Section(id) = arg else { continue };
            let decl = &self.sections[*id];
            if decl.form == SectionForm::Panels {
                let rows = decl.ty.dims.first()?.constant()?;
                let layout = crate::layout::PackedLayout::of(decl.ty.dtype, rows, decl.ty.columns()?).ok()?;
                total = total.checked_add(layout.bytes())?;
            }
        }
        Some(total)
    }
}

/// A range of the arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BufferDecl {
    /// For people.
    pub name: String,
    /// Start, a multiple of 64 bytes.
    pub offset: u64,
    /// Length at the symbols' bounds.
    pub bytes: u64,
}

/// A weight and the form in which kernels read it.
#[derive(Clone, PartialEq, Debug)]
pub struct SectionDecl {
    /// The tensor's name, as in the graph.
    pub weight: String,
    /// Its type in the file.
    pub ty: TensorType,
    /// The form.
    pub form: SectionForm,
    /// Order of the rows (of the elements, for a vector).
    pub order: RowOrder,
    /// Groups of rows that `order` works on; 0 for natural order.
    pub heads: u32,
    /// Leading rows of each group that `order` works on.
    pub dims: u32,
}

/// How a section lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionForm {
    /// Panels of 16 rows; see [`crate::layout::PackedLayout`].
    Panels,
    /// A vector of f32.
    Vector,
}

/// A table of rotations that the executable fills for the rows of every step: row t holds cos then sin of the angles of
/// its `dims/2` pairs at its position, each times the magnitude: `[tokens][2][dims/2]f32`.
#[derive(Clone, PartialEq, Debug)]
pub struct RopeDecl {
    /// The rotation.
    pub spec: RopeSpec,
    /// The weight that holds frequency divisors `[dims/2]f32`.
    pub factors: Option<String>,
}

impl RopeDecl {
    /// The angle of each pair i at position 1, `freq_scale · base^(−2i/dims) / factor[i]`, in f64. `None` where there are
    /// not as many factors as the declaration asks for.
    pub fn angles(&self, factors: Option<&[f32]>) -> Option<Vec<f64>> {
        let spec = &self.spec;
        let pairs = spec.dims as usize / 2;
        let fits = match factors {
            Some(factors) => self.factors.is_some() && factors.len() == pairs,
            None => self.factors.is_none(),
        };
        let angle = |i: usize| {
            let exponent = -2.0 * i as f64 / f64::from(spec.dims);
            let factor = factors.map_or(1.0, |factors| factors[i]);
            f64::from(spec.freq_scale) * f64::from(spec.base).powf(exponent) / f64::from(factor)
        };
        fits.then(|| (0..pairs).map(angle).collect())
    }
}

/// KV geometry of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvLayer {
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// How keys and values are stored.
    pub types: KvTypes,
    /// Positions that a row sees, its own the last; 0 for all before it. Layers with a window are addressed through
    /// [`Input::WindowTables`], and their blocks may be used anew once no row sees them.
    pub window: u32,
}

impl KvLayer {
    /// Where keys or values lie.
    pub fn layout(&self, part: KvPart) -> KvLayout {
        KvLayout {
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            ty: self.types.of(part),
        }
    }
}

/// One launch: calls that run side by side and do not depend on each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// For people: the op and where it came from.
    pub label: String,
    /// What runs.
    pub calls: Vec<Call>,
}

/// A kernel with its arguments.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The kernel.
    pub kernel: KernelId,
    /// One a buffer of the kernel.
    pub args: Vec<Arg>,
    /// One an index parameter of the kernel.
    pub scalars: Vec<Count>,
    /// The number of units.
    pub units: Count,
    /// Relative cost of a unit among the calls of the step, for splitting them over threads. Positive.
    pub cost: u64,
}

/// What a kernel's buffer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arg {
    /// A range of the arena.
    Buffer(Buffer),
    /// A packed weight.
    Section(Section),
    /// A layer's keys or values; see [`crate::layout::KvLayout`].
    Kv(KvPart, u32),
    /// A table of rotations.
    Rope(Rope),
    /// An input of the step.
    Input(Input),
    /// The hidden states that the step takes, `[tokens, takes]f32`.
    Hidden,
}

/// The parameter of a graph that is [`Arg::Hidden`].
pub const HIDDEN: &str = "hidden";

/// Inputs of a step, each an i32 array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// Token ids `[tokens]`.
    Tokens,
    /// Positions `[tokens]`.
    Positions,
    /// Sequence slots `[tokens]`.
    Seqs,
    /// Rows whose result is wanted `[outputs]`.
    Outputs,
    /// KV blocks `[seqs][blocks_per_seq]`.
    BlockTables,
    /// The same for layers with a sliding window, whose blocks may be a pool of their own.
    WindowTables,
}

impl Input {
    /// The input that a parameter of a graph is, by the parameter's name; `%kv` is none.
    pub fn of_parameter(name: &str) -> Option<Input> {
        match name {
            "tok" => Some(Input::Tokens),
            "pos" => Some(Input::Positions),
            "seq" => Some(Input::Seqs),
            "outputs" => Some(Input::Outputs),
            _ => None,
        }
    }
}

/// A count that may depend on the batch: `times`, `times · sym`, and either of them times what a [`Split`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Count {
    /// The factor.
    pub times: u64,
    /// The symbol, if any.
    pub sym: Option<Sym>,
    /// Pieces or merges of a split context, if any.
    pub split: Option<Split>,
}

impl Count {
    /// A constant.
    pub fn constant(n: u64) -> Count {
        Count {
            times: n,
            sym: None,
            split: None,
        }
    }

    /// `n · sym`.
    pub fn per(sym: Sym, n: u64) -> Count {
        Count {
            sym: Some(sym),
            ..Count::constant(n)
        }
    }

    /// The same times what `split` makes.
    pub fn times(self, split: Split) -> Count {
        Count {
            split: Some(split),
            ..self
        }
    }

    /// The value where symbols have `value`.
    pub fn at(self, value: impl Fn(Sym) -> u64) -> u64 {
        let split = self.split.map_or(1, |split| split.at(&value));
        self.times * self.sym.map_or(1, value) * split
    }
}

/// Into how many pieces work over the context is cut, so that threads can share it where a step has few rows. It bounds
/// who does what, and no result: kernels cut sums at places that do not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Split {
    /// What is counted.
    pub what: SplitCount,
    /// Positions of a piece, at least 1.
    pub of: u32,
    /// Most pieces, at least 1.
    pub most: u32,
    /// Steps of more rows are not split.
    pub rows: u32,
}

/// What a [`Split`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SplitCount {
    /// Pieces: 1 where nothing is split.
    Pieces,
    /// 1 where there is more than one piece to merge, else 0.
    Merges,
}

impl Split {
    /// What it makes where symbols have `value`.
    pub fn at(self, value: impl Fn(Sym) -> u64) -> u64 {
        let pieces = if value(Sym::Tokens) > u64::from(self.rows) {
            1
        } else {
            let all = value(Sym::Ctx).div_ceil(u64::from(self.of.max(1)));
            all.clamp(1, u64::from(self.most.max(1)))
        };
        match self.what {
            SplitCount::Pieces => pieces,
            SplitCount::Merges => u64::from(pieces > 1),
        }
    }
}

impl Input {
    /// Every input with its keyword.
    pub const ALL: [(Input, &'static str); 6] = [
        (Input::Tokens, "tokens"),
        (Input::Positions, "positions"),
        (Input::Seqs, "seqs"),
        (Input::Outputs, "outputs"),
        (Input::BlockTables, "block_tables"),
        (Input::WindowTables, "window_tables"),
    ];
}
