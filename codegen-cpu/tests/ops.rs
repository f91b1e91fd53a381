//! Every op at every number of lanes: compiled code equals the reference bit for bit.

mod support;

use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Cmp, Elem, KernelBuilder, Mem, Ty, Val};
use support::{Case, Rng, check, check_cross_compiles};

const UNITS: usize = 24;
const LANES: [u8; 6] = [1, 4, 8, 16, 32, 64];

fn at(buf: lathe_ir::kernel::Buf, index: Val) -> Addr {
    Addr { buf, index, disp: 0 }
}

/// How a value of this element type is loaded and stored.
fn mem_of(elem: Elem) -> Mem {
    match elem {
        Elem::I8 => Mem::I8,
        Elem::U8 => Mem::U8,
        Elem::I32 | Elem::I64 => Mem::I32,
        Elem::F32 => Mem::F32,
    }
}

/// A kernel that applies `f` to one value of each of `inputs` a unit and stores the result, on random data.
fn op_case(rng: &mut Rng, name: &str, inputs: &[Ty], f: impl Fn(&mut KernelBuilder, &[Val]) -> Val) -> Case {
    let lanes: Vec<String> = inputs.iter().map(Ty::to_string).collect();
    let mut b = KernelBuilder::new(format!("{name}.{}", lanes.join(".")));
    let bufs: Vec<_> = (0..inputs.len())
        .map(|i| b.buf(format!("in{i}"), Access::In))
        .collect();
    let out = b.buf("out", Access::Out);
    let unit = b.unit();
    let stride = |ty: Ty| if ty == Ty::INDEX { 4 } else { i64::from(ty.bytes()) };
    let args: Vec<Val> = inputs
        .iter()
        .zip(&bufs)
        .map(|(&ty, &buf)| {
            let offset = b.mul_const(unit, stride(ty));
            b.load(mem_of(ty.elem), at(buf, offset), ty)
        })
        .collect();
    let result = f(&mut b, &args);
    let mut ty = b.ty(result);
    let mut result = result;
    if ty == Ty::INDEX {
        result = b.to_i32(result);
        ty = Ty::I32;
    }
    let offset = b.mul_const(unit, stride(ty));
    b.store(mem_of(ty.elem), at(out, offset), result);
    let mut data: Vec<Vec<u8>> = inputs
        .iter()
        .map(|&ty| {
            let n = UNITS * ty.lanes as usize;
            if ty.elem == Elem::F32 {
                rng.f32_bytes(n)
            } else {
                rng.bytes(UNITS * stride(ty) as usize)
            }
        })
        .collect();
    data.push(vec![0x55; UNITS * stride(ty) as usize]);
    Case {
        kernel: b.finish(),
        bufs: data,
        scalars: Vec::new(),
        units: 0..UNITS as i64,
    }
}

fn check_all(cases: &[Case]) {
    check(cases, true);
    check_cross_compiles(&cases.iter().map(|c| &c.kernel).collect::<Vec<_>>());
}

#[test]
fn float_ops() {
    let mut rng = Rng::new(1);
    let mut cases = Vec::new();
    for lanes in LANES {
        let f = Ty::f32(lanes);
        let two = [f, f];
        let three = [f, f, f];
        cases.push(op_case(&mut rng, "add", &two, |b, v| b.add(v[0], v[1])));
        cases.push(op_case(&mut rng, "sub", &two, |b, v| b.sub(v[0], v[1])));
        cases.push(op_case(&mut rng, "mul", &two, |b, v| b.mul(v[0], v[1])));
        cases.push(op_case(&mut rng, "div", &two, |b, v| b.div(v[0], v[1])));
        cases.push(op_case(&mut rng, "min", &two, |b, v| b.min(v[0], v[1])));
        cases.push(op_case(&mut rng, "max", &two, |b, v| b.max(v[0], v[1])));
        cases.push(op_case(&mut rng, "neg", &[f], |b, v| b.neg(v[0])));
        cases.push(op_case(&mut rng, "abs", &[f], |b, v| b.abs(v[0])));
        cases.push(op_case(&mut rng, "round", &[f], |b, v| b.round(v[0])));
        cases.push(op_case(&mut rng, "sqrt", &[f], |b, v| {
            let x = b.abs(v[0]);
            b.sqrt(x)
        }));
        cases.push(op_case(&mut rng, "fma", &three, |b, v| b.fma(v[0], v[1], v[2])));
        cases.push(op_case(&mut rng, "fnma", &three, |b, v| b.fnma(v[0], v[1], v[2])));
        cases.push(op_case(&mut rng, "bitcast", &[f], |b, v| b.bitcast(v[0])));
        cases.push(op_case(&mut rng, "cvt_i32", &[f], |b, v| {
            let (lo, hi) = (b.fconst(-2e9, lanes), b.fconst(2e9, lanes));
            let x = b.max(v[0], lo);
            let x = b.min(x, hi);
            b.cvt_i32(x)
        }));
        cases.push(op_case(&mut rng, "reduce_add", &[f], |b, v| b.reduce_add(v[0])));
        cases.push(op_case(&mut rng, "reduce_max", &[f], |b, v| b.reduce_max(v[0])));
        cases.push(op_case(&mut rng, "fconst", &[f], |b, v| {
            let c = b.fconst(-1.25e-3, lanes);
            b.mul(v[0], c)
        }));
        for cmp in Cmp::ALL {
            cases.push(op_case(&mut rng, cmp.keyword(), &two, |b, v| {
                b.cmp(cmp, v[0], v[1])
            }));
            cases.push(op_case(
                &mut rng,
                &format!("select_{}", cmp.keyword()),
                &three,
                |b, v| {
                    let mask = b.cmp(cmp, v[0], v[1]);
                    b.select(mask, v[1], v[2])
                },
            ));
        }
        if lanes > 1 {
            cases.push(op_case(&mut rng, "splat", &[Ty::F32], |b, v| {
                b.splat(v[0], lanes)
            }));
            cases.push(op_case(&mut rng, "extract", &[f], |b, v| {
                let (x, y) = (b.extract(v[0], lanes - 1), b.extract(v[0], lanes / 2 + 1));
                b.sub(x, y)
            }));
        }
    }
    check_all(&cases);
}

