//! Runs the nodes of a graph in order.

use super::attention::{Fused, Layer, causal_mask};
use super::kv::KvCache;
use super::tensor::{Tensor, columns, index};
use super::weights::Weights;
use super::{EvalError, ops, rope};
use crate::backend::WeightSource;
use crate::dtype::DType;
use crate::graph::verify::verify;
use crate::graph::{Graph, KvPart, NodeData, Op, RopeSpec, Value};
use crate::id::Id;
use crate::types::{Dim, Sym, TensorType};
use std::collections::HashMap;

/// Inputs by the names of parameters. Parameters of type `kv` need none.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inputs(HashMap<String, Tensor>);

impl Inputs {
    /// No inputs.
    pub fn new() -> Inputs {
        Inputs::default()
    }

    /// The inputs of a model step: `%tok`, `%pos` and `%seq`, one a row, and `%outputs`.
    pub fn batch(tokens: &[u32], positions: &[u32], seqs: &[u32], outputs: &[u32]) -> Inputs {
        let named = [
            ("tok", tokens),
            ("pos", positions),
            ("seq", seqs),
            ("outputs", outputs),
        ];
        named
            .into_iter()
            .fold(Inputs::new(), |all, (name, x)| all.with(name, Tensor::indices(x)))
    }

    /// These inputs and one more, or another for a name that has one.
    pub fn with(mut self, name: &str, tensor: Tensor) -> Inputs {
        self.0.insert(name.to_owned(), tensor);
        self
    }
}

/// The outputs of a graph for these inputs, and in `cache` what it stores there.
///
/// The rows of a batch may be of several sequences; they see what the cache held before, and each other as far as they
/// stand at earlier positions of the same sequence.
///
/// # Errors
/// The graph does not verify; an input or weight is missing or of another type; an index is out of range. The cache may
/// have been written to by then.
pub fn eval(
    graph: &Graph,
    weights: &dyn WeightSource,
    inputs: &Inputs,
    cache: &mut KvCache,
) -> Result<Vec<Tensor>, EvalError> {
    verify(graph).map_err(|errors| EvalError::Invalid(errors[0].clone()))?;
    let weights = Weights {
        graph,
        source: weights,
    };
    let values = vec![None; graph.values.len()];
    let mut evaluator = Evaluator {
        graph,
        weights,
        cache,
        values,
        uses: graph.use_counts(),
    };
    evaluator.bind(inputs)?;
    for &node in &graph.order {
        evaluator.node(&graph.nodes[node])?;
    }
    Ok(graph
        .outputs
        .iter()
        .map(|&v| evaluator.value(v).clone())
        .collect())
}

/// A graph that verifies, halfway through its order.
pub(super) struct Evaluator<'a> {
    graph: &'a Graph,
    pub(super) weights: Weights<'a>,
    cache: &'a mut KvCache,
    /// Values made and still to be read.
    values: Vec<Option<Tensor>>,
    /// Reads of each value still to come, so that decoded weights do not all live at once.
    uses: Vec<u32>,
}

