//! Results do not depend on the number of threads or on how a prompt is cut: bit for bit, for tiny models of every
//! family and for real ones.

mod support;

use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use std::path::Path;
use support::{model, stdout};

const FAMILIES: [Family; 4] = [Family::Llama, Family::Mistral, Family::Qwen2, Family::Gemma3];

fn logits(model: &Path, tokens: &str, threads: u32, chunk: u32) -> Vec<u8> {
    logits_with(model, tokens, threads, chunk, "f16")
}

fn logits_with(model: &Path, tokens: &str, threads: u32, chunk: u32, kv_type: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.npy");
    let (threads, chunk) = (threads.to_string(), chunk.to_string());
    let (model, out_text) = (model.to_str().unwrap(), out.to_str().unwrap());
    stdout(&[
        "logits",
        model,
        "--tokens",
        tokens,
        "--output",
        out_text,
        "-t",
        &threads,
        "--chunk",
        &chunk,
        "--kv-type",
        kv_type,
    ]);
    std::fs::read(out).unwrap()
}

#[test]
fn logits_of_tiny_models() {
    let dir = tempfile::tempdir().unwrap();
    let tokens: Vec<String> = (0..70).map(|i| ((i * 37 + 11) % 250).to_string()).collect();
    let tokens = tokens.join(",");
    for family in FAMILIES {
        for dtype in [DType::F16, DType::Q4_0, DType::Q8_0] {
            let path = dir.path().join("tiny.gguf");
            TinyModel::new(family).with_dtype(dtype).write(&path).unwrap();
            let want = logits(&path, &tokens, 1, 64);
            for (threads, chunk) in [(1, 1), (2, 7), (3, 64), (2, 5)] {
                let got = logits(&path, &tokens, threads, chunk);
                assert!(
                    got == want,
                    "{family:?} {dtype}: {threads} threads, chunks of {chunk} differ"
                );
            }
        }
    }
}

/// Contexts of several segments: steps of few rows walk them in pieces that threads share, steps of more rows in one. Layers
/// with a window have few blocks of their own, used in turn, but in steps of 512 rows, which would need as many as others.
#[test]
fn logits_over_long_contexts() {
    let dir = tempfile::tempdir().unwrap();
    let tokens: Vec<String> = (0..590).map(|i| ((i * 37 + 11) % 250).to_string()).collect();
    let tokens = tokens.join(",");
    for (family, kv_type) in [
        (Family::Llama, "f16"),
        (Family::Gemma3, "q8_0"),
        (Family::Qwen2, "bf16,f32"),
    ] {
        let path = dir.path().join("tiny.gguf");
        let model = TinyModel::new(family).with_dtype(DType::Q8_0);
        let model = TinyModel {
            context: 640,
            ..model
        };
        model.write(&path).unwrap();
        let want = logits_with(&path, &tokens, 1, 512, kv_type);
        for (threads, chunk) in [(2, 512), (3, 1), (2, 7), (4, 20)] {
            let got = logits_with(&path, &tokens, threads, chunk, kv_type);
            assert!(
                got == want,
                "{family:?} {kv_type}: {threads} threads, chunks of {chunk} differ"
            );
        }
    }
}

const PROMPTS: [&str; 5] = [
    "The capital of France is",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Once upon a time, in a small village by the sea, there lived an old fisherman who",
    "1, 1, 2, 3, 5, 8, 13,",
    "Translate to German: The weather is nice today, and we are going for a walk in the park.\n",
];

#[test]
fn greedy_text_of_real_models() {
    let name = "greedy_text_of_real_models";
    for built_in in ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"] {
        let Some(path) = model(name, built_in) else { return };
        for prompt in PROMPTS {
            let text = |threads: &str, chunk: &str| {
                let path = path.to_str().unwrap();
                stdout(&[
                    "run", path, "-p", prompt, "-n", "24", "-q", "-t", threads, "--chunk", chunk, "--ctx",
                    "512",
                ])
            };
            let want = text("2", "512");
            assert!(want.trim().len() > 5, "{built_in}: {want:?}");
            for (threads, chunk) in [("1", "512"), ("2", "1"), ("2", "7")] {
                assert_eq!(
                    text(threads, chunk),
                    want,
                    "{built_in}, {threads} threads, chunks of {chunk}"
                );
            }
        }
    }
}
