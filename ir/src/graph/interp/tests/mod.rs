//! Tests of the interpreter: ops against values worked out by hand, fused ops against the ops that they stand for, the
//! cache over several steps, and errors.

mod attention;
mod errors;
mod fused;
mod ops;

use super::{EvalError, Inputs, KvCache, MemoryWeights, Tensor, eval};
use crate::dtype::DType;
use crate::graph::testing::random_graph;
use crate::graph::tests::graph;
use proptest::prelude::*;

/// Evaluates a text with f32 weights (name, rows, elements), from an empty cache.
fn run(text: &str, weights: &[(&str, usize, &[f32])], inputs: &Inputs) -> Result<Vec<Tensor>, EvalError> {
    let mut source = MemoryWeights::new();
    for (name, rows, elements) in weights {
        source.insert(name, DType::F32, *rows, elements).unwrap();
    }
    eval(&graph(text), &source, inputs, &mut KvCache::new())
}

/// Asserts that elements are close to those worked out by hand.
#[track_caller]
fn assert_close(got: &Tensor, dims: &[usize], want: &[f32]) {
    assert_eq!(got.dims, dims);
    let got = got.to_f32().unwrap();
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        let near = (g - w).abs() <= 1e-6 * w.abs().max(1.0);
        assert!(near || g == w, "{got:?} instead of {want:?}");
    }
}

/// A step of two sequences whose rows interleave: positions 0, 1, 2 of sequence 3, and 0, 1 of sequence 0.
fn two_sequences() -> Inputs {
    Inputs::batch(&[1, 5, 2, 7, 0], &[0, 0, 1, 1, 2], &[3, 0, 3, 0, 3], &[4, 1])
}

proptest! {
    #[test]
    fn random_graphs_evaluate_and_the_dead_do_not_matter(seed in prop_oneof![Just(10617824619948834728u64), any::<u64>()]) {
        let graph = random_graph(seed);
        let weights = MemoryWeights::random(&graph, seed).unwrap();
        let inputs = two_sequences();
        let (mut cache, mut dense_cache) = (KvCache::new(), KvCache::new());
        let outputs = eval(&graph, &weights, &inputs, &mut cache)
            .map_err(|e| TestCaseError::fail(format!("{e} in\n{graph}")))?;
        let dense = eval(&graph.compact(), &weights, &inputs, &mut dense_cache).unwrap();
        // As text, since what is not a number is not equal to itself; random factors do overflow.
        prop_assert_eq!(format!("{outputs:?}"), format!("{dense:?}"));
        prop_assert_eq!(cache, dense_cache);
        prop_assert_eq!(outputs.len(), graph.outputs.len());
        for (tensor, &value) in outputs.iter().zip(&graph.outputs) {
            prop_assert_eq!(tensor.dtype(), graph.ty(value).dtype);
            prop_assert_eq!(tensor.dims.len(), graph.ty(value).rank());
        }
    }

    #[test]
    fn a_step_without_rows_has_outputs_without_rows(seed in 0u64..200) {
        let graph = random_graph(seed);
        let weights = MemoryWeights::random(&graph, seed).unwrap();
        let outputs = eval(&graph, &weights, &Inputs::batch(&[], &[], &[], &[]), &mut KvCache::new());
        let outputs = outputs.map_err(|e| TestCaseError::fail(format!("{e} in\n{graph}")))?;
        prop_assert!(outputs.iter().all(|t| t.dims[0] == 0));
    }
}
