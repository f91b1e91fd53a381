//! Result types and their errors, op by op, through the verifier, which reports them.

use super::with_lines;
use crate::graph::verify::verify;

/// `op … : type` is right.
fn fits(line: &str) {
    let graph = with_lines(&format!("%0 = {line}\n return %0"));
    assert_eq!(verify(&graph), Ok(()), "{line}");
}

/// `op … : type` breaks this rule alone.
fn fails(line: &str, expected: &str) {
    let graph = with_lines(&format!("%0 = {line}\n return %0"));
    let errors = verify(&graph).expect_err(line);
    let op = line.split_whitespace().next().unwrap();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, [format!("%0 = {op}: {expected}")], "{line}");
}

#[test]
fn every_unfused_op_has_its_type() {
    for line in [
        "embed @table, %tok : [tokens, 64]f32",
        "dequant @w {order = natural, heads = 0, dims = 0} : [64, 64]f32",
        "dequant @norm {order = rope_half, heads = 4, dims = 16} : [64]f32",
        "scalar {value = 1.0} : []f32",
        "matmul %x, %x : [tokens, tokens]f32",
        "add %x, %x : [tokens, 64]f32",
        "mul %h, %h : [tokens, 4, 16]f32",
        "scale %x {by = -1.0} : [tokens, 64]f32",
        "softcap %x {cap = 30.0} : [tokens, 64]f32",
        "act %h {func = gelu} : [tokens, 4, 16]f32",
        "rms_norm @norm, %x {eps = 1e-5} : [tokens, 64]f32",
        "rms_norm @head, %h {eps = 0.0} : [tokens, 4, 16]f32",
        "split_heads %x {heads = 4} : [tokens, 4, 16]f32",
        "merge_heads %h : [tokens, 64]f32",
        "rope @pairs, %h, %pos {pairs = half, dims = 16, base = 1e4, freq_scale = 1, magnitude = 1} : [tokens, 4, 16]f32",
        "kv_append %kv, %h, %h, %pos, %seq {layer = 0} : kv",
        "attn_scores %h, %kv, %seq {layer = 0, kv_heads = 2} : [tokens, 4, ctx]f32",
        "causal_mask %h, %pos {window = 0} : [tokens, 4, 16]f32",
        "softmax %h : [tokens, 4, 16]f32",
        "attn_mix %h, %kv, %seq {layer = 0, kv_heads = 2, head_dim = 8} : [tokens, 4, 8]f32",
        "gather_rows %x, %tok : [tokens, 64]f32",
        "attention.paged %h, %kv, %pos, %seq {layer = 0, kv_heads = 4, scale = 1, cap = 0, window = 0} : [tokens, 64]f32",
        "quantize %x : [tokens, 64]q8a",
        "norm_quant @norm, %x {eps = 1e-5} : [tokens, 64]q8a",
        "norm_add @norm, %x, %x {eps = 1e-5} : [tokens, 64]f32",
    ] {
        fits(line);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    fails("matmul %x : [tokens, 64]f32", "1 operands, but 2 expected");
    fails(
        "rms_norm %x {eps = 1e-5} : [tokens, 64]f32",
        "0 weights, but 1 expected",
    );
    fails(
        "matmul %x, %y : [tokens, 32]f32",
        "[tokens, 64]f32 times [tokens, 32]f32: rows differ in length",
    );
    fails(
        "matmul %x, %h : kv",
        "operand 1 is [tokens, 4, 16]f32, but must be f32 of rank 2",
    );
    fails(
        "add %x, %y : [tokens, 64]f32",
        "[tokens, 64]f32 and [tokens, 32]f32 do not match",
    );
    fails(
        "scale %tok {by = 1.0} : [tokens]i32",
        "operand 0 is [tokens]i32, but must be f32",
    );
    fails(
        "scale %x {by = 2.0} : [tokens, 32]f32",
        "its type is [tokens, 64]f32, but it is declared as [tokens, 32]f32",
    );
    fails(
        "softcap %x {cap = 0.0} : [tokens, 64]f32",
        "`cap` is 0, but must be positive",
    );
    fails(
        "rms_norm @norm, %x {eps = -1.0} : [tokens, 64]f32",
        "`eps` is -1, but must not be negative",
    );
    fails(
        "rms_norm @head, %x {eps = 0.0} : [tokens, 64]f32",
        "weight @head is [16]f32, but must be a vector of 64 elements",
    );
    fails(
        "embed @norm, %tok : [tokens, 64]f32",
        "the table is [64]f32, but must be a matrix",
    );
    fails(
        "embed @table, %x : [tokens, 64]f32",
        "operand 0 is [tokens, 64]f32, but must be i32 of rank 1",
    );
    fails(
        "split_heads %x {heads = 0} : kv",
        "[tokens, 64]f32 does not split into 0 heads",
    );
    fails(
        "split_heads %x {heads = 5} : kv",
        "[tokens, 64]f32 does not split into 5 heads",
    );
    fails(
        "rope %h, %pos {pairs = half, dims = 18, base = 1, freq_scale = 1, magnitude = 1} : [tokens, 4, 16]f32",
        "can't rotate 18 elements of a head of 16 elements: must be even, positive and fit",
    );
    fails(
        "dequant @w {order = natural, heads = 4, dims = 0} : [64, 64]f32",
        "natural order takes no heads and dims",
    );
    fails(
        "dequant @w {order = rope_half, heads = 5, dims = 2} : [64, 64]f32",
        "64 rows can't be reordered in 5 heads of 2",
    );
    fails(
        "attn_scores %h, %kv, %seq {layer = 0, kv_heads = 3} : [tokens, 4, ctx]f32",
        "3 KV heads do not divide the heads of [tokens, 4, 16]f32",
    );
    fails(
        "attn_scores %h, %x, %seq {layer = 0, kv_heads = 2} : kv",
        "operand 1 is [tokens, 64]f32, but must be kv",
    );
    fails(
        "causal_mask %h, %kv {window = 0} : kv",
        "operand 1 is kv, but must be [tokens]i32",
    );
    fails(
        "quantize %h : kv",
        "operand 0 is [tokens, 4, 16]f32, but must be f32 of rank 2",
    );
    fails(
        "norm_add @norm, %x, %y {eps = 0} : kv",
        "operand 1 is [tokens, 32]f32, but must be [tokens, 64]f32",
    );
}

#[test]
fn q8a_has_whole_blocks() {
    let text = "graph @t (%x: [tokens, 48]f32) {\n %0 = quantize %x : [tokens, 48]q8a\n return %0\n}";
    let errors = verify(&super::graph(text)).unwrap_err();
    let expected = "%0 = quantize: [tokens, 48]f32 can't be q8a: columns must be a multiple of 32";
    assert_eq!(errors[0].to_string(), expected);
}

/// A `linear` of one part, with f32 or q8a input.
fn part(text: &str) -> Result<(), String> {
    let graph = with_lines(&format!(
        "%q = quantize %x : [tokens, 64]q8a
         %0 = linear {text}
         return %0"
    ));
    verify(&graph).map_err(|errors| errors[0].what.clone())
}

#[test]
fn parts_of_linear_that_fit() {
    for text in [
        "%x [@w -> f32] : [tokens, 64]f32",
        "%q [@w -> f32] : [tokens, 64]f32",
        "%x [@f -> q8a] : [tokens, 64]q8a",
        "%x [@w {bias(@norm), heads(4), head_norm(@head, 0.0), rope(%pos, half, 8, 1e4, 1, 1)} -> f32] : [tokens, 4, 16]f32",
        "%x [@w rope_half {heads(4), rope(%pos, half, 16, 1e4, 1, 1, @pairs)} -> f32] : [tokens, 4, 16]f32",
        "%x [@w >< @w {glu(silu), add(%x)} -> f32] : [tokens, 64]f32",
        "%x [@w {heads(4)} -> kv.k(0, %kv, %pos, %seq)] : kv",
    ] {
        assert_eq!(part(text), Ok(()), "{text}");
    }
}

#[test]
fn parts_of_linear_that_do_not_fit() {
    let order =
        "epilogue steps are out of order (bias, heads, head_norm, rope, scale, glu, act, softcap, add)";
    for (text, expected) in [
        ("%x [] : kv", "0 weights, but at least 1 expected"),
        (
            "%h [@w -> f32] : kv",
            "operand 0 is [tokens, 4, 16]f32, but must be f32 or q8a of rank 2",
        ),
        (
            "%y [@w -> f32] : kv",
            "part 0: weight @w is [64, 64]q8_0, but must be a matrix with rows as long as [tokens, 32]f32's",
        ),
        (
            "%q [@f -> f32] : kv",
            "part 0: weight @f is [64, 64]f16: q8a input goes with weights in blocks only",
        ),
        (
            "%x [@w {scale(1.0), bias(@norm)} -> f32] : kv",
            &format!("part 0: {order}"),
        ),
        (
            "%x [@w {scale(1.0), scale(1.0)} -> f32] : kv",
            &format!("part 0: {order}"),
        ),
        (
            "%x [@w {glu(silu)} -> f32] : kv",
            "part 0: a second weight needs a glu, and a glu needs a second weight",
        ),
        (
            "%x [@w >< @w -> f32] : kv",
            "part 0: a second weight needs a glu, and a glu needs a second weight",
        ),
        (
            "%x [@w >< @w {bias(@norm), glu(silu)} -> f32] : kv",
            "part 0: a glu must be the first step of its epilogue",
        ),
        (
            "%x [@w >< @f {glu(silu)} -> f32] : kv",
            "part 0: weight @f is [64, 64]f16, but must be [64, 64]q8_0 as @w",
        ),
        (
            "%x [@w {heads(4), add(%x)} -> f32] : kv",
            "part 0: nothing can be added after heads",
        ),
        (
            "%x [@w {add(%y)} -> f32] : kv",
            "part 0: the value added is [tokens, 32]f32, but must be [tokens, 64]f32",
        ),
        (
            "%x [@w {head_norm(@head, 0.0)} -> f32] : kv",
            "part 0: head_norm needs heads",
        ),
        (
            "%x [@w {rope(%pos, half, 8, 1e4, 1, 1)} -> f32] : kv",
            "part 0: rope needs heads",
        ),
        (
            "%x [@w rope_half {heads(4)} -> f32] : kv",
            "part 0: rope_half needs heads and rope in the epilogue",
        ),
        ("%x [@w {heads(4)} -> q8a] : kv", "part 0: heads can't be q8a"),
        (
            "%x [@narrow -> q8a] : kv",
            "part 0: [tokens, 16]f32 can't be q8a: columns must be a multiple of 32",
        ),
        (
            "%x [@w -> kv.k(0, %kv, %pos, %seq)] : kv",
            "part 0: a KV store needs heads",
        ),
        (
            "%x [@w -> f32, @w {heads(4)} -> kv.k(0, %kv, %x, %seq)] : kv",
            "part 1: positions are [tokens, 64]f32, but must be [tokens]i32",
        ),
        (
            "%x [@w {heads(4)} -> kv.k(0, %x, %pos, %seq)] : kv",
            "part 0: the token stored to is [tokens, 64]f32, but must be kv",
        ),
        (
            "%x [@w {heads(4), scale(1.0), softcap(-1.0)} -> f32] : kv",
            "part 0: `cap` is -1, but must be positive",
        ),
    ] {
        assert_eq!(part(text), Err(expected.to_owned()), "{text}");
    }
}
