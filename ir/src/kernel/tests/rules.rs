//! Every rule of the verifier, broken.

use super::super::parse::parse;
use super::super::verify::verify;
use super::*;

/// Broken rules of a kernel with this body.
fn errors(body: &str) -> Vec<String> {
    let header = "kernel @rules (unit %0, $x: in, $y: out, $z: inout, #rows = %1) scratch 64";
    let text = format!(
        "{header} {{
          %10 = iconst 0 : i64
          %11 = iconst 1 : i32
          %12 = fconst 0.0 : f32x4
          %13 = load.u8 $x[%0] : u8x16
          %14 = load.i8 $x[%0] : i8x16
          %15 = iconst 1 : i32x4
          {body}
        }}"
    );
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e}: {body}"));
    verify(&kernel)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn valid(body: &str) {
    assert_eq!(errors(body), [""; 0], "{body}");
}

/// The body breaks one rule.
fn breaks(body: &str, error: &str) {
    let found = errors(body);
    assert!(
        found.len() == 1 && found[0].contains(error),
        "{body}: {found:?} for {error}"
    );
}

#[test]
fn types_of_operands() {
    let wrong = [
        "%20 = iconst 4294967296 : i32",
        "%20 = iconst 0 : f32",
        "%20 = fconst 0.0 : i32",
        "%20 = iota : f32x4",
        "%20 = add %13, %13 : u8x16",
        "%20 = add %12, %15 : f32x4",
        "%20 = div %15, %15 : i32x4",
        "%20 = mul %15, %15 : i32x8",
        "%20 = div_const %0, 0 : i64",
        "%20 = rem_const %11, 4 : i32",
        "%20 = and %12, %12 : f32x4",
        "%20 = or %14, %14 : i8x16",
        "%20 = shl %15, 32 : i32x4",
        "%20 = sar %0, 64 : i64",
        "%20 = shr %0, 1 : i64",
        "%20 = bits %13 {shift 4, width 5} : u8x16",
        "%20 = bits %13 {shift 255, width 255} : u8x16",
        "%20 = bits %13 {shift 0, width 0} : u8x16",
        "%20 = bits %14 {shift 0, width 4} : i8x16",
        "%20 = bshl %13, 8 : u8x16",
        "%20 = lut %14 {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} : i8x16",
        "%20 = lut %15 {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} : i32x4",
        "%20 = neg %0 : i64",
        "%20 = abs %15 : i32x4",
        "%20 = sqrt %15 : i32x4",
        "%20 = round %15 : i32x4",
        "%20 = fma %15, %15, %15 : i32x4",
        "%20 = fnma %12, %12, %15 : f32x4",
        "%20 = dot4 %15, %14, %13 {bits 8} : i32x4",
        "%20 = dot4 %15, %13, %14 {bits 9} : i32x4",
        "%20 = dot4 %11, %13, %14 {bits 8} : i32",
        "%20 = cvt_f32 %12 : f32x4",
        "%20 = cvt_i32 %12 : i32",
        "%20 = to_index %0 : i64",
        "%20 = to_i32 %11 : i32",
        "%20 = bitcast %12 : f32x4",
        "%20 = splat %11 : f32x4",
        "%20 = splat %15 : i32x4",
        "%20 = extract %15, 4 : i32",
        "%20 = extract %13, 0 : u8",
        "%20 = reduce_add %12 : f32x4",
        "%20 = reduce_max %12 : i32",
        "%20 = cmp.lt %12, %12 : f32x4",
        "%20 = cmp.lt %0, %0 : i32",
        "%20 = select %12, %12, %12 : f32x4",
        "%20 = select %15, %12, %15 : f32x4",
        "%20 = load.f32 $x[%11] : f32x4",
        "%20 = load.f32 $x[%0] : i32x4",
        "%20 = load.u8 $x[%0] : i8x4",
        "%20 = load.i8 $x[%0] : i64",
        "%20 = load_splat.i32 $x[%0] : i64",
        "%20 = load_splat.u8 $x[%0] : u8",
        "store.bf16 $y[%0], %15",
        "store.i8 $y[%0], %14",
        "store.i32 $y[%0], %0",
        "store.f32 $y[%11], %12",
        "prefetch $x[%11]",
        "if lt %11, %11 { }",
        "for %20 in %0..%1 step 0 { }",
        "for %20 in %0..%1 step -1 { }",
        "for %20 in %11..%1 step 1 { }",
        "%22 = for %20 in %0..%1 step 1 carry (%21 = %12) { yield %15 }",
        "%22 = for %20 in %0..%1 step 1 carry (%21 = %12) { }",
        "for %20 in %0..%1 step 1 { yield %12 }",
        "if lt %0, %1 { yield %12 }",
    ];
    for body in wrong {
        breaks(body, "wrong types or attributes");
    }
}

#[test]
fn widest_types_and_loops_are_valid() {
    valid("%20 = load.f16 $z[%0 - 4] : f32x64 store.f16 $z[%0], %20");
    valid(
        "%20 = load.i32 $x[%0] : i64 %21 = load_splat.i8 $x[%20] : i8x64 %22 = load.i8 $scratch[%0] : i32x16",
    );
    valid(
        "%20 = dot4 %15, %13, %14 {bits 8} : i32x4 %21 = cmp.le %20, %15 : i32x4 %22 = select %21, %12, %12 : f32x4",
    );
    valid(
        "%23, %24 = for %20 in %0..%1 step 7 carry (%21 = %12, %22 = %15) { yield %21, %22 } %25 = abs %23 : f32x4",
    );
}

