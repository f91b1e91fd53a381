//! On a machine with an NVIDIA GPU: every kernel against the interpreter, and the invariance of models. Elsewhere it says why
//! it does nothing. The binary needs no compiler and no file of the sources.

mod support;

use lathe_codegen_cuda::driver::Gpu;
use lathe_ir::graph::interp::MemoryWeights;
use support::{Case, cases, invariant, run};

fn check(cases: Vec<Case>) {
    if let Err(error) = Gpu::open() {
        eprintln!("skipped: {error}");
        return;
    }
    let mut wrong = Vec::new();
    for case in cases {
        let weights = MemoryWeights::random(&case.graph, 7).unwrap();
        match run(&case, &weights, Gpu::open().unwrap()) {
            Ok(apart) => println!("{:64} {apart:.2e}", case.name),
            Err(what) => wrong.push(format!("{}: {what}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn products_of_every_type() {
    check(cases::products());
}

#[test]
fn products_of_some_rows() {
    check(cases::streams());
}

#[test]
fn epilogues() {
    check(cases::epilogues());
}

#[test]
fn wide_products() {
    check(cases::wide());
}

#[test]
fn ops_on_rows() {
    check(cases::rows());
}

#[test]
fn attention() {
    check(cases::attention());
}

#[test]
fn long_rows() {
    check(cases::large());
}

#[test]
fn tiny_models() {
    if let Err(error) = Gpu::open() {
        eprintln!("skipped: {error}");
        return;
    }
    for (case, model) in cases::models() {
        let apart =
            run(&case, &model.weights, Gpu::open().unwrap()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        println!("{:64} {apart:.2e}", case.name);
    }
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
