//! The forms of `lathe inspect` other than text that reads back: differences, JSON, drawings, the file, the memory map.

mod support;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use serde_json::Value;
use support::{TinyFile, refusal, stdout};

struct Tiny(TinyFile);

impl Tiny {
    fn new(family: Family) -> Tiny {
        Tiny(TinyFile::new(family, DType::Q8_0))
    }

    fn inspect(&self, more: &[&str]) -> String {
        stdout(&[&["inspect", self.0.model()], more].concat())
    }

    fn json(&self, more: &[&str]) -> Value {
        let text = self.inspect(&[more, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    fn refused(&self, more: &[&str]) -> String {
        refusal(&[&["inspect", self.0.model()], more].concat(), 2)
    }
}

/// Lines that a diff removes and adds, without their signs.
fn changes(diff: &str) -> (Vec<&str>, Vec<&str>) {
    let body = || diff.lines().skip(2);
    let of = |sign| body().filter_map(|l| l.strip_prefix(sign)).collect();
    (of('-'), of('+'))
}

/// Passes that clean up after others or after a frontend; graphs of the models here leave them nothing to do.
const CLEANUPS: [&str; 4] = ["fold-constants", "cse", "cse-quantize", "dce"];

/// A diff is empty exactly where the printed graphs are equal, and each fusion changes the graph of some model.
#[test]
fn every_fusion_shows_in_a_diff() {
    let models: Vec<Tiny> = Family::ALL.into_iter().map(Tiny::new).collect();
    let mut texts: Vec<String> = models.iter().map(|m| m.inspect(&[])).collect();
    let mut previous = "graph";
    for pass in lathe_passes::pipeline() {
        let range = format!("{previous}..{}", pass.name);
        let mut shown = false;
        for (model, before) in models.iter().zip(&mut texts) {
            let diff = model.inspect(&["--diff", &range]);
            let after = model.inspect(&["--after", pass.name]);
            assert_eq!(diff.is_empty(), *before == after, "{range}: {diff}");
            if !diff.is_empty() {
                let head = format!("--- {previous}\n+++ {}\n@@ ", pass.name);
                assert!(diff.starts_with(&head), "{diff}");
                shown = true;
            }
            *before = after;
        }
        assert_eq!(shown, !CLEANUPS.contains(&pass.name), "{}", pass.name);
        previous = pass.name;
    }
}

#[test]
fn a_diff_shows_what_a_fusion_does_and_no_renumbering() {
    let tiny = Tiny::new(Family::Llama);
    let diff = tiny.inspect(&["--diff", "fuse-matmul..fuse-glu", "--layer", "1"]);
    let (_, added) = changes(&diff);
    assert!(
        added
            .iter()
            .any(|l| l.contains("@blk.1.ffn_gate >< @blk.1.ffn_up")),
        "{diff}"
    );
    assert!(!diff.contains("blk.0"), "one layer: {diff}");
    assert_eq!(tiny.inspect(&["--diff", "graph..graph"]), "");
    let json = tiny.json(&["--diff", "fuse-matmul..fuse-glu", "--layer", "1"]);
    assert_eq!(json["diff"], diff);
}

#[test]
fn json_says_what_the_text_says() {
    let tiny = Tiny::new(Family::Qwen2);
    for stage in ["graph", "optimized"] {
        let (text, json) = (tiny.inspect(&["--stage", stage]), tiny.json(&["--stage", stage]));
        let nodes = json["nodes"].as_array().unwrap();
        let graph = lathe_ir::graph::parse::parse(&text).unwrap();
        assert_eq!(nodes.len(), graph.order.len());
        for node in nodes {
            assert!(text.contains(node["text"].as_str().unwrap()), "{node}");
            let linear = node["op"] == "linear";
            assert_eq!(node["parts"].is_array(), linear, "{node}");
        }
        assert_eq!(nodes.iter().map(|n| n["layer"].as_u64()).max(), Some(Some(1)));
        let one = tiny.json(&["--stage", stage, "--layer", "0"]);
        assert!(one["nodes"].as_array().unwrap().iter().all(|n| n["layer"] == 0));
    }
    let plan = lathe_ir::plan::parse::parse(&tiny.inspect(&["--stage", "plan", "--ctx", "64"])).unwrap();
    let json = tiny.json(&["--stage", "plan", "--ctx", "64"]);
    assert_eq!(json["arena_bytes"], plan.arena_bytes);
    assert_eq!(json["steps"].as_array().unwrap().len(), plan.steps.len());
    assert_eq!(json["steps"][0]["label"], plan.steps[0].label);
    let kernels = tiny.json(&["--stage", "kernels", "--ctx", "64"]);
    assert_eq!(kernels.as_array().unwrap().len(), plan.kernels.len());
    for kernel in kernels.as_array().unwrap() {
        let product = kernel["name"].as_str().unwrap().starts_with("linear");
        assert_eq!(
            kernel["tile"]["cycles_one"].as_f64().is_some_and(|c| c > 0.0),
            product
        );
    }
    let asm = tiny.json(&["--stage", "asm", "--kernel", "gather", "--ctx", "64"]);
    assert!(asm[0]["bytes"].as_u64().unwrap() > 0 && asm[0]["text"].as_str().unwrap().contains("ret"));
    let passes = tiny.json(&["--stage", "passes"]);
    assert_eq!(passes.as_array().unwrap().len(), lathe_passes::pipeline().len());
}

#[test]
fn the_file_is_shown_with_long_arrays_shortened() {
    let tiny = Tiny::new(Family::Gemma3);
    let (text, json) = (
        tiny.inspect(&["--stage", "gguf"]),
        tiny.json(&["--stage", "gguf"]),
    );
    assert!(
        text.contains("general.architecture : string = \"gemma3\""),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() < 240), "{text}");
    let tokens = &json["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!(tokens["type"], "string");
    assert!(tokens["length"].as_u64().unwrap() > 100 && tokens["value"].as_array().unwrap().len() == 8);
    let tensors = json["tensors"].as_array().unwrap();
    let embedding = tensors.iter().find(|t| t["name"] == "token_embd.weight").unwrap();
    assert_eq!(embedding["dims"][0], tokens["length"], "rows first");
    assert_eq!(embedding["type"], "q8_0");
    assert_eq!(text.matches("  tensor ").count(), tensors.len());
}

#[test]
fn buffers_of_the_memory_map_share_bytes_but_not_at_one_time() {
    let tiny = Tiny::new(Family::Llama);
    let map = tiny.json(&["--stage", "memory", "--ctx", "64"]);
    let number = |v: &Value| v.as_u64().unwrap();
    let buffers = map["buffers"].as_array().unwrap();
    let range = |b: &Value| (number(&b["offset"]), number(&b["offset"]) + number(&b["bytes"]));
    let life = |b: &Value| (number(&b["first"]), number(&b["last"]));
    let meet = |a: (u64, u64), b: (u64, u64)| a.0.max(b.0) < a.1.min(b.1);
    let mut shared = false;
    for (i, a) in buffers.iter().enumerate() {
        assert!(range(a).1 <= number(&map["arena_bytes"]) && life(a).0 <= life(a).1);
        for b in &buffers[..i] {
            let (at, bt) = (life(a), life(b));
            let together = at.0.max(bt.0) <= at.1.min(bt.1);
            assert!(!together || !meet(range(a), range(b)), "{a} and {b}");
            shared |= meet(range(a), range(b));
        }
    }
    assert!(shared, "some bytes are used twice");
    assert!(number(&map["peak"]["bytes"]) <= number(&map["arena_bytes"]));
    assert!(number(&map["arena_bytes"]) < number(&map["unshared_bytes"]));
    // Two layers of keys and values, 64 positions of 2 heads of 16 f16.
    assert_eq!(number(&map["kv_bytes"]), 2 * 2 * 64 * 2 * 16 * 2);
    let text = tiny.inspect(&["--stage", "memory", "--ctx", "64"]);
    assert_eq!(text.matches('|').count(), 2 * buffers.len(), "{text}");
    assert!(
        text.contains(&format!("weights: {} in", map["section_bytes"])),
        "{text}"
    );
}

#[test]
fn graphs_are_drawn() {
    let tiny = Tiny::new(Family::Llama);
    let dot = tiny.inspect(&["--stage", "optimized", "--format", "dot"]);
    assert!(dot.starts_with("digraph ") && dot.ends_with("}\n"));
    assert!(dot.contains("subgraph cluster_0") && dot.contains("subgraph cluster_1"));
    let nodes = tiny.json(&["--stage", "optimized"])["nodes"]
        .as_array()
        .unwrap()
        .len();
    let inputs = dot.matches("style=dashed").count();
    assert_eq!(dot.matches("[label=").count(), nodes + inputs);
    assert!(
        dot.contains("ffn_gate >< @blk.0.ffn_up"),
        "fused ops say what they hold"
    );

    let svg = tiny.inspect(&["--stage", "optimized", "--layer", "0", "--format", "svg"]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(
        svg.contains("&gt;&lt;") && !svg.contains(" >< "),
        "text is escaped"
    );
    boxes_stand_apart(&svg);
    boxes_stand_apart(&tiny.inspect(&["--layer", "1", "--format", "svg"]));
}

/// No two boxes of a drawing overlap, and all lie inside of it.
fn boxes_stand_apart(svg: &str) {
    let number = |line: &str, name: &str| -> f64 {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (width, height) = (number(svg, "width"), number(svg, "height"));
    let rects = svg.lines().filter(|l| l.starts_with("<rect x="));
    let rects: Vec<[f64; 4]> = rects
        .map(|l| ["x", "y", "width", "height"].map(|name| number(l, name)))
        .collect();
    assert!(rects.len() > 8);
    for (i, a) in rects.iter().enumerate() {
        assert!(
            a[0] >= 0.0 && a[1] >= 0.0 && a[0] + a[2] <= width && a[1] + a[3] <= height,
            "{a:?}"
        );
        for b in &rects[..i] {
            let apart = |d: usize| a[d] + a[d + 2] <= b[d] || b[d] + b[d + 2] <= a[d];
            assert!(apart(0) || apart(1), "{a:?} and {b:?}");
        }
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let tiny = Tiny::new(Family::Llama);
    assert!(tiny.refused(&["--diff", "graph"]).contains("A..B"));
    assert!(tiny.refused(&["--diff", "graph..no-pass"]).contains("no-pass"));
    assert!(tiny.refused(&["--layer", "7"]).contains("layer 7"));
    assert!(
        tiny.refused(&["--stage", "plan", "--format", "svg"])
            .contains("graphs only")
    );
    assert!(
        tiny.refused(&["--stage", "plan", "--layer", "0"])
            .contains("--layer")
    );
    assert!(tiny.refused(&["--kernel", "linear"]).contains("--kernel"));
}
