//! What can't be evaluated is an error that names the thing.

use super::{Inputs, KvCache, MemoryWeights, Tensor, eval, run};
use crate::dtype::DType;
use crate::graph::KvPart;
use crate::graph::tests::graph;

const TEXT: &str = "graph @t (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %kv: kv) {
  weight @w : [4, 2]f32
  %0 = embed @w, %tok : [tokens, 2]f32
  %1 = split_heads %0 {heads = 1} : [tokens, 1, 2]f32
  %2 = kv_append %kv, %1, %1, %pos, %seq {layer = 0} : kv
  %3 = attention.paged %1, %2, %pos, %seq {layer = 0, kv_heads = 1, scale = 1.0, cap = CAP, window = 0} : [tokens, 2]f32
  return %3
}";

fn text() -> String {
    TEXT.replace("CAP", "0.0")
}

/// The error of a step with the weights that the graph declares.
fn error(inputs: &Inputs) -> String {
    let weights = [("w", 4, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0][..])];
    run(&text(), &weights, inputs).unwrap_err().to_string()
}

#[test]
fn indices_are_in_range() {
    assert_eq!(
        error(&Inputs::batch(&[3, 4], &[0, 1], &[0, 0], &[])),
        "token 4 of row 1 is not in 0..4"
    );
    assert_eq!(
        error(&Inputs::batch(&[3], &[1 << 20], &[0], &[])),
        "position 1048576 of row 0 is not in 0..1048576"
    );
    let negative = Tensor {
        data: crate::graph::interp::Data::I32(vec![-1]),
        ..Tensor::indices(&[0])
    };
    let inputs = Inputs::batch(&[3], &[0], &[0], &[]).with("seq", negative);
    assert_eq!(error(&inputs), "sequence -1 of row 0 is not in 0..2147483647");
}

#[test]
fn inputs_have_the_types_of_parameters() {
    let inputs = Inputs::batch(&[1, 2], &[0, 1], &[0], &[]);
    assert_eq!(
        error(&inputs),
        "the input of parameter %seq is [1]i32, but must be [2]i32"
    );
    let inputs = Inputs::batch(&[1], &[0], &[0], &[]).with("tok", Tensor::f32(&[1], vec![0.0]));
    assert_eq!(
        error(&inputs),
        "the input of parameter %tok is [1]f32, but must be [tokens]i32"
    );
    assert_eq!(error(&Inputs::new()), "parameter %tok has no input");
}

#[test]
fn weights_are_those_declared() {
    let step = Inputs::batch(&[1], &[0], &[0], &[]);
    assert_eq!(
        run(&text(), &[], &step).unwrap_err().to_string(),
        "there is no weight @w"
    );
    let error = run(&text(), &[("w", 2, &[0.0; 8])], &step).unwrap_err();
    assert_eq!(
        error.to_string(),
        "weight @w is [2, 4]f32, but the graph declares [4, 2]f32"
    );
    let mut source = MemoryWeights::new();
    source.insert("w", DType::F16, 4, &[0.0; 8]).unwrap();
    let error = eval(&graph(&text()), &source, &step, &mut KvCache::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "weight @w is [4, 2]f16, but the graph declares [4, 2]f32"
    );
    assert!(source.insert("x", DType::Q8_0, 1, &[0.0; 8]).is_err());
}

#[test]
fn a_graph_that_breaks_a_rule_is_not_run() {
    let error = run(
        &text().replace("[tokens, 1, 2]f32", "[tokens, 2, 1]f32"),
        &[],
        &Inputs::new(),
    )
    .unwrap_err();
    let expected = "the graph does not verify: %1 = split_heads: its type is [tokens, 1, 2]f32, but it is declared as \
                    [tokens, 2, 1]f32";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_value_that_is_attended_to_is_cached() {
    // Position 0 has a key, but no value.
    let mut cache = KvCache::new();
    cache.store(0, KvPart::K, 0, 0, &[1.0, 1.0]);
    let mut weights = MemoryWeights::new();
    weights.insert("w", DType::F32, 4, &[1.0; 8]).unwrap();
    let step = Inputs::batch(&[1], &[1], &[0], &[]);
    let error = eval(&graph(&text()), &weights, &step, &mut cache).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 0: position 0 of sequence 0 is attended to, but is not in the cache"
    );
}
