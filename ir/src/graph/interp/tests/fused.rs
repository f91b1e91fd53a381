//! Fused ops give, to the bit, what the ops that they stand for give.

use super::{KvCache, MemoryWeights, eval, two_sequences};
use crate::graph::tests::graph;

const HEADER: &str =
    "graph @t (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {
  weight @embd : [8, 64]f32
  weight @w : [64, 64]q8_0
  weight @u : [64, 64]q8_0
  weight @b : [64]f32
  weight @head : [16]f32
  weight @factors : [8]f32
  %x = embed @embd, %tok : [tokens, 64]f32
  %y = scale %x {by = 0.5} : [tokens, 64]f32
  %dw = dequant @w {order = natural, heads = 0, dims = 0} : [64, 64]f32
  %du = dequant @u {order = natural, heads = 0, dims = 0} : [64, 64]f32
  %db = dequant @b {order = natural, heads = 0, dims = 0} : [64]f32
";

/// Asserts that two bodies, which both return what they mean in `%r`, give the same outputs and the same cache.
#[track_caller]
fn same(fused: &str, unfused: &str) {
    let [a, b] = [fused, unfused].map(|body| graph(&format!("{HEADER}{body}\n return %r\n}}")));
    let weights = MemoryWeights::random(&a, 3).unwrap();
    let (mut cache_a, mut cache_b) = (KvCache::new(), KvCache::new());
    let outputs = eval(&a, &weights, &two_sequences(), &mut cache_a).unwrap();
    let expected = eval(&b, &weights, &two_sequences(), &mut cache_b).unwrap();
    assert_eq!(outputs, expected);
    assert_eq!(cache_a, cache_b);
    // Not the same because nothing has come out of it.
    let elements = outputs[0].to_f32().unwrap();
    assert!(elements.iter().all(|x| x.is_finite()) && elements.iter().any(|x| *x != elements[0]));
}

#[test]
fn linear_is_matmul_with_bias_and_residual() {
    same(
        "%r = linear %x [@w {bias(@b), scale(0.25), act(silu), softcap(2.0), add(%y)} -> f32] : [tokens, 64]f32",
        "%1 = matmul %x, %dw : [tokens, 64]f32
         %2 = add %1, %db : [tokens, 64]f32
         %3 = scale %2 {by = 0.25} : [tokens, 64]f32
         %4 = act %3 {func = silu} : [tokens, 64]f32
         %5 = softcap %4 {cap = 2.0} : [tokens, 64]f32
         %r = add %5, %y : [tokens, 64]f32",
    );
}

#[test]
fn glu_is_act_times_the_other_product() {
    same(
        "%r = linear %x [@w >< @u {glu(gelu)} -> q8a] : [tokens, 64]q8a",
        "%1 = matmul %x, %dw : [tokens, 64]f32
         %2 = act %1 {func = gelu} : [tokens, 64]f32
         %3 = matmul %x, %du : [tokens, 64]f32
         %4 = mul %2, %3 : [tokens, 64]f32
         %r = quantize %4 : [tokens, 64]q8a",
    );
}

#[test]
fn heads_norm_and_rope_are_the_ops() {
    same(
        "%r = linear %x [@w {heads(4), head_norm(@head, 1e-6), rope(%pos, adjacent, 16, 10000.0, 0.5, 1.1, @factors)} -> f32] \
         : [tokens, 4, 16]f32",
        "%1 = matmul %x, %dw : [tokens, 64]f32
         %2 = split_heads %1 {heads = 4} : [tokens, 4, 16]f32
         %3 = rms_norm @head, %2 {eps = 1e-6} : [tokens, 4, 16]f32
         %r = rope @factors, %3, %pos {pairs = adjacent, dims = 16, base = 10000.0, freq_scale = 0.5, magnitude = 1.1} \
         : [tokens, 4, 16]f32",
    );
}

#[test]
fn row_order_of_a_part_is_that_of_dequant() {
    same(
        "%r = linear %x [@w rope_half {bias(@b), heads(4), rope(%pos, half, 8, 10000.0, 1.0, 1.0)} -> f32] : [tokens, 4, 16]f32",
        "%1 = dequant @w {order = rope_half, heads = 4, dims = 8} : [64, 64]f32
         %2 = dequant @b {order = rope_half, heads = 4, dims = 8} : [64]f32
         %3 = matmul %x, %1 : [tokens, 64]f32
         %4 = add %3, %2 : [tokens, 64]f32
         %5 = split_heads %4 {heads = 4} : [tokens, 4, 16]f32
         %r = rope %5, %pos {pairs = half, dims = 8, base = 10000.0, freq_scale = 1.0, magnitude = 1.0} : [tokens, 4, 16]f32",
    );
}