impl Evaluator<'_> {
    /// A value made before.
    pub(super) fn value(&self, value: Value) -> &Tensor {
        self.values[value.index()]
            .as_ref()
            .expect("the verifier has checked that it is made before it is read")
    }

    /// Gives parameters their inputs and checks them against their types.
    fn bind(&mut self, inputs: &Inputs) -> Result<(), EvalError> {
        let mut sizes: HashMap<Sym, usize> = HashMap::new();
        for &param in &self.graph.params {
            let ty = self.graph.ty(param);
            if ty.dtype == DType::Kv {
                self.values[param.index()] = Some(Tensor::kv());
                continue;
            }
            let name = self.graph.values[param].name.clone().unwrap_or_default();
            let Some(input) = inputs.0.get(&name) else {
                return Err(EvalError::NoInput(name));
            };
            if !fits(input, ty, &mut sizes) {
                return Err(EvalError::Input {
                    name,
                    got: input.describe(),
                    want: sized(ty, &sizes),
                });
            }
            self.values[param.index()] = Some(input.clone());
        }
        Ok(())
    }

    fn node(&mut self, data: &NodeData) -> Result<(), EvalError> {
        let results = match &data.op {
            Op::Linear(linear) => self.linear(data, linear)?,
            Op::KvAppend { layer } => vec![self.kv_append(data, *layer)?],
            _ => vec![self.pure(data)?],
        };
        for (&value, tensor) in data.results.iter().zip(results) {
            self.values[value.index()] = Some(tensor);
        }
        for value in &data.operands {
            self.uses[value.index()] -= 1;
            if self.uses[value.index()] == 0 {
                self.values[value.index()] = None;
            }
        }
        Ok(())
    }

    /// Stores rows `[rows, …]` in half a layer, each at its position of its sequence.
    pub(super) fn store(
        &mut self,
        layer: u32,
        part: KvPart,
        rows: &[f32],
        pos: Value,
        seq: Value,
    ) -> Result<(), EvalError> {
        let (positions, seqs) = (self.value(pos).ints().to_vec(), self.value(seq).ints().to_vec());
        let width = (rows.len() / positions.len().max(1)).max(1);
        for (i, row) in rows.chunks_exact(width).enumerate() {
            let position = index("position", i, positions[i], KvCache::MAX_POSITIONS)?;
            let seq = index("sequence", i, seqs[i], i32::MAX as usize)?;
            self.cache.store(layer, part, seq as u32, position as u32, row);
        }
        Ok(())
    }

    fn kv_append(&mut self, data: &NodeData, layer: u32) -> Result<Tensor, EvalError> {
        let (pos, seq) = (data.operands[3], data.operands[4]);
        for (part, operand) in [(KvPart::K, 1), (KvPart::V, 2)] {
            let rows = self.value(data.operands[operand]).floats().to_vec();
            self.store(layer, part, &rows, pos, seq)?;
        }
        Ok(Tensor::kv())
    }

    /// Ops with one result and no effect.
    fn pure(&self, data: &NodeData) -> Result<Tensor, EvalError> {
        let operand = |i: usize| self.value(data.operands[i]);
        let weight = |i: usize| self.weights.decoded(data.weights[i]);
        let like = |x: &Tensor, elements: Vec<f32>| Tensor::f32(&x.dims, elements);
        let x = data.operands.first().map(|&v| self.value(v));
        let Some(x) = x else { return self.constant(data) };
        Ok(match &data.op {
            Op::Embed {} => {
                let rows = self.weights.rows(data.weights[0], x.ints())?;
                let n = rows.len() / x.dims[0].max(1);
                Tensor::f32(&[x.dims[0], n], rows)
            }
            Op::Matmul {} => {
                let w = operand(1);
                let product = ops::matmul(x.floats(), w.floats(), [x.dims[0], w.dims[0], x.dims[1]]);
                Tensor::f32(&[x.dims[0], w.dims[0]], product)
            }
            Op::Add {} => like(x, ops::zip(x.floats(), operand(1).floats(), |a, b| a + b)),
            Op::Mul {} => like(x, ops::zip(x.floats(), operand(1).floats(), |a, b| a * b)),
            Op::Scale { by } => like(x, ops::map(x.floats(), |x| x * by)),
            Op::Softcap { cap } => like(x, ops::map(x.floats(), |x| ops::softcap(*cap, x))),
            Op::Act { func } => like(x, ops::map(x.floats(), |x| ops::activation(*func, x))),
            Op::RmsNorm { eps } => like(x, ops::rms_norm(x.floats(), &weight(0)?, *eps)),
            Op::Softmax {} => like(x, ops::softmax(x.floats(), columns(&x.dims))),
            Op::SplitHeads { heads } => {
                let heads = *heads as usize;
                Tensor {
                    dims: vec![x.dims[0], heads, x.dims[1] / heads],
                    data: x.data.clone(),
                }
            }
            Op::MergeHeads {} => Tensor {
                dims: vec![x.dims[0], x.dims[1] * x.dims[2]],
                data: x.data.clone(),
            },
            Op::Rope {
                pairs,
                dims,
                base,
                freq_scale,
                magnitude,
            } => {
                let (pairs, dims, base) = (*pairs, *dims, *base);
                let spec = RopeSpec {
                    pairs,
                    dims,
                    base,
                    freq_scale: *freq_scale,
                    magnitude: *magnitude,
                };
                let factors = data
                    .weights
                    .first()
                    .map(|&w| self.weights.decoded(w))
                    .transpose()?;
                let positions = operand(1).ints();
                like(
                    x,
                    rope::rope(
                        x.floats(),
                        x.dims[1],
                        x.dims[2],
                        positions,
                        &spec,
                        factors.as_deref(),
                    ),
                )
            }
            Op::CausalMask { window } => causal_mask(x, operand(1).ints(), *window),
            Op::AttnScores { layer, kv_heads } => self.layer(*layer, *kv_heads, operand(2)).scores(x)?,
            Op::AttnMix {
                layer,
                kv_heads,
                head_dim,
            } => self
                .layer(*layer, *kv_heads, operand(2))
                .mix(x, *head_dim as usize)?,
            Op::AttentionPaged {
                layer,
                kv_heads,
                scale,
                cap,
                window,
            } => {
                let how = Fused {
                    scale: *scale,
                    cap: *cap,
                    window: *window,
                };
                self.layer(*layer, *kv_heads, operand(3))
                    .fused(x, operand(2).ints(), &how)?
            }
            Op::GatherRows {} => gather(x, operand(1).ints())?,
            Op::Quantize {} => Tensor::quantized(&x.dims, x.floats())?,
            Op::NormQuant { eps } => {
                Tensor::quantized(&x.dims, &ops::rms_norm(x.floats(), &weight(0)?, *eps))?
            }
            Op::NormAdd { eps } => {
                let normed = ops::rms_norm(x.floats(), &weight(0)?, *eps);
                like(x, ops::zip(&normed, operand(1).floats(), |a, b| a + b))
            }
            Op::Dequant { .. } | Op::Scalar { .. } | Op::KvAppend { .. } | Op::Linear(_) => {
                unreachable!("the verifier has checked the arity, and `node` has taken the others")
            }
        })
    }

    /// Ops without operands.
    fn constant(&self, data: &NodeData) -> Result<Tensor, EvalError> {
        match data.op {
            Op::Scalar { value } => Ok(Tensor::f32(&[], vec![value])),
            Op::Dequant { order, heads, dims } => {
                let ty = &self.graph.weights[data.weights[0]].ty;
                let size: Vec<usize> = ty
                    .dims
                    .iter()
                    .map(|d| d.constant().unwrap_or(0) as usize)
                    .collect();
                let elements = self
                    .weights
                    .ordered(data.weights[0], order, heads as usize, dims as usize)?;
                Ok(Tensor::f32(&size, elements))
            }
            _ => unreachable!("the verifier has checked that every other op has operands"),
        }
    }

    fn layer<'b>(&'b self, layer: u32, kv_heads: u32, seqs: &'b Tensor) -> Layer<'b> {
        Layer {
            cache: &*self.cache,
            layer,
            kv_heads: kv_heads as usize,
            seqs: seqs.ints(),
        }
    }
}

