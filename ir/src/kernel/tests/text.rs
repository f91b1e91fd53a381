//! The text form: what it looks like, that it reads back, and that other text is an error with a place.

use super::super::parse::{MAX_DEPTH, parse};
use super::random::{BYTES, kernel};
use super::*;
use proptest::prelude::*;

fn scale() -> Kernel {
    let mut b = KernelBuilder::new("scale");
    let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::Out));
    let rows = b.scalar("rows");
    let scratch = b.scratch(64);
    let unit = b.unit();
    let index = b.shl(unit, 6);
    let zero = b.fconst(0.5, 16);
    let lo = b.index(0);
    let sum = b.for_loop(lo, rows, 2, &[zero], |b, i, carried| {
        let x = b.load(
            Mem::F16,
            Addr {
                buf: x,
                index: i,
                disp: 32,
            },
            Ty::f32(16),
        );
        vec![b.add(carried[0], x)]
    });
    b.if_else(
        Cmp::Lt,
        unit,
        rows,
        |b| {
            b.store(
                Mem::F32,
                Addr {
                    buf: y,
                    index,
                    disp: -8,
                },
                sum[0],
            )
        },
        |b| {
            b.store(
                Mem::F32,
                Addr {
                    buf: scratch,
                    index: lo,
                    disp: 0,
                },
                sum[0],
            )
        },
    );
    b.finish()
}

const SCALE: &str = "\
kernel @scale (unit %0, $x: in, $y: out, #rows = %1) scratch 64 {
  %2 = shl %0, 6 : i64
  %3 = fconst 0.5 : f32x16
  %4 = iconst 0 : i64
  %9 = for %5 in %4..%1 step 2 carry (%6 = %3) {
    %7 = load.f16 $x[%5 + 32] : f32x16
    %8 = add %6, %7 : f32x16
    yield %8
  }
  if lt %0, %1 {
    store.f32 $y[%2 - 8], %9
  } else {
    store.f32 $scratch[%4], %9
  }
}
";

#[test]
fn prints_readable_text() {
    assert_eq!(scale().to_string(), SCALE);
    assert_eq!(parse(SCALE).expect("what was printed"), scale());
}

#[test]
fn comments_spacing_and_numbers_of_values_do_not_matter() {
    let text = SCALE
        .replace("shl %0, 6", "shl %0,6 ; rows of 64 bytes\n")
        .replace("%9", "%900")
        .replace("$x[%5 + 32]", "$x [ %5+32 ]");
    assert_eq!(parse(&text).expect("the same kernel"), scale());
}

#[test]
fn errors_have_a_place() {
    let cases = [
        ("%2 = shl", "%2 = shi", "2:8: there is no op `shi`"),
        (
            "f32x16\n  %4",
            "f33x16\n  %4",
            "3:21: expected a type such as `f32x4`, found `f33x16`",
        ),
        ("add %6, %7", "add %6, %77", "7:18: %77 is not defined"),
        ("%4 = iconst", "%3 = iconst", "4:3: %3 is defined twice"),
        ("$x[%5", "$z[%5", "6:19: there is no buffer $z"),
        ("+ 32", "+ 2147483648", "6:27: an offset lies within 2^31 bytes"),
        (
            "store.f32 $y[%2 - 8], %9",
            "%10 = store.f32 $y[%2], %9 : f32",
            "11:11: `store` has 0 results, not 1",
        ),
        (
            "%9 = for",
            "%9, %10 = for",
            "5:13: the loop carries 1 values but has 2 results",
        ),
        ("fconst 0.5", "fconst nan", "3:15: expected a float, found `nan`"),
        (
            "iconst 0",
            "iconst 9223372036854775808",
            "4:15: expected an integer below 2^63, found `9223372036854775808`",
        ),
        (
            "64 {",
            "6400000000 {",
            "1:62: expected a number of bytes below 2^32, found `6400000000`",
        ),
        ("$y: out", "$x: out", "1:33: another buffer is named $x"),
    ];
    for (from, to, message) in cases {
        let text = SCALE.replacen(from, to, 1);
        assert_ne!(text, SCALE, "{from} is in the text");
        let error = parse(&text).expect_err(to).to_string();
        assert_eq!(error, message, "{to}");
    }
    assert_eq!(
        parse("").expect_err("empty").to_string(),
        "1:1: expected `kernel`, found the end of the text"
    );
    let after = parse(&format!("{SCALE}more"))
        .expect_err("text follows")
        .to_string();
    assert_eq!(after, "16:1: expected the end of the kernel, found `more`");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: u32| {
        let (open, close) = (
            "if eq %0, %0 {".repeat(depth as usize),
            "}".repeat(depth as usize),
        );
        parse(&format!("kernel @deep (unit %0) {{ {open} {close} }}"))
    };
    assert!(nested(MAX_DEPTH - 1).is_ok());
    let error = nested(MAX_DEPTH).expect_err("too deep");
    assert_eq!(error.what, "regions nest deeper than 64");
    assert!(nested(1_000_000).is_err());
}

