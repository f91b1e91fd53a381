//! Models with random weights in the shape of a known one: what runs at its speed without its file.
//!
//! A model is named `SHAPE:QUANT`. Shapes are those of published models; quants give each tensor the type that
//! llama.cpp's `quantize` gives it under that name (as of 2025; without importance matrix). The bytes of a tensor follow
//! from its name alone and are made whenever they are asked for. There is no tokenizer.

use lathe_ir::DType;
use lathe_ir::plan::ModelOutput;
use lathe_ir::quant::quantize;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use crate::Error;
use crate::gguf::{GgufFile, Metadata, TensorInfo, Value};
use crate::model::Model;
use crate::testing::Rng;
use crate::weights::ModelWeights;

/// Seed of all weights.
const SEED: u64 = 1;
/// Elements that a tensor has of its own; its blocks are drawn from their blocks. Encoding every element would take
/// longer than what is to be measured.
const OWN: usize = 1 << 14;
/// Runs of blocks that a thread makes at a time.
const PIECE_RUNS: usize = 1 << 14;
/// Most threads that make a tensor: more only wait for memory.
const THREADS: usize = 8;

/// The dimensions of a model with the architecture of Llama.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shape {
    /// The model that has them.
    pub name: &'static str,
    layers: u32,
    width: u32,
    ff: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    context: u32,
    rope_base: f32,
    /// Whether the output projection is the embedding.
    tied: bool,
}

/// Every shape.
pub static SHAPES: &[Shape] = &[
    Shape {
        name: "smollm2-135m",
        layers: 30,
        width: 576,
        ff: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocab: 49_152,
        context: 8192,
        rope_base: 100_000.0,
        tied: true,
    },
    Shape {
        name: "llama-3.2-1b",
        layers: 16,
        width: 2048,
        ff: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        ..LLAMA3
    },
    Shape {
        name: "llama-3.2-3b",
        layers: 28,
        width: 3072,
        ff: 8192,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        ..LLAMA3
    },
    Shape {
        tied: false,
        ..LLAMA3
    },
];

/// Llama 3.1 8B, and what its smaller siblings share with it.
const LLAMA3: Shape = Shape {
    name: "llama-3.1-8b",
    layers: 32,
    width: 4096,
    ff: 14_336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocab: 128_256,
    context: 131_072,
    rope_base: 500_000.0,
    tied: true,
};

/// A choice of element types.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quant {
    /// Its name.
    pub name: &'static str,
    /// Of most matrices.
    most: DType,
    /// Of values and feed-forward outputs in about half of the layers.
    more: DType,
    /// Of the output projection.
    output: DType,
}

/// Every choice of element types.
pub static QUANTS: &[Quant] = &[
    quant("q4_0", DType::Q4_0, DType::Q4_0, DType::Q6K),
    quant("q4_1", DType::Q4_1, DType::Q4_1, DType::Q6K),
    quant("q5_0", DType::Q5_0, DType::Q5_0, DType::Q6K),
    quant("q5_1", DType::Q5_1, DType::Q5_1, DType::Q6K),
    quant("q8_0", DType::Q8_0, DType::Q8_0, DType::Q8_0),
    quant("q4_k_m", DType::Q4K, DType::Q6K, DType::Q6K),
    quant("q5_k_m", DType::Q5K, DType::Q6K, DType::Q6K),
    quant("q6_k", DType::Q6K, DType::Q6K, DType::Q6K),
    quant("iq4_nl", DType::Iq4Nl, DType::Iq4Nl, DType::Q6K),
    quant("f16", DType::F16, DType::F16, DType::F16),
    quant("bf16", DType::Bf16, DType::Bf16, DType::Bf16),
];

const fn quant(name: &'static str, most: DType, more: DType, output: DType) -> Quant {
    Quant {
        name,
        most,
        more,
        output,
    }
}

