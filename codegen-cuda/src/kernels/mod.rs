//! Generators: each makes the CUDA C++ text of a kernel from the shapes and types of one use of it.
//!
//! An instance ([`Kernel`]) is data and decides everything: its name, its parameters, its text. Equal instances have equal
//! names, so that what uses one again finds it. Every kernel begins with a pointer to the number of rows: grids may be
//! larger than the work, and a recorded sequence of launches serves any number of rows up to that it was recorded for.
//! Text needs no header of the toolkit. Sums of a kernel have an order that no launch and no
//! number of rows changes.

mod attention;
mod cells;
mod dense;
mod embed;
mod epilogue;
mod heads;
mod largest;
mod multiply;
mod product;
mod product_text;
mod rows;
mod split;
mod stream;
mod stream_cells;
mod stream_text;
pub mod text;
mod tiled;
mod unpack;
mod wide;
mod wide_join;

pub use attention::{Attention, AttentionOut, Combine, SEGMENT, stores_operands};
pub use dense::{DENSE_ROWS, Dense};
pub use embed::{Embed, RopeTable};
pub use epilogue::{ProductPart, Step};
pub use heads::{HeadOut, HeadPart, Heads};
pub use largest::Largest;
pub use product::{PRODUCT_ROWS, Product};
pub use rows::{RowKernel, RowOp};
pub use split::{JoinSplits, SplitAttention};
pub use stream::{JoinProduct, STREAM_ROWS, StreamProduct};
pub use tiled::{TiledAttention, tile_rows};
pub use unpack::Unpack;
pub use wide::{Core, ROWS as WIDE_ROWS, SPLIT_ROWS as WIDE_SPLIT_ROWS, WideProduct};
pub use wide_join::JoinWide;

use crate::layout::operand_stride;
use text::Lines;

/// A kernel instance.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// Rows of an embedding.
    Embed(Embed),
    /// Cosines and sines of the rows of a step.
    RopeTable(RopeTable),
    /// Something done row by row.
    Row(RowKernel),
    /// Products with weights in tiles.
    Product(Product),
    /// The same for steps of some rows.
    Stream(StreamProduct),
    /// The end of such products.
    Join(JoinProduct),
    /// Products with weights of f32.
    Dense(Dense),
    /// Weights of products with many rows.
    Unpack(Unpack),
    /// Products with many rows.
    Wide(WideProduct),
    /// The end of such products whose elements were shared.
    JoinWide(JoinWide),
    /// What happens to heads of products.
    Heads(Heads),
    /// Attention over the paged cache.
    Attention(Attention),
    /// The same for tiles of rows, on tensor cores.
    TiledAttention(TiledAttention),
    /// The merge of segments of attention.
    Combine(Combine),
    /// The same for steps of few rows, on tensor cores.
    SplitAttention(SplitAttention),
    /// The merge of its splits.
    JoinSplits(JoinSplits),
    /// The largest of a row.
    Largest(Largest),
}

/// What a parameter points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamType {
    /// f32.
    F32,
    /// f64.
    F64,
    /// i32.
    I32,
    /// Rows of operands of products: f16 of a 32nd of each value, filled up with zeros to a multiple of 32.
    Operands,
    /// A matrix or half of the cache.
    Bytes,
    /// Weights of products with many rows.
    Panels,
    /// Keys of places in rows, u64: [`Largest::place`].
    Keys,
}

impl ParamType {
    /// The type in the text.
    pub fn c_type(self) -> &'static str {
        match self {
            ParamType::F32 => "float",
            ParamType::F64 => "double",
            ParamType::I32 => "int",
            ParamType::Operands => "u16",
            ParamType::Bytes | ParamType::Panels => "u8",
            ParamType::Keys => "u64",
        }
    }
}

/// A parameter of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Its name in the text.
    pub name: String,
    /// What it points to.
    pub ty: ParamType,
    /// Whether the kernel writes there.
    pub written: bool,
    /// Bytes of a row, where it has one for each row of the step; else of the whole.
    pub bytes: u64,
    /// Whether there is one for each row.
    pub per_row: bool,
}

impl Param {
    /// Something read, `bytes` for each row.
    pub fn rows(name: impl Into<String>, ty: ParamType, bytes: u64) -> Param {
        Param {
            name: name.into(),
            ty,
            written: false,
            bytes,
            per_row: true,
        }
    }

    /// Something read, of `bytes` in all.
    pub fn whole(name: impl Into<String>, ty: ParamType, bytes: u64) -> Param {
        Param {
            per_row: false,
            ..Param::rows(name, ty, bytes)
        }
    }

    /// The same, written.
    pub fn written(self) -> Param {
        Param {
            written: true,
            ..self
        }
    }
}

/// Bytes of a row of `n` elements.
pub fn row_bytes(ty: ParamType, n: u32) -> u64 {
    let n = u64::from(n);
    match ty {
        ParamType::F32 | ParamType::I32 => 4 * n,
        ParamType::F64 | ParamType::Keys => 8 * n,
        ParamType::Operands => 2 * u64::from(operand_stride(n as u32)),
        ParamType::Bytes | ParamType::Panels => n,
    }
}

