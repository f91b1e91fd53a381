//! A tiny plan end to end: weights, rotations, cache, inputs, threads, errors.

#[path = "support/tiny.rs"]
mod tiny;

use lathe_codegen_cpu::{CpuExecutable, CpuFeatures, CpuOptions, Error, OptLevel};
use lathe_ir::backend::{Batch, ExecError, Executable};
use tiny::{N, expected, plan, weights};

fn options(threads: usize) -> CpuOptions {
    CpuOptions {
        threads,
        pin: false,
        features: CpuFeatures::host().unwrap(),
        kv_blocks: 4,
        window_blocks: None,
        opt_level: OptLevel::None,
    }
}

#[test]
fn steps_see_weights_rotations_inputs_and_the_cache() {
    for threads in 1..=4 {
        let mut exe = CpuExecutable::compile(plan(8), &weights(), options(threads)).unwrap();
        assert_eq!((exe.kv_blocks(), exe.output().len()), (4, 0));
        // Two sequences in one step, then one goes on.
        let tables = [3, 0, 1, 2];
        let batch = Batch {
            tokens: &[1, 2, 3, 4, 5],
            positions: &[0, 1, 0, 1, 2],
            seqs: &[1, 1, 0, 0, 0],
            outputs: &[4, 1],
            block_tables: &tables,
            window_tables: &[],
        };
        let logits = exe.run(&batch).unwrap();
        assert_eq!(logits, [expected(&[3, 4, 5], 5), expected(&[1, 2], 5)].concat());
        let next = Batch {
            tokens: &[6],
            positions: &[2],
            seqs: &[1],
            outputs: &[0],
            block_tables: &tables,
            window_tables: &[],
        };
        assert_eq!(exe.run(&next).unwrap(), expected(&[1, 2, 6], 1));
        assert_eq!(exe.output(), expected(&[1, 2, 6], 1));
    }
}

#[test]
fn a_long_sequence_crosses_blocks() {
    let mut exe = CpuExecutable::compile(plan(40), &weights(), options(2)).unwrap();
    let history: Vec<u32> = (0..40).map(|t| t % N).collect();
    let positions: Vec<u32> = (0..40).collect();
    let tables = [2, 1, 99, 99];
    let batch = Batch {
        tokens: &history,
        positions: &positions,
        seqs: &[0; 40],
        outputs: &[39],
        block_tables: &tables,
        window_tables: &[],
    };
    assert_eq!(exe.run(&batch).unwrap(), expected(&history, 40));
}

#[test]
fn a_batch_out_of_bounds_changes_nothing() {
    let mut exe = CpuExecutable::compile(plan(8), &weights(), options(2)).unwrap();
    let good = Batch {
        tokens: &[7],
        positions: &[0],
        seqs: &[0],
        outputs: &[0],
        block_tables: &[0, 9, 9, 9],
        window_tables: &[],
    };
    let before = exe.run(&good).unwrap().to_vec();
    let error = exe.run(&Batch { tokens: &[N], ..good }).unwrap_err();
    assert_eq!(
        error,
        ExecError::Range {
            what: "token",
            row: 0,
            got: 8,
            limit: 8
        }
    );
    assert!(
        exe.run(&Batch {
            block_tables: &[4, 9, 9, 9],
            window_tables: &[],
            ..good
        })
        .is_err()
    );
    assert_eq!(exe.output(), before);
    let nothing = Batch {
        tokens: &[],
        positions: &[],
        seqs: &[],
        outputs: &[],
        block_tables: &[],
        window_tables: &[],
    };
    assert_eq!(exe.run(&nothing).unwrap(), [0.0f32; 0]);
}

#[test]
fn weights_that_differ_from_the_plan_are_named() {
    let compile = |weights: &tiny::Weights| {
        CpuExecutable::compile(plan(8), weights, options(1))
            .err()
            .unwrap()
    };
    let mut missing = weights();
    missing.0.remove(0);
    assert_eq!(compile(&missing).to_string(), "the model has no tensor `scale`");
    let mut wide = weights();
    wide.0[1].1 = vec![10, 8];
    assert_eq!(
        compile(&wide).to_string(),
        "tensor `matrix` is 10 x 8 f32, but the plan was made for [20, 4]f32"
    );
    let mut short = weights();
    short.0[0].2.pop();
    assert!(matches!(compile(&short), Error::Pack { name, .. } if name == "scale"));
}

#[test]
fn an_invalid_plan_is_refused() {
    let mut broken = plan(8);
    broken.steps[0].calls[0].args.pop();
    let error = CpuExecutable::compile(broken, &weights(), options(1))
        .err()
        .unwrap();
    assert!(error.to_string().starts_with("plan `tiny`: "), "{error}");
    let mut broken = plan(8);
    broken.output = None;
    assert!(matches!(
        CpuExecutable::compile(broken, &weights(), options(1)),
        Err(Error::Plan { .. })
    ));
}

#[test]
fn the_report_and_the_profile_tell_what_runs() {
    let mut exe = CpuExecutable::compile(plan(8), &weights(), options(2)).unwrap();
    let report = exe.report();
    assert_eq!(report.kernels, 3);
    assert!(report.code_bytes > 100 && report.weight_bytes >= 32 * 4 * 4);
    assert_eq!(report.kv_bytes, 2 * 4 * 32 * u64::from(N) * 2);
    assert!(report.target.contains("2 threads"), "{}", report.target);
    let batch = Batch {
        tokens: &[7],
        positions: &[0],
        seqs: &[0],
        outputs: &[0],
        block_tables: &[0, 9, 9, 9],
        window_tables: &[],
    };
    exe.run(&batch).unwrap();
    assert!(exe.profile().iter().all(|e| e.launches == 0));
    exe.set_profiling(true);
    exe.run(&batch).unwrap();
    exe.run(&batch).unwrap();
    let profile = exe.profile();
    assert_eq!(profile.len(), 3);
    assert!(profile.iter().all(|e| e.launches == 2));
    assert!(profile.iter().any(|e| e.kernels == "sum"));
}
