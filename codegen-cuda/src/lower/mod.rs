//! Lowering: an optimized graph becomes a [`CudaPlan`].
//!
//! Nodes become launches in the graph's order. A `linear` becomes a launch of its products, and one more where heads are
//! normed, turned or stored. What can't be lowered is an error that names the node: nothing falls back to anything.

mod attention;
mod linear;
mod stream;
mod used;
mod wide;

use crate::device::Target;
use crate::error::Error;
use crate::kernels::{Embed, Kernel, Largest, ParamType, Product, RowKernel, RowOp, row_bytes};
use crate::layout::{Matrix, operand_stride};
use crate::plan::{Arg, Call, CudaPlan, Extent, Form, Launch, SectionDecl};
use lathe_ir::graph::{Epilogue, Graph, Node, NodeData, Op, RowOrder, Value, Weight};
use lathe_ir::id::Id;
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::memory::{self, Lifetime};
use lathe_ir::plan::{Buffer, BufferDecl, Input, KernelId, Limits, ModelOutput, RopeDecl};
use lathe_ir::types::{Dim, Sym, TensorType};
use lathe_ir::{Arena, DType};
use std::collections::HashMap;

/// Rows of a step up to which the segments of a context are blocks of their own.
const SPLIT_ROWS: u32 = 8;
/// Rows of a step up to which products norm their input themselves.
const FEW_ROWS: u32 = 8;
/// Steps of more rows have kernels of their own: blocks of attention have tiles of rows, weights of products are panels.
const MANY_ROWS: u32 = 64;

/// What a plan is made for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LowerOptions {
    /// Bounds of steps and of the cache.
    pub limits: Limits,
    /// What steps are to give.
    pub output: ModelOutput,
    /// How keys and values are stored.
    pub kv_types: KvTypes,
    /// What runs it.
    pub target: Target,
    /// Where weights are as panels, for products with many rows; `None` to multiply by tiles of few rows in all steps.
    pub panels: Option<PanelsIn>,
}

/// Lowers `graph`. Its parameters must be `%tok, %pos, %seq, %outputs` (i32) and `%kv`, its one output logits `[outputs,
/// vocab]f32` or embeddings `[outputs, width]f32`; or, of an earlier part of a model, `[tokens, width]f32`.
///
/// # Errors
/// Names the node that can't be lowered, and why.
pub fn lower(graph: &Graph, options: LowerOptions) -> Result<CudaPlan, Error> {
    let mut lowering = Lowering::new(graph, options)?;
    for &node in &graph.order {
        lowering.node(node)?;
    }
    lowering.finish()
}

/// Where weights are as [`crate::layout::Panels`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PanelsIn {
    /// In memory of their own, made once: the fastest, for two to four times the memory of the weights.
    Memory,
    /// In the arena, made anew before each product.
    Arena,
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Location {
    /// An argument that kernels can read.
    Arg(Arg),
    /// A KV token: ordered by the launches, nowhere in memory.
    Token,
}

/// Calls of two launches that follow each other.
#[derive(Default)]
struct Products {
    products: Vec<Call>,
    /// What joins what blocks of some of them leave.
    joins: Vec<Call>,
}

struct Lowering<'g> {
    graph: &'g Graph,
    options: LowerOptions,
    plan: CudaPlan,
    locations: Vec<Option<Location>>,
    /// Where values are as operands of products.
    operands: Vec<Option<Arg>>,
    /// Values that are read as nothing but operands of products.
    only_operands: Vec<bool>,
    /// Norms that products of few rows do themselves.
    norms: Vec<Option<Norm>>,
    lifetimes: Vec<Lifetime>,
    /// Kernels by name.
    kernels: HashMap<String, KernelId>,
    /// Tables of rotations that a launch has made.
    tables: Vec<(RopeDecl, Buffer)>,
}

/// A norm of rows.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Norm {
    /// Its rows, as f32.
    x: Arg,
    /// Its weights.
    weight: Arg,
    /// Added to the mean of squares.
    eps: f32,
}