#[test]
fn integer_ops() {
    let mut rng = Rng::new(2);
    let mut cases = Vec::new();
    for lanes in LANES {
        let i = Ty::i32(lanes);
        let two = [i, i];
        cases.push(op_case(&mut rng, "add", &two, |b, v| b.add(v[0], v[1])));
        cases.push(op_case(&mut rng, "sub", &two, |b, v| b.sub(v[0], v[1])));
        cases.push(op_case(&mut rng, "mul", &two, |b, v| b.mul(v[0], v[1])));
        cases.push(op_case(&mut rng, "min", &two, |b, v| b.min(v[0], v[1])));
        cases.push(op_case(&mut rng, "max", &two, |b, v| b.max(v[0], v[1])));
        cases.push(op_case(&mut rng, "and", &two, |b, v| b.and(v[0], v[1])));
        cases.push(op_case(&mut rng, "or", &two, |b, v| b.or(v[0], v[1])));
        cases.push(op_case(&mut rng, "neg", &[i], |b, v| b.neg(v[0])));
        for by in [0, 1, 13, 31] {
            cases.push(op_case(&mut rng, &format!("shl{by}"), &[i], |b, v| {
                b.shl(v[0], by)
            }));
            cases.push(op_case(&mut rng, &format!("sar{by}"), &[i], |b, v| {
                b.sar(v[0], by)
            }));
            cases.push(op_case(&mut rng, &format!("shr{by}"), &[i], |b, v| {
                b.shr(v[0], by)
            }));
        }
        cases.push(op_case(&mut rng, "cvt_f32", &[i], |b, v| b.cvt_f32(v[0])));
        cases.push(op_case(&mut rng, "reduce_add", &[i], |b, v| b.reduce_add(v[0])));
        cases.push(op_case(&mut rng, "reduce_max", &[i], |b, v| b.reduce_max(v[0])));
        cases.push(op_case(&mut rng, "iota", &[i], |b, v| {
            let (iota, c) = (b.iota(lanes), b.iconst(-7, lanes));
            let x = b.mul(v[0], iota);
            b.add(x, c)
        }));
        for cmp in Cmp::ALL {
            cases.push(op_case(&mut rng, cmp.keyword(), &two, |b, v| {
                b.cmp(cmp, v[0], v[1])
            }));
            cases.push(op_case(
                &mut rng,
                &format!("select_{}", cmp.keyword()),
                &two,
                |b, v| {
                    let (x, y) = (b.sar(v[0], 28), b.sar(v[1], 28));
                    let mask = b.cmp(cmp, x, y);
                    b.select(mask, v[0], v[1])
                },
            ));
        }
        if lanes > 1 {
            cases.push(op_case(&mut rng, "splat", &[Ty::I32], |b, v| {
                b.splat(v[0], lanes)
            }));
            cases.push(op_case(&mut rng, "extract", &[i], |b, v| {
                b.extract(v[0], lanes - 2)
            }));
        }
    }
    check_all(&cases);
}

