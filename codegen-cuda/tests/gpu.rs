//! On a machine with an NVIDIA GPU: every kernel against the interpreter, and the invariance of models. Elsewhere it says why
//! it does nothing. The binary needs no compiler and no file of the sources.

mod support;

use lathe_codegen_cuda::driver::Gpu;
use lathe_ir::graph::interp::MemoryWeights;
use support::{cases, invariant, run};

#[test]
fn kernels_agree_with_the_interpreter() {
    if let Err(error) = Gpu::open() {
        eprintln!("skipped: {error}");
        return;
    }
    let groups = [
        cases::products(),
        cases::epilogues(),
        cases::rows(),
        cases::attention(),
        cases::large(),
    ];
    let mut wrong = Vec::new();
    let mut note = |name: &str, result: Result<f64, String>| match result {
        Ok(apart) => println!("{name:64} {apart:.2e}"),
        Err(what) => wrong.push(format!("{name}: {what}")),
    };
    for case in groups.iter().flatten() {
        let weights = MemoryWeights::random(&case.graph, 7).unwrap();
        note(&case.name, run(case, &weights, Gpu::open().unwrap()));
    }
    for (case, model) in cases::models() {
        note(&case.name, run(&case, &model.weights, Gpu::open().unwrap()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn logits_do_not_depend_on_the_step() {
    if let Err(error) = Gpu::open() {
        eprintln!("skipped: {error}");
        return;
    }
    for (case, model) in cases::models() {
        invariant(&case.graph, &model.weights, || Gpu::open().unwrap());
        println!("{}: invariant", case.name);
    }
}
