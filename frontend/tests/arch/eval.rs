//! Evaluates the graph of a model with the interpreter.

use lathe_frontend::model::Model;
use lathe_ir::graph::interp::{Inputs, KvCache, eval};

/// The result of every position of `tokens`, logits or embeddings, computed in steps of `chunk` tokens.
pub fn rows(model: &Model, tokens: &[u32], chunk: usize) -> Vec<Vec<f64>> {
    let mut cache = KvCache::new();
    let mut rows = Vec::new();
    for step in tokens.chunks(chunk) {
        let positions: Vec<u32> = (rows.len()..rows.len() + step.len()).map(|p| p as u32).collect();
        let outputs: Vec<u32> = (0..step.len() as u32).collect();
        let inputs = Inputs::batch(step, &positions, &vec![0; step.len()], &outputs);
        let results =
            eval(&model.graph, &model.weights, &inputs, &mut cache).unwrap_or_else(|e| panic!("{e}"));
        let values = results[0].to_f32().expect("results are floats");
        rows.extend(
            values
                .chunks(values.len() / step.len())
                .map(|row| row.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>()),
        );
    }
    rows
}

/// The squared error of `got`, relative to the squares of `want`.
pub fn nmse(got: &[Vec<f64>], want: &[Vec<f64>]) -> f64 {
    assert_eq!(got.len(), want.len(), "rows");
    let mut sums = (0.0, 0.0);
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "columns");
        for (g, w) in got.iter().zip(want) {
            sums = (sums.0 + (g - w) * (g - w), sums.1 + w * w);
        }
    }
    sums.0 / sums.1
}