#[test]
fn index_ops() {
    let mut rng = Rng::new(3);
    let mut cases = Vec::new();
    let (one, two) = ([Ty::INDEX], [Ty::INDEX, Ty::INDEX]);
    cases.push(op_case(&mut rng, "add", &two, |b, v| b.add(v[0], v[1])));
    cases.push(op_case(&mut rng, "sub", &two, |b, v| b.sub(v[0], v[1])));
    cases.push(op_case(&mut rng, "mul", &two, |b, v| b.mul(v[0], v[1])));
    // A divisor of few bits and of many.
    for by in [0, 40, 56] {
        cases.push(op_case(&mut rng, &format!("div{by}"), &two, |b, v| {
            let (zero, one, ones) = (b.index(0), b.index(1), b.index(i64::MAX));
            let high = b.shl(v[0], 31);
            let x = b.add(high, v[1]);
            let x = b.and(x, ones);
            let y = b.shl(v[1], 31);
            let y = b.and(y, ones);
            let y = b.sar(y, by);
            let y = b.max(y, one);
            let quotient = b.div(x, y);
            let high = b.sar(quotient, 31);
            let both = b.add(quotient, high);
            b.max(both, zero)
        }));
    }
    cases.push(op_case(&mut rng, "min", &two, |b, v| b.min(v[0], v[1])));
    cases.push(op_case(&mut rng, "max", &two, |b, v| b.max(v[0], v[1])));
    cases.push(op_case(&mut rng, "and", &two, |b, v| b.and(v[0], v[1])));
    cases.push(op_case(&mut rng, "or", &two, |b, v| b.or(v[0], v[1])));
    cases.push(op_case(&mut rng, "shl", &one, |b, v| b.shl(v[0], 5)));
    cases.push(op_case(&mut rng, "sar", &one, |b, v| b.sar(v[0], 3)));
    cases.push(op_case(&mut rng, "to_index", &[Ty::I32], |b, v| {
        let wide = b.to_index(v[0]);
        let high = b.sar(wide, 32);
        b.add(wide, high)
    }));
    for n in [
        1,
        2,
        3,
        5,
        7,
        9,
        16,
        32,
        48,
        576,
        641,
        1 << 20,
        (1 << 31) - 1,
        i64::MAX,
        (1 << 62) + 1,
    ] {
        // The product of two random magnitudes reaches the ends of the range.
        let huge = move |b: &mut KernelBuilder, v: &[Val]| {
            let x = b.shl(v[0], 31);
            let x = b.add(x, v[1]);
            let ones = b.index(i64::MAX);
            b.and(x, ones)
        };
        for which in 0..4 {
            cases.push(op_case(&mut rng, &format!("div_rem{n}.{which}"), &two, |b, v| {
                let x = huge(b, v);
                let x = if which % 2 == 0 { b.sar(x, 45) } else { x };
                let x = if which < 2 {
                    b.div_const(x, n)
                } else {
                    b.rem_const(x, n)
                };
                let high = b.sar(x, 31);
                b.add(x, high)
            }));
        }
    }
    check_all(&cases);
}

#[test]
fn byte_ops_and_dots() {
    let mut rng = Rng::new(4);
    let mut cases = Vec::new();
    for lanes in [4, 8, 16, 32, 64] {
        let u = Ty::u8(lanes);
        for (shift, width) in [
            (0, 1),
            (7, 1),
            (0, 2),
            (2, 2),
            (6, 2),
            (0, 4),
            (4, 4),
            (0, 8),
            (3, 5),
        ] {
            cases.push(op_case(
                &mut rng,
                &format!("bits{shift}.{width}"),
                &[u],
                |b, v| b.bits(v[0], shift, width),
            ));
        }
        cases.push(op_case(&mut rng, "or_bshl", &[u, u], |b, v| {
            let (low, high) = (b.bits(v[0], 0, 4), b.bits(v[1], 2, 2));
            let high = b.bshl(high, 4);
            b.or(low, high)
        }));
        for (name, table) in [
            ("lut.up", std::array::from_fn(|i| 17 * i as u8)),
            ("lut.down", std::array::from_fn(|i| 200 - 13 * i as u8)),
        ] {
            cases.push(op_case(&mut rng, name, &[u], |b, v| {
                let index = b.bits(v[0], 2, 4);
                b.lut(index, table)
            }));
        }
        // No i32 vector has two lanes.
        for bits in (1..=8).filter(|_| lanes != 8) {
            let ty = [Ty::i32(lanes / 4), u, Ty::i8(lanes)];
            cases.push(op_case(&mut rng, &format!("dot4.{bits}"), &ty, |b, v| {
                let codes = b.bits(v[1], 8 - bits, bits);
                b.dot4(v[0], codes, v[2], bits)
            }));
        }
    }
    // Extreme operands: the largest products of either sign.
    for (code, activation, bits) in [(255, 0x80, 8), (255, 0x7f, 8), (127, 0x80, 7), (127, 0x7f, 7)] {
        let ty = [Ty::i32(16), Ty::u8(64), Ty::i8(64)];
        let mut case = op_case(&mut rng, "dot4.extreme", &ty, |b, v| {
            b.dot4(v[0], v[1], v[2], bits)
        });
        case.bufs[1].fill(code);
        case.bufs[2].fill(activation);
        cases.push(case);
    }
    check_all(&cases);
}

