//! `lathe opt`: what `inspect` prints, interpreted with the model's weights, is what the compiled model computes.

mod support;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use std::path::{Path, PathBuf};
use support::{TinyFile, refusal, run, stdout};

const IDS: &str = "3,17,40,5,9,22,61";
/// Largest difference of a logit, as a share of the largest logit, where activations stay f32: orders of sums, and keys
/// and values of 11 bits.
const EXACT: f32 = 5e-4;
/// The same for the graph before the passes where products round their inputs to int8 and the graph does not say so yet.
const ROUNDED: f32 = 5e-2;

struct Tiny(TinyFile);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Tiny {
    fn new(family: Family, dtype: DType) -> Tiny {
        Tiny(TinyFile::new(family, dtype))
    }

    /// The graph of a stage as a file.
    fn graph(&self, stage: &str) -> PathBuf {
        let path = self.0.beside(&format!("{stage}.lir"));
        std::fs::write(&path, stdout(&["inspect", self.0.model(), "--stage", stage])).unwrap();
        path
    }

    /// Logits of the compiled model.
    fn compiled(&self) -> Vec<f32> {
        let out = self.0.beside("logits.npy");
        stdout(&["logits", self.0.model(), "--tokens", IDS, "-o", text(&out)]);
        let bytes = std::fs::read(&out).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let values = bytes[header..].chunks_exact(4);
        values
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    /// Logits of a graph with the model's weights.
    fn interpreted(&self, graph: &Path, more: &[&str]) -> Vec<f32> {
        let model = self.0.model();
        let args = [
            "opt",
            text(graph),
            "--interpret",
            "--weights",
            model,
            "--tokens",
            IDS,
        ];
        let out = stdout(&[&args[..], more].concat());
        assert_eq!(out.lines().count(), IDS.split(',').count(), "a line a token");
        out.split_whitespace().map(|w| w.parse().unwrap()).collect()
    }
}

/// The largest difference as a share of the largest value of `want`.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.0 && want.iter().chain(got).all(|v| v.is_finite()));
    let differences = got.iter().zip(want).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / largest
}

#[test]
fn interpreted_graphs_are_the_compiled_model() {
    for family in Family::ALL {
        for dtype in [DType::F32, DType::Q8_0] {
            let tiny = Tiny::new(family, dtype);
            let compiled = tiny.compiled();
            let (graph, optimized) = (tiny.graph("graph"), tiny.graph("optimized"));
            let check = |got: Vec<f32>, bound: f32, what: &str| {
                let off = difference(&got, &compiled);
                eprintln!("{family:?} {dtype} {what}: {off:e}");
                assert!(
                    off <= bound,
                    "{family:?} {dtype} {what}: {off} is more than {bound}"
                );
            };
            let before = if dtype == DType::F32 { EXACT } else { ROUNDED };
            check(tiny.interpreted(&graph, &[]), before, "before the passes");
            check(tiny.interpreted(&optimized, &[]), EXACT, "after the passes");
            check(
                tiny.interpreted(&graph, &["--passes", "all"]),
                EXACT,
                "through the passes",
            );
        }
    }
}

#[test]
fn other_weights_give_other_logits() {
    let tiny = Tiny::new(Family::Llama, DType::F32);
    let graph = tiny.graph("graph");
    let random = stdout(&["opt", text(&graph), "--interpret", "--tokens", IDS]);
    let random: Vec<f32> = random.split_whitespace().map(|w| w.parse().unwrap()).collect();
    assert!(difference(&random, &tiny.compiled()) > 0.1);
}

#[test]
fn graphs_after_passes_go_to_stderr() {
    let tiny = Tiny::new(Family::Llama, DType::Q8_0);
    let graph = tiny.graph("graph");
    let args = [
        "opt",
        text(&graph),
        "--passes",
        "all",
        "--print-after",
        "fuse-matmul",
    ];
    let out = run(&args);
    assert!(out.status.success());
    let (stdout, stderr) = (
        String::from_utf8(out.stdout).unwrap(),
        String::from_utf8(out.stderr).unwrap(),
    );
    let after = stderr.strip_prefix("; after fuse-matmul\n").unwrap();
    assert_eq!(
        after,
        support::stdout(&["inspect", tiny.0.model(), "--after", "fuse-matmul"])
    );
    assert_eq!(stdout, std::fs::read_to_string(tiny.graph("optimized")).unwrap());
}

#[test]
fn what_can_not_be_interpreted_is_refused_in_a_line() {
    let (tiny, other) = (
        Tiny::new(Family::Llama, DType::F32),
        Tiny::new(Family::Llama, DType::Q8_0),
    );
    let graph = tiny.graph("graph");
    let refused = |more: &[&str]| refusal(&[&["opt", text(&graph)], more].concat(), 2);
    let line = refused(&["--interpret", "--weights", other.0.model()]);
    assert!(line.contains("q8_0") && line.contains("f32"), "{line}");
    let line = refused(&["--interpret", "--tokens", "1,999999"]);
    assert!(line.contains("999999"), "{line}");
    let line = refused(&["--interpret", "--tokens", "4294967295"]);
    assert!(line.contains("4294967295"), "{line}");
    let line = refused(&["--interpret", "--tokens", ""]);
    assert!(line.contains("no token ids"), "{line}");
    let line = refused(&["--passes", "dce", "--print-after", "cse"]);
    assert!(line.contains("`cse`"), "{line}");
}
