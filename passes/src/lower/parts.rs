//! Lowering of `linear`: each part becomes a kernel and a call.

use super::cost::{Product, UnitColumns};
use super::dot::Codes;
use super::epilogue::{Sink, StepKind, UnitEpilogue};
use super::linear::{LinearKernel, PanelGeometry, PanelKind, Tile};
use super::product::LoweredProduct;
use super::tuning::ProductKey;
use super::{LowerError, Lowering};
use lathe_ir::DType;
use lathe_ir::graph::{Epilogue, Linear, Node, Output, Part, RowOrder, Weight};
use lathe_ir::kernel::{Access, Buf, KernelBuilder, Mem};
use lathe_ir::layout::KvTypes;
use lathe_ir::layout::{PANEL_ROWS, PackedKind, PackedLayout};
use lathe_ir::plan::{Arg, Call, Count, KvLayer, RopeDecl};
use lathe_ir::quant::Codebook;

const PANEL: u32 = PANEL_ROWS as u32;

/// Bits of the largest entry.
fn entry_bits(codebook: &Codebook) -> u8 {
    let all = codebook.iter().fold(0, |all, entry| all | entry);
    8 - all.leading_zeros() as u8
}

impl Lowering<'_> {
    /// How a matrix weight is packed: what its panels hold, their geometry, and the length of a row.
    pub(super) fn panels(&self, weight: Weight) -> Result<(PanelKind, PanelGeometry, u32), LowerError> {
        let decl = &self.graph.weights[weight];
        let error = |what: String| LowerError::Weight {
            name: decl.name.clone(),
            ty: decl.ty.to_string(),
            what,
        };
        let (rows, k) = match decl.ty.dims[..] {
            [rows, k] => (rows.constant(), k.constant()),
            _ => (None, None),
        };
        let (Some(rows), Some(k)) = (rows, k) else {
            return Err(error("it is no matrix".into()));
        };
        let layout = PackedLayout::of(decl.ty.dtype, rows, k).map_err(|e| error(e.to_string()))?;
        let small =
            |n: u64| u32::try_from(n).map_err(|_| error(format!("a panel of {n} bytes is too large")));
        let kind = match layout.kind {
            PackedKind::Float(dtype) => PanelKind::Float(match dtype {
                DType::F16 => Mem::F16,
                DType::Bf16 => Mem::Bf16,
                _ => Mem::F32,
            }),
            PackedKind::Codes {
                bits,
                codebook,
                planes,
                offset,
                group,
                has_min,
            } => PanelKind::Codes(Codes {
                planes: planes.to_vec(),
                codebook: codebook.copied(),
                bits: codebook.map_or(bits, entry_bits),
                offset_log2: (offset != 0).then(|| offset.trailing_zeros() as u8),
                group,
                has_min,
            }),
        };
        let panel = PanelGeometry {
            stride: small(layout.panel_stride())?,
            record: small(layout.record_bytes())?,
            scales: small(layout.scales_offset(0))?,
        };
        Ok((kind, panel, small(k)?))
    }

    pub(super) fn linear(&mut self, id: Node, linear: &Linear) -> Result<(), LowerError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let mut results = node.results.iter();
        let mut calls = Vec::new();
        for (index, part) in linear.parts.iter().enumerate() {
            let out = match part.output {
                Output::Kv { .. } => None,
                _ => results.next().copied(),
            };
            let out = out.map(|value| self.new_buffer(value, id)).transpose()?;
            calls.push(self.part(id, index, part, out.map(Arg::Buffer))?);
        }
        if let Some(token) = results.next() {
            self.locations[lathe_ir::Id::index(*token)] = Some(super::Location::Token);
        }
        self.step(id, calls);
        Ok(())
    }

    fn part(&mut self, id: Node, index: usize, part: &Part, out: Option<Arg>) -> Result<Call, LowerError> {
        let graph = self.graph;
        let input = graph.nodes[id].operands[0];
        let input_ty = graph.ty(input).clone();
        let (kind, panel, k) = self.panels(part.weight)?;
        let wanted = if matches!(kind, PanelKind::Codes(_)) {
            DType::Q8A
        } else {
            DType::F32
        };
        if input_ty.dtype != wanted {
            let what = format!("weight @{} needs {wanted} input", graph.weights[part.weight].name);
            return Err(self.unsupported(id, what));
        }
        let n = graph.weights[part.weight].ty.dims[0]
            .constant()
            .and_then(|n| u32::try_from(n).ok());
        let n = n.ok_or_else(|| self.unsupported(id, "the weight has too many rows".into()))?;
        let product = Product {
            kind: kind.clone(),
            panel,
            n,
            k,
            weights: 1 + u32::from(part.gate_up.is_some()),
            columns: self.unit_columns(id, part, n)?,
            lanes: self.options.lanes,
            matrix: self.options.matrix_unit && wanted == DType::Q8A,
        };
        let key = ProductKey {
            n,
            k,
            format: graph.weights[part.weight].ty.dtype.to_string(),
            epilogue: epilogue_name(part, input_ty.dtype, self.options.kv_types),
            lanes: self.options.lanes,
        };
        let decision = self.decide(&product, key.clone());
        let mut builder = PartBuilder::new(self, id, part, n, decision.columns)?;
        builder.name = key.epilogue.clone();
        builder.input(input)?;
        builder.epilogue()?;
        builder.sink(out)?;
        let call = builder.finish(kind, panel, k, input_ty.dims[0], decision.shape.tile)?;
        let site = (self.plan.steps.len(), index);
        let machine = self.options.machine;
        self.products
            .push(LoweredProduct::new(site, key, decision, machine, product));
        Ok(call)
    }

    /// Outputs of a unit: a head where the epilogue works on heads, blocks of 32 where the sink quantizes, else panels.
    fn unit_columns(&self, id: Node, part: &Part, n: u32) -> Result<UnitColumns, LowerError> {
        let per_head = part.heads().filter(|_| {
            matches!(part.output, Output::Kv { .. })
                || part
                    .epilogue
                    .iter()
                    .any(|e| matches!(e, Epilogue::HeadNorm { .. } | Epilogue::Rope { .. }))
        });
        if let Some(heads) = per_head {
            if heads == 0 || !n.is_multiple_of(heads) || !(n / heads).is_multiple_of(PANEL) {
                let what =
                    format!("{n} columns in {heads} heads: heads must be a multiple of {PANEL} columns");
                return Err(self.unsupported(id, what));
            }
            return Ok(UnitColumns::Head(n / heads));
        }
        match part.output {
            Output::Q8A if !n.is_multiple_of(32) => {
                Err(self.unsupported(id, format!("{n} columns can't be quantized in blocks of 32")))
            }
            Output::Q8A => Ok(UnitColumns::AtLeast(32)),
            _ => Ok(UnitColumns::AtLeast(PANEL)),
        }
    }
}

