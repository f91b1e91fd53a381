//! The text form: round trips, its looks, and errors.

use crate::graph::parse::parse;
use crate::graph::print::print;
use crate::graph::testing::random_graph;
use crate::graph::verify::verify;
use proptest::prelude::*;

const LAYER: &str = r#"graph @tiny (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {
  weight @token_embd : [96, 64]q8_0
  weight @blk.0.attn_norm : [64]f32
  weight @blk.0.attn_q : [64, 64]q4_0
  weight @blk.0.attn_q.bias : [64]f32
  weight @blk.0.attn_k : [32, 64]q4_0
  weight @"blk.0.attn v" : [32, 64]q4_0
  weight @blk.0.attn_k_norm : [16]f32
  weight @blk.1.ffn_gate : [128, 64]q4_0
  weight @blk.1.ffn_up : [128, 64]q4_0
  weight @rope.factors : [8]f32
  %0 = embed @token_embd, %tok : [tokens, 64]f32
  ; layer 0
  %1 = norm_quant @blk.0.attn_norm, %0 {eps = 1e-5} : [tokens, 64]q8a
  %2, %3 = linear %1 [
      @blk.0.attn_q rope_half {bias(@blk.0.attn_q.bias), heads(4), rope(%pos, half, 16, 100000.0, 1.0, 1.0, @rope.factors)} -> f32,
      @blk.0.attn_k {heads(2), head_norm(@blk.0.attn_k_norm, 1e-6), rope(%pos, adjacent, 8, 10000.0, 0.125, 1.2), scale(-0.5)} -> kv.k(0, %kv, %pos, %seq),
      @"blk.0.attn v" {heads(2)} -> kv.v(0, %kv, %pos, %seq)
    ] : [tokens, 4, 16]f32, kv
  %4 = attention.paged %2, %3, %pos, %seq {layer = 0, kv_heads = 2, scale = 0.25, cap = 0.0, window = 0} : [tokens, 64]f32
  %5 = quantize %4 : [tokens, 64]q8a
  ; layer 1
  %6, %7 = linear %5 [
      @blk.1.ffn_gate >< @blk.1.ffn_up {glu(silu), act(gelu), softcap(30.0)} -> q8a,
      @blk.0.attn_q {add(%0)} -> f32
    ] : [tokens, 128]q8a, [tokens, 64]f32
  %8 = scalar {value = 0.1} : []f32
  %sum = add %7, %8 : [tokens, 64]f32
  %10 = gather_rows %sum, %outputs : [outputs, 64]f32
  return %10, %6
}
"#;

#[test]
fn a_text_prints_as_it_was() {
    let graph = parse(LAYER).unwrap();
    verify(&graph).unwrap();
    assert_eq!(print(&graph), LAYER);
    assert_eq!(graph.to_string(), LAYER);
}

#[test]
fn blanks_comments_and_numbers_of_values_do_not_matter() {
    let text = LAYER
        .replace("%10", "%007")
        .replace(" : ", ":")
        .replace('\n', " ; comment %99\n\n\t");
    assert_eq!(print(&parse(&text).unwrap()), LAYER);
}

