//! Tiny models that the tests write: graphs against the plain forward pass, and what is refused.

use lathe_frontend::config::RopeScaling;
use lathe_frontend::gguf::{Array, GgufFile, Value};
use lathe_frontend::model::Model;
use lathe_frontend::pooling::Pooling;
use lathe_frontend::testing::{Family, GgufWriter, Rng, TinyModel};
use lathe_frontend::weights::ModelWeights;
use lathe_ir::DType;
use lathe_ir::backend::WeightSource;
use lathe_ir::graph::parse::parse;
use lathe_ir::graph::print::print;
use lathe_ir::graph::verify::verify;
use lathe_ir::plan::ModelOutput;
use proptest::prelude::*;

use crate::{eval, reference};

const TOKENS: &[u32] = &[3, 17, 5, 99, 42, 42, 7, 8, 120, 31, 64, 11, 2, 90];

fn file(writer: &GgufWriter) -> GgufFile {
    GgufFile::from_bytes(writer.to_bytes(), "tiny.gguf").unwrap()
}

fn model(writer: &GgufWriter) -> Model {
    Model::from_file(file(writer)).unwrap_or_else(|e| panic!("{e}"))
}

/// The message with which a file is refused.
fn refusal(writer: &GgufWriter) -> String {
    match Model::from_file(file(writer)) {
        Ok(_) => panic!("the file loads"),
        Err(error) => error.to_string(),
    }
}

/// Compares the graph's logits and embeddings with the plain forward pass; keys and values go through f16 in the graph alone.
fn check(what: &str, writer: &GgufWriter) {
    let model = model(writer);
    let want = reference::logits(&file(writer), TOKENS);
    let error = eval::nmse(&eval::rows(&model, TOKENS, 5), &want);
    assert!(error < 1e-6, "{what}: nmse {error:e}");
    let model = embedder(writer).unwrap_or_else(|e| panic!("{e}"));
    let want = reference::embeddings(&file(writer), TOKENS);
    let error = eval::nmse(&eval::rows(&model, TOKENS, 5), &want);
    assert!(error < 1e-6, "{what}: nmse {error:e} of embeddings");
}

fn embedder(writer: &GgufWriter) -> Result<Model, lathe_frontend::Error> {
    Model::from_weights(ModelWeights::new(file(writer)), ModelOutput::Embeddings)
}

/// Adds a random vector.
fn vector(writer: &mut GgufWriter, name: &str, len: u32, mean: f32) {
    let mut rng = Rng::named(7, name);
    let data = (0..len)
        .flat_map(|_| (mean + 0.3 * rng.normal()).to_le_bytes())
        .collect();
    writer.tensor(name, &[len.into()], DType::F32, data);
}

#[test]
fn every_family_matches_the_plain_forward_pass() {
    for family in Family::ALL {
        check(&format!("{family:?}"), &TinyModel::new(family).writer());
    }
}

#[test]
fn f16_weights_match() {
    for family in Family::ALL {
        check(
            &format!("{family:?}"),
            &TinyModel::new(family).with_dtype(DType::F16).writer(),
        );
    }
}

#[test]
fn llama_with_all_biases_scales_and_rope_factors_matches() {
    let mut writer = TinyModel::new(Family::Mistral).with_dtype(DType::F16).writer();
    for layer in 0..2 {
        let shapes = [
            ("attn_q", 64),
            ("attn_k", 32),
            ("attn_v", 32),
            ("attn_output", 64),
            ("ffn_gate", 96),
            ("ffn_up", 96),
            ("ffn_down", 64),
        ];
        for (name, len) in shapes {
            vector(&mut writer, &format!("blk.{layer}.{name}.bias"), len, 0.0);
            vector(&mut writer, &format!("blk.{layer}.{name}.scale"), 1, 1.0);
            vector(&mut writer, &format!("blk.{layer}.{name}.input_scale"), 1, 1.0);
        }
    }
    vector(&mut writer, "rope_freqs.weight", 8, 2.0);
    check("llama", &writer);
}

