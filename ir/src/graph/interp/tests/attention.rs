//! The cache and attention, unfused.

use super::{Inputs, KvCache, MemoryWeights, Tensor, assert_close, eval};
use crate::graph::KvPart;
use crate::graph::tests::graph;

const INF: f32 = f32::INFINITY;

/// Two query heads over one KV head of two elements: appends, and returns scores, masked scores and sums.
const TEXT: &str =
    "graph @t (%q: [tokens, 2, 2]f32, %k: [tokens, 1, 2]f32, %v: [tokens, 1, 2]f32, %pos: [tokens]i32,
     %seq: [tokens]i32, %kv: kv, %p: [tokens, 2, ctx]f32) {
  %0 = kv_append %kv, %k, %v, %pos, %seq {layer = 7} : kv
  %1 = attn_scores %q, %0, %seq {layer = 7, kv_heads = 1} : [tokens, 2, ctx]f32
  %2 = causal_mask %1, %pos {window = 0} : [tokens, 2, ctx]f32
  %3 = causal_mask %1, %pos {window = 1} : [tokens, 2, ctx]f32
  %4 = attn_mix %p, %0, %seq {layer = 7, kv_heads = 1, head_dim = 2} : [tokens, 2, 2]f32
  return %1, %2, %3, %4
}";

fn heads(rows: usize, heads: usize, elements: &[f32]) -> Tensor {
    Tensor::f32(&[rows, heads, elements.len() / rows / heads], elements.to_vec())
}

#[test]
fn scores_mask_and_sums_by_hand() {
    let mut cache = KvCache::new();
    // Another sequence, which must not be seen, is longer.
    cache.store(7, KvPart::K, 0, 2, &[9.0, 9.0]);
    let inputs = Inputs::new()
        .with("q", heads(2, 2, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, -1.0]))
        .with("k", heads(2, 1, &[1.0, 2.0, 3.0, 4.0]))
        .with("v", heads(2, 1, &[10.0, 20.0, 30.0, 40.0]))
        .with(
            "p",
            heads(
                2,
                2,
                &[1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 0.25, 0.75, 0.0],
            ),
        )
        .with("pos", Tensor::indices(&[0, 1]))
        .with("seq", Tensor::indices(&[4, 4]));
    let got = eval(&graph(TEXT), &MemoryWeights::new(), &inputs, &mut cache).unwrap();
    let scores = [1.0, 3.0, -INF, 2.0, 4.0, -INF, 3.0, 7.0, -INF, 0.0, 2.0, -INF];
    assert_close(&got[0], &[2, 2, 3], &scores);
    let masked = [1.0, -INF, -INF, 2.0, -INF, -INF, 3.0, 7.0, -INF, 0.0, 2.0, -INF];
    assert_close(&got[1], &[2, 2, 3], &masked);
    let window = [1.0, -INF, -INF, 2.0, -INF, -INF, -INF, 7.0, -INF, -INF, 2.0, -INF];
    assert_close(&got[2], &[2, 2, 3], &window);
    assert_close(
        &got[3],
        &[2, 2, 2],
        &[10.0, 20.0, 20.0, 30.0, 30.0, 40.0, 25.0, 35.0],
    );
    assert_eq!(cache.row(7, KvPart::V, 4, 1), Some(&[30.0, 40.0][..]));
    assert_eq!(cache.row(7, KvPart::V, 0, 1), None);
    assert_eq!(cache.positions(7), 3);
    assert_eq!(cache.positions(6), 0);
}