/// The error of a text that is not a graph.
fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "line 1, column 1: expected `graph`, found the end"),
        (
            "graph @t (%a: [x]f32) {",
            "line 1, column 16: expected a dim: a number, `tokens`, `outputs` or `ctx`, found `x`",
        ),
        (
            "graph @t (%a: [3]f31) {",
            "line 1, column 18: unknown element type `f31`",
        ),
        (
            "graph @t (%1: [3]f32) {",
            "line 1, column 11: `%1`: the name of a parameter must begin with a letter",
        ),
        (
            "graph @t (%a: kv, %a: kv) {",
            "line 1, column 19: `%a` is made twice",
        ),
        (
            "graph @t () {\n  %0 = nop : kv",
            "line 2, column 8: unknown op `nop`",
        ),
        (
            "graph @t () {\n  %0 = add %1",
            "line 2, column 12: `%1` is not made before",
        ),
        (
            "graph @t () {\n  %0 = scalar {value = 1} : kv, kv",
            "line 2, column 3: 1 results, but 2 types",
        ),
        (
            "graph @t () {\n  %0 = scalar : []f32",
            "line 2, column 8: `scalar` lacks the attribute `value`",
        ),
        (
            "graph @t () {\n  %0 = scalar {value = half}",
            "line 2, column 8: `half` is no value for `value` of `scalar`",
        ),
        (
            "graph @t () {\n  %0 = scalar {value = 1, x = 2}",
            "line 2, column 27: `scalar` has no attribute `x`",
        ),
        (
            "graph @t () {\n  %0 = scalar {value = 1, value = 2}",
            "line 2, column 27: attribute `value` is given twice",
        ),
        (
            "graph @t () {\n  %0 = embed @w",
            "line 2, column 14: weight `@w` is not declared",
        ),
        (
            "graph @t () {\n  return %0",
            "line 2, column 10: `%0` is not made before",
        ),
        (
            "graph @t () {\n  return\n} x",
            "line 3, column 3: expected the end, found `x`",
        ),
        (
            "graph @\"t\n",
            "line 1, column 7: the quoted name does not end on its line",
        ),
        (
            "graph @\"\\x\" () {",
            "line 1, column 7: `@\"\\x\"` has an escape other than \\\", \\\\, \\n and \\u{…}",
        ),
        ("graph @t () { #", "line 1, column 15: '#' begins nothing"),
        (
            "graph @t (%a: [99999999999999999999]f32) {",
            "line 1, column 16: expected a dim: a number, `tokens`, `outputs` or `ctx`, found `99999999999999999999`",
        ),
        (
            "graph @t (%a: []kv) {",
            "line 1, column 17: a kv token has no dims",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn errors_in_linear_say_where_and_what() {
    let text = |part: &str| {
        format!(
            "graph @t (%x: [2, 4]f32) {{\n weight @w : [3, 4]f32\n %0 = linear %x [{part}] : [2, 3]f32\n return %0\n}}"
        )
    };
    parse(&text("@w -> f32")).unwrap();
    parse(&text("@w->f32")).unwrap();
    let cases = [
        ("@w", "column 20: expected `->`, found `]`"),
        (
            "@w up -> f32",
            "column 21: expected `natural` or `rope_half`, found `up`",
        ),
        (
            "@w {twist(1)} -> f32",
            "column 22: unknown step `twist` of an epilogue",
        ),
        (
            "@w {heads(-1)} -> f32",
            "column 28: expected a number of heads, found `-1`",
        ),
        (
            "@w {softcap(inf)} -> f32",
            "column 30: expected a float, found `inf`",
        ),
        (
            "@w -> f16",
            "column 24: expected an output: `f32`, `q8a`, `kv.k(…)` or `kv.v(…)`, found `f16`",
        ),
        (
            "@w -> f32 @w -> f32",
            "column 28: expected `,` or `]`, found `@w`",
        ),
    ];
    for (part, expected) in cases {
        assert_eq!(error(&text(part)), format!("line 3, {expected}"), "{part}");
    }
}

proptest! {
    #[test]
    fn random_graphs_round_trip(seed: u64) {
        let graph = random_graph(seed);
        verify(&graph).map_err(|e| TestCaseError::fail(format!("{e:?} in\n{graph}")))?;
        let text = print(&graph);
        let parsed = parse(&text).map_err(|e| TestCaseError::fail(format!("{e} in\n{text}")))?;
        prop_assert_eq!(&parsed, &graph.compact());
        prop_assert_eq!(print(&parsed), text);
        prop_assert_eq!(verify(&parsed), Ok(()));
    }

    #[test]
    fn damaged_text_is_an_error_or_a_graph(
        seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, "[%@{}\\[\\],:;=<>\\-\"\\\\0-9a-z\n ]{0,3}"), 1..4),
    ) {
        let mut text: Vec<char> = print(&random_graph(seed % 64)).chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        // Neither the parser nor the verifier panics, and what they take prints as what it reads as.
        if let Ok(graph) = parse(&text) {
            let printed = print(&graph);
            prop_assert_eq!(&parse(&printed).unwrap(), &graph.compact());
            let _ = verify(&graph);
        }
    }
}
