//! Lowering: an optimized graph becomes kernels, a schedule and a memory layout, that is, a [`Plan`].
//!
//! Each node becomes one step, in the graph's order; a `linear` of several parts becomes several calls of one step.
//! Kernels are generated as kernel IR from the shapes at hand; equal kernels are stored once. What can't be lowered is
//! an error that names the node: nothing falls back to the interpreter.

mod attention;
mod attention_block;
mod attention_merge;
mod attention_step;
#[cfg(test)]
mod attention_tests;
mod attention_tile;
mod cost;
#[cfg(test)]
mod cost_tests;
mod dot;
mod embed;
mod emit;
mod epilogue;
mod error;
mod kv_store;
mod linear;
mod matrix;
mod options;
mod parts;
mod product;
mod rows;
mod tuning;

pub use cost::{MANY_ROWS, MachineModel, Prediction};
pub use error::LowerError;
pub use linear::Tile;
pub use options::LowerOptions;
pub use product::{LoweredProduct, Source};
pub use tuning::{ProductKey, Shape, Tuning, TuningError};

use lathe_ir::graph::{Graph, Node, NodeData, Op, RowOrder, Value, Weight};
use lathe_ir::id::Id;
use lathe_ir::kernel::Kernel;
use lathe_ir::plan::memory::{self, Lifetime};
use lathe_ir::plan::{
    Arg, Buffer, BufferDecl, Call, Count, HIDDEN, Input, KernelId, ModelOutput, Plan, Rope, RopeDecl,
    SectionDecl, SectionForm, Step,
};
use lathe_ir::types::{Dim, Sym, TensorType};
use lathe_ir::{Arena, DType};
use product::Decision;
use rows::{NormKernel, RowOp};
use std::collections::HashMap;

/// Lowers `graph`. Its parameters must be `%tok, %pos, %seq, %outputs` (i32) and `%kv`, its one output `[outputs,
/// width]f32`: logits or, where the options say so, embeddings. A later part of a model has `%hidden` (f32) instead of
/// embedding tokens, an earlier one gives `[tokens, width]f32`.
///
/// # Errors
/// Names the node or weight that can't be lowered, and why.
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Plan, LowerError> {
    Ok(lower_with_products(graph, options)?.plan)
}

/// A plan, and how its products came to their shapes.
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// Its products, in the order of their calls.
    pub products: Vec<LoweredProduct>,
}

/// As [`lower`], with what was decided on the way.
///
/// # Errors
/// As [`lower`].
pub fn lower_with_products(graph: &Graph, options: &LowerOptions) -> Result<Lowered, LowerError> {
    let mut lowering = Lowering::new(graph, options.clone())?;
    for &node in &graph.order {
        lowering.node(node)?;
    }
    lowering.finish()
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Location {
    /// An argument that kernels can read.
    Arg(Arg),
    /// A KV token: ordered by the schedule, nowhere in memory.
    Token,
}

struct Lowering<'g> {
    graph: &'g Graph,
    options: LowerOptions,
    plan: Plan,
    locations: Vec<Option<Location>>,
    lifetimes: Vec<Lifetime>,
    /// Kernels by name.
    kernels: HashMap<String, KernelId>,
    /// Kernels by what they were generated from.
    generated: HashMap<String, KernelId>,
    /// Shapes that were decided on.
    shapes: HashMap<(ProductKey, u32), Decision>,
    products: Vec<LoweredProduct>,
}

