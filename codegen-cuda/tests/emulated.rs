//! Kernels of every family, executed on the CPU by an emulator of the CUDA thread model, against the interpreter.

mod support;

use lathe_codegen_cuda::device::Target;
use lathe_ir::graph::interp::MemoryWeights;
use support::emulator::{Emulator, available};
use support::{Case, PLAIN_TARGET, SMALL_TARGET, TARGET, cases, invariant, run};

fn check(cases: Vec<Case>) {
    check_on(cases, TARGET);
}

fn check_on(cases: Vec<Case>, target: Target) {
    if !available() {
        return;
    }
    let mut wrong = Vec::new();
    for case in cases {
        let weights = MemoryWeights::random(&case.graph, 7).unwrap();
        match run(&case, &weights, Emulator::new(target)) {
            Ok(apart) => println!("{:60} {apart:.2e}", case.name),
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
fn products_in_little_shared_memory() {
    check_on(cases::coded(), SMALL_TARGET);
}

#[test]
fn products_of_some_rows() {
    check(cases::streams());
    check_on(cases::streams(), PLAIN_TARGET);
}

#[test]
fn epilogues() {
    check(cases::epilogues());
}

#[test]
fn wide_products() {
    check(cases::wide());
    check_on(cases::wide(), PLAIN_TARGET);
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
fn heads() {
    check(cases::heads());
}

#[test]
fn tiny_models() {
    if !available() {
        return;
    }
    for (case, model) in cases::models()
        .into_iter()
        .chain(cases::parts())
        .chain(cases::embeddings())
    {
        let apart = run(&case, &model.weights, Emulator::new(TARGET))
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        println!("{:60} {apart:.2e}", case.name);
    }
}

#[test]
fn logits_do_not_depend_on_the_step() {
    if !available() {
        return;
    }
    let models = cases::models();
    let (case, model) = &models[0];
    invariant(&case.graph, &model.weights, || Emulator::new(TARGET));
}