#[test]
fn gemma3_with_linear_scaling_a_pattern_and_a_cap_matches() {
    let mut writer = TinyModel::new(Family::Gemma3).writer();
    writer
        .set("gemma3.rope.scaling.type", "linear")
        .set("gemma3.rope.scaling.factor", 8.0f32);
    writer
        .set("gemma3.final_logit_softcapping", 3.0f32)
        .set("gemma3.rope.freq_base_swa", 5000.0f32);
    check("gemma3", &writer);
    let config = model(&writer).config;
    assert!(
        config.layers[..5]
            .iter()
            .all(|l| l.window == 8 && l.rope.scaling == RopeScaling::None)
    );
    assert_eq!(config.layers[5].window, 0);
    assert_eq!(config.layers[5].rope.scaling, RopeScaling::Linear { factor: 8.0 });
}

#[test]
fn a_broken_file_is_refused_with_the_thing_and_the_bound() {
    type Change = fn(&mut GgufWriter);
    let cases: &[(Change, &str)] = &[
        (
            |w| {
                w.set("general.architecture", "bert");
            },
            "unknown architecture `bert`; these are supported: llama, mistral3, qwen2, gemma3",
        ),
        (
            |w| {
                w.unset("llama.block_count");
            },
            "`llama.block_count`",
        ),
        (
            |w| {
                w.set("llama.block_count", 0u32);
            },
            "0 is not within 1 to 4096",
        ),
        (
            |w| {
                w.set("llama.block_count", 3u32);
            },
            "the tensor `blk.2.attn_norm.weight` is missing",
        ),
        (
            |w| {
                w.set("llama.block_count", 1u32);
            },
            "tensor `blk.1.attn_norm.weight`: the architecture `llama` has no use for it",
        ),
        (
            |w| {
                w.set("llama.embedding_length", 1u32 << 30);
            },
            "`llama.embedding_length`: 1073741824 is not within",
        ),
        (
            |w| {
                w.set("llama.embedding_length", 128u32);
            },
            "tensor `token_embd.weight`: it has the dims [64, ",
        ),
        (
            |w| {
                w.set("llama.attention.head_count", 0u32);
            },
            "`llama.attention.head_count`: 0 is not within",
        ),
        (
            |w| {
                w.set("llama.attention.head_count", 5u32);
            },
            "5 heads do not divide the embedding length 64",
        ),
        (
            |w| {
                w.set("llama.attention.head_count_kv", 3u32);
            },
            "3 key/value heads do not divide 4 query heads",
        ),
        (
            |w| {
                w.set("llama.attention.value_length", 8u32);
            },
            "values of 8 elements with keys of 16",
        ),
        (
            |w| {
                w.set("llama.rope.dimension_count", 18u32);
            },
            "18 is not within 2 to 16",
        ),
        (
            |w| {
                w.set("llama.rope.dimension_count", 15u32);
            },
            "15 elements make no pairs",
        ),
        (
            |w| {
                w.set("llama.rope.freq_base", f32::NAN);
            },
            "NaN is not within",
        ),
        (
            |w| {
                w.set("llama.rope.scaling.type", "longrope");
            },
            "unknown kind `longrope`: none, linear and yarn",
        ),
        (
            |w| {
                w.set("llama.attention.layer_norm_rms_epsilon", 0.0f32);
            },
            "0 is not within",
        ),
        (
            |w| {
                w.set("llama.context_length", 0u32);
            },
            "`llama.context_length`: 0 is not within",
        ),
        (
            |w| {
                w.set("llama.expert_count", 8u32);
            },
            "`llama.expert_count`: mixtures of experts (8 here) are not supported yet",
        ),
        (
            |w| {
                w.set("llama.vocab_size", 5u32);
            },
            "`llama.vocab_size`: 5 tokens, but the embedding",
        ),
        (
            |w| {
                w.remove_tensor("output_norm.weight");
            },
            "the tensor `output_norm.weight` is missing",
        ),
        (
            |w| {
                w.remove_tensor("token_embd.weight");
            },
            "the tensor `token_embd.weight` is missing",
        ),
        (
            |w| vector(w, "blk.0.attn_q.bias", 63, 0.0),
            "tensor `blk.0.attn_q.bias`: it has the dims [63], but [64] were expected",
        ),
        (
            |w| vector(w, "blk.0.attn_q.scale", 2, 0.0),
            "a tensor's scale is one finite f32",
        ),
    ];
    for (change, want) in cases {
        let mut writer = TinyModel::new(Family::Llama).writer();
        change(&mut writer);
        let message = refusal(&writer);
        assert!(
            message.contains(want) && message.contains("tiny.gguf"),
            "{message}\n  lacks: {want}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_vocabulary_that_disagrees_with_the_embedding_is_refused() {
    let mut writer = TinyModel::new(Family::Llama).writer();
    writer
        .unset("llama.vocab_size")
        .remove_tensor("token_embd.weight");
    writer.tensor("token_embd.weight", &[64, 9], DType::F32, vec![0; 64 * 9 * 4]);
    let message = refusal(&writer);
    assert!(
        message.contains("tokenizer.ggml.tokens") && message.contains("has 9 rows"),
        "{message}"
    );
}

#[test]
fn a_matrix_of_an_unsupported_type_is_refused_with_what_works() {
    let mut writer = TinyModel::new(Family::Llama).writer();
    writer.remove_tensor("blk.1.ffn_up.weight");
    writer.tensor("blk.1.ffn_up.weight", &[64, 96], DType::I8, vec![0; 64 * 96]);
    let message = refusal(&writer);
    assert!(
        message.contains("`blk.1.ffn_up.weight`: the element type i8 is not supported"),
        "{message}"
    );
    assert!(message.contains("f16") && message.contains("q4_k"), "{message}");
}

#[test]
fn a_file_without_a_usable_tokenizer_still_loads() {
    let mut writer = TinyModel::new(Family::Qwen2).writer();
    writer.set("tokenizer.ggml.model", "test");
    let model = model(&writer);
    assert!(
        model
            .text
            .tokenizer
            .is_err_and(|e| e.to_string().contains("tokenizer.ggml.model"))
    );
    assert!(model.text.chat_template.is_none());
}

/// A tiny model of `mistral3`, which has the tensors of `llama`.
fn mistral3() -> GgufWriter {
    let mut writer = TinyModel::new(Family::Mistral).writer();
    let keys: Vec<(String, Value)> = file(&writer)
        .metadata()
        .iter()
        .filter_map(|(key, value)| Some((format!("mistral3.{}", key.strip_prefix("llama.")?), value.clone())))
        .collect();
    for (key, value) in keys {
        writer.set(&key, value);
    }
    writer.set("general.architecture", "mistral3");
    writer
}

#[test]
fn mistral3_matches_the_plain_forward_pass() {
    check("mistral3", &mistral3());
}

#[test]
fn hidden_states_take_nothing_after_the_layers() {
    for family in Family::ALL {
        let writer = TinyModel::new(family).writer();
        let weights = ModelWeights::new(file(&writer));
        let model = Model::from_weights(weights, ModelOutput::Hidden).unwrap();
        assert_eq!(model.output(), ModelOutput::Hidden, "{family:?}");
        let text = print(&model.graph);
        assert_eq!(text.matches("%outputs").count(), 1, "{family:?}: a parameter");
        assert!(!text.contains("@output"), "{family:?}: {text}");
    }
}

#[test]
fn embeddings_take_nothing_of_the_head() {
    for family in Family::ALL {
        let mut writer = TinyModel::new(family).writer();
        let text = print(&embedder(&writer).unwrap().graph);
        assert!(!text.contains("@output "), "{family:?}: {text}");
        assert_eq!(
            text.matches("%outputs").count(),
            2,
            "{family:?}: a parameter and a gather"
        );
        assert_eq!(
            text.matches("@token_embd").count(),
            2,
            "{family:?}: a declaration and the embedding"
        );
        // A file of an embedding model may lack what a damaged one of another model has.
        writer.remove_tensor("output.weight");
        embedder(&writer).unwrap();
        vector(&mut writer, "output.bias", 7, 0.0);
        embedder(&writer).unwrap();
    }
}

#[test]
fn files_say_how_to_pool() {
    let mut writer = TinyModel::new(Family::Qwen2).writer();
    assert_eq!(model(&writer).pooling, None);
    assert_eq!(embedder(&writer).unwrap().pooling, Some(Pooling::Last));
    let poolings = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last];
    for (number, pooling) in (0u32..).zip(poolings) {
        writer.set("qwen2.pooling_type", number);
        assert_eq!(embedder(&writer).unwrap().pooling, Some(pooling));
        assert_eq!(pooling.to_string().parse(), Ok(pooling));
    }
    writer.set("qwen2.pooling_type", 4u32);
    let error = embedder(&writer).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("pooling 4 is not supported"), "{error}");
    assert_eq!(model(&writer).pooling, None, "logits need none");
}

