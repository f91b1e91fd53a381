//! Unfused ops, against values worked out by hand.

use super::{Inputs, Tensor, assert_close, run};
use crate::dtype::DType;
use crate::graph::interp::{KvCache, MemoryWeights, eval};
use crate::graph::tests::graph;

/// The result of `line`, which may read `%x`, `%y`, `%i` and weights `@w`, `@m` of the given elements.
fn op(line: &str, x: Tensor) -> Tensor {
    let shape = |dims: &[usize]| {
        dims.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let text = format!(
        "graph @t (%x: [{}]{}, %y: [2]f32, %i: [2]i32) {{
           weight @w : [2]f32
           weight @m : [4, 2]f32
           %0 = {line}
           return %0
         }}",
        shape(&x.dims),
        x.dtype()
    );
    let y = Tensor::f32(&[2], vec![10.0, -1.0]);
    let inputs = Inputs::new()
        .with("x", x)
        .with("y", y)
        .with("i", Tensor::indices(&[3, 1]));
    let matrix = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    run(&text, &[("w", 1, &[2.0, 0.5]), ("m", 4, &matrix)], &inputs)
        .unwrap()
        .remove(0)
}

fn square() -> Tensor {
    Tensor::f32(&[2, 2], vec![3.0, 4.0, -1.0, 0.0])
}

#[test]
fn embed_takes_rows() {
    assert_close(
        &op("embed @m, %i : [2, 2]f32", square()),
        &[2, 2],
        &[6.0, 7.0, 2.0, 3.0],
    );
}

