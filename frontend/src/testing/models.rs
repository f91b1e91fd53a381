//! Tiny random models, with the metadata keys and tensor names that llama.cpp's converter writes.

use std::io;
use std::path::Path;

use lathe_ir::DType;
use lathe_ir::quant::quantize;

use super::vocab::{self, Specials};
use super::{GgufWriter, Rng};

/// What a tiny model imitates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Architecture `llama` as SmolLM2 uses it: byte-level BPE, output projection tied to the embedding.
    Llama,
    /// Architecture `llama` as Mistral uses it: SentencePiece, a projection of its own.
    Mistral,
    /// Architecture `qwen2`: byte-level BPE, biases on Q, K and V, an output projection of its own.
    Qwen2,
    /// Architecture `gemma3`: SentencePiece, QK-norm, norms after attention and feed-forward, sliding windows.
    Gemma3,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 4] = [Family::Llama, Family::Mistral, Family::Qwen2, Family::Gemma3];

    /// The value of `general.architecture`.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama | Family::Mistral => "llama",
            Family::Qwen2 => "qwen2",
            Family::Gemma3 => "gemma3",
        }
    }
}

/// A recipe for a tiny model. Equal recipes make equal files, on every machine.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// What it imitates.
    pub family: Family,
    /// Seed of the weights.
    pub seed: u64,
    /// Type of the matrices of the layers; its block length must divide `width`, `heads · head_dim` and `ff`.
    pub weights: DType,
    /// Type of the embedding and the output projection; its block length must divide `width`.
    pub embedding: DType,
    /// Number of layers.
    pub layers: u32,
    /// Elements of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Elements of the feed-forward hidden layer.
    pub ff: u32,
    /// Positions that the model is made for.
    pub context: u32,
}

impl TinyModel {
    /// The default recipe of a family: width 64, 4 query heads and 2 KV heads of 16, feed-forward 96, 256 positions,
    /// 2 layers; Gemma 3 has 6, of which the last alone attends to everything, and a window of 8. Weights are F32.
    pub fn new(family: Family) -> TinyModel {
        TinyModel {
            family,
            seed: 1,
            weights: DType::F32,
            embedding: DType::F32,
            layers: if family == Family::Gemma3 { 6 } else { 2 },
            width: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            ff: 96,
            context: 256,
        }
    }

    /// The same recipe with all matrices of type `dtype`; types with blocks of 256 make the model 256 wide.
    pub fn with_dtype(mut self, dtype: DType) -> TinyModel {
        self.weights = dtype;
        self.embedding = dtype;
        if dtype.block().is_some_and(|b| b.len > 32) {
            (self.width, self.head_dim, self.ff) = (256, 64, 512);
        }
        self
    }

