//! What `lathe inspect` prints reads back, and shows what passes do.

mod support;

use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use support::stdout;

#[test]
fn every_stage_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    for family in Family::ALL {
        TinyModel::new(family)
            .with_dtype(DType::Q4_1)
            .write(&file)
            .unwrap();
        let model = file.to_str().unwrap();
        let stage = |stage: &str| stdout(&["inspect", model, "--stage", stage, "--ctx", "64"]);
        for name in ["graph", "optimized"] {
            let text = stage(name);
            let graph = lathe_ir::graph::parse::parse(&text).unwrap();
            lathe_ir::graph::verify::verify(&graph).unwrap();
            assert_eq!(lathe_ir::graph::print::print(&graph), text);
        }
        let kernels = stage("kernels");
        let texts: Vec<&str> = kernels.split("\n\n").filter(|t| !t.trim().is_empty()).collect();
        assert!(texts.len() > 8, "{} kernels", texts.len());
        for text in texts {
            let kernel = lathe_ir::kernel::parse::parse(text).unwrap();
            lathe_ir::kernel::verify::verify(&kernel).unwrap();
            // A comment before a product says how it is tiled.
            let product = kernel.name.starts_with("linear");
            assert_eq!(
                text.trim_start().starts_with("; tile "),
                product,
                "{}",
                kernel.name
            );
            let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with(';')).collect();
            assert_eq!(kernel.to_string().trim_end(), lines.join("\n").trim_end());
        }
        let plan = lathe_ir::plan::parse::parse(&stage("plan")).unwrap();
        lathe_ir::plan::verify::verify(&plan).unwrap();
        let clif = stage("clif");
        // Wide vectors are assembled without Cranelift.
        assert!(
            clif.contains("function") || clif.contains("no Cranelift IR"),
            "{clif}"
        );
        assert!(stage("asm").contains("ret"));
    }
}

#[test]
fn layers_and_passes_can_be_picked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    TinyModel::new(Family::Llama)
        .with_dtype(DType::Q8_0)
        .write(&file)
        .unwrap();
    let model = file.to_str().unwrap();
    let layer = |pass: &str| stdout(&["inspect", model, "--after", pass, "--layer", "1"]);
    assert!(layer("fuse-matmul").contains("linear") && layer("fuse-matmul").contains("kv_append"));
    assert!(!layer("fuse-kv-store").contains("kv_append"));
    assert!(layer("fuse-glu").contains("><"));
    assert!(!layer("fuse-glu").contains("blk.0"));
    let passes = stdout(&["inspect", model, "--stage", "passes"]);
    for pass in lathe_passes::pipeline() {
        assert!(
            passes.contains(pass.name) && passes.contains(pass.explain),
            "{}",
            pass.name
        );
    }
}

#[test]
fn printed_graphs_are_input_of_opt() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    TinyModel::new(Family::Mistral).write(&file).unwrap();
    let text = dir.path().join("graph.lir");
    std::fs::write(&text, stdout(&["inspect", file.to_str().unwrap()])).unwrap();
    let text = text.to_str().unwrap();
    let numbers = |passes: &str| -> Vec<f32> {
        let out = stdout(&["opt", text, "--passes", passes, "--verify", "--interpret"]);
        out.split_whitespace().map(|w| w.parse().unwrap()).collect()
    };
    let (before, after) = (numbers("fold-constants"), numbers("all"));
    assert_eq!(before.len(), after.len());
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} became {b}");
    }
    let optimized = stdout(&["opt", text, "--passes", "all"]);
    assert_eq!(
        optimized,
        stdout(&["inspect", file.to_str().unwrap(), "--stage", "optimized"])
    );
}
