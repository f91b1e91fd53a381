//! Shapes of products change no result, and what `lathe compile --tune` finds is kept and used.

mod support;

use lathe::build::{cpu_features, optimize};
use lathe_codegen_cpu::{CpuExecutable, CpuOptions, OptLevel};
use lathe_frontend::model::Model;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::backend::{Batch, Executable};
use lathe_ir::plan::Limits;
use lathe_passes::lower::{LowerOptions, Shape, Tile, Tuning, lower, lower_with_products};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use std::process::Output;
use support::lathe;

/// A number of rows that no tile divides.
const ROWS: u32 = 23;

const LIMITS: Limits = Limits {
    tokens: ROWS,
    outputs: ROWS,
    seqs: 1,
    ctx: 64,
};

fn bits(model: &Model, features: &str, shape: Option<Shape>) -> Vec<u32> {
    let features = cpu_features(features).unwrap();
    let options = LowerOptions::for_width(LIMITS, features.vector_lanes()).with_shape(shape);
    let plan = lower(&optimize(&model.graph, false).unwrap(), &options).unwrap();
    let cpu = CpuOptions {
        threads: 2,
        pin: false,
        features,
        kv_blocks: LIMITS.blocks_per_seq(),
        window_blocks: None,
        opt_level: OptLevel::default(),
    };
    let mut executable = CpuExecutable::compile(plan, &model.weights, cpu).unwrap();
    let all: Vec<u32> = (0..ROWS).collect();
    let tokens: Vec<u32> = all.iter().map(|i| (i * 37 + 11) % 90).collect();
    let logits = executable.run(&Batch {
        tokens: &tokens,
        positions: &all,
        seqs: &[0; ROWS as usize],
        outputs: &all,
        block_tables: &[0, 1],
        window_tables: &[],
    });
    logits.unwrap().iter().map(|x| x.to_bits()).collect()
}

/// Features that leave vectors of 4, 8 and 16 lanes, as far as this machine has them.
fn feature_lists() -> Vec<String> {
    let host = cpu_features("all").unwrap();
    let names: Vec<&str> = host.names().collect();
    let narrow = names.iter().filter(|n| !n.starts_with("avx512"));
    let narrow: Vec<&str> = narrow.copied().collect();
    let mut lists = vec!["all".to_owned(), narrow.join(",")];
    lists.dedup();
    lists
}

fn shapes() -> impl Strategy<Value = Shape> {
    (1u32..9, 0u32..4, any::<bool>(), 0u32..3, 10u32..20).prop_map(|(rows, groups, expand, ahead, unit)| {
        Shape {
            tile: Tile {
                rows,
                groups: 1 << groups,
                expand,
                prefetch: 1024 * ahead,
            },
            unit_bytes: 1 << unit,
        }
    })
}

#[test]
fn no_shape_changes_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    for (family, dtype) in [
        (Family::Llama, DType::Q4_1),
        (Family::Qwen2, DType::Q6K),
        (Family::Gemma3, DType::Q5_0),
        (Family::Mistral, DType::F16),
    ] {
        TinyModel::new(family).with_dtype(dtype).write(&path).unwrap();
        let model = Model::load(&path).unwrap();
        for features in feature_lists() {
            let lanes = cpu_features(&features).unwrap().vector_lanes();
            let want = bits(&model, &features, None);
            let mut runner = TestRunner::new(Config {
                cases: 10,
                failure_persistence: None,
                ..Config::default()
            });
            let possible = shapes().prop_filter("fits in registers", |s| s.fault(lanes).is_none());
            runner
                .run(&possible, |shape| {
                    let got = bits(&model, &features, Some(shape));
                    prop_assert!(
                        got == want,
                        "{family:?} {dtype}, {lanes} lanes: {shape:?} changes logits"
                    );
                    Ok(())
                })
                .unwrap();
        }
    }
}

#[test]
fn tuned_shapes_are_taken_before_the_cost_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(Family::Llama)
        .with_dtype(DType::Q8_0)
        .write(&path)
        .unwrap();
    let graph = optimize(&Model::load(&path).unwrap().graph, false).unwrap();
    let options = LowerOptions::for_width(LIMITS, 16);
    let base = lower_with_products(&graph, &options).unwrap();
    let product = &base.products[0];
    let tile = Tile {
        rows: 3,
        groups: 1,
        expand: false,
        prefetch: 640,
    };
    assert_ne!(product.shape.tile, tile);
    let shape = Shape {
        tile,
        unit_bytes: 1 << 16,
    };
    let mut tuning = Tuning::default();
    tuning.set(product.key.clone(), shape).unwrap();
    let options = options.with_tuning(Some(tuning.into()));
    let tuned = lower_with_products(&graph, &options).unwrap();
    for (before, after) in base.products.iter().zip(&tuned.products) {
        let hit = before.key == product.key;
        assert_eq!(after.shape, if hit { shape } else { before.shape });
        let name = |l: &lathe_passes::lower::Lowered| {
            let call = &l.plan.steps[before.step].calls[before.call];
            l.plan.kernels[call.kernel].name.clone()
        };
        assert_eq!(name(&base) != name(&tuned), hit, "{}", name(&tuned));
    }
}