/// The input's type, and what happens to the sums, for names of kernels and for keys.
fn epilogue_name(part: &Part, input: DType, kv_types: KvTypes) -> String {
    let mut words = vec![input.to_string()];
    words.extend(part.epilogue.iter().map(|step| match step {
        Epilogue::Heads(heads) => format!("heads{heads}"),
        Epilogue::Bias(_) => "bias".into(),
        Epilogue::HeadNorm { eps, .. } => format!("norm{eps:e}"),
        Epilogue::Rope { spec, .. } => format!("rope{}", spec.dims),
        Epilogue::Scale(by) => format!("scale{by:e}"),
        Epilogue::Glu(func) => format!("{}_glu", func.keyword()),
        Epilogue::Act(func) => func.keyword().to_owned(),
        Epilogue::Softcap(cap) => format!("cap{cap:e}"),
        Epilogue::Add(_) => "add".into(),
    }));
    match part.output {
        Output::F32 => {}
        Output::Q8A => words.push("to_q8a".into()),
        Output::Kv { part, .. } => words.push(format!("kv_{}.{}", part.keyword(), kv_types.of(part))),
    }
    words.join(".")
}

/// Collects a part's kernel buffers together with the arguments that a call passes for them.
struct PartBuilder<'a, 'g> {
    lowering: &'a mut Lowering<'g>,
    id: Node,
    part: &'a Part,
    kernel: KernelBuilder,
    name: String,
    args: Vec<Arg>,
    weights: Vec<Buf>,
    input: Option<Buf>,
    steps: Vec<StepKind>,
    sink: Option<Sink>,
    n: u32,
    columns: u32,
    rope_dims: u32,
}