/// The text names no synthetic model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is not SHAPE:QUANT with a shape of {} and a quant of {}", names(SHAPES.iter().map(|s| s.name)), names(QUANTS.iter().map(|q| q.name)))]
pub struct UnknownModel {
    text: String,
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The shape and the quant that `SHAPE:QUANT` names; case does not matter.
///
/// # Errors
/// It names none; the message lists what there is.
pub fn parse(text: &str) -> Result<(Shape, Quant), UnknownModel> {
    let find = || {
        let (shape, quant) = text.split_once(':')?;
        let shape = SHAPES.iter().find(|s| s.name.eq_ignore_ascii_case(shape))?;
        let quant = QUANTS.iter().find(|q| q.name.eq_ignore_ascii_case(quant))?;
        Some((*shape, *quant))
    };
    find().ok_or_else(|| UnknownModel {
        text: crate::error::shown(text),
    })
}

/// The model of this shape with weights of these types.
///
/// # Errors
/// As [`Model::from_file`]; not for the shapes and quants listed here.
pub fn model(shape: &Shape, quant: &Quant) -> Result<Model, Error> {
    let file = GgufFile::described(metadata(shape, quant), tensors(shape, quant))?;
    Model::from_weights(ModelWeights::generated(file, generate), ModelOutput::Logits)
}

fn metadata(shape: &Shape, quant: &Quant) -> Metadata {
    let name = format!("synthetic {}:{}", shape.name, quant.name);
    let mut metadata = Metadata::new(name.clone());
    let mut set = |key: &str, value: Value| metadata.insert(key, value);
    set("general.architecture", Value::String("llama".into()));
    set("general.name", Value::String(name));
    for (key, value) in [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.ff),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.head_dim),
        ("rope.dimension_count", shape.head_dim),
        ("vocab_size", shape.vocab),
    ] {
        set(&format!("llama.{key}"), Value::U32(value));
    }
    set("llama.rope.freq_base", Value::F32(shape.rope_base));
    set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    metadata
}

/// Name, dims and type of every tensor.
fn tensors(shape: &Shape, quant: &Quant) -> Vec<(String, Vec<u64>, DType)> {
    let mut all = Vec::new();
    let mut add = |name: String, dims: &[u32], dtype: DType| {
        let dims: Vec<u64> = dims.iter().map(|&d| d.into()).collect();
        let dtype = if dims.len() == 1 {
            DType::F32
        } else {
            fitting(dtype, dims[0])
        };
        all.push((format!("{name}.weight"), dims, dtype));
    };
    let Shape { width, ff, vocab, .. } = *shape;
    let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let embedding = if shape.tied { quant.output } else { quant.most };
    add("token_embd".into(), &[width, vocab], embedding);
    for layer in 0..shape.layers {
        let more = if has_more_bits(layer, shape.layers) {
            quant.more
        } else {
            quant.most
        };
        let name = |tensor: &str| format!("blk.{layer}.{tensor}");
        add(name("attn_norm"), &[width], DType::F32);
        add(name("attn_q"), &[width, q], quant.most);
        add(name("attn_k"), &[width, kv], quant.most);
        add(name("attn_v"), &[width, kv], more);
        add(name("attn_output"), &[q, width], quant.most);
        add(name("ffn_norm"), &[width], DType::F32);
        add(name("ffn_gate"), &[width, ff], quant.most);
        add(name("ffn_up"), &[width, ff], quant.most);
        add(name("ffn_down"), &[ff, width], more);
    }
    add("output_norm".into(), &[width], DType::F32);
    if !shape.tied {
        add("output".into(), &[width, vocab], quant.output);
    }
    all
}

/// The layers whose values and feed-forward outputs get the type with more bits: the first and the last eighth, and
/// every third between.
fn has_more_bits(layer: u32, layers: u32) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `dtype`, or for rows of `columns` elements that are no whole blocks of it the type with blocks of 32 that takes its
/// place.
fn fitting(dtype: DType, columns: u64) -> DType {
    if dtype.row_bytes(columns).is_some() {
        return dtype;
    }
    match dtype {
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        _ => DType::Q8_0,
    }
}

