//! Blocks that architectures are made of, on top of a graph under construction: embedding, norm, attention,
//! feed-forward, logits or embeddings.
//!
//! Each block says its mathematics with unfused ops, declares the weights that it reads, and checks their shapes.

use lathe_ir::graph::{Activation, Graph, GraphBuilder, Op, RopePairs, RowOrder, Value, Weight};
use lathe_ir::plan::ModelOutput;
use lathe_ir::types::{Sym, TensorType};
use lathe_ir::{DType, graph};

use super::rope;
use crate::Error;
use crate::config::{Config, LayerConfig};
use crate::weights::{ModelWeights, weight_name};

/// The tensor of per-pair frequency divisors that long-context Llama 3 has.
const ROPE_FREQS: &str = "rope_freqs.weight";
/// What the projection to logits may have in a file.
const HEAD: [&str; 4] = [
    "output.weight",
    "output.bias",
    "output.input_scale",
    "token_embd.input_scale",
];
/// The weight that YaRN's divisors go by.
const YARN_FACTORS: &str = "rope.yarn_factors";

/// A graph under construction, with the weights and hyperparameters that it is made from.
pub(super) struct Net<'a> {
    config: &'a Config,
    weights: &'a mut ModelWeights,
    graph: GraphBuilder,
    tokens: Value,
    positions: Value,
    seqs: Value,
    outputs: Value,
    /// What the graph ends with.
    output: ModelOutput,
    /// The newest state of the KV cache.
    kv: Value,
}

/// A layer: its number and what it differs in.
pub(super) struct Layer {
    index: u32,
    config: LayerConfig,
}

impl Layer {
    /// The name of a tensor of this layer, without its suffix.
    pub(super) fn tensor(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.index)
    }
}

/// How an architecture attends.
pub(super) struct Attention {
    /// Which elements of a head rotate together.
    pub(super) pairs: RopePairs,
    /// Whether queries and keys are normed, head by head, before they rotate.
    pub(super) qk_norm: bool,
    /// Whether the file may have divisors of the rotation frequencies.
    pub(super) freq_factors: bool,
}

/// A gated feed-forward layer.
pub(super) struct Mlp {
    /// The function of the gate.
    pub(super) activation: Activation,
    /// Whether projections may have biases, and scales that multiply them with their biases. Where not, scales have no
    /// effect, as in llama.cpp, whose results this follows.
    pub(super) bias_and_scale: bool,
}

impl<'a> Net<'a> {
    /// An empty graph with the parameters of every model.
    pub(super) fn new(
        config: &'a Config,
        weights: &'a mut ModelWeights,
        output: ModelOutput,
    ) -> Result<Self, Error> {
        let mut graph = GraphBuilder::new(&identifier(config));
        let ids = |rows: Sym| TensorType::new([rows], DType::I32);
        Ok(Net {
            tokens: graph.param("tok", ids(Sym::Tokens)),
            positions: graph.param("pos", ids(Sym::Tokens)),
            seqs: graph.param("seq", ids(Sym::Tokens)),
            outputs: graph.param("outputs", ids(Sym::Outputs)),
            kv: graph.param("kv", TensorType::kv()),
            output,
            config,
            weights,
            graph,
        })
    }

    /// The finished graph with its result.
    pub(super) fn finish(self, result: Value) -> Result<Graph, Error> {
        self.weights.finish(self.config.architecture.name())?;
        Ok(self.graph.finish(&[result]))
    }