impl<'a, 'g> PartBuilder<'a, 'g> {
    fn new(
        lowering: &'a mut Lowering<'g>,
        id: Node,
        part: &'a Part,
        n: u32,
        columns: u32,
    ) -> Result<Self, LowerError> {
        let rope_dims = part.epilogue.iter().find_map(|e| match e {
            Epilogue::Rope { spec, .. } => Some(spec.dims),
            _ => None,
        });
        let mut builder = PartBuilder {
            lowering,
            id,
            part,
            kernel: KernelBuilder::new(""),
            name: String::new(),
            args: Vec::new(),
            weights: Vec::new(),
            input: None,
            steps: Vec::new(),
            sink: None,
            n,
            columns,
            rope_dims: rope_dims.unwrap_or(0),
        };
        let heads = part.heads().unwrap_or(0);
        for (label, weight) in [("w", Some(part.weight)), ("w2", part.gate_up)] {
            if let Some(weight) = weight {
                let arg = builder
                    .lowering
                    .panel_section(weight, part.order, heads, builder.rope_dims);
                let buf = builder.buf(label, Access::In, arg);
                builder.weights.push(buf);
            }
        }
        Ok(builder)
    }

    fn buf(&mut self, label: &str, access: Access, arg: Arg) -> Buf {
        self.args.push(arg);
        self.kernel.buf(label, access)
    }

    fn vector(&mut self, label: &str, weight: Weight, order: RowOrder) -> Buf {
        let heads = self.part.heads().unwrap_or(0);
        let arg = self.lowering.vector_section(weight, order, heads, self.rope_dims);
        self.buf(label, Access::In, arg)
    }

    fn input(&mut self, input: lathe_ir::graph::Value) -> Result<(), LowerError> {
        let arg = self.lowering.arg(self.id, input)?;
        self.input = Some(self.buf("x", Access::In, arg));
        Ok(())
    }

    fn epilogue(&mut self) -> Result<(), LowerError> {
        for step in &self.part.epilogue {
            let kind = match step {
                Epilogue::Heads(_) => continue,
                Epilogue::Bias(w) => StepKind::Bias(self.vector("bias", *w, self.part.order)),
                Epilogue::HeadNorm { weight, eps } => StepKind::HeadNorm {
                    weight: self.vector("norm", *weight, RowOrder::Natural),
                    eps: *eps,
                },
                Epilogue::Rope { spec, factors, .. } => {
                    let factors = factors.map(|w| self.lowering.graph.weights[w].name.clone());
                    let decl = RopeDecl { spec: *spec, factors };
                    self.check_rope(&decl)?;
                    let rope = self.lowering.rope_table(decl);
                    StepKind::Rope {
                        table: self.buf("rope", Access::In, Arg::Rope(rope)),
                        dims: spec.dims,
                    }
                }
                Epilogue::Scale(by) => StepKind::Scale(*by),
                Epilogue::Glu(func) => StepKind::Glu(*func),
                Epilogue::Act(func) => StepKind::Act(*func),
                Epilogue::Softcap(cap) => StepKind::Softcap(*cap),
                Epilogue::Add(value) => {
                    let arg = self.lowering.arg(self.id, *value)?;
                    StepKind::Add(self.buf("residual", Access::In, arg))
                }
            };
            self.steps.push(kind);
        }
        Ok(())
    }

