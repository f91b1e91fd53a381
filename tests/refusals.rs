//! Bad input: one clear line, exit status 2, no panic.

mod support;

use lathe_frontend::testing::{Family, TinyModel};
use std::path::{Path, PathBuf};
use support::{json, refusal, run};

fn tiny(dir: &Path) -> PathBuf {
    let path = dir.join("tiny.gguf");
    TinyModel::new(Family::Llama).write(&path).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn files_that_are_no_models() {
    let dir = tempfile::tempdir().unwrap();
    let not_gguf = dir.path().join("notes.gguf");
    std::fs::write(&not_gguf, "just some notes").unwrap();
    let line = refusal(&["run", text(&not_gguf), "-p", "x"], 2);
    assert!(line.contains("notes.gguf") && line.contains("GGUF"), "{line}");
    let line = refusal(&["run", text(&dir.path().join("absent.gguf")), "-p", "x"], 2);
    assert!(line.contains("absent.gguf"), "{line}");
    let line = refusal(&["run", "no-such-model", "-p", "x"], 2);
    assert!(
        line.contains("no-such-model") && line.contains("smollm2-135m"),
        "{line}"
    );
}

#[test]
fn a_file_cut_at_any_of_many_places() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(tiny(dir.path())).unwrap();
    let cut = dir.path().join("cut.gguf");
    for eighth in 0..8 {
        let bytes = &whole[..whole.len() * eighth / 8];
        std::fs::write(&cut, bytes).unwrap();
        let line = refusal(&["show", text(&cut), "--json"], 2);
        assert!(line.contains("cut.gguf"), "{line}");
    }
}

#[test]
fn tokens_and_prompts_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path());
    let vocab = TinyModel::new(Family::Llama).vocab_size();
    let out = dir.path().join("o.npy");
    let line = refusal(
        &[
            "logits",
            text(&model),
            "--tokens",
            &format!("1,{vocab}"),
            "--output",
            text(&out),
        ],
        2,
    );
    assert!(
        line.contains(&format!("token 1 of the prompt is {vocab}")),
        "{line}"
    );
    assert!(!out.exists(), "nothing was written");
    let line = refusal(
        &["logits", text(&model), "--tokens", "1,x", "--output", text(&out)],
        2,
    );
    assert!(line.contains("`x` is not a token id"), "{line}");
    let line = refusal(
        &["logits", text(&model), "--tokens", "", "--output", text(&out)],
        2,
    );
    assert!(line.contains("empty"), "{line}");
    let long = "a b c d ".repeat(3000);
    let line = refusal(&["run", text(&model), "-p", &long], 2);
    assert!(line.contains("the context holds"), "{line}");
    let line = refusal(&["run", text(&model), "-p", "x", "--ctx", "1000000"], 2);
    assert!(line.contains("more than the model's"), "{line}");
    let line = refusal(&["detokenize", text(&model), "99999999"], 2);
    assert!(line.contains("not below"), "{line}");
}

#[test]
fn parameters_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path());
    let line = refusal(&["run", text(&model), "-p", "x", "--top-p", "2"], 2);
    assert!(line.contains("top_p is 2"), "{line}");
    let line = refusal(&["run", text(&model), "-p", "x", "--device", "tpu"], 2);
    assert!(line.contains("`tpu`"), "{line}");
    if lathe_codegen_cuda::driver::Gpu::open().is_err() {
        let line = refusal(&["run", text(&model), "-p", "x", "--device", "cuda"], 2);
        assert!(line.contains("CUDA"), "{line}");
    }
    let line = refusal(&["compile", text(&model), "--device", "cuda", "-o", "x"], 2);
    assert!(line.contains("plans in folders are for the CPU alone"), "{line}");
    let line = refusal(&["inspect", text(&model), "--device", "cuda"], 2);
    assert!(line.contains("the stages plan, memory, cuda and ptx"), "{line}");
    let line = refusal(
        &["run", text(&model), "-p", "x", "--cpu-features", "warp-drive"],
        2,
    );
    assert!(line.contains("warp-drive"), "{line}");
    let line = refusal(&["inspect", text(&model), "--after", "no-such-pass"], 2);
    assert!(line.contains("no-such-pass"), "{line}");
    let usage = run(&["run", text(&model)]);
    assert_eq!(usage.status.code(), Some(2), "a missing flag is a usage error");
}

#[test]
fn unknown_types_and_architectures_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path());
    let mut bytes = std::fs::read(&model).unwrap();
    let at = bytes.windows(5).position(|w| w == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"lemma");
    let other = dir.path().join("lemma.gguf");
    std::fs::write(&other, &bytes).unwrap();
    let line = refusal(&["run", text(&other), "-p", "x"], 2);
    assert!(line.contains("lemma") && line.contains("llama"), "{line}");
}

#[test]
fn a_good_file_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(dir.path());
    let card = json(&["show", text(&model), "--json"]);
    assert_eq!(card["architecture"], "llama");
    assert!(card["plan"].as_str().unwrap().contains("steps"), "{card}");
}
