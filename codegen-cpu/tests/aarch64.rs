//! aarch64 code: the emulator that runs it finds what is wrong with it, and dot products are single instructions.
//!
//! That the code does what kernels say is tested where it is for the processor at hand: `support::check` runs every case
//! of `ops.rs` and `kernels.rs` under the emulator too, and `tests/kernels.rs` of the workspace every kernel of models.

mod support;

use lathe_codegen_cpu::{Arch, CpuFeatures, OptLevel, kernel_code, kernel_text};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Kernel, KernelBuilder, Mem, Ty, Val};
use support::Case;
use support::aarch64::{enabled, execute};

/// out[unit] = f(in[unit]), a word each.
fn words(f: impl Fn(&mut KernelBuilder, Val) -> Val) -> Case {
    let mut b = KernelBuilder::new("words");
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let index = b.shl(unit, 2);
    let at = |buf| Addr { buf, index, disp: 0 };
    let word = b.load(Mem::I32, at(input), Ty::I32);
    let word = f(&mut b, word);
    b.store(Mem::I32, at(out), word);
    Case {
        kernel: b.finish(),
        bufs: vec![vec![1; 16], vec![0; 16]],
        scalars: Vec::new(),
        units: 0..4,
    }
}

fn baseline_code(kernel: &Kernel) -> Vec<u8> {
    kernel_code(kernel, &CpuFeatures::baseline(Arch::Aarch64), OptLevel::None).unwrap()
}

#[test]
fn the_emulator_finds_wrong_code() {
    if !enabled("the_emulator_finds_wrong_code") {
        return;
    }
    let (double, negate) = (words(|b, x| b.add(x, x)), words(|b, x| b.neg(x)));
    let codes = [baseline_code(&double.kernel), baseline_code(&negate.kernel)];
    let results = execute(&codes, &[double.run(0), negate.run(1), double.run(1)]).unwrap();
    assert_eq!(results[0], double.interpret());
    assert_eq!(results[1], negate.interpret());
    assert_ne!(results[2], double.interpret(), "the other kernel's code");

    // One unit too many: $out of the second run ends before bytes that nobody may write, that of the first before a page
    // that nobody may touch.
    let mut long = words(|b, x| b.add(x, x));
    long.units = 0..5;
    long.bufs[0].resize(20, 1);
    let error = execute(&codes, &[double.run(0), long.run(0)]).unwrap_err();
    assert!(
        error.contains("@words") && error.contains("case 1: signal 11"),
        "{error}"
    );
    let error = execute(&codes, &[long.run(0)]).unwrap_err();
    assert!(error.contains("@words wrote outside of $out"), "{error}");

    let illegal = vec![vec![0; 4]];
    let error = execute(&illegal, &[double.run(0)]).unwrap_err();
    assert!(error.contains("case 0: signal 4 at code byte 0"), "{error}");
}

/// A dot product of 16 bytes whose unsigned operand has `bits` bits.
fn dot(bits: u8) -> Kernel {
    let mut b = KernelBuilder::new(format!("dot{bits}"));
    let (codes, x, out) = (
        b.buf("codes", Access::In),
        b.buf("x", Access::In),
        b.buf("out", Access::InOut),
    );
    let index = b.index(0);
    let at = |buf| Addr { buf, index, disp: 0 };
    let acc = b.load(Mem::I32, at(out), Ty::i32(4));
    let code = b.load(Mem::U8, at(codes), Ty::u8(16));
    let code = b.bits(code, 0, bits);
    let x = b.load(Mem::I8, at(x), Ty::i8(16));
    let sum = b.dot4(acc, code, x, bits);
    b.store(Mem::I32, at(out), sum);
    b.finish()
}

#[test]
fn dot_products_are_single_instructions() {
    let all = CpuFeatures::all(Arch::Aarch64);
    let (one_signed, one_mixed) = (&["sdot"][..], &["usdot"][..]);
    let sets = [
        ("", &[][..], &[][..]),
        // A byte without sign is a signed one and twice 64.
        ("dotprod", one_signed, &["sdot"; 3]),
        ("i8mm", one_mixed, one_mixed),
        ("dotprod,i8mm", one_signed, one_mixed),
    ];
    for (names, narrow, full) in sets {
        let features = if names.is_empty() {
            CpuFeatures::baseline(Arch::Aarch64)
        } else {
            all.narrowed(names).unwrap()
        };
        for (bits, wanted) in [(4, narrow), (7, narrow), (8, full)] {
            let text = kernel_text(&dot(bits), &features, OptLevel::None).unwrap();
            let opcodes = text.assembly.lines().filter_map(|l| l.split_whitespace().next());
            let (dots, others): (Vec<&str>, Vec<&str>) = opcodes.partition(|o| o.ends_with("dot"));
            let multiplies = others.iter().any(|o| o.contains("mul") || o.contains("addlp"));
            let what = format!("{bits} bits on {features}:\n{}", text.assembly);
            assert_eq!(dots, wanted, "{what}");
            assert_eq!(multiplies, wanted.is_empty(), "{what}");
        }
    }
}

/// Products repeat activations word by word; sixteen bytes of them are one load, at an address that is made once.
#[test]
fn neighbouring_words_share_a_load() {
    let mut b = KernelBuilder::new("words");
    let (x, out) = (b.buf("x", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let index = b.mul_const(unit, 48);
    let ones = b.load(
        Mem::U8,
        Addr {
            buf: x,
            index,
            disp: 0,
        },
        Ty::u8(16),
    );
    let ones = b.bits(ones, 0, 1);
    let mut sum = b.iconst(0, 4);
    for word in 0..8 {
        let disp = 16 + 4 * word;
        let a = b.load_splat(Mem::I8, Addr { buf: x, index, disp }, Ty::i8(16));
        sum = b.dot4(sum, ones, a, 1);
    }
    b.store(
        Mem::I32,
        Addr {
            buf: out,
            index,
            disp: 0,
        },
        sum,
    );
    let features = CpuFeatures::all(Arch::Aarch64);
    let text = kernel_text(&b.finish(), &features, OptLevel::None)
        .unwrap()
        .assembly;
    let count = |what: &str| text.lines().filter(|l| l.trim_start().starts_with(what)).count();
    assert_eq!((count("ldr q"), count("ld1r"), count("dup")), (3, 0, 8), "{text}");
}