#[test]
fn lanes() {
    breaks("%20 = fconst 0.0 : f32x2", "%8 cannot have the type f32x2");
    breaks("%20 = iconst 0 : i64x4", "%8 cannot have the type i64x4");
}

#[test]
fn definitions_come_before_uses_in_the_region_or_around_it() {
    let inner = "%20 = neg %12 : f32x4";
    breaks(
        &format!("for %30 in %0..%1 step 1 {{ {inner} }} %21 = neg %20 : f32x4"),
        "is used where it is not defined",
    );
    breaks(
        "for %30 in %0..%1 step 1 { } %21 = add %30, %0 : i64",
        "is used where it is not defined",
    );
    breaks(
        &format!("if eq %0, %1 {{ {inner} }} else {{ %21 = neg %20 : f32x4 }}"),
        "is used where it is not defined",
    );
    breaks("yield %12", "the body takes or yields values");
}

fn built() -> Kernel {
    apply(Mem::F32, Ty::F32, Mem::F32, |b, x| b.neg(x))
}

fn first_error(change: impl FnOnce(&mut Kernel)) -> String {
    let mut kernel = built();
    change(&mut kernel);
    verify(&kernel).expect_err("a broken rule")[0].to_string()
}

#[test]
fn ids_and_counts() {
    let index = |n: usize| crate::Id::new(n);
    assert_eq!(verify(&built()), Ok(()));
    assert_eq!(
        first_error(|k| k.body.insts.swap(1, 2)),
        "%3 = neg: %2 is used where it is not defined"
    );
    assert_eq!(
        first_error(|k| k.body.insts[2].results[0] = index(2)),
        "%2 = neg: %2 is defined twice"
    );
    assert_eq!(
        first_error(|k| k.body.insts[2].results[0] = index(9)),
        "%9 = neg: %9 has no type"
    );
    assert_eq!(
        first_error(|k| k.body.insts[2].args[0] = index(9)),
        "%3 = neg: %9 is used where it is not defined"
    );
    let counts = "wrong number of operands, results or regions";
    assert_eq!(
        first_error(|k| k.body.insts[2].args.clear()),
        format!("%3 = neg: {counts}")
    );
    assert_eq!(
        first_error(|k| k.body.insts[3].regions.push(Region::default())),
        format!("store: {counts}")
    );
    assert_eq!(
        first_error(|k| k.body.insts[2].op = KOp::For { step: 1 }),
        format!("%3 = for: {counts}")
    );
    assert_eq!(
        first_error(|k| k.values[index(0)] = Ty::I32),
        "kernel: the unit and scalars are i64"
    );
    assert_eq!(
        first_error(|k| k.body.params.push(index(3))),
        "%3 = neg: %3 is defined twice"
    );
}

#[test]
fn buffers_and_scratch() {
    breaks("%20 = load.f32 $y[%0] : f32", "$y is `out`");
    breaks("%20 = load_splat.f32 $y[%0] : f32", "$y is `out`");
    breaks("prefetch $y[%0]", "$y is `out`");
    breaks("store.f32 $x[%0], %12", "$x is `in`");
    valid(
        "store.f32 $scratch[%10 + 48], %12 %20 = load_splat.u8 $scratch[%10 + 60] : u8x16 prefetch $scratch[%10 + 999]",
    );
    breaks(
        "store.f32 $scratch[%10 + 49], %12",
        "16 bytes at 49 of scratch, which has 64",
    );
    breaks(
        "%20 = load.f16 $scratch[%10 - 1] : f32x4",
        "8 bytes at -1 of scratch, which has 64",
    );
    let far = "%20 = iconst 9223372036854775807 : i64 store.f32 $scratch[%20 + 8], %12";
    breaks(far, "of scratch, which has 64");
    let buffers = |change: fn(&mut Kernel)| first_error(change);
    assert_eq!(
        buffers(|k| k.scratch = u32::MAX),
        "kernel: more scratch memory than a kernel may have"
    );
    assert_eq!(
        buffers(|k| k.bufs[crate::Id::new(1)].name = "x".into()),
        "$x: another buffer has this name"
    );
    assert_eq!(
        buffers(|k| k.bufs[crate::Id::new(0)].name = "scratch".into()),
        "$scratch: another buffer has this name"
    );
    let no_scratch = |k: &mut Kernel| {
        k.body.insts[1].op = KOp::Load {
            mem: Mem::F32,
            buf: crate::Id::new(2),
            disp: 0,
        }
    };
    assert_eq!(
        first_error(no_scratch),
        "%2 = load: the kernel has no scratch memory"
    );
    let no_buffer = |k: &mut Kernel| {
        k.body.insts[1].op = KOp::Load {
            mem: Mem::F32,
            buf: crate::Id::new(7),
            disp: 0,
        }
    };
    assert_eq!(first_error(no_buffer), "%2 = load: there is no buffer $7");
}