#[test]
fn mistral3_with_temperature_scaling_ends_at_the_original_context() {
    let mut writer = mistral3();
    writer
        .set("mistral3.rope.scaling.type", "yarn")
        .set("mistral3.rope.scaling.factor", 4.0f32);
    writer.set("mistral3.rope.scaling.original_context_length", 64u32);
    writer.set("mistral3.rope.scaling.yarn_log_multiplier", 1.0f32);
    assert_eq!(model(&writer).config.context_limit, None);
    writer.set("mistral3.attention.temperature_scale", 0.1f32);
    let model = model(&writer);
    assert_eq!(model.config.context_length, 64);
    assert!(
        model
            .config
            .context_limit
            .unwrap()
            .contains("64 of 256 positions")
    );
    let RopeScaling::Yarn(yarn) = model.config.layers[0].rope.scaling else {
        panic!("no yarn")
    };
    assert_eq!(
        (yarn.factor, yarn.original_context, yarn.log_multiplier),
        (4.0, 64, 1.0)
    );
    let factors = model.weights.values("rope.yarn_factors");
    assert_eq!((factors.len(), factors[0], factors[7]), (8, 1.0, 4.0));
}

#[test]
fn hyperparameters_may_be_given_a_layer() {
    let mut writer = TinyModel::new(Family::Qwen2).writer();
    let array = |values: &[u32]| Value::Array(Array::U32(values.to_vec()));
    writer
        .set("qwen2.attention.head_count", array(&[4, 4]))
        .set("qwen2.feed_forward_length", array(&[96, 48]));
    writer.set("qwen2.attention.key_length", 16u32);
    assert!(refusal(&writer).contains("`blk.1.ffn_gate.weight`: it has the dims [64, 96], but [64, 48]"));
    writer.set("qwen2.feed_forward_length", array(&[96]));
    assert!(refusal(&writer).contains("it has 1 elements, but the model has 2 layers"));
    writer.set("qwen2.feed_forward_length", array(&[96, 96]));
    assert_eq!(
        model(&writer).graph,
        model(&TinyModel::new(Family::Qwen2).writer()).graph
    );
}

