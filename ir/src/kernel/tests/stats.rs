//! Costs of kernels small enough to count by hand.

use super::super::parse::parse;
use super::super::stats::{Stats, stats};

fn of(body: &str) -> Stats {
    let text = format!("kernel @k (unit %0, $x: in, $y: out, #n = %1) {{ %2 = iconst 0 : i64 {body} }}");
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(super::verify::verify(&kernel), Ok(()));
    stats(&kernel)
}

#[test]
fn operations_and_bytes() {
    let ops = of(
        "%3 = load.f16 $x[%0] : f32x8 %4 = fma %3, %3, %3 : f32x8 %5 = add %4, %3 : f32x8
        %6 = load_splat.u8 $x[%0] : u8x16 %7 = load.i8 $x[%0] : i8x16 %8 = iconst 0 : i32x4
        %9 = dot4 %8, %6, %7 {bits 8} : i32x4 store.f32 $y[%0], %5 store.i8 $y[%0], %9",
    );
    let counted = (ops.flops, ops.int_ops, ops.loaded, ops.stored, ops.exact);
    assert_eq!(counted, (16 + 8, 32, 16 + 4 + 16, 32 + 4, true));
}

#[test]
fn loops_multiply_and_arms_are_compared() {
    let body = "%20 = load.f32 $x[%0] : f32x4 %21 = neg %20 : f32x4";
    let inner = of(&format!(
        "%3 = iconst 10 : i64 for %4 in %2..%3 step 3 {{ for %5 in %2..%3 step 1 {{ {body} }} }}"
    ));
    assert_eq!(
        (inner.flops, inner.loaded, inner.exact),
        (4 * 10 * 4, 4 * 10 * 16, true)
    );
    let unknown = of(&format!("for %4 in %2..%1 step 1 {{ {body} }}"));
    assert_eq!((unknown.flops, unknown.exact), (4, false));
    let empty = of(&format!("for %4 in %2..%2 step 1 {{ {body} }}"));
    assert_eq!((empty.flops, empty.exact), (0, true));
    let arms = of(&format!("if lt %0, %1 {{ {body} }}"));
    assert_eq!((arms.flops, arms.exact), (4, false));
    let forever = of(&format!(
        "%3 = iconst 9223372036854775807 : i64 for %4 in %2..%3 step 1 {{ {body} }}"
    ));
    assert_eq!(forever.loaded, u64::MAX);
}

#[test]
fn live_vectors() {
    assert_eq!(of("%3 = iconst 0 : i32").live_vectors, 0);
    // The result takes the place of an operand that ends there.
    assert_eq!(
        of("%3 = fconst 0.0 : f32x4 %4 = neg %3 : f32x4 store.f32 $y[%0], %4").live_vectors,
        1
    );
    let three = "%3 = fconst 0.0 : f32x4 %4 = fconst 1.0 : f32x4 %5 = fconst 2.0 : f32x4";
    assert_eq!(
        of(&format!(
            "{three} %6 = fma %3, %4, %5 : f32x4 store.f32 $y[%0], %6"
        ))
        .live_vectors,
        3
    );
    // A value from around a loop is alive in all of it, though its use there comes first.
    let looped = "%3 = fconst 0.0 : f32x4 for %4 in %2..%1 step 1 {
        store.f32 $y[%0], %3 %5 = load.f32 $x[%0] : f32x4 %6 = load.f32 $x[%0] : f32x4
        %7 = add %5, %6 : f32x4 store.f32 $y[%4], %7 }";
    assert_eq!(of(looped).live_vectors, 3);
    let carried = "%3 = fconst 0.0 : f32x4 %8 = for %4 in %2..%1 step 1 carry (%5 = %3) {
        %6 = load.f32 $x[%0] : f32x4 %7 = add %5, %6 : f32x4 yield %7 } store.f32 $y[%0], %8";
    assert_eq!(of(carried).live_vectors, 2);
}