#[test]
fn q8a_input_is_read_as_its_decoded_values() {
    let fused = graph(&format!(
        "{HEADER} %1 = quantize %x : [tokens, 64]q8a
         %r = linear %1 [@w -> f32] : [tokens, 64]f32
         return %r, %1\n}}"
    ));
    let weights = MemoryWeights::random(&fused, 3).unwrap();
    let outputs = eval(&fused, &weights, &two_sequences(), &mut KvCache::new()).unwrap();
    let decoded = super::Tensor::f32(&[5, 64], outputs[1].to_f32().unwrap());
    let plain = graph(
        "graph @t (%x: [tokens, 64]f32) {
           weight @w : [64, 64]q8_0
           %w = dequant @w {order = natural, heads = 0, dims = 0} : [64, 64]f32
           %r = matmul %x, %w : [tokens, 64]f32
           return %r
         }",
    );
    let expected = eval(
        &plain,
        &weights,
        &super::Inputs::new().with("x", decoded),
        &mut KvCache::new(),
    )
    .unwrap();
    assert_eq!(outputs[0], expected[0]);
}

#[test]
fn norms_fuse_with_quantize_and_add() {
    same(
        "%r = norm_quant @b, %x {eps = 1e-5} : [tokens, 64]q8a",
        "%1 = rms_norm @b, %x {eps = 1e-5} : [tokens, 64]f32\n %r = quantize %1 : [tokens, 64]q8a",
    );
    same(
        "%r = norm_add @b, %x, %y {eps = 1e-5} : [tokens, 64]f32",
        "%1 = rms_norm @b, %x {eps = 1e-5} : [tokens, 64]f32\n %r = add %1, %y : [tokens, 64]f32",
    );
}

/// Attention of `%q`, `%k` and `%v` through the cache, unfused.
fn attention(cap: &str, capped: &str, window: u32) -> String {
    format!(
        "%k1 = kv_append %kv, %k, %v, %pos, %seq {{layer = 0}} : kv
         %s = attn_scores %q, %k1, %seq {{layer = 0, kv_heads = 2}} : [tokens, 4, ctx]f32
         %t = scale %s {{by = 0.25}} : [tokens, 4, ctx]f32
         {cap}
         %m = causal_mask {capped}, %pos {{window = {window}}} : [tokens, 4, ctx]f32
         %p = softmax %m : [tokens, 4, ctx]f32
         %a = attn_mix %p, %k1, %seq {{layer = 0, kv_heads = 2, head_dim = 16}} : [tokens, 4, 16]f32
         %r = merge_heads %a : [tokens, 64]f32"
    )
}

#[test]
fn paged_attention_is_the_ops_over_the_cache() {
    for (cap, softcap, capped) in [
        ("0.0", "", "%t"),
        ("0.75", "%c = softcap %t {cap = 0.75} : [tokens, 4, ctx]f32", "%c"),
    ] {
        for window in [0, 2] {
            compare_attention(cap, &attention(softcap, capped, window), window);
        }
    }
}

/// Stores and attention in two nodes, against `unfused`.
fn compare_attention(cap: &str, unfused: &str, window: u32) {
    let header = "graph @t (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {
  weight @embd : [8, 64]f32
  weight @k : [32, 64]f32
  weight @v : [32, 64]f32
  %x = embed @embd, %tok : [tokens, 64]f32
  %q = split_heads %x {heads = 4} : [tokens, 4, 16]f32";
    let fused = graph(&format!(
        "{header}
         %k1 = linear %x [@k {{heads(2)}} -> kv.k(0, %kv, %pos, %seq), @v {{heads(2)}} -> kv.v(0, %kv, %pos, %seq)] : kv
         %r = attention.paged %q, %k1, %pos, %seq
           {{layer = 0, kv_heads = 2, scale = 0.25, cap = {cap}, window = {window}}} : [tokens, 64]f32
         return %r\n}}"
    ));
    let unfused = graph(&format!(
        "{header}
         %k, %v = linear %x [@k {{heads(2)}} -> f32, @v {{heads(2)}} -> f32] : [tokens, 2, 16]f32, [tokens, 2, 16]f32
         {unfused}
         return %r\n}}"
    ));
    let weights = MemoryWeights::random(&fused, 5).unwrap();
    let (mut a, mut b) = (KvCache::new(), KvCache::new());
    let outputs = eval(&fused, &weights, &two_sequences(), &mut a).unwrap();
    assert_eq!(
        outputs,
        eval(&unfused, &weights, &two_sequences(), &mut b).unwrap(),
        "cap {cap}, window {window}"
    );
    assert_eq!(a, b);
}
