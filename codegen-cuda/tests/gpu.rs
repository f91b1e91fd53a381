//! On a machine with an NVIDIA GPU: every kernel against the interpreter, and the invariance of models. Elsewhere it says why
//! it does nothing. The binary needs no compiler and no file of the sources.

mod support;

use lathe_codegen_cuda::code::NoStore;
use lathe_codegen_cuda::device::{Address, BoundLaunch, Device};
use lathe_codegen_cuda::driver::Gpu;
use lathe_codegen_cuda::kernels::Kernel;
use lathe_codegen_cuda::{LowerOptions, lower};
use lathe_ir::graph::interp::MemoryWeights;
use lathe_ir::plan::ModelOutput;
use support::{Case, LIMITS, cases, invariant, run};

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
fn heads() {
    check(cases::heads());
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
    for (case, model) in cases::models()
        .into_iter()
        .chain(cases::parts())
        .chain(cases::embeddings())
    {
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

/// Set for the process in which a device is lost: others of this binary would lose theirs with it.
const LOSE: &str = "LATHE_TEST_LOSE_DEVICE";

#[test]
fn a_lost_device_is_told_and_released() {
    if let Err(error) = Gpu::open() {
        eprintln!("skipped: {error}");
        return;
    }
    if std::env::var_os(LOSE).is_some() {
        return lose_and_open();
    }
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_lost_device_is_told_and_released", "--nocapture"])
        .env(LOSE, "1")
        .status();
    assert!(done.unwrap().success());
}

fn lose_and_open() {
    let (case, model) = cases::models().remove(0);
    let mut gpu = Gpu::open().unwrap();
    let options = LowerOptions {
        output: ModelOutput::Logits,
        limits: LIMITS,
        kv_types: case.kv_types,
        target: gpu.target(),
        panels: case.panels,
    };
    let plan = lower(&case.graph, options).unwrap();
    let kernel: &Kernel = plan.kernels.values().next().unwrap();
    gpu.load(&[kernel], 1, &NoStore).unwrap();
    // Nothing is there.
    let launch = || BoundLaunch {
        kernel: 0,
        grid: [1; 3],
        threads: kernel.threads(),
        shared: kernel.dynamic_shared(),
        args: vec![Address(64); 1 + kernel.params().len()],
    };
    gpu.run(None, &|| vec![launch()]).unwrap();
    let error = gpu.download(Address(64), 0).unwrap_err();
    println!("lost: {error}");
    gpu.allocate(64).unwrap_err();
    drop(gpu);
    // After such an access drivers want a process of its own for the device; others would open it again here.
    match Gpu::open() {
        Ok(gpu) => drop(run(&case, &model.weights, gpu).unwrap()),
        Err(error) => println!("not in this process: {error}"),
    }
}