#[test]
fn query_heads_read_their_group() {
    let text = "graph @t (%q: [tokens, 4, 1]f32, %k: [tokens, 2, 1]f32, %pos: [tokens]i32, %kv: kv) {
      %0 = kv_append %kv, %k, %k, %pos, %pos {layer = 0} : kv
      %1 = attn_scores %q, %0, %pos {layer = 0, kv_heads = 2} : [tokens, 4, ctx]f32
      return %1
    }";
    let inputs = Inputs::new()
        .with("q", heads(1, 4, &[1.0, 1.0, 1.0, 1.0]))
        .with("k", heads(1, 2, &[5.0, 6.0]))
        .with("pos", Tensor::indices(&[0]));
    let got = eval(&graph(text), &MemoryWeights::new(), &inputs, &mut KvCache::new()).unwrap();
    assert_close(&got[0], &[1, 4, 1], &[5.0, 5.0, 6.0, 6.0]);
}

#[test]
fn the_cache_rounds_to_f16_and_truncates() {
    let mut cache = KvCache::new();
    for position in 0..3 {
        cache.store(0, KvPart::K, 1, position, &[1.0 + 1.0 / 4096.0, 1e-9]);
        cache.store(0, KvPart::K, 2, position, &[1.0, 2.0]);
    }
    assert_eq!(cache.row(0, KvPart::K, 1, 0), Some(&[1.0, 0.0][..]));
    cache.truncate(1, 1);
    assert!(cache.row(0, KvPart::K, 1, 0).is_some() && cache.row(0, KvPart::K, 1, 1).is_none());
    assert!(cache.row(0, KvPart::K, 2, 2).is_some());
    cache.truncate(2, 0);
    assert_eq!(cache.positions(0), 1);
}

/// A layer of attention with projections, unfused.
const LAYER: &str =
    "graph @t (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {
  weight @embd : [8, 32]f32
  weight @q : [32, 32]f32
  weight @k : [16, 32]f32
  weight @v : [16, 32]f32
  %x = embed @embd, %tok : [tokens, 32]f32
  %q, %k, %v = linear %x [
    @q {heads(4), rope(%pos, half, 8, 1e4, 1, 1)} -> f32,
    @k {heads(2), rope(%pos, half, 8, 1e4, 1, 1)} -> f32,
    @v {heads(2)} -> f32
  ] : [tokens, 4, 8]f32, [tokens, 2, 8]f32, [tokens, 2, 8]f32
  %kv1 = kv_append %kv, %k, %v, %pos, %seq {layer = 0} : kv
  %s = attn_scores %q, %kv1, %seq {layer = 0, kv_heads = 2} : [tokens, 4, ctx]f32
  %m = causal_mask %s, %pos {window = 0} : [tokens, 4, ctx]f32
  %p = softmax %m : [tokens, 4, ctx]f32
  %a = attn_mix %p, %kv1, %seq {layer = 0, kv_heads = 2, head_dim = 8} : [tokens, 4, 8]f32
  %y = merge_heads %a : [tokens, 32]f32
  %o = gather_rows %y, %outputs : [outputs, 32]f32
  return %o
}";

#[test]
fn rows_do_not_depend_on_how_sequences_are_cut_into_steps() {
    let graph = graph(LAYER);
    let weights = MemoryWeights::random(&graph, 1).unwrap();
    let mut whole = KvCache::new();
    let both = Inputs::batch(
        &[1, 5, 2, 7, 0],
        &[0, 0, 1, 1, 2],
        &[3, 0, 3, 0, 3],
        &[0, 1, 2, 3, 4],
    );
    let together = eval(&graph, &weights, &both, &mut whole).unwrap()[0]
        .to_f32()
        .unwrap();
    let mut cache = KvCache::new();
    for (i, (token, position, seq)) in [(1, 0, 3), (5, 0, 0), (2, 1, 3), (7, 1, 0), (0, 2, 3)]
        .into_iter()
        .enumerate()
    {
        let step = Inputs::batch(&[token], &[position], &[seq], &[0]);
        let row = eval(&graph, &weights, &step, &mut cache).unwrap()[0]
            .to_f32()
            .unwrap();
        assert_eq!(row, together[i * 32..][..32], "row {i}");
    }
    assert_eq!(cache, whole);
}