    /// The hyperparameters.
    pub(super) fn config(&self) -> &'a Config {
        self.config
    }

    /// The layers, in order.
    pub(super) fn layers(&self) -> impl Iterator<Item = Layer> + use<> {
        let layers = self.config.layers.clone();
        layers.into_iter().enumerate().map(|(index, config)| Layer {
            index: index as u32,
            config,
        })
    }

    /// `→ [tokens, width]`: the rows of the embedding.
    pub(super) fn embed(&mut self) -> Result<Value, Error> {
        let table = self.matrix("token_embd", self.config.vocab_size, self.config.width, None)?;
        self.node(Op::Embed {}, &[table], &[self.tokens])
    }

    /// RMS norm with the weight `NAME.weight`, over the last dim.
    pub(super) fn norm(&mut self, x: Value, name: &str) -> Result<Value, Error> {
        let columns = self.columns(x);
        let weight = self.vector(&format!("{name}.weight"), columns, 1.0)?;
        self.node(
            Op::RmsNorm {
                eps: self.config.rms_eps,
            },
            &[weight],
            &[x],
        )
    }

    /// `a + b`.
    pub(super) fn add(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.node(Op::Add {}, &[], &[a, b])
    }

    /// `by · x`.
    pub(super) fn scale(&mut self, x: Value, by: f32) -> Result<Value, Error> {
        self.node(Op::Scale { by }, &[], &[x])
    }

    /// `[tokens, width] → [tokens, width]`: attention of `layer` over the cached positions and the rows themselves.
    pub(super) fn attention(&mut self, x: Value, layer: &Layer, kind: &Attention) -> Result<Value, Error> {
        let (index, window) = (layer.index, layer.config.window);
        let LayerConfig { heads, kv_heads, .. } = layer.config;
        let head_dim = self.config.head_dim;
        let mut q = self.heads(x, &layer.tensor("attn_q"), heads)?;
        let mut k = self.heads(x, &layer.tensor("attn_k"), kv_heads)?;
        let v = self.heads(x, &layer.tensor("attn_v"), kv_heads)?;
        if kind.qk_norm {
            q = self.norm(q, &layer.tensor("attn_q_norm"))?;
            k = self.norm(k, &layer.tensor("attn_k_norm"))?;
        }
        let q = self.rope(q, layer, kind)?;
        let k = self.rope(k, layer, kind)?;
        let (positions, seqs) = (self.positions, self.seqs);
        self.kv = self.node(
            Op::KvAppend { layer: index },
            &[],
            &[self.kv, k, v, positions, seqs],
        )?;
        let kv = self.kv;
        let scores = self.node(
            Op::AttnScores {
                layer: index,
                kv_heads,
            },
            &[],
            &[q, kv, seqs],
        )?;
        let scores = self.scale(scores, self.config.attention_scale)?;
        let scores = self.node(Op::CausalMask { window }, &[], &[scores, positions])?;
        let weights = self.node(Op::Softmax {}, &[], &[scores])?;
        let mix = Op::AttnMix {
            layer: index,
            kv_heads,
            head_dim,
        };
        let mixed = self.node(mix, &[], &[weights, kv, seqs])?;
        let merged = self.node(Op::MergeHeads {}, &[], &[mixed])?;
        self.project(merged, &layer.tensor("attn_output"), self.config.width)
    }

    /// `[tokens, width] → [tokens, width]`: `down(act(gate(x)) · up(x))`.
    pub(super) fn mlp(&mut self, x: Value, layer: &Layer, kind: &Mlp) -> Result<Value, Error> {
        let (width, ff) = (self.config.width, layer.config.ff);
        let gate = self.feed(x, &layer.tensor("ffn_gate"), ff, kind)?;
        let gate = self.node(
            Op::Act {
                func: kind.activation,
            },
            &[],
            &[gate],
        )?;
        let up = self.feed(x, &layer.tensor("ffn_up"), ff, kind)?;
        let hidden = self.node(Op::Mul {}, &[], &[gate, up])?;
        self.feed(hidden, &layer.tensor("ffn_down"), width, kind)
    }

    /// `[tokens, width] → [outputs, vocab]` or, for embeddings, `[outputs, width]`: the rows that are wanted, normed and,
    /// for logits, projected; or the hidden states of all rows as they are.
    pub(super) fn output(&mut self, x: Value) -> Result<Value, Error> {
        if self.output != ModelOutput::Logits {
            HEAD.iter().for_each(|tensor| self.weights.ignore(tensor));
        }
        if self.output == ModelOutput::Hidden {
            self.weights.ignore("output_norm.weight");
            return Ok(x);
        }
        let rows = self.node(Op::GatherRows {}, &[], &[x, self.outputs])?;
        let normed = self.norm(rows, "output_norm")?;
        match self.output {
            ModelOutput::Logits => self.logits(normed),
            ModelOutput::Embeddings | ModelOutput::Hidden => Ok(normed),
        }
    }

    /// `[outputs, width] → [outputs, vocab]`: the projection is that of the file or, where it has none, the embedding.
    fn logits(&mut self, normed: Value) -> Result<Value, Error> {
        let name = if self.weights.has("output.weight") {
            "output"
        } else {
            "token_embd"
        };
        let logits = self.matmul(normed, name, self.config.vocab_size, None)?;
        let logits = self.bias(logits, "output", 1.0)?;
        match self.config.logit_softcap {
            Some(cap) => self.node(Op::Softcap { cap }, &[], &[logits]),
            None => Ok(logits),
        }
    }

    /// `[tokens, k] → [tokens, heads, head_dim]`: a projection, cut into heads.
    fn heads(&mut self, x: Value, name: &str, heads: u32) -> Result<Value, Error> {
        let projected = self.project(x, name, heads * self.config.head_dim)?;
        self.node(Op::SplitHeads { heads }, &[], &[projected])
    }

    /// Rotates the heads of `x` by their positions.
    fn rope(&mut self, x: Value, layer: &Layer, kind: &Attention) -> Result<Value, Error> {
        let (spec, factors) = rope::lower(&layer.config.rope, kind.pairs);
        let pairs = layer.config.rope.dims / 2;
        let stored = kind.freq_factors && self.weights.has(ROPE_FREQS);
        let stored = if stored {
            Some(self.vector(ROPE_FREQS, pairs, 1.0)?)
        } else {
            None
        };
        let factors = match factors {
            None => stored,
            Some(factors) => Some(self.yarn_factors(factors, stored.is_some())),
        };
        let graph::RopeSpec {
            pairs,
            dims,
            base,
            freq_scale,
            magnitude,
        } = spec;
        let op = Op::Rope {
            pairs,
            dims,
            base,
            freq_scale,
            magnitude,
        };
        self.node(op, factors.as_slice(), &[x, self.positions])
    }

    /// The weight of YaRN's divisors, multiplied by those of the file where it has some.
    fn yarn_factors(&mut self, mut factors: Vec<f32>, stored: bool) -> Weight {
        if stored {
            let stored = self.weights.values(weight_name(ROPE_FREQS));
            factors
                .iter_mut()
                .zip(stored)
                .for_each(|(factor, stored)| *factor *= stored);
        }
        let ty = self.weights.constant(YARN_FACTORS, factors);
        self.graph.weight(YARN_FACTORS, ty)
    }

    /// `scale · x · wᵀ + bias`: a projection of attention, with the scale and the bias that the file may have for it.
    fn project(&mut self, x: Value, name: &str, rows: u32) -> Result<Value, Error> {
        let scale = self.weights.scale(name)?;
        let product = self.matmul(x, name, rows, scale)?;
        self.bias(product, name, 1.0)
    }

    /// `scale · (x · wᵀ + bias)`: a projection of the feed-forward layer.
    fn feed(&mut self, x: Value, name: &str, rows: u32, kind: &Mlp) -> Result<Value, Error> {
        let scale = self.weights.scale(name)?;
        if !kind.bias_and_scale {
            return self.matmul(x, name, rows, None);
        }
        let product = self.matmul(x, name, rows, scale)?;
        self.bias(product, name, scale.unwrap_or(1.0))
    }

    /// `x · wᵀ` with the matrix `NAME.weight`, multiplied by `scale`, of `rows` rows.
    fn matmul(&mut self, x: Value, name: &str, rows: u32, scale: Option<f32>) -> Result<Value, Error> {
        let columns = self.columns(x);
        // Scales of activations, for kernels that quantize them to 4 bits; they change no result.
        self.weights.ignore(&format!("{name}.input_scale"));
        let weight = self.matrix(name, rows, columns, scale)?;
        let decoded = self.decoded(weight)?;
        self.node(Op::Matmul {}, &[], &[x, decoded])
    }

    /// `x + scale · bias` where the file has `NAME.bias`.
    fn bias(&mut self, x: Value, name: &str, scale: f32) -> Result<Value, Error> {
        let tensor = format!("{name}.bias");
        if !self.weights.has(&tensor) {
            return Ok(x);
        }
        let columns = self.columns(x);
        let bias = self.vector(&tensor, columns, scale)?;
        let decoded = self.decoded(bias)?;
        self.add(x, decoded)
    }

    /// A weight as a value.
    fn decoded(&mut self, weight: Weight) -> Result<Value, Error> {
        self.node(
            Op::Dequant {
                order: RowOrder::Natural,
                heads: 0,
                dims: 0,
            },
            &[weight],
            &[],
        )
    }

    /// Declares a matrix in the weight table and in the graph.
    fn matrix(&mut self, name: &str, rows: u32, columns: u32, scale: Option<f32>) -> Result<Weight, Error> {
        let ty = self.weights.matrix(name, rows, columns, scale)?;
        Ok(self.graph.weight(name, ty))
    }

    /// Declares a vector in the weight table and in the graph.
    fn vector(&mut self, tensor: &str, len: u32, scale: f32) -> Result<Weight, Error> {
        let ty = self.weights.vector(tensor, len, scale)?;
        Ok(self.graph.weight(weight_name(tensor), ty))
    }

    /// The elements of a row of an activation.
    fn columns(&self, x: Value) -> u32 {
        let columns = self
            .graph
            .graph()
            .ty(x)
            .columns()
            .and_then(|n| u32::try_from(n).ok());
        columns.expect("rows are as long as a checked hyperparameter says")
    }

    /// Appends a node with one result.
    fn node(&mut self, op: Op, weights: &[Weight], operands: &[Value]) -> Result<Value, Error> {
        let keyword = op.info().keyword;
        self.graph
            .value(op, weights, operands)
            .map_err(|error| Error::Malformed {
                file: self.weights.file().name().to_owned(),
                what: format!("the model's `{keyword}`"),
                problem: error.to_string(),
            })
    }
}

/// The model's name as the text form of a graph can hold it.
fn identifier(config: &Config) -> String {
    let words = config
        .name
        .split(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c));
    let mut name = words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("-")
        .to_ascii_lowercase();
    name.truncate(64);
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return name;
    }
    config.architecture.name().to_owned()
}