/// A kernel that loads a value of `ty` from memory of type `mem`, whole or splat, at an odd address.
fn load_case(rng: &mut Rng, mem: Mem, ty: Ty, splat: bool) -> Case {
    let how = if splat { "load_splat" } else { "load" };
    let mut b = KernelBuilder::new(format!("{how}.{}.{ty}", mem.keyword()));
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let bytes = match (splat, ty.elem) {
        (true, Elem::I8 | Elem::U8) => 4,
        (true, _) => mem.bytes(),
        (false, _) => mem.bytes() * u32::from(ty.lanes),
    };
    let offset = b.mul_const(unit, i64::from(bytes));
    let from = Addr {
        buf: input,
        index: offset,
        disp: 1,
    };
    let value = if splat {
        b.load_splat(mem, from, ty)
    } else {
        b.load(mem, from, ty)
    };
    let to = b.mul_const(unit, i64::from(ty.bytes()));
    match ty.elem {
        Elem::I64 => {
            let low = b.to_i32(value);
            let high = b.sar(value, 32);
            let high = b.to_i32(high);
            b.store(Mem::I32, at(out, to), low);
            b.store(Mem::I32, at(out, to).plus(4), high);
        }
        Elem::I8 => {
            // Signed bytes have no store; a product with ones shows them.
            let (zero, ones) = (
                b.iconst(0, ty.lanes / 4),
                b.load(Mem::U8, at(input, offset), Ty::u8(ty.lanes)),
            );
            let ones = b.bits(ones, 0, 7);
            let dots = b.dot4(zero, ones, value, 7);
            b.store(Mem::I32, at(out, to), dots);
        }
        elem => b.store(mem_of(elem), at(out, to), value),
    }
    let mut data = vec![0u8];
    for _ in 0..UNITS * bytes as usize / mem.bytes() as usize {
        let bits = rng.next() >> 16;
        data.extend(match mem {
            Mem::F32 => rng.f32().to_le_bytes().to_vec(),
            Mem::F16 => finite_f16(bits as u16).to_le_bytes().to_vec(),
            Mem::Bf16 => ((rng.f32().to_bits() >> 16) as u16).to_le_bytes().to_vec(),
            Mem::I32 => (bits as u32).to_le_bytes().to_vec(),
            Mem::I8 | Mem::U8 => vec![bits as u8],
        });
    }
    // The loads of ones for signed bytes read as many bytes as there are lanes.
    data.resize(
        data.len().max(1 + UNITS * bytes as usize) + if ty.elem == Elem::I8 { 64 } else { 0 },
        3,
    );
    let out = vec![0; UNITS * ty.bytes() as usize];
    Case {
        kernel: b.finish(),
        bufs: vec![data, out],
        scalars: Vec::new(),
        units: 0..UNITS as i64,
    }
}

fn finite_f16(bits: u16) -> u16 {
    if bits & 0x7c00 == 0x7c00 {
        bits & !0x4000
    } else {
        bits
    }
}

/// A kernel that stores a loaded value of `ty` as `mem`, at an odd address.
fn store_case(rng: &mut Rng, mem: Mem, ty: Ty, data: Vec<u8>) -> Case {
    let mut b = KernelBuilder::new(format!("store.{}.{ty}", mem.keyword()));
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let from = b.mul_const(unit, i64::from(ty.bytes()));
    let value = b.load(mem_of(ty.elem), at(input, from), ty);
    let bytes = mem.bytes() * u32::from(ty.lanes);
    let to = b.mul_const(unit, i64::from(bytes));
    b.store(mem, at(out, to).plus(1), value);
    let units = data.len() / ty.bytes() as usize;
    let out = rng.bytes(1 + units * bytes as usize);
    Case {
        kernel: b.finish(),
        bufs: vec![data, out],
        scalars: Vec::new(),
        units: 0..units as i64,
    }
}