/// Rows of `[n, k]`, chosen by their numbers.
fn gather(x: &Tensor, rows: &[i32]) -> Result<Tensor, EvalError> {
    let (n, k) = (x.dims[0], x.dims[1]);
    let mut out = Vec::new();
    for (i, &row) in rows.iter().enumerate() {
        let row = index("output", i, row, n)?;
        out.extend_from_slice(&x.floats()[row * k..(row + 1) * k]);
    }
    Ok(Tensor::f32(&[rows.len(), k], out))
}

/// Whether an input has the type of a parameter; binds symbols that it is the first to have.
fn fits(input: &Tensor, ty: &TensorType, sizes: &mut HashMap<Sym, usize>) -> bool {
    let dims = input.dims.len() == ty.rank() && input.dtype() == ty.dtype;
    dims && input.dims.iter().zip(&ty.dims).all(|(&size, dim)| match dim {
        Dim::Const(n) => *n == size as u64,
        Dim::Sym(sym) => *sizes.entry(*sym).or_insert(size) == size,
    })
}

/// A type with the sizes of symbols that are known.
fn sized(ty: &TensorType, sizes: &HashMap<Sym, usize>) -> String {
    let size = |dim: &Dim| match dim {
        Dim::Sym(sym) => sizes.get(sym).map_or(*dim, |&n| Dim::Const(n as u64)),
        Dim::Const(_) => *dim,
    };
    TensorType {
        dims: ty.dims.iter().map(size).collect(),
        dtype: ty.dtype,
    }
    .to_string()
}