/// Elements of a row of a matrix.
fn columns_of(ty: &TensorType) -> Option<u32> {
    ty.columns().and_then(|n| u32::try_from(n).ok())
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, options: LowerOptions) -> Result<Self, LowerError> {
        let mut lowering = Lowering {
            graph,
            plan: Plan {
                name: graph.name.clone(),
                limits: options.limits,
                ..Plan::default()
            },
            options,
            locations: vec![None; graph.values.len()],
            lifetimes: Vec::new(),
            kernels: HashMap::new(),
            generated: HashMap::new(),
            shapes: HashMap::new(),
            products: Vec::new(),
        };
        for &param in &graph.params {
            let name = graph.values[param].name.as_deref().unwrap_or("");
            let location = match (Input::of_parameter(name), name) {
                (Some(input), _) => Location::Arg(Arg::Input(input)),
                (None, "kv") => Location::Token,
                (None, HIDDEN) => {
                    lowering.plan.takes = columns_of(graph.ty(param));
                    Location::Arg(Arg::Hidden)
                }
                _ => return Err(LowerError::Param(name.to_owned())),
            };
            lowering.locations[param.index()] = Some(location);
        }
        Ok(lowering)
    }

    fn node(&mut self, id: Node) -> Result<(), LowerError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        match &node.op {
            Op::Linear(linear) => self.linear(id, linear),
            Op::Embed {} => self.embed(id),
            Op::SplitHeads { .. } | Op::MergeHeads {} => {
                self.locations[node.results[0].index()] = self.locations[node.operands[0].index()];
                Ok(())
            }
            Op::RmsNorm { eps } => self.norm(id, *eps, false, false),
            Op::NormQuant { eps } => self.norm(id, *eps, false, true),
            Op::NormAdd { eps } => self.norm(id, *eps, true, false),
            Op::Quantize {} => {
                let n = self.columns(id, node.operands[0])?;
                let kernel = rows::quantize_kernel(n, self.options.lanes);
                self.row_step(id, kernel, &[])
            }
            Op::GatherRows {} => {
                let n = self.columns(id, node.operands[0])?;
                let kernel = rows::gather_kernel(n, self.options.lanes);
                self.row_step(id, kernel, &[])
            }
            Op::Scale { by } => self.row_op(id, RowOp::Scale(*by)),
            Op::Softcap { cap } => self.row_op(id, RowOp::Softcap(*cap)),
            Op::Act { func } => self.row_op(id, RowOp::Act(*func)),
            Op::Add {} => self.row_op(id, RowOp::Add),
            Op::Mul {} => self.row_op(id, RowOp::Mul),
            Op::AttentionPaged { .. } => self.attention(id),
            Op::Dequant { .. } if graph.ty(node.results[0]).rank() == 1 => self.vector_value(id),
            op => Err(self.unsupported(
                id,
                format!("no kernel for `{}` outside a fusion", op.info().keyword),
            )),
        }
    }

    /// A vector that is an operand of an elementwise op: a section.
    fn vector_value(&mut self, id: Node) -> Result<(), LowerError> {
        let node = &self.graph.nodes[id];
        let arg = self.vector_section(node.weights[0], RowOrder::Natural, 0, 0);
        self.locations[node.results[0].index()] = Some(Location::Arg(arg));
        Ok(())
    }

    fn embed(&mut self, id: Node) -> Result<(), LowerError> {
        let node = &self.graph.nodes[id];
        let weight = node.weights[0];
        let (kind, panel, k) = self.panels(weight)?;
        let rows = self.graph.weights[weight].ty.dims[0];
        let name = format!("embed.{}.{rows}x{k}", self.graph.weights[weight].ty.dtype);
        let kernel = embed::embed_kernel(name, &kind, panel, k);
        let section = self.panel_section(weight, RowOrder::Natural, 0, 0);
        self.row_step(id, kernel, &[section])
    }

    fn norm(&mut self, id: Node, eps: f32, add: bool, quantize: bool) -> Result<(), LowerError> {
        let node = &self.graph.nodes[id];
        let n = self.columns(id, node.operands[0])?;
        let kernel = NormKernel {
            n,
            eps,
            add,
            quantize,
            lanes: self.options.lanes,
        }
        .build();
        let weight = self.vector_section(node.weights[0], RowOrder::Natural, 0, 0);
        self.row_step(id, kernel, &[weight])
    }

    fn row_op(&mut self, id: Node, op: RowOp) -> Result<(), LowerError> {
        let node = &self.graph.nodes[id];
        let n = self.columns(id, node.operands[0])?;
        let vector = node.operands.len() == 2 && self.graph.ty(node.operands[1]).rank() == 1;
        let op = match op {
            RowOp::Add if vector => RowOp::AddVector,
            RowOp::Mul if vector => RowOp::MulVector,
            op => op,
        };
        self.row_step(id, rows::row_op_kernel(op, n, self.options.lanes), &[])
    }

    /// A step of one call whose units are the rows of the result and whose buffers are `first`, operands, result.
    fn row_step(&mut self, id: Node, kernel: Kernel, first: &[Arg]) -> Result<(), LowerError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let rows = graph.ty(node.results[0]).dims.first().copied();
        let rows = rows.ok_or_else(|| self.unsupported(id, "the result has no rows".into()))?;
        let units = self.count(id, rows, 1)?;
        let mut args = first.to_vec();
        for &operand in &node.operands {
            args.push(self.arg(id, operand)?);
        }
        args.push(Arg::Buffer(self.new_buffer(node.results[0], id)?));
        let kernel = self.kernel(kernel)?;
        self.single_call(id, kernel, args, units);
        Ok(())
    }

    /// A step of one call without index parameters.
    fn single_call(&mut self, id: Node, kernel: KernelId, args: Vec<Arg>, units: Count) {
        let call = Call {
            kernel,
            args,
            scalars: Vec::new(),
            units,
            cost: 1,
        };
        self.step(id, vec![call]);
    }

    fn step(&mut self, id: Node, calls: Vec<Call>) {
        let now = self.plan.steps.len();
        for call in &calls {
            for arg in &call.args {
                if let Arg::Buffer(buffer) = arg {
                    self.lifetimes[buffer.index()].last = now;
                }
            }
        }
        self.plan.steps.push(Step {
            label: self.label(&self.graph.nodes[id]),
            calls,
        });
    }

    /// The op and the first weight, for people.
    fn label(&self, node: &NodeData) -> String {
        let keyword = node.op.info().keyword;
        match (&node.op, node.weights.first()) {
            (Op::AttentionPaged { layer, .. }, _) => format!("{keyword} layer {layer}"),
            (_, Some(&w)) => format!("{keyword} @{}", self.graph.weights[w].name),
            _ => keyword.to_owned(),
        }
    }

    /// The kernel that a generator makes of the parameters in `key`: made once, and found again for the next layer.
    fn generated(&mut self, key: String, build: impl FnOnce() -> Kernel) -> Result<KernelId, LowerError> {
        if let Some(&known) = self.generated.get(&key) {
            return Ok(known);
        }
        let id = self.kernel(build())?;
        self.generated.insert(key, id);
        Ok(id)
    }

    /// Stores a kernel once. Equal names must mean equal kernels.
    fn kernel(&mut self, kernel: Kernel) -> Result<KernelId, LowerError> {
        if let Some(&known) = self.kernels.get(&kernel.name) {
            let same = self.plan.kernels[known] == kernel;
            return if same {
                Ok(known)
            } else {
                Err(LowerError::KernelName(kernel.name))
            };
        }
        let name = kernel.name.clone();
        let id = self.plan.kernels.push(kernel);
        self.kernels.insert(name, id);
        Ok(id)
    }

    fn section(&mut self, decl: SectionDecl) -> Arg {
        let known = self
            .plan
            .sections
            .iter()
            .find(|(_, d)| **d == decl)
            .map(|(id, _)| id);
        Arg::Section(known.unwrap_or_else(|| self.plan.sections.push(decl)))
    }

    fn panel_section(&mut self, weight: Weight, order: RowOrder, heads: u32, dims: u32) -> Arg {
        self.weight_section(weight, SectionForm::Panels, order, heads, dims)
    }

    fn vector_section(&mut self, weight: Weight, order: RowOrder, heads: u32, dims: u32) -> Arg {
        self.weight_section(weight, SectionForm::Vector, order, heads, dims)
    }

    fn weight_section(
        &mut self,
        weight: Weight,
        form: SectionForm,
        order: RowOrder,
        heads: u32,
        dims: u32,
    ) -> Arg {
        let decl = &self.graph.weights[weight];
        let (heads, dims) = if order == RowOrder::Natural {
            (0, 0)
        } else {
            (heads, dims)
        };
        self.section(SectionDecl {
            weight: decl.name.clone(),
            ty: decl.ty.clone(),
            form,
            order,
            heads,
            dims,
        })
    }

    fn rope_table(&mut self, decl: RopeDecl) -> Rope {
        let known = self
            .plan
            .ropes
            .iter()
            .find(|(_, d)| **d == decl)
            .map(|(id, _)| id);
        known.unwrap_or_else(|| self.plan.ropes.push(decl))
    }

    /// Bytes of the arena, in use from the next step on.
    fn reserve(&mut self, name: &str, bytes: u64) -> Buffer {
        let now = self.plan.steps.len();
        self.lifetimes.push(Lifetime {
            first: now,
            last: now,
        });
        self.plan.buffers.push(BufferDecl {
            name: name.to_owned(),
            offset: 0,
            bytes,
        })
    }

    /// A buffer for `value`, alive from the next step on.
    fn new_buffer(&mut self, value: Value, id: Node) -> Result<Buffer, LowerError> {
        let bytes = self.value_bytes(id, self.graph.ty(value))?;
        let buffer = self.reserve(self.graph.nodes[id].op.info().keyword, bytes);
        self.locations[value.index()] = Some(Location::Arg(Arg::Buffer(buffer)));
        Ok(buffer)
    }

    fn value_bytes(&self, id: Node, ty: &TensorType) -> Result<u64, LowerError> {
        let (rows, rest) = ty
            .dims
            .split_first()
            .ok_or_else(|| self.unsupported(id, "a scalar value".into()))?;
        let rows = match rows {
            Dim::Const(n) => *n,
            Dim::Sym(sym) => u64::from(self.options.limits.bound(*sym)),
        };
        let columns = rest.iter().try_fold(1u64, |n, d| n.checked_mul(d.constant()?));
        let row = match ty.dtype {
            DType::F32 => columns.and_then(|n| n.checked_mul(4)),
            DType::Q8A => columns.and_then(|n| n.checked_mul(3)).map(|n| n / 2),
            _ => None,
        };
        let bytes = row.and_then(|row| row.checked_mul(rows));
        bytes
            .filter(|&b| b < 1 << 40)
            .ok_or_else(|| self.unsupported(id, format!("a value of type {ty}")))
    }

    fn arg(&self, id: Node, value: Value) -> Result<Arg, LowerError> {
        match self.locations[value.index()] {
            Some(Location::Arg(arg)) => Ok(arg),
            _ => Err(self.unsupported(id, format!("operand {value} is not in memory"))),
        }
    }

    fn columns(&self, id: Node, value: Value) -> Result<u32, LowerError> {
        let ty = self.graph.ty(value);
        // A row of heads is a row of all their elements only where an op does not work head by head.
        let headwise = matches!(
            self.graph.nodes[id].op,
            Op::RmsNorm { .. } | Op::Add {} | Op::Mul {}
        ) && ty.rank() != 2;
        let columns = ty.dims.get(1..).filter(|_| !headwise).and_then(|rest| {
            rest.iter()
                .try_fold(1u64, |n, d| n.checked_mul(d.constant()?))
                .and_then(|n| u32::try_from(n).ok())
        });
        columns
            .filter(|&n| n > 0)
            .ok_or_else(|| self.unsupported(id, format!("operand of type {ty}")))
    }

    fn count(&self, id: Node, rows: Dim, times: u64) -> Result<Count, LowerError> {
        match rows {
            Dim::Const(n) => Ok(Count::constant(n * times)),
            Dim::Sym(Sym::Ctx) => Err(self.unsupported(id, "rows over `ctx`".into())),
            Dim::Sym(sym) => Ok(Count::per(sym, times)),
        }
    }

    fn unsupported(&self, id: Node, what: String) -> LowerError {
        LowerError::Unsupported {
            node: format!("{id} ({})", self.label(&self.graph.nodes[id])),
            what,
        }
    }

    fn finish(mut self) -> Result<Lowered, LowerError> {
        let [output] = self.graph.outputs[..] else {
            return Err(LowerError::Outputs(self.graph.outputs.len()));
        };
        let Some(Location::Arg(Arg::Buffer(buffer))) = self.locations[output.index()] else {
            return Err(LowerError::Outputs(1));
        };
        self.lifetimes[buffer.index()].last = self.plan.steps.len();
        let width = columns_of(self.graph.ty(output)).ok_or(LowerError::Outputs(1))?;
        let vocab = || self.graph.tokens().ok_or(LowerError::NoVocabulary);
        match self.options.output {
            ModelOutput::Logits => self.plan.vocab = width,
            ModelOutput::Embeddings => (self.plan.vocab, self.plan.embedding) = (vocab()?, Some(width)),
            ModelOutput::Hidden => (self.plan.vocab, self.plan.leaves) = (vocab()?, Some(width)),
        }
        if self.graph.ty(output).dims.first() != Some(&Dim::Sym(self.plan.result_rows())) {
            return Err(LowerError::Outputs(1));
        }
        self.plan.output = Some(buffer);
        let mut buffers: Vec<BufferDecl> = self.plan.buffers.values().cloned().collect();
        self.plan.arena_bytes = memory::assign(&mut buffers, &self.lifetimes);
        self.plan.buffers = Arena::from_iter(buffers);
        Ok(Lowered {
            plan: self.plan,
            products: self.products,
        })
    }
}