/// The bytes of a tensor: vectors around 1; matrices such that a product with a vector of variance 1 has variance 1.
fn generate(tensor: &TensorInfo) -> Vec<u8> {
    let mut rng = Rng::named(SEED, &tensor.name);
    let (mean, scale) = match tensor.dims[..] {
        [_] => (1.0, 0.1),
        _ => (0.0, 1.0 / (tensor.dims[0] as f32).sqrt()),
    };
    let own = OWN.min(tensor.elements() as usize);
    let values: Vec<f32> = (0..own).map(|_| mean + scale * rng.normal()).collect();
    let blocks = quantize(tensor.dtype, &values).expect("a tensor has whole blocks of a known type");
    // Runs of whole blocks of at least 64 elements.
    let run = tensor.dtype.block().map_or(1, |b| {
        (b.bytes as usize).max(b.bytes as usize * 64 / b.len as usize)
    });
    let runs = blocks.len() / run;
    let mut bytes = vec![0; tensor.bytes as usize];
    let pieces = bytes.chunks_mut(run * PIECE_RUNS).enumerate();
    let threads = available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS).min(pieces.len());
    let pieces = Mutex::new(pieces);
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, piece)) = next() {
                    // What a piece is follows from its place.
                    let mut rng = Rng::named(SEED + 1 + number as u64, &tensor.name);
                    for to in piece.chunks_mut(run) {
                        let from = rng.below(runs.max(1) as u64) as usize * run;
                        to.copy_from_slice(&blocks[from..from + to.len()]);
                    }
                }
            });
        }
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::backend::WeightSource;
    use lathe_ir::quant::dequantize;

    #[test]
    fn every_shape_and_quant_makes_a_model() {
        for shape in SHAPES {
            for quant in QUANTS {
                let model = model(shape, quant).unwrap();
                assert_eq!(model.config.layers.len() as u32, shape.layers);
                assert_eq!(model.config.vocab_size, shape.vocab);
                assert!(model.text.tokenizer.is_err());
                assert_eq!(model.weights.has("output.weight"), shape.name == "llama-3.1-8b");
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_published_files() {
        let bytes = |text: &str| -> u64 {
            let (shape, quant) = parse(text).unwrap();
            let file = GgufFile::described(metadata(&shape, &quant), tensors(&shape, &quant)).unwrap();
            file.tensors().iter().map(|t| t.bytes).sum()
        };
        // Of the files on the model hub, less the few megabytes of their metadata.
        for (text, published) in [
            ("llama-3.2-1b:q4_k_m", 808e6),
            ("llama-3.2-3b:q8_0", 3.42e9),
            ("llama-3.1-8b:q4_k_m", 4.92e9),
            ("llama-3.1-8b:q4_0", 4.66e9),
            ("smollm2-135m:q4_k_m", 105e6),
        ] {
            let got = bytes(text) as f64;
            assert!((got / published - 1.0).abs() < 0.02, "{text}: {got} bytes");
        }
    }

    #[test]
    fn weights_follow_from_the_name_and_keep_the_variance() {
        let (shape, quant) = parse("SmolLM2-135M:Q4_K_M").unwrap();
        let model = model(&shape, &quant).unwrap();
        for name in ["blk.0.attn_q", "blk.3.ffn_down"] {
            let (one, two) = (
                model.weights.weight(name).unwrap(),
                model.weights.weight(name).unwrap(),
            );
            assert!(one.bytes == two.bytes, "{name} is always the same");
            let mut values = vec![0.0; (one.rows * one.columns) as usize];
            dequantize(one.dtype, &one.bytes, &mut values).unwrap();
            let sum: f64 = values.iter().map(|v| f64::from(v * v)).sum();
            let variance = sum / one.rows as f64;
            assert!((variance - 1.0).abs() < 0.1, "{name}: {variance}");
        }
        let other = |name| model.weights.weight(name).unwrap().bytes.into_owned();
        assert!(other("blk.0.attn_q") != other("blk.1.attn_q"));
        let norm = model.weights.values("output_norm");
        assert_eq!(norm.len(), 576);
        assert!(norm.iter().all(|v| (0.5..1.5).contains(v)));
    }

    #[test]
    fn unknown_names_are_refused_with_what_there_is() {
        for text in ["", "llama", "llama-3.2-1b", "llama-3.2-1b:q9", "gpt:q4_0"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.contains("llama-3.1-8b") && message.contains("q4_k_m") && !message.contains('\n'),
                "{message}"
            );
        }
    }
}