#[test]
fn loads() {
    let mut rng = Rng::new(5);
    let mut cases = Vec::new();
    for lanes in LANES {
        for splat in [false, true] {
            for mem in [Mem::F32, Mem::F16, Mem::Bf16] {
                cases.push(load_case(&mut rng, mem, Ty::f32(lanes), splat));
            }
            for mem in [Mem::I32, Mem::I8, Mem::U8] {
                cases.push(load_case(&mut rng, mem, Ty::i32(lanes), splat));
            }
            if lanes > 1 {
                cases.push(load_case(&mut rng, Mem::U8, Ty::u8(lanes), splat));
            }
            if lanes == 4 || lanes > 8 {
                cases.push(load_case(&mut rng, Mem::I8, Ty::i8(lanes), splat));
            }
        }
    }
    cases.push(load_case(&mut rng, Mem::I32, Ty::INDEX, false));
    check(&cases, false);
    check_cross_compiles(&cases.iter().map(|c| &c.kernel).collect::<Vec<_>>());
}

#[test]
fn every_f16_loads_exactly() {
    let mut b = KernelBuilder::new("load_all_f16");
    let (input, out) = (b.buf("in", Access::In), b.buf("out", Access::Out));
    let unit = b.unit();
    let (from, to) = (b.shl(unit, 3), b.shl(unit, 4));
    let value = b.load(Mem::F16, at(input, from), Ty::f32(4));
    b.store(Mem::F32, at(out, to), value);
    let data: Vec<u8> = (0..=u16::MAX)
        .map(finite_f16)
        .flat_map(u16::to_le_bytes)
        .collect();
    let bufs = vec![data, vec![0; 4 << 16]];
    let case = Case {
        kernel: b.finish(),
        bufs,
        scalars: Vec::new(),
        units: 0..1 << 14,
    };
    check(&[case], false);
}

#[test]
fn stores() {
    let mut rng = Rng::new(6);
    let mut cases = Vec::new();
    for lanes in LANES {
        let n = UNITS * usize::from(lanes);
        let floats = rng.f32_bytes(n);
        cases.push(store_case(&mut rng, Mem::F32, Ty::f32(lanes), floats.clone()));
        cases.push(store_case(&mut rng, Mem::F16, Ty::f32(lanes), floats.clone()));
        cases.push(store_case(&mut rng, Mem::Bf16, Ty::f32(lanes), floats));
        let words = rng.bytes(4 * n);
        cases.push(store_case(&mut rng, Mem::I32, Ty::i32(lanes), words));
        let near: Vec<u8> = (0..n)
            .flat_map(|_| (rng.below(600) as i32 - 300).to_le_bytes())
            .collect();
        cases.push(store_case(&mut rng, Mem::I8, Ty::i32(lanes), near));
        let far = rng.bytes(4 * n);
        cases.push(store_case(&mut rng, Mem::I8, Ty::i32(lanes), far));
        if lanes > 1 {
            let bytes = rng.bytes(n);
            cases.push(store_case(&mut rng, Mem::U8, Ty::u8(lanes), bytes));
        }
    }
    check(&cases, false);
    check_cross_compiles(&cases.iter().map(|c| &c.kernel).collect::<Vec<_>>());
}

/// Every boundary between two f16, the neighbours of that boundary in f32, and both signs.
#[test]
fn f16_stores_round_to_nearest_even() {
    let mut data = Vec::new();
    for bits in 0..0x7c00u16 {
        let (low, high) = (
            half::f16::from_bits(bits).to_f32(),
            half::f16::from_bits(bits + 1).to_f32(),
        );
        let high = if high.is_infinite() { 65536.0 } else { high };
        let middle = (low + (high - low) / 2.0).to_bits();
        for bits in [low.to_bits(), middle - 1, middle, middle + 1] {
            data.extend(f32::from_bits(bits ^ u32::from(data.len() % 8 == 0) << 31).to_le_bytes());
        }
    }
    let case = store_case(&mut Rng::new(7), Mem::F16, Ty::f32(16), data);
    check(&[case], false);
}

/// As above for bf16: every boundary between two of them, and those to infinity.
#[test]
fn bf16_stores_round_to_nearest_even() {
    let mut data = Vec::new();
    for high in 0..0x7f80u32 {
        let middle = high << 16 | 0x8000;
        for bits in [high << 16, middle - 1, middle, middle + 1] {
            data.extend((bits ^ u32::from(data.len() % 8 == 0) << 31).to_le_bytes());
        }
    }
    for lanes in [1, 4, 8, 16] {
        let case = store_case(&mut Rng::new(7), Mem::Bf16, Ty::f32(lanes), data.clone());
        check(&[case], false);
    }
}