/// Whether products with a weight take operands rather than f32.
fn takes_operands(graph: &Graph, weight: Weight) -> bool {
    graph.weights[weight].ty.dtype != DType::F32
}

/// Values that are read as nothing but operands of products.
fn only_operands(graph: &Graph) -> Vec<bool> {
    let mut only = vec![true; graph.values.len()];
    for &output in &graph.outputs {
        only[output.index()] = false;
    }
    for node in graph.order.iter().map(|&n| &graph.nodes[n]) {
        let product = match &node.op {
            Op::Linear(linear) => linear.parts.iter().all(|p| takes_operands(graph, p.weight)),
            _ => false,
        };
        for &value in &node.operands[usize::from(product)..] {
            only[value.index()] = false;
        }
        if let Op::Linear(linear) = &node.op {
            for step in linear.parts.iter().flat_map(|p| &p.epilogue) {
                if let Epilogue::Add(value) = step {
                    only[value.index()] = false;
                }
            }
        }
    }
    only
}

/// A call for any number of rows.
fn call(kernel: KernelId, args: Vec<Arg>, grid: [Extent; 3]) -> Call {
    Call {
        kernel,
        args,
        grid,
        least: 1,
        most: u32::MAX,
    }
}

/// Blocks of a kernel with one thread an element, of operands rows with those that fill up.
fn row_grid(kernel: RowKernel) -> [Extent; 3] {
    let across = operand_stride(kernel.n).div_ceil(Kernel::Row(kernel).threads());
    [Extent::Const(across), Extent::Rows(1), Extent::Const(1)]
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, options: LowerOptions) -> Result<Self, Error> {
        let mut lowering = Lowering {
            graph,
            plan: CudaPlan {
                name: graph.name.clone(),
                limits: options.limits,
                ..CudaPlan::default()
            },
            options,
            locations: vec![None; graph.values.len()],
            operands: vec![None; graph.values.len()],
            only_operands: only_operands(graph),
            norms: vec![None; graph.values.len()],
            lifetimes: Vec::new(),
            kernels: HashMap::new(),
            tables: Vec::new(),
        };
        for &param in &graph.params {
            let name = graph.values[param].name.as_deref().unwrap_or("");
            let location = match (Input::of_parameter(name), name) {
                (Some(input), _) => Location::Arg(Arg::Input(input)),
                (None, "kv") => Location::Token,
                _ => return Err(Error::Graph(format!("it has a parameter %{name}"))),
            };
            lowering.locations[param.index()] = Some(location);
        }
        Ok(lowering)
    }

    fn node(&mut self, id: Node) -> Result<(), Error> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        match &node.op {
            Op::Linear(linear) => self.linear(id, linear),
            Op::Embed {} => self.embed(id),
            Op::SplitHeads { .. } | Op::MergeHeads {} => {
                self.locations[node.results[0].index()] = self.locations[node.operands[0].index()];
                Ok(())
            }
            Op::RmsNorm { eps } => self.norm(id, *eps, false),
            Op::NormAdd { eps } => self.norm(id, *eps, true),
            Op::GatherRows {} => self.row_op(id, RowOp::Gather, &[]),
            Op::Scale { by } => self.row_op(id, RowOp::Scale(*by), &[]),
            Op::Softcap { cap } => self.row_op(id, RowOp::Softcap(*cap), &[]),
            Op::Act { func } => self.row_op(id, RowOp::Act(*func), &[]),
            Op::Add {} => self.row_op(id, self.vector(node, RowOp::Add, RowOp::AddVector), &[]),
            Op::Mul {} => self.row_op(id, self.vector(node, RowOp::Mul, RowOp::MulVector), &[]),
            Op::AttentionPaged { .. } => self.attention(id),
            Op::Dequant { .. } if graph.ty(node.results[0]).rank() == 1 => {
                let arg = self.section(node.weights[0], Form::Vector, RowOrder::Natural, 0, 0);
                self.locations[node.results[0].index()] = Some(Location::Arg(arg));
                Ok(())
            }
            op => Err(self.unsupported(
                id,
                format!("no kernel for `{}` outside a fusion", op.info().keyword),
            )),
        }
    }

    /// The form of an op whose second operand may be one vector for all rows.
    fn vector(&self, node: &NodeData, rows: RowOp, vector: RowOp) -> RowOp {
        match self.graph.ty(node.operands[1]).rank() {
            1 => vector,
            _ => rows,
        }
    }

    fn embed(&mut self, id: Node) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let weight = node.weights[0];
        let kernel = Kernel::Embed(Embed {
            table: self.matrix(id, weight)?,
        });
        let section = self.section(weight, Form::Matrix, RowOrder::Natural, 0, 0);
        let ids = self.arg(id, node.operands[0])?;
        let out = self.new_buffer(node.results[0], id)?;
        let rows = self.rows(id, node.results[0])?;
        let kernel = self.kernel(kernel)?;
        let grid = [Extent::Rows(1), Extent::Const(1), Extent::Const(1)];
        self.launch(
            id,
            rows,
            vec![call(kernel, vec![section, ids, Arg::Buffer(out)], grid)],
        );
        Ok(())
    }

    fn norm(&mut self, id: Node, eps: f32, add: bool) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let weight = self.section(node.weights[0], Form::Vector, RowOrder::Natural, 0, 0);
        let (from, to) = (node.operands[0], node.results[0]);
        let operands = self.only_operands[to.index()];
        self.row_op(id, RowOp::Norm { eps, add, operands }, &[weight])?;
        if operands && !add && Product::can_norm(self.columns(id, from)?) {
            let x = self.arg(id, from)?;
            self.norms[to.index()] = Some(Norm { x, weight, eps });
            let calls = self.plan.launches.last_mut().map(|l| &mut l.calls);
            calls.into_iter().flatten().for_each(|c| c.least = FEW_ROWS + 1);
        }
        Ok(())
    }

    /// A launch whose arguments are `first`, operands, result.
    fn row_op(&mut self, id: Node, op: RowOp, first: &[Arg]) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let kernel = RowKernel {
            op,
            n: self.columns(id, node.operands[0])?,
        };
        let mut args = first.to_vec();
        for &operand in &node.operands {
            args.push(self.arg(id, operand)?);
        }
        let operands = matches!(op, RowOp::Norm { operands: true, .. });
        args.push(self.result(id, node.results[0], operands)?);
        let rows = self.rows(id, node.results[0])?;
        let grid = match op {
            RowOp::Norm { .. } => [Extent::Rows(1), Extent::Const(1), Extent::Const(1)],
            _ => row_grid(kernel),
        };
        let kernel = self.kernel(Kernel::Row(kernel))?;
        self.launch(id, rows, vec![call(kernel, args, grid)]);
        Ok(())
    }

    /// Where a launch puts `value`: as operands of products, or as it is.
    fn result(&mut self, id: Node, value: Value, operands: bool) -> Result<Arg, Error> {
        if !operands {
            return Ok(Arg::Buffer(self.new_buffer(value, id)?));
        }
        let columns = self.value_columns(id, self.graph.ty(value))?;
        let most = u64::from(self.options.limits.bound(self.rows(id, value)?));
        let arg = Arg::Buffer(self.reserve("operands", row_bytes(ParamType::Operands, columns) * most));
        self.operands[value.index()] = Some(arg);
        Ok(arg)
    }

    /// Where `value` is as operands of products; a launch makes them where none has.
    fn operands(&mut self, id: Node, value: Value) -> Result<Arg, Error> {
        if let Some(known) = self.operands[value.index()] {
            return Ok(known);
        }
        let kernel = RowKernel {
            op: RowOp::Operands,
            n: self.value_columns(id, self.graph.ty(value))?,
        };
        let from = self.arg(id, value)?;
        let to = self.result(id, value, true)?;
        let (rows, grid) = (self.rows(id, value)?, row_grid(kernel));
        let kernel = self.kernel(Kernel::Row(kernel))?;
        self.launch(id, rows, vec![call(kernel, vec![from, to], grid)]);
        Ok(to)
    }

    /// Adds a launch; what it names is in use now.
    fn launch(&mut self, id: Node, rows: Sym, calls: Vec<Call>) {
        let now = self.plan.launches.len();
        for arg in calls.iter().flat_map(|c| &c.args) {
            if let Arg::Buffer(buffer) = arg {
                self.lifetimes[buffer.index()].last = now;
            }
        }
        self.plan.launches.push(Launch {
            label: self.label(&self.graph.nodes[id]),
            rows,
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

    /// Stores a kernel once. Equal names mean equal kernels.
    fn kernel(&mut self, kernel: Kernel) -> Result<KernelId, Error> {
        let name = kernel.name();
        if let Some(&known) = self.kernels.get(&name) {
            debug_assert!(crate::plan::verify::same(&self.plan.kernels[known], &kernel));
            return Ok(known);
        }
        let id = self.plan.kernels.push(kernel);
        self.kernels.insert(name, id);
        Ok(id)
    }

    fn matrix(&self, id: Node, weight: Weight) -> Result<Matrix, Error> {
        let ty = &self.graph.weights[weight].ty;
        let matrix = match ty.dims[..] {
            [Dim::Const(rows), Dim::Const(k)] => Matrix::of(ty.dtype, rows, k),
            _ => None,
        };
        matrix.ok_or_else(|| {
            let name = &self.graph.weights[weight].name;
            self.unsupported(id, format!("no kernel reads weight @{name} of type {ty}"))
        })
    }

    fn section(&mut self, weight: Weight, form: Form, order: RowOrder, heads: u32, dims: u32) -> Arg {
        let decl = &self.graph.weights[weight];
        let (heads, dims) = match order {
            RowOrder::Natural => (0, 0),
            RowOrder::RopeHalf => (heads, dims),
        };
        let decl = SectionDecl {
            weight: decl.name.clone(),
            ty: decl.ty.clone(),
            form,
            order,
            heads,
            dims,
        };
        let known = self.plan.sections.iter().find(|(_, d)| **d == decl);
        let known = known.map(|(id, _)| id);
        Arg::Section(known.unwrap_or_else(|| self.plan.sections.push(decl)))
    }

    /// Bytes of the arena, in use from the next launch on.
    fn reserve(&mut self, name: &str, bytes: u64) -> Buffer {
        let now = self.plan.launches.len();
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

    /// A buffer for `value`, alive from the next launch on.
    fn new_buffer(&mut self, value: Value, id: Node) -> Result<Buffer, Error> {
        let bytes = self.value_bytes(id, self.graph.ty(value))?;
        let buffer = self.reserve(self.graph.nodes[id].op.info().keyword, bytes);
        self.locations[value.index()] = Some(Location::Arg(Arg::Buffer(buffer)));
        Ok(buffer)
    }

    /// Elements of a row of a value.
    fn value_columns(&self, id: Node, ty: &TensorType) -> Result<u32, Error> {
        let columns = ty
            .dims
            .get(1..)
            .and_then(|rest| rest.iter().try_fold(1u64, |n, d| n.checked_mul(d.constant()?)));
        let columns = columns
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n > 0 && n < 1 << 24);
        columns.ok_or_else(|| self.unsupported(id, format!("a value of type {ty}")))
    }

    fn value_bytes(&self, id: Node, ty: &TensorType) -> Result<u64, Error> {
        let columns = self.value_columns(id, ty)?;
        let rows = match ty.dims.first() {
            Some(Dim::Sym(sym)) => u64::from(self.options.limits.bound(*sym)),
            _ => 0,
        };
        let row = (ty.dtype == DType::F32).then(|| row_bytes(ParamType::F32, columns));
        let bytes = row.and_then(|row| row.checked_mul(rows));
        bytes
            .filter(|&b| b > 0 && b < 1 << 40)
            .ok_or_else(|| self.unsupported(id, format!("a value of type {ty}")))
    }

    fn arg(&self, id: Node, value: Value) -> Result<Arg, Error> {
        match self.locations[value.index()] {
            Some(Location::Arg(arg)) => Ok(arg),
            _ => Err(self.unsupported(id, format!("operand {value} is not in memory"))),
        }
    }

    /// Elements of a row of `value`.
    fn columns(&self, id: Node, value: Value) -> Result<u32, Error> {
        let ty = self.graph.ty(value);
        // A row of heads is a row of all their elements only where an op does not work head by head.
        let headwise = matches!(
            self.graph.nodes[id].op,
            Op::RmsNorm { .. } | Op::Add {} | Op::Mul {}
        ) && ty.rank() != 2;
        let columns = ty.dims.get(1..).filter(|_| !headwise).and_then(|rest| {
            let n = rest.iter().try_fold(1u64, |n, d| n.checked_mul(d.constant()?));
            n.and_then(|n| u32::try_from(n).ok())
        });
        columns
            .filter(|&n| n > 0)
            .ok_or_else(|| self.unsupported(id, format!("operand of type {ty}")))
    }

    /// What the rows of `value` are.
    fn rows(&self, id: Node, value: Value) -> Result<Sym, Error> {
        let ty = self.graph.ty(value);
        match ty.dims.first() {
            Some(Dim::Sym(sym @ (Sym::Tokens | Sym::Outputs))) => Ok(*sym),
            _ => Err(self.unsupported(id, format!("rows of a value of type {ty}"))),
        }
    }

    fn unsupported(&self, id: Node, what: String) -> Error {
        Error::Unsupported {
            node: format!("{id} ({})", self.label(&self.graph.nodes[id])),
            what,
        }
    }

    /// The launch that finds the largest logits.
    fn largest(&mut self, logits: Buffer) -> Result<(), Error> {
        if self.plan.gives() != ModelOutput::Logits {
            return Ok(());
        }
        let largest = Largest { n: self.plan.vocab };
        let grid = [Extent::Const(largest.blocks()), Extent::Rows(1), Extent::Const(1)];
        let kernel = self.kernel(Kernel::Largest(largest))?;
        self.plan.largest = Some(Launch {
            label: "largest logits".to_owned(),
            rows: Sym::Outputs,
            calls: vec![call(kernel, vec![Arg::Buffer(logits), Arg::Keys], grid)],
        });
        Ok(())
    }

    fn finish(mut self) -> Result<CudaPlan, Error> {
        let no_result = || Error::Graph("its output is no [outputs, width]f32 or [tokens, width]f32".into());
        let [output] = self.graph.outputs[..] else {
            return Err(no_result());
        };
        let ty = self.graph.ty(output);
        let Some(Location::Arg(Arg::Buffer(logits))) = self.locations[output.index()] else {
            return Err(no_result());
        };
        let width = ty.columns().and_then(|n| u32::try_from(n).ok());
        let width = width.filter(|_| ty.rank() == 2 && ty.dtype == DType::F32);
        let width = width.ok_or_else(no_result)?;
        let vocab = || self.graph.tokens().ok_or_else(no_result);
        match self.options.output {
            ModelOutput::Logits => self.plan.vocab = width,
            ModelOutput::Embeddings => (self.plan.vocab, self.plan.embedding) = (vocab()?, Some(width)),
            ModelOutput::Hidden => (self.plan.vocab, self.plan.leaves) = (vocab()?, Some(width)),
        }
        if ty.dims.first() != Some(&Dim::Sym(self.plan.result_rows())) {
            return Err(no_result());
        }
        self.lifetimes[logits.index()].last = self.plan.launches.len();
        self.plan.logits = Some(logits);
        self.largest(logits)?;
        let mut buffers: Vec<BufferDecl> = self.plan.buffers.values().cloned().collect();
        self.plan.arena_bytes = memory::assign(&mut buffers, &self.lifetimes);
        self.plan.buffers = Arena::from_iter(buffers);
        used::keep_used(&mut self.plan);
        crate::plan::verify::verify(&self.plan)?;
        Ok(self.plan)
    }
}