    /// The number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> u32 {
        vocab::SIZE as u32
    }

    /// The model as a file to change further or to write.
    ///
    /// # Panics
    /// The types cannot hold rows of these dimensions.
    pub fn writer(&self) -> GgufWriter {
        let mut file = GgufWriter::new();
        self.hyperparameters(&mut file);
        self.tokenizer(&mut file);
        file.set("general.quantization_version", 2u32);
        Tensors {
            model: self,
            file: &mut file,
        }
        .write();
        file
    }

    /// Writes the model to `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.writer().write(path)
    }

    fn hyperparameters(&self, file: &mut GgufWriter) {
        let arch = self.family.architecture();
        let key = |name: &str| format!("{arch}.{name}");
        file.set("general.architecture", arch)
            .set("general.type", "model");
        file.set("general.name", format!("tiny {:?}", self.family).to_lowercase());
        file.set(&key("block_count"), self.layers)
            .set(&key("context_length"), self.context);
        file.set(&key("embedding_length"), self.width)
            .set(&key("feed_forward_length"), self.ff);
        file.set(&key("attention.head_count"), self.heads)
            .set(&key("attention.head_count_kv"), self.kv_heads);
        match self.family {
            Family::Llama | Family::Mistral => {
                let base = if self.family == Family::Llama {
                    100_000f32
                } else {
                    1_000_000.0
                };
                file.set(&key("rope.freq_base"), base)
                    .set(&key("rope.dimension_count"), self.head_dim);
                file.set(&key("attention.layer_norm_rms_epsilon"), 1e-5f32);
                file.set(&key("vocab_size"), self.vocab_size());
                // The converter leaves these out where heads · head_dim = width.
                if self.heads * self.head_dim != self.width {
                    self.head_lengths(file);
                }
            }
            Family::Qwen2 => {
                file.set(&key("rope.freq_base"), 1_000_000f32);
                file.set(&key("attention.layer_norm_rms_epsilon"), 1e-6f32);
                if self.heads * self.head_dim != self.width {
                    self.head_lengths(file);
                }
            }
            Family::Gemma3 => {
                file.set(&key("rope.freq_base"), 1_000_000f32);
                file.set(&key("attention.layer_norm_rms_epsilon"), 1e-6f32);
                file.set(&key("attention.sliding_window"), 8u32);
                self.head_lengths(file);
            }
        }
    }

    fn head_lengths(&self, file: &mut GgufWriter) {
        let arch = self.family.architecture();
        file.set(&format!("{arch}.attention.key_length"), self.head_dim);
        file.set(&format!("{arch}.attention.value_length"), self.head_dim);
    }

    fn tokenizer(&self, file: &mut GgufWriter) {
        match self.family {
            Family::Llama => {
                let names = &["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
                let specials = Specials {
                    names,
                    bos: 1,
                    eos: 2,
                    unknown: Some(0),
                    padding: Some(2),
                    add_bos: false,
                };
                vocab::byte_level_bpe(file, "smollm", &specials);
                file.set("tokenizer.ggml.add_space_prefix", false);
                file.set("tokenizer.chat_template", CHATML);
            }
            Family::Qwen2 => {
                let names = &["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
                let specials = Specials {
                    names,
                    bos: 0,
                    eos: 2,
                    unknown: None,
                    padding: Some(0),
                    add_bos: false,
                };
                vocab::byte_level_bpe(file, "qwen2", &specials);
                file.set("tokenizer.chat_template", CHATML);
            }
            Family::Mistral => {
                let names = &["<unk>", "<s>", "</s>"];
                let specials = Specials {
                    names,
                    bos: 1,
                    eos: 2,
                    unknown: Some(0),
                    padding: None,
                    add_bos: true,
                };
                vocab::sentencepiece(file, &specials, true);
                file.set("tokenizer.chat_template", INST);
            }
            Family::Gemma3 => {
                let names = &[
                    "<pad>",
                    "<eos>",
                    "<bos>",
                    "<unk>",
                    "<start_of_turn>",
                    "<end_of_turn>",
                ];
                let specials = Specials {
                    names,
                    bos: 2,
                    eos: 1,
                    unknown: Some(3),
                    padding: Some(0),
                    add_bos: true,
                };
                vocab::sentencepiece(file, &specials, false);
                file.set("tokenizer.ggml.eot_token_id", 5u32);
                file.set("tokenizer.chat_template", TURNS);
            }
        }
    }
}

/// Every message between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// User messages between `[INST]` and `[/INST]`.
const INST: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}\
                    {% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}";
/// Every message between `<start_of_turn>` and `<end_of_turn>`.
const TURNS: &str = "{{ bos_token }}{% for m in messages %}<start_of_turn>\
                     {{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}\
                     {% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";

/// Writes the tensors of a model.
struct Tensors<'a> {
    model: &'a TinyModel,
    file: &'a mut GgufWriter,
}