#[test]
fn vectors_are_served_in_f32_and_scales_are_multiplied_out() {
    let mut writer = TinyModel::new(Family::Llama).with_dtype(DType::F16).writer();
    let halves: Vec<u8> = (0..64u16)
        .flat_map(|i| half::f16::from_f32(f32::from(i)).to_le_bytes())
        .collect();
    writer.remove_tensor("output_norm.weight");
    writer.tensor("output_norm.weight", &[64], DType::F16, halves);
    writer.tensor(
        "blk.0.attn_q.scale",
        &[1],
        DType::F32,
        0.5f32.to_le_bytes().to_vec(),
    );
    let weights = model(&writer).weights;
    assert_eq!(
        weights.values("output_norm"),
        (0..64).map(|i| i as f32).collect::<Vec<_>>()
    );
    let source = file(&writer);
    let stored = source.data(source.tensor("blk.0.attn_q.weight").unwrap());
    let first = half::f16::from_le_bytes([stored[0], stored[1]]).to_f32();
    let scaled = weights.weight("blk.0.attn_q").unwrap();
    assert_eq!((scaled.dtype, scaled.rows, scaled.columns), (DType::F32, 64, 64));
    assert_eq!(scaled.bytes[..4], (0.5 * first).to_le_bytes());
    assert_eq!(weights.weight("blk.0.attn_k").unwrap().dtype, DType::F16);
    assert!(weights.weight("blk.0.attn_k.weight").is_none());
}