#[test]
fn dequant_decodes_in_order() {
    let natural = op(
        "dequant @m {order = natural, heads = 0, dims = 0} : [4, 2]f32",
        square(),
    );
    assert_close(&natural, &[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let half = op(
        "dequant @m {order = rope_half, heads = 1, dims = 4} : [4, 2]f32",
        square(),
    );
    assert_close(&half, &[4, 2], &[0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    let heads = op(
        "dequant @m {order = rope_half, heads = 2, dims = 2} : [4, 2]f32",
        square(),
    );
    assert_close(&heads, &[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn rope_half_leaves_the_rows_behind_dims() {
    let text = "graph @t () {
      weight @b : [12]f32
      %0 = dequant @b {order = rope_half, heads = 2, dims = 4} : [12]f32
      return %0
    }";
    let elements: Vec<f32> = (0u8..12).map(f32::from).collect();
    let got = run(text, &[("b", 1, &elements)], &Inputs::new()).unwrap();
    assert_close(
        &got[0],
        &[12],
        &[0.0, 2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0, 7.0, 9.0, 10.0, 11.0],
    );
}

#[test]
fn scalars_and_elementwise() {
    assert_close(&op("scalar {value = 1.5} : []f32", square()), &[], &[1.5]);
    assert_close(
        &op("add %x, %x : [2, 2]f32", square()),
        &[2, 2],
        &[6.0, 8.0, -2.0, 0.0],
    );
    assert_close(
        &op("add %x, %y : [2, 2]f32", square()),
        &[2, 2],
        &[13.0, 3.0, 9.0, -1.0],
    );
    assert_close(
        &op("mul %x, %y : [2, 2]f32", square()),
        &[2, 2],
        &[30.0, -4.0, -10.0, 0.0],
    );
    assert_close(
        &op("scale %x {by = -2.0} : [2, 2]f32", square()),
        &[2, 2],
        &[-6.0, -8.0, 2.0, 0.0],
    );
    let capped = [2.0 * 1.5f32.tanh(), 2.0 * 2f32.tanh(), -2.0 * 0.5f32.tanh(), 0.0];
    assert_close(
        &op("softcap %x {cap = 2.0} : [2, 2]f32", square()),
        &[2, 2],
        &capped,
    );
    let silu = |x: f32| x / (1.0 + (-x).exp());
    assert_close(
        &op("act %x {func = silu} : [2, 2]f32", square()),
        &[2, 2],
        &[silu(3.0), silu(4.0), silu(-1.0), 0.0],
    );
    // Values of PyTorch's gelu(approximate="tanh").
    let gelu = [2.9963627, 3.9999297, -0.158808, 0.0];
    assert_close(&op("act %x {func = gelu} : [2, 2]f32", square()), &[2, 2], &gelu);
}

#[test]
fn matmul_is_by_the_transpose() {
    let text = "graph @t (%x: [2, 3]f32, %w: [1, 3]f32) {\n %0 = matmul %x, %w : [2, 1]f32\n return %0\n}";
    let inputs = Inputs::new()
        .with("x", Tensor::f32(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .with("w", Tensor::f32(&[1, 3], vec![1.0, 0.5, -1.0]));
    assert_close(&run(text, &[], &inputs).unwrap()[0], &[2, 1], &[-1.0, 0.5]);
}

#[test]
fn rms_norm_is_over_the_last_dim() {
    // Rows have mean squares 12.5 and 0.5; with eps 0.5 these are 13 and 1.
    let want = [3.0 / 13f32.sqrt() * 2.0, 4.0 / 13f32.sqrt() * 0.5, -2.0, 0.0];
    assert_close(
        &op("rms_norm @w, %x {eps = 0.5} : [2, 2]f32", square()),
        &[2, 2],
        &want,
    );
    let heads = Tensor::f32(&[1, 2, 2], vec![3.0, 4.0, -1.0, 0.0]);
    assert_close(
        &op("rms_norm @w, %x {eps = 0.5} : [1, 2, 2]f32", heads),
        &[1, 2, 2],
        &want,
    );
}

#[test]
fn heads_split_and_merge() {
    let x = Tensor::f32(&[1, 4], vec![1.0, 2.0, 3.0, 4.0]);
    let split = op("split_heads %x {heads = 2} : [1, 2, 2]f32", x);
    assert_close(&split, &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_close(
        &op("merge_heads %x : [1, 4]f32", split),
        &[1, 4],
        &[1.0, 2.0, 3.0, 4.0],
    );
}

#[test]
fn softmax_sums_to_one() {
    let e = 1f32.exp();
    let (low, high) = (1.0 / (1.0 + e), e / (1.0 + e));
    assert_close(
        &op("softmax %x : [2, 2]f32", square()),
        &[2, 2],
        &[low, high, low, high],
    );
}

#[test]
fn gather_rows_takes_rows() {
    let x = Tensor::f32(&[4, 1], vec![1.0, 2.0, 3.0, 4.0]);
    assert_close(&op("gather_rows %x, %i : [2, 1]f32", x), &[2, 1], &[4.0, 2.0]);
}

/// Rope of one row of one head at position 3.
fn rope(attrs: &str, factors: Option<&[f32]>, x: [f32; 4]) -> Vec<f32> {
    let factor = factors.map_or("", |_| "@f, ");
    let text = format!(
        "graph @t (%x: [1, 1, 4]f32, %pos: [1]i32) {{
           weight @f : [2]f32
           %0 = rope {factor}%x, %pos {{{attrs}}} : [1, 1, 4]f32
           return %0
         }}"
    );
    let inputs = Inputs::new()
        .with("x", Tensor::f32(&[1, 1, 4], x.to_vec()))
        .with("pos", Tensor::indices(&[3]));
    run(&text, &[("f", 1, factors.unwrap_or(&[1.0, 1.0]))], &inputs).unwrap()[0]
        .to_f32()
        .unwrap()
}

#[test]
fn rope_turns_pairs() {
    let near = |got: Vec<f32>, want: [f32; 4]| assert_close(&Tensor::f32(&[4], got), &[4], &want);
    // Angles at position 3, base 100, 4 dims: 3 and 3 / 10.
    let (s, c) = 3f32.sin_cos();
    let (s2, c2) = 0.3f32.sin_cos();
    let x = [1.0, 0.0, 0.0, 2.0];
    let attrs = "dims = 4, base = 100, freq_scale = 1, magnitude = 1";
    near(
        rope(&format!("pairs = adjacent, {attrs}"), None, x),
        [c, s, -2.0 * s2, 2.0 * c2],
    );
    near(
        rope(&format!("pairs = half, {attrs}"), None, x),
        [c, -2.0 * s2, s, 2.0 * c2],
    );
    // Twice the frequency scale and a factor of two cancel in the first pair; the second gets 3 / 10 · 2 / 4.
    let (s3, c3) = 0.15f32.sin_cos();
    let scaled = "pairs = half, dims = 4, base = 100, freq_scale = 2, magnitude = 1.5";
    near(
        rope(scaled, Some(&[2.0, 4.0]), x),
        [1.5 * c, -3.0 * s3, 1.5 * s, 3.0 * c3],
    );
    // Elements behind `dims` stay.
    let part = "pairs = half, dims = 2, base = 100, freq_scale = 1, magnitude = 1";
    near(rope(part, None, [1.0, 0.0, 7.0, 2.0]), [c, s, 7.0, 2.0]);
}

#[test]
fn quantize_has_a_scale_per_block() {
    let text = "graph @t (%x: [1, 64]f32) {\n %0 = quantize %x : [1, 64]q8a\n return %0\n}";
    let x: Vec<f32> = (0..64)
        .map(|i| {
            if i < 32 {
                i as f32
            } else {
                100.0 * (i as f32 - 40.0)
            }
        })
        .collect();
    let got = run(
        text,
        &[],
        &Inputs::new().with("x", Tensor::f32(&[1, 64], x.clone())),
    )
    .unwrap();
    assert_eq!(got[0].dtype(), DType::Q8A);
    let decoded = got[0].to_f32().unwrap();
    for (i, (x, got)) in x.iter().zip(decoded).enumerate() {
        let scale = if i < 32 { 31.0 / 127.0 } else { 2300.0 / 127.0 };
        let want = (x / scale).round_ties_even() * scale;
        assert!(
            (want - got).abs() <= 1e-4 * want.abs(),
            "element {i}: {got}, not {want}"
        );
    }
}

#[test]
fn weights_are_decoded_from_blocks() {
    let graph = graph(
        "graph @t () {
           weight @w : [2, 32]q8_0
           %0 = dequant @w {order = natural, heads = 0, dims = 0} : [2, 32]f32
           return %0
         }",
    );
    let mut source = MemoryWeights::new();
    let elements: Vec<f32> = (0..64).map(|i| (i - 20) as f32).collect();
    source.insert("w", DType::Q8_0, 2, &elements).unwrap();
    let got = eval(&graph, &source, &Inputs::new(), &mut KvCache::new()).unwrap()[0]
        .to_f32()
        .unwrap();
    // Codes are within half a step, and the greatest has no more than the rounding of an f16 scale.
    assert!(
        elements
            .iter()
            .zip(&got)
            .all(|(x, g)| (x - g).abs() <= 0.5 * 43.0 / 127.0 + 0.05),
        "{got:?}"
    );
    assert_ne!(elements, got, "8 bits do not hold these");
}