#[test]
fn invalid_kernels_print_too() {
    let mut kernel = scale();
    kernel.values = Arena::new();
    kernel.bufs = Arena::new();
    kernel.body.insts.reverse();
    assert!(kernel.to_string().contains("store.f32 $?1[%?"), "{kernel}");
}

fn interpret(kernel: &Kernel) -> (Vec<Vec<u8>>, Result<(), InterpError>) {
    let mut bufs: Vec<Vec<u8>> = (1..4)
        .map(|i| (0..BYTES).map(|j| (i * j * 37 % 120) as u8).collect())
        .collect();
    let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(Vec::as_mut_slice).collect();
    let result = run(kernel, &mut slices, &[3], 0..2);
    (bufs, result)
}

/// The property below is worth something only if the kernels use the whole table, and many of them run to the end.
#[test]
fn random_kernels_use_every_op() {
    fn keywords(region: &Region, all: &mut std::collections::BTreeSet<&str>) {
        for inst in &region.insts {
            all.insert(inst.op.info().keyword);
            inst.regions.iter().for_each(|r| keywords(r, all));
        }
    }
    let kernels: Vec<Kernel> = (0..300).map(kernel).collect();
    let mut found = std::collections::BTreeSet::new();
    kernels.iter().for_each(|k| keywords(&k.body, &mut found));
    assert_eq!(found.len(), 43, "{found:?}");
    let complete = kernels.iter().filter(|k| interpret(k).1.is_ok()).count();
    assert!((20..300).contains(&complete), "{complete} run to the end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_kernels_read_back(seed: u64) {
        let kernel = kernel(seed);
        let text = kernel.to_string();
        let read = parse(&text).expect("what was printed");
        prop_assert_eq!(&read, &kernel.compact());
        prop_assert_eq!(&read.to_string(), &text);
        prop_assert_eq!(verify::verify(&read), Ok(()));
        prop_assert_eq!(interpret(&read), interpret(&kernel));
    }

    #[test]
    fn changed_text_never_panics(seed: u64, cuts in prop::collection::vec((any::<u16>(), any::<u16>(), 0usize..12), 1..4)) {
        let mut text = kernel(seed % 64).to_string();
        for (at, to, kind) in cuts {
            let boundary = |n: u16| (0..=usize::from(n) % (text.len() + 1)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            let (at, to) = (boundary(at), boundary(to));
            let piece = ["", "%0", "{", "}", " : f32x255", "\"", "for", "99999999999999999999", "é", "-", "$", "yield %0"][kind];
            let end = if kind % 2 == 0 { at } else { to.clamp(at, (at + 20).min(text.len())) };
            let end = (at..=end).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(at);
            text.replace_range(at..end, piece);
        }
        match parse(&text) {
            Ok(kernel) => {
                prop_assert_eq!(&parse(&kernel.to_string()).expect("what was printed"), &kernel);
                // Invalid kernels are named as such, not run.
                let invalid = verify::verify(&kernel).is_err();
                prop_assert!(!invalid || run(&kernel, &mut [], &[], 0..0).is_err());
            }
            Err(error) => {
                prop_assert!(error.line >= 1 && error.column >= 1 && error.line as usize <= text.lines().count() + 1);
            }
        }
    }
}