fn with_cache(cache: &Path, args: &[&str]) -> Output {
    lathe().env("LATHE_CACHE", cache).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn tuning_is_kept_used_and_refused_where_it_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, path) = (dir.path().join("cache"), dir.path().join("tiny.gguf"));
    TinyModel::new(Family::Llama)
        .with_dtype(DType::Q4_1)
        .write(&path)
        .unwrap();
    let model = path.to_str().unwrap();
    let tune = [
        "compile",
        model,
        "--tune",
        "--tune-seconds",
        "1",
        "-t",
        "2",
        "--json",
    ];
    let out = with_cache(&cache, &tune);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let report = &report["tuning"];
    let products = report["products"].as_array().unwrap();
    assert!(products.len() > 4, "{report}");
    assert!(
        products
            .iter()
            .any(|p| !p["trials"].as_array().unwrap().is_empty()),
        "something was tried: {report}"
    );
    let file = Path::new(report["file"].as_str().unwrap());
    assert!(file.starts_with(cache.join("tuning")));
    Tuning::parse(&std::fs::read_to_string(file).unwrap()).unwrap();

    // A shape that the model would not choose shows in the plan, unless tuning is left aside.
    let key = inspect(&cache, model, &[]).products;
    assert!(
        key.iter()
            .all(|line| line.contains("(by the cost model)") || line.contains("(tuned)"))
    );
    let forced = force(file, model);
    let seen = inspect(&cache, model, &[]).products;
    assert!(
        seen.iter()
            .any(|line| line.contains("tile 3 rows") && line.contains("(tuned)")),
        "{forced}: {seen:?}"
    );
    let plain = inspect(&cache, model, &["--no-tuning"]).products;
    assert!(
        plain.iter().all(|line| line.contains("(by the cost model)")),
        "{plain:?}"
    );

    std::fs::write(file, "{\"version\": 1}").unwrap();
    let out = with_cache(&cache, &["run", model, "-p", "a", "-n", "1", "-t", "2"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(text(&out.stderr).lines().count(), 1, "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("--no-tuning"));
    let out = with_cache(
        &cache,
        &["run", model, "-p", "a", "-n", "1", "-t", "2", "--no-tuning"],
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(
        with_cache(&cache, &tune).status.success(),
        "a broken file is replaced"
    );
    Tuning::parse(&std::fs::read_to_string(file).unwrap()).unwrap();

    let out = with_cache(&cache, &["compile", model]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("--no-cache") && text(&out.stderr).lines().count() == 1);
}

struct Inspected {
    /// The comments on the shapes of products.
    products: Vec<String>,
}

fn inspect(cache: &Path, model: &str, more: &[&str]) -> Inspected {
    let args = [&["inspect", model, "--stage", "kernels", "-t", "2"], more].concat();
    let out = with_cache(cache, &args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let lines = text(&out.stdout);
    let products: Vec<String> = lines
        .lines()
        .filter(|l| l.starts_with("; tile"))
        .map(str::to_owned)
        .collect();
    assert!(products.len() > 4);
    Inspected { products }
}

/// Writes a tuning for every product of the model: three rows, one panel.
fn force(file: &Path, model: &str) -> String {
    let lanes = cpu_features("all").unwrap().vector_lanes();
    let graph = optimize(&Model::load(Path::new(model)).unwrap().graph, false).unwrap();
    let lowered = lower_with_products(&graph, &LowerOptions::for_width(LIMITS, lanes)).unwrap();
    let tile = Tile {
        rows: 3,
        groups: 1,
        expand: false,
        prefetch: 0,
    };
    let mut tuning = Tuning::default();
    for product in lowered.products {
        let shape = Shape {
            tile,
            unit_bytes: 1 << 16,
        };
        tuning.set(product.key, shape).unwrap();
    }
    std::fs::write(file, tuning.text()).unwrap();
    tuning.text()
}