    fn check_rope(&self, decl: &RopeDecl) -> Result<(), LowerError> {
        let dims = decl.spec.dims;
        if decl.spec.pairs == lathe_ir::graph::RopePairs::Half
            && dims.is_multiple_of(2)
            && dims <= self.columns
        {
            return Ok(());
        }
        let what = format!(
            "rope over {dims} of {} columns, pairs {}",
            self.columns,
            decl.spec.pairs.keyword()
        );
        Err(self.lowering.unsupported(self.id, what))
    }

    fn sink(&mut self, out: Option<Arg>) -> Result<(), LowerError> {
        let sink = match (&self.part.output, out) {
            (Output::F32, Some(out)) => Sink::F32(self.buf("y", Access::Out, out)),
            (Output::Q8A, Some(out)) => Sink::Q8A(self.buf("y", Access::Out, out)),
            (
                Output::Kv {
                    part,
                    layer,
                    pos,
                    seq,
                    ..
                },
                _,
            ) => {
                let geometry = KvLayer {
                    kv_heads: self.n / self.columns,
                    head_dim: self.columns,
                    types: self.lowering.options.kv_types,
                    window: self.lowering.window_of(*layer),
                };
                self.lowering.kv_layer(self.id, *layer, geometry)?;
                let (pos, seq) = (
                    self.lowering.arg(self.id, *pos)?,
                    self.lowering.arg(self.id, *seq)?,
                );
                Sink::Kv {
                    part: *part,
                    ty: geometry.types.of(*part),
                    cache: self.buf("cache", Access::Out, Arg::Kv(*part, *layer)),
                    positions: self.buf("positions", Access::In, pos),
                    seqs: self.buf("seqs", Access::In, seq),
                    tables: self.buf("tables", Access::In, self.lowering.tables_of(*layer)),
                    blocks_per_seq: self.lowering.options.limits.blocks_per_seq(),
                }
            }
            _ => {
                return Err(self
                    .lowering
                    .unsupported(self.id, "a part lacks its result".into()));
            }
        };
        self.sink = Some(sink);
        Ok(())
    }

    fn finish(
        self,
        kind: PanelKind,
        panel: PanelGeometry,
        k: u32,
        rows: lathe_ir::types::Dim,
        tile: Tile,
    ) -> Result<Call, LowerError> {
        let options = &self.lowering.options;
        let codes = matches!(kind, PanelKind::Codes(_));
        let dtype = self.lowering.graph.weights[self.part.weight].ty.dtype;
        let blocks = options.limits.blocks_per_seq();
        let expand = if tile.expand { ".spread" } else { "" };
        let ahead = match tile.prefetch {
            0 => String::new(),
            bytes => format!(".ahead{bytes}"),
        };
        let name = format!(
            "linear.{dtype}.{}x{k}.{}.b{blocks}.w{}.m{}x{}.c{}{expand}{ahead}",
            self.n, self.name, options.lanes, tile.rows, tile.groups, self.columns
        ) + if codes && options.matrix_unit {
            ".matrix"
        } else {
            ""
        };
        let (lanes, matrix) = (options.lanes, codes && options.matrix_unit);
        let linear = LinearKernel {
            kind,
            panel,
            k,
            weights: self.weights,
            input: self.input.expect("set before the epilogue"),
            epilogue: UnitEpilogue {
                steps: self.steps,
                sink: self.sink.expect("set before"),
                columns: self.columns,
                n: self.n,
                lanes,
            },
            lanes,
            tile,
            matrix,
        };
        let mut b = self.kernel;
        let key = format!("{name} {linear:?}");
        let kernel = self.lowering.generated(key, || {
            b.rename(name);
            let row_count = b.scalar("rows");
            let scratch = b.scratch(linear.scratch_bytes());
            linear.emit(&mut b, row_count, scratch);
            b.finish()
        })?;
        let count = self.lowering.count(self.id, rows, 1)?;
        let cost = u64::from(self.columns / PANEL) * linear.weights.len() as u64 * u64::from(panel.stride);
        let units = Count::constant(u64::from(self.n.div_ceil(self.columns)));
        Ok(Call {
            kernel,
            args: self.args,
            scalars: vec![count],
            units,
            cost,
        })
    }
}
