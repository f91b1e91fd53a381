//! The verbs that no other test runs, on a tiny model.

mod support;

use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use serde_json::Value;
use std::path::PathBuf;
use support::{refusal, stdout};

struct Tiny {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Tiny {
    fn new(family: Family) -> Tiny {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        TinyModel::new(family)
            .with_dtype(DType::Q8_0)
            .write(&path)
            .unwrap();
        Tiny { _dir: dir, path }
    }

    fn model(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn beside(&self, name: &str) -> String {
        self.path.with_file_name(name).to_str().unwrap().to_owned()
    }
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

#[test]
fn text_becomes_tokens_and_text_again() {
    for family in Family::ALL {
        let tiny = Tiny::new(family);
        let text = "the cat sat — héllo\n  on <mat>";
        let ids = stdout(&["tokenize", tiny.model(), text, "--no-special"]);
        let back = json(&["detokenize", tiny.model(), ids.trim(), "--json"]);
        assert_eq!(back, text, "{family:?}");
        let file = tiny.beside("text.txt");
        std::fs::write(&file, text).unwrap();
        assert_eq!(
            stdout(&["tokenize", tiny.model(), "--file", &file, "--no-special"]),
            ids
        );
    }
}

#[test]
fn a_model_agrees_with_its_own_logits() {
    let tiny = Tiny::new(Family::Qwen2);
    let (file, reference) = (tiny.beside("text.txt"), tiny.beside("ref.npy"));
    std::fs::write(&file, "a b c d the cat sat on the mat and the dog sat too").unwrap();
    let ids = stdout(&["tokenize", tiny.model(), "--file", &file])
        .trim()
        .replace(' ', ",");
    stdout(&["logits", tiny.model(), "--tokens", &ids, "--output", &reference]);
    let compare = |model: &Tiny, more: &[&str]| {
        let arguments = [
            "perplexity",
            model.model(),
            "--file",
            &file,
            "--reference",
            &reference,
            "--json",
        ];
        json(&[&arguments[..], more].concat())
    };
    let result = compare(&tiny, &[]);
    assert!(result["kl"].as_f64().unwrap().abs() < 1e-9, "{result}");
    let perplexity = result["perplexity"].as_f64().unwrap();
    assert!(
        (10.0..10_000.0).contains(&perplexity),
        "a random model knows nothing: {perplexity}"
    );
    let coarse = compare(&tiny, &["--kv-type", "q8_0"]);
    let kl = coarse["kl"].as_f64().unwrap().abs();
    assert!((1e-9..1e-2).contains(&kl), "int8 keys and values: {coarse}");
    let finer = compare(&tiny, &["--kv-type", "f32,q8_0"])["kl"].as_f64().unwrap();
    assert!(finer.abs() < kl, "int8 values alone: {finer} against {kl}");
    let other = Tiny::new(Family::Llama);
    let result = compare(&other, &[]);
    assert!(result["kl"].as_f64().unwrap() > 1e-3, "{result}");
    std::fs::write(&file, "a").unwrap();
    refusal(
        &[
            "perplexity",
            tiny.model(),
            "--file",
            &file,
            "--reference",
            &reference,
        ],
        2,
    );
}

#[test]
fn benchmarks_and_runs_report_in_json() {
    let tiny = Tiny::new(Family::Gemma3);
    let bench = json(&["bench", tiny.model(), "-p", "32", "-n", "4", "-t", "1", "--json"]);
    for key in [
        "pp_tps",
        "tg_tps",
        "bytes_per_token",
        "stream_gbps",
        "share_of_limit",
        "weight_bytes",
        "kv_bytes",
        "peak_bytes",
    ] {
        assert!(bench[key].as_f64().is_some_and(|v| v > 0.0), "{key} of {bench}");
    }
    let pinned = json(&[
        "bench",
        tiny.model(),
        "-p",
        "32",
        "-n",
        "4",
        "-t",
        "1",
        "--pin",
        "--json",
    ]);
    assert!(pinned["target"].as_str().unwrap().contains("pinned"), "{pinned}");
    let message = refusal(&["bench", tiny.model(), "-t", "1024", "--pin"], 2);
    assert!(message.contains("--pin keeps 1024 threads"), "{message}");
    let run = |seed: &str| {
        let args = [
            "run",
            tiny.model(),
            "-p",
            "the cat",
            "-n",
            "12",
            "--temp",
            "0.9",
            "--seed",
            seed,
            "--json",
        ];
        json(&args)["tokens"].clone()
    };
    assert_eq!(run("4").as_array().unwrap().len(), 12);
    assert!(run("4") == run("4") && run("4") != run("5"));
    let plain = stdout(&["run", tiny.model(), "-p", "the cat", "-n", "5", "-q"]);
    let text = json(&["run", tiny.model(), "-p", "the cat", "-n", "5", "--json"])["text"].clone();
    assert_eq!(
        plain.trim_end_matches('\n'),
        text.as_str().unwrap().trim_end_matches('\n')
    );
}

#[test]
fn the_machine_is_described() {
    let doctor = json(&["doctor", "--json"]);
    assert!(doctor["stream_gbps"].as_f64().unwrap() > 0.1 && doctor["threads"].as_u64().unwrap() > 0);
    assert!(
        doctor["choice"].as_str().unwrap().contains("int8 products"),
        "{doctor}"
    );
}

#[test]
fn a_synthetic_model_is_benched_without_a_file() {
    let args = ["--synthetic", "smollm2-135m:q8_0", "-p", "8", "-n", "1", "--json"];
    let bench = json(&[&["bench"], &args[..]].concat());
    assert!(bench["tg_tps"].as_f64().unwrap() > 0.0, "{bench}");
    // 134.5 million weights of 34 bytes in 32, of which the packed form is a little larger.
    let bytes = bench["bytes_per_token"].as_f64().unwrap();
    assert!((1.40e8..1.55e8).contains(&bytes), "{bench}");
    let message = refusal(&["bench", "--synthetic", "smollm2-135m:q3"], 2);
    assert!(
        message.contains("llama-3.1-8b") && message.contains("q4_k_m"),
        "{message}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let tiny = Tiny::new(Family::Llama);
    for args in [
        &["show", tiny.model()][..],
        &["inspect", tiny.model(), "--stage", "kernels"],
        &["doctor"],
    ] {
        let mut child = support::lathe()
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn tokens_are_picked_as_asked_and_reported() {
    let tiny = Tiny::new(Family::Llama);
    let run = |more: &[&str]| {
        let args = [
            "run",
            tiny.model(),
            "-p",
            "the cat",
            "-n",
            "12",
            "--ctx",
            "64",
            "--json",
        ];
        json(&[&args, more].concat())
    };
    let plain = run(&["--logprobs", "3", "--ignore-eos"]);
    let tokens: Vec<u64> = plain["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_u64().unwrap())
        .collect();
    assert_eq!(tokens.len(), 12);
    let thoughts = plain["logprobs"].as_array().unwrap();
    for (thought, token) in thoughts.iter().zip(&tokens) {
        assert_eq!(
            (&thought["token"], &thought["top"][0]["token"]),
            (&(*token).into(), &(*token).into())
        );
        let sum: f64 = thought["top"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["logprob"].as_f64().unwrap().exp())
            .sum();
        assert!(thought["logprob"].as_f64() < Some(0.0) && sum < 1.0);
    }
    assert_eq!(thoughts.len(), 12);
    let first = format!("{}=-inf", tokens[0]);
    let banned = run(&["--logit-bias", &first, "--ignore-eos"]);
    assert!(
        banned["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .all(|t| t.as_u64() != Some(tokens[0]))
    );
    let seeded = |seed: &str| {
        run(&[
            "--temp",
            "2",
            "--typical-p",
            "0.9",
            "--xtc-probability",
            "0.5",
            "--dry-multiplier",
            "1",
            "--seed",
            seed,
        ])["text"]
            .clone()
    };
    assert_eq!(seeded("1"), seeded("1"));
    assert_ne!(seeded("1"), seeded("2"));
    let line = refusal(&["run", tiny.model(), "-p", "x", "--xtc-threshold", "2"], 2);
    assert!(line.contains("xtc_threshold is 2"), "{line}");
}