impl Tensors<'_> {
    fn write(&mut self) {
        let TinyModel {
            family,
            width,
            embedding,
            layers,
            ..
        } = *self.model;
        let vocab = self.model.vocab_size();
        if matches!(family, Family::Mistral | Family::Qwen2) {
            self.matrix("output.weight", width, vocab, embedding);
        }
        // Small against what the layers add: else a tied projection mostly finds the token that came in.
        self.scaled_matrix("token_embd.weight", width, vocab, embedding, 0.25);
        (0..layers).for_each(|layer| self.layer(layer));
        self.norm("output_norm.weight", width);
    }

    fn layer(&mut self, layer: u32) {
        let TinyModel {
            family,
            width,
            ff,
            weights,
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self.model;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let name = |tensor: &str| format!("blk.{layer}.{tensor}");
        self.norm(&name("attn_norm.weight"), width);
        self.matrix(&name("attn_q.weight"), width, q, weights);
        self.matrix(&name("attn_k.weight"), width, kv, weights);
        self.matrix(&name("attn_v.weight"), width, kv, weights);
        self.matrix(&name("attn_output.weight"), q, width, weights);
        if family == Family::Qwen2 {
            self.vector(&name("attn_q.bias"), q, 0.0);
            self.vector(&name("attn_k.bias"), kv, 0.0);
            self.vector(&name("attn_v.bias"), kv, 0.0);
        }
        if family == Family::Gemma3 {
            self.norm(&name("attn_q_norm.weight"), head_dim);
            self.norm(&name("attn_k_norm.weight"), head_dim);
            self.norm(&name("post_attention_norm.weight"), width);
            self.norm(&name("post_ffw_norm.weight"), width);
        }
        self.norm(&name("ffn_norm.weight"), width);
        self.matrix(&name("ffn_gate.weight"), width, ff, weights);
        self.matrix(&name("ffn_up.weight"), width, ff, weights);
        self.matrix(&name("ffn_down.weight"), ff, width, weights);
    }

    /// `rows` rows of `columns` elements, scaled so that a product with a unit-variance vector has variance 1.
    fn matrix(&mut self, name: &str, columns: u32, rows: u32, dtype: DType) {
        self.scaled_matrix(name, columns, rows, dtype, 1.0);
    }

    /// The same, times `gain`.
    fn scaled_matrix(&mut self, name: &str, columns: u32, rows: u32, dtype: DType, gain: f32) {
        let mut rng = Rng::named(self.model.seed, name);
        let scale = gain / (columns as f32).sqrt();
        let values: Vec<f32> = (0..u64::from(columns) * u64::from(rows))
            .map(|_| rng.normal() * scale)
            .collect();
        self.file.tensor(
            name,
            &[columns.into(), rows.into()],
            dtype,
            encode(dtype, &values),
        );
    }

    /// The weight of a norm: near 1.
    fn norm(&mut self, name: &str, elements: u32) {
        self.vector(name, elements, 1.0);
    }

    /// `elements` elements around `mean`. Vectors are F32 in every file.
    fn vector(&mut self, name: &str, elements: u32, mean: f32) {
        let mut rng = Rng::named(self.model.seed, name);
        let values: Vec<f32> = (0..elements).map(|_| mean + 0.1 * rng.normal()).collect();
        self.file
            .tensor(name, &[elements.into()], DType::F32, encode(DType::F32, &values));
    }
}

/// `values` as elements of type `dtype`.
fn encode(dtype: DType, values: &[f32]) -> Vec<u8> {
    quantize(dtype, values)
        .unwrap_or_else(|error| panic!("a tiny model cannot have {dtype} weights: {error}"))
}

#[cfg(test)]
mod tests {
    use lathe_ir::quant::dequantize;

    use super::*;
    use crate::gguf::GgufFile;

    #[test]
    fn every_family_writes_a_file_that_reads_back() {
        for family in Family::ALL {
            let model = TinyModel::new(family);
            let file = GgufFile::from_bytes(model.writer().to_bytes(), "tiny").unwrap();
            assert_eq!(
                file.metadata().str("general.architecture").unwrap(),
                family.architecture()
            );
            let tokens = file.metadata().str_array("tokenizer.ggml.tokens").unwrap();
            let embedding = file.require_tensor("token_embd.weight").unwrap();
            assert_eq!(embedding.dims, [64, tokens.len() as u64]);
            assert_eq!(
                file.tensor("output.weight").is_none(),
                matches!(family, Family::Llama | Family::Gemma3)
            );
            assert_eq!(
                file.tensor("blk.1.attn_q.bias").is_some(),
                family == Family::Qwen2
            );
            assert_eq!(
                file.tensor("blk.5.post_ffw_norm.weight").is_some(),
                family == Family::Gemma3
            );
        }
    }

    #[test]
    fn matrices_have_the_type_asked_for() {
        for dtype in [
            DType::F16,
            DType::Bf16,
            DType::Q4_1,
            DType::Q8_0,
            DType::Q4K,
            DType::Q6K,
            DType::Iq4Xs,
            DType::Nvfp4,
        ] {
            let model = TinyModel::new(Family::Llama).with_dtype(dtype);
            let file = GgufFile::from_bytes(model.writer().to_bytes(), "tiny").unwrap();
            let matrix = file.require_tensor("blk.1.ffn_down.weight").unwrap();
            assert_eq!((matrix.dtype, matrix.dims[0]), (dtype, u64::from(model.ff)));
            let mut values = vec![0.0; matrix.elements() as usize];
            dequantize(dtype, file.data(matrix), &mut values).unwrap();
            // Scaled by the square root of the row's length, elements have variance 1.
            let sum: f32 = values.iter().map(|v| v * v).sum();
            let variance = sum / values.len() as f32 * model.ff as f32;
            assert!((variance - 1.0).abs() < 0.1, "{dtype}: {variance}");
            assert_eq!(
                file.require_tensor("output_norm.weight").unwrap().dtype,
                DType::F32
            );
        }
    }

    #[test]
    fn weights_follow_from_the_seed() {
        let bytes = |seed| {
            TinyModel {
                seed,
                ..TinyModel::new(Family::Llama)
            }
            .writer()
            .to_bytes()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
