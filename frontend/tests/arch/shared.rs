//! Reference logits of `../shared/conformance`: exact f32 arithmetic on tiny random models.

use std::path::{Path, PathBuf};

use lathe_frontend::gguf::GgufFile;
use lathe_frontend::model::Model;

use crate::{eval, npy, reference};

/// A model, its tokens and its logits.
struct Case {
    model: PathBuf,
    tokens: Vec<u32>,
    logits: Vec<Vec<f64>>,
}

/// The case of this name, or `None` (and a line that says so) where the folder is absent.
fn case(name: &str) -> Option<Case> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if !folder.exists() {
        eprintln!("skipped {name}: ../shared/conformance is absent");
        return None;
    }
    let index = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let tokens = index[name]["tokens"].as_array().unwrap();
    Some(Case {
        model: folder.join(format!("{name}.gguf")),
        tokens: tokens.iter().map(|t| t.as_u64().unwrap() as u32).collect(),
        logits: npy::read(&folder.join(format!("{name}.logits.npy"))),
    })
}

/// Checks the graph, and the test's own reference, against the logits.
fn check(name: &str) {
    let Some(case) = case(name) else { return };
    let file = GgufFile::open(&case.model).unwrap();
    let own = eval::nmse(&reference::logits(&file, &case.tokens), &case.logits);
    let model = Model::load(&case.model).unwrap();
    let graph = eval::nmse(&eval::rows(&model, &case.tokens, 96), &case.logits);
    eprintln!("{name}: nmse {graph:.1e} (reference in f64: {own:.1e})");
    assert!(
        graph <= 1e-5 && own <= 1e-5,
        "{name}: nmse {graph:e}, reference {own:e}"
    );
}

#[test]
fn llama_has_the_reference_logits() {
    check("llama-dense.f16");
}

#[test]
fn mistral3_has_the_reference_logits() {
    check("mistral3-dense.f16");
}

#[test]
fn qwen2_has_the_reference_logits() {
    check("qwen2-dense.f16");
}

#[test]
fn gemma3_has_the_reference_logits() {
    check("gemma3-dense.f16");
}

#[test]
fn models_of_the_store_load() {
    let folder = std::env::home_dir()
        .unwrap_or_default()
        .join(".cache/lathe/models");
    let files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    if files.is_empty() {
        eprintln!(
            "skipped models_of_the_store_load: {} has no model",
            folder.display()
        );
    }
    for path in files {
        let start = std::time::Instant::now();
        let model = Model::load(&path).unwrap();
        let config = &model.config;
        eprintln!(
            "{}: {} layers of {}, {} nodes, {:?}",
            path.display(),
            config.layers.len(),
            config.width,
            model.graph.order.len(),
            start.elapsed()
        );
        let tokenizer = model.text.tokenizer.as_ref().unwrap();
        assert_eq!(tokenizer.vocab_size(), config.vocab_size);
        for weight in model.graph.weights.values() {
            assert_eq!(
                model.weights.ty(&weight.name),
                Some(&weight.ty),
                "{}",
                weight.name
            );
        }
    }
}