#[test]
fn graphs_verify_and_survive_their_text() {
    for family in Family::ALL {
        let graph = model(&TinyModel::new(family).writer()).graph;
        verify(&graph).unwrap_or_else(|errors| panic!("{family:?}: {errors:?}"));
        let text = print(&graph);
        let read = parse(&text).unwrap_or_else(|e| panic!("{family:?}: {e}"));
        assert_eq!(read, graph.compact(), "{family:?}");
    }
}

#[test]
fn the_name_of_a_graph_is_an_identifier() {
    let mut writer = TinyModel::new(Family::Llama).writer();
    for (name, want) in [
        ("Smollm2 135M 8k", "smollm2-135m-8k"),
        ("7\n{}", "llama"),
        ("", "llama"),
    ] {
        assert_eq!(model(writer.set("general.name", name)).graph.name, want);
    }
}

/// Bytes of a tiny model, and how many of them are header.
fn damageable(family: Family) -> (Vec<u8>, usize) {
    let bytes = TinyModel::new(family).writer().to_bytes();
    let data = file(&TinyModel::new(family).writer())
        .tensors()
        .iter()
        .map(|t| t.offset)
        .min()
        .unwrap();
    (bytes, data as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// A damaged header makes an error of one line or a model, never a panic.
    #[test]
    fn damaged_models_load_or_are_refused(
        family in prop::sample::select(&Family::ALL[..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut bytes, header) = damageable(family);
        for (at, byte) in flips {
            bytes[at.index(header)] = byte;
        }
        if let Err(error) = GgufFile::from_bytes(bytes, "tiny.gguf").and_then(Model::from_file) {
            let message = error.to_string();
            prop_assert!(message.contains("tiny.gguf") && !message.contains('\n'), "{message}");
        }
    }

    /// So does any number in the place of a hyperparameter.
    #[test]
    fn any_hyperparameter_loads_or_is_refused(
        family in prop::sample::select(&Family::ALL[..]),
        key in any::<prop::sample::Index>(),
        value in prop_oneof![any::<u32>(), 0u32..300, Just(u32::MAX)],
        float in any::<bool>(),
    ) {
        let mut writer = TinyModel::new(family).writer();
        let source = file(&writer);
        let prefix = format!("{}.", family.architecture());
        let keys: Vec<&str> = source.metadata().iter().map(|(k, _)| k).filter(|k| k.starts_with(&prefix)).collect();
        let key = keys[key.index(keys.len())];
        match float {
            true => writer.set(key, f32::from_bits(value)),
            false => writer.set(key, value),
        };
        if let Err(error) = Model::from_file(file(&writer)) {
            let message = error.to_string();
            prop_assert!(message.contains("tiny.gguf") && !message.contains('\n'), "{message}");
        }
    }
}