impl Kernel {
    /// The name, which no other instance has.
    pub fn name(&self) -> String {
        match self {
            Kernel::Embed(k) => k.name(),
            Kernel::RopeTable(k) => k.name(),
            Kernel::Row(k) => k.name(),
            Kernel::Product(k) => k.name(),
            Kernel::Stream(k) => k.name(),
            Kernel::Join(k) => k.name(),
            Kernel::Dense(k) => k.name(),
            Kernel::Unpack(k) => k.name(),
            Kernel::Wide(k) => k.name(),
            Kernel::JoinWide(k) => k.name(),
            Kernel::Heads(k) => k.name(),
            Kernel::Attention(k) => k.name(),
            Kernel::TiledAttention(k) => k.name(),
            Kernel::Combine(k) => k.name(),
            Kernel::SplitAttention(k) => k.name(),
            Kernel::JoinSplits(k) => k.name(),
            Kernel::Largest(k) => k.name(),
        }
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        match self {
            Kernel::Embed(_)
            | Kernel::RopeTable(_)
            | Kernel::Heads(_)
            | Kernel::Combine(_)
            | Kernel::Unpack(_) => 128,
            Kernel::Row(k) => k.threads(),
            Kernel::Product(k) => k.threads(),
            Kernel::Stream(k) => k.threads(),
            Kernel::Join(k) => k.threads(),
            Kernel::Dense(k) => k.threads(),
            Kernel::Wide(k) => k.threads(),
            Kernel::Attention(_) => attention::THREADS,
            Kernel::SplitAttention(_) | Kernel::JoinSplits(_) => split::THREADS,
            Kernel::TiledAttention(k) => k.threads(),
            Kernel::Largest(_) => largest::THREADS,
            Kernel::JoinWide(_) => wide_join::THREADS,
        }
    }

    /// Bytes of shared memory that a launch asks for, besides what the text declares.
    pub fn dynamic_shared(&self) -> u32 {
        match self {
            Kernel::Product(k) => k.dynamic_shared(),
            Kernel::Stream(k) => k.dynamic_shared(),
            Kernel::TiledAttention(k) => k.dynamic_shared(),
            Kernel::Wide(k) => k.dynamic_shared(),
            _ => 0,
        }
    }

    /// The parameters after the number of rows.
    pub fn params(&self) -> Vec<Param> {
        match self {
            Kernel::Embed(k) => k.params(),
            Kernel::RopeTable(k) => k.params(),
            Kernel::Row(k) => k.params(),
            Kernel::Product(k) => k.params(),
            Kernel::Stream(k) => k.params(),
            Kernel::Join(k) => k.params(),
            Kernel::Dense(k) => k.params(),
            Kernel::Unpack(k) => k.params(),
            Kernel::Wide(k) => k.params(),
            Kernel::JoinWide(k) => k.params(),
            Kernel::Heads(k) => k.params(),
            Kernel::Attention(k) => k.params(),
            Kernel::TiledAttention(k) => k.params(),
            Kernel::Combine(k) => k.params(),
            Kernel::SplitAttention(k) => k.params(),
            Kernel::JoinSplits(k) => k.params(),
            Kernel::Largest(k) => k.params(),
        }
    }

    /// The text, in a namespace of its own; [`prelude`] comes before it.
    pub fn source(&self) -> String {
        let body = match self {
            Kernel::Embed(k) => k.source(),
            Kernel::RopeTable(k) => k.source(),
            Kernel::Row(k) => k.source(),
            Kernel::Product(k) => k.source(),
            Kernel::Stream(k) => k.source(),
            Kernel::Join(k) => k.source(),
            Kernel::Dense(k) => k.source(),
            Kernel::Unpack(k) => k.source(),
            Kernel::Wide(k) => k.source(),
            Kernel::JoinWide(k) => k.source(),
            Kernel::Heads(k) => k.source(),
            Kernel::Attention(k) => k.source(),
            Kernel::TiledAttention(k) => k.source(),
            Kernel::Combine(k) => k.source(),
            Kernel::SplitAttention(k) => k.source(),
            Kernel::JoinSplits(k) => k.source(),
            Kernel::Largest(k) => k.source(),
        };
        format!("namespace n_{} {{\n{body}}}\n", self.name())
    }

    /// The start of a kernel that waits for the launch before it at once.
    fn signature(name: &str, threads: u32, params: &[Param]) -> String {
        format!(
            "{}    let_next_begin();\n    wait_for_previous();\n",
            Kernel::head(name, threads, params)
        )
    }

    /// The first line of a kernel: its name and parameters. No parameter is `__restrict__`: a launch may begin before what
    /// it reads is written, so that reads must not take the way that assumes constant memory.
    fn head(name: &str, threads: u32, params: &[Param]) -> String {
        let mut text = Lines::new();
        text.line(format_args!(
            "extern \"C\" __global__ void __launch_bounds__({threads}, 1) {name}("
        ));
        text.line("    const int* count");
        for p in params {
            let (constant, ty) = (if p.written { "" } else { "const " }, p.ty.c_type());
            text.line(format_args!("    , {constant}{ty}* {}", p.name));
        }
        text.line(") {");
        text.finish()
    }
}

/// What stands before the kernels of a source.
pub fn prelude() -> &'static str {
    concat!(include_str!("prelude.cuh"), include_str!("tensor.cuh"))
}
