//! What each op computes, with results worked out by hand.

use super::*;

type Body<'a> = &'a dyn Fn(&mut KernelBuilder, &[Val]) -> Val;

/// Applies `body` to values of one type, one after another in memory, and gives the bytes of its result, which is
/// stored as `to`.
fn eval(mem: Mem, ty: Ty, input: Vec<u8>, to: Mem, body: Body) -> Result<Vec<u8>, InterpError> {
    let mut b = KernelBuilder::new("ops");
    let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::Out));
    let at = start(&mut b, x);
    let size = mem.bytes() as usize * usize::from(ty.lanes);
    let loads = input.len() / size;
    let args: Vec<Val> = (0..loads)
        .map(|i| b.load(mem, at.plus((i * size) as i32), ty))
        .collect();
    let result = body(&mut b, &args);
    let lanes = usize::from(b.ty(result).lanes);
    b.store(to, Addr { buf: y, ..at }, result);
    run_one(&b.finish(), input, lanes * to.bytes() as usize)
}

/// Four lanes of floats in each operand.
fn of_floats(operands: &[[f32; 4]], body: Body) -> Vec<f32> {
    let input = bytes_of_floats(operands.as_flattened());
    floats(&eval(Mem::F32, Ty::f32(4), input, Mem::F32, body).expect("runs"))
}

/// Four lanes of integers in each operand.
fn of_ints(operands: &[[i32; 4]], body: Body) -> Vec<i32> {
    let input = bytes_of_ints(operands.as_flattened());
    ints(&eval(Mem::I32, Ty::i32(4), input, Mem::I32, body).expect("runs"))
}

/// Four lanes of bytes in each operand.
fn of_bytes(operands: &[[u8; 4]], body: Body) -> Result<Vec<u8>, InterpError> {
    eval(
        Mem::U8,
        Ty::u8(4),
        operands.as_flattened().to_vec(),
        Mem::U8,
        body,
    )
}

/// An op of index constants whose result fits in 32 bits.
fn of_indices(operands: &[i64], body: Body) -> Result<i32, InterpError> {
    let bytes = eval(Mem::I32, Ty::I32, bytes_of_ints(&[0]), Mem::I32, &|b, _| {
        let args: Vec<Val> = operands.iter().map(|&n| b.index(n)).collect();
        let result = body(b, &args);
        b.to_i32(result)
    })?;
    Ok(ints(&bytes)[0])
}

fn bits(xs: &[f32]) -> Vec<u32> {
    xs.iter().map(|x| x.to_bits()).collect()
}

/// The message of an operand outside of its range.
fn fault<T: std::fmt::Debug>(result: Result<T, InterpError>) -> String {
    match result.expect_err("an operand out of range") {
        InterpError::Operand { op, what, .. } => format!("{op} {what}"),
        other => panic!("{other}"),
    }
}

#[test]
fn constants() {
    let none = [[0.0; 4]];
    assert_eq!(of_floats(&none, &|b, _| b.fconst(-1.5, 4)), [-1.5; 4]);
    assert_eq!(of_ints(&[[0; 4]], &|b, _| b.iconst(i32::MIN, 4)), [i32::MIN; 4]);
    assert_eq!(of_ints(&[[0; 4]], &|b, _| b.iota(8)), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(of_indices(&[-7], &|_, a| a[0]), Ok(-7));
}

#[test]
fn float_arithmetic() {
    let (x, y) = ([1.5, -2.0, 1e38, 0.1], [0.25, 3.0, 1e38, 0.2]);
    assert_eq!(
        of_floats(&[x, y], &|b, a| b.add(a[0], a[1])),
        [1.75, 1.0, 2e38, 0.1 + 0.2]
    );
    assert_eq!(
        of_floats(&[x, y], &|b, a| b.sub(a[0], a[1])),
        [1.25, -5.0, 0.0, 0.1 - 0.2]
    );
    assert_eq!(
        of_floats(&[x, y], &|b, a| b.mul(a[0], a[1])),
        [0.375, -6.0, f32::INFINITY, 0.1 * 0.2]
    );
    assert_eq!(
        of_floats(&[x, y], &|b, a| b.div(a[0], a[1])),
        [6.0, -2.0 / 3.0, 1.0, 0.5]
    );
    assert_eq!(of_floats(&[x], &|b, a| b.neg(a[0])), [-1.5, 2.0, -1e38, -0.1]);
    assert_eq!(of_floats(&[x], &|b, a| b.abs(a[0])), [1.5, 2.0, 1e38, 0.1]);
    assert_eq!(
        of_floats(&[[4.0, 2.0, 0.0, 1e-40]], &|b, a| b.sqrt(a[0])),
        [2.0, 2f32.sqrt(), 0.0, 1e-40f32.sqrt()]
    );
    assert_eq!(
        of_floats(&[[0.5, 1.5, -2.5, 2.4]], &|b, a| b.round(a[0])),
        [0.0, 2.0, -2.0, 2.0]
    );
}

#[test]
fn min_and_max_of_floats_follow_the_comparison() {
    let (x, y) = ([1.0, f32::NAN, 2.0, 0.0], [2.0, 3.0, f32::NAN, -0.0]);
    let least = of_floats(&[x, y], &|b, a| b.min(a[0], a[1]));
    assert_eq!(bits(&least), bits(&[1.0, 3.0, f32::NAN, -0.0]));
    let greatest = of_floats(&[x, y], &|b, a| b.max(a[0], a[1]));
    assert_eq!(bits(&greatest), bits(&[2.0, 3.0, f32::NAN, -0.0]));
}

#[test]
fn fused_products_round_once() {
    let e = f32::EPSILON;
    let (x, y, c) = (
        [1.0 + e, 2.0, 3.0, 1.0],
        [1.0 - e, 5.0, -1.0, 1.0],
        [-1.0, 0.5, 1.0, 0.0],
    );
    assert_eq!(
        of_floats(&[x, y, c], &|b, a| b.fma(a[0], a[1], a[2])),
        [-e * e, 10.5, -2.0, 1.0]
    );
    let negated = of_floats(&[x, y, [1.0, 0.5, 1.0, 0.0]], &|b, a| b.fnma(a[0], a[1], a[2]));
    assert_eq!(negated, [e * e, -9.5, 4.0, -1.0]);
}

#[test]
fn integer_arithmetic_wraps() {
    let (x, y) = ([i32::MAX, -5, 7, 1 << 20], [1, 3, -7, 1 << 12]);
    assert_eq!(
        of_ints(&[x, y], &|b, a| b.add(a[0], a[1])),
        [i32::MIN, -2, 0, (1 << 20) + 4096]
    );
    assert_eq!(
        of_ints(&[x, y], &|b, a| b.sub(a[0], a[1])),
        [i32::MAX - 1, -8, 14, (1 << 20) - 4096]
    );
    assert_eq!(
        of_ints(&[x, y], &|b, a| b.mul(a[0], a[1])),
        [i32::MAX, -15, -49, 0]
    );
    assert_eq!(of_ints(&[x, y], &|b, a| b.min(a[0], a[1])), [1, -5, -7, 4096]);
    assert_eq!(
        of_ints(&[x, y], &|b, a| b.max(a[0], a[1])),
        [i32::MAX, 3, 7, 1 << 20]
    );
    assert_eq!(of_ints(&[x, y], &|b, a| b.and(a[0], a[1])), [1, 3, 1, 0]);
    assert_eq!(
        of_ints(&[x, y], &|b, a| b.or(a[0], a[1])),
        [i32::MAX, -5, -1, (1 << 20) | 4096]
    );
    assert_eq!(
        of_ints(&[[i32::MIN, 1, 0, -1]], &|b, a| b.neg(a[0])),
        [i32::MIN, -1, 0, 1]
    );
    let x = [-1, 1, i32::MIN, 0x1234];
    assert_eq!(of_ints(&[x], &|b, a| b.shl(a[0], 4)), [-16, 16, 0, 0x12340]);
    assert_eq!(
        of_ints(&[x], &|b, a| b.sar(a[0], 4)),
        [-1, 0, i32::MIN / 16, 0x123]
    );
    assert_eq!(
        of_ints(&[x], &|b, a| b.shr(a[0], 4)),
        [0x0fff_ffff, 0, 0x0800_0000, 0x123]
    );
}

#[test]
fn index_arithmetic() {
    assert_eq!(
        of_indices(&[i64::MAX, 1 - i64::MAX], &|b, a| b.add(a[0], a[1])),
        Ok(1)
    );
    assert_eq!(of_indices(&[3, 10], &|b, a| b.sub(a[0], a[1])), Ok(-7));
    assert_eq!(
        of_indices(&[1 << 40, 1 << 30], &|b, a| b.mul(a[0], a[1])),
        Ok(0),
        "wraps"
    );
    assert_eq!(of_indices(&[1 << 40, 5], &|b, a| b.min(a[0], a[1])), Ok(5));
    assert_eq!(of_indices(&[-(1 << 40), 5], &|b, a| b.max(a[0], a[1])), Ok(5));
    assert_eq!(of_indices(&[(1 << 40) + 6, 3], &|b, a| b.and(a[0], a[1])), Ok(2));
    assert_eq!(of_indices(&[6, 3], &|b, a| b.or(a[0], a[1])), Ok(7));
    assert_eq!(
        of_indices(&[(1 << 40) + 1], &|b, a| {
            let up = b.shl(a[0], 24);
            b.sar(up, 20)
        }),
        Ok(16)
    );
    assert_eq!(of_indices(&[-64], &|b, a| b.sar(a[0], 5)), Ok(-2));
    assert_eq!(of_indices(&[29], &|b, a| b.div_const(a[0], 10)), Ok(2));
    assert_eq!(of_indices(&[29], &|b, a| b.rem_const(a[0], 10)), Ok(9));
    let divided = of_indices(&[-1], &|b, a| b.div_const(a[0], 10));
    assert_eq!(fault(divided), "div_const of -1, which is negative");
    assert_eq!(of_indices(&[29, 10], &|b, a| b.div(a[0], a[1])), Ok(2));
    for (a, b, what) in [
        (-1, 2, "div of -1, which is negative"),
        (29, 0, "div of 29 by 0, which is not positive"),
        (29, -3, "div of 29 by -3, which is not positive"),
    ] {
        assert_eq!(fault(of_indices(&[a, b], &|b, a| b.div(a[0], a[1]))), what);
    }
    let rest = of_indices(&[-1], &|b, a| b.rem_const(a[0], 10));
    assert_eq!(fault(rest), "rem_const of -1, which is negative");
}

#[test]
fn bytes() {
    let x = [0xb7, 0x00, 0xff, 0x5a];
    assert_eq!(
        of_bytes(&[x], &|b, a| b.bits(a[0], 4, 4)),
        Ok(vec![0xb, 0, 0xf, 0x5])
    );
    assert_eq!(of_bytes(&[x], &|b, a| b.bits(a[0], 1, 2)), Ok(vec![3, 0, 3, 1]));
    assert_eq!(of_bytes(&[x], &|b, a| b.bits(a[0], 0, 8)), Ok(x.to_vec()));
    assert_eq!(
        of_bytes(&[[1, 2, 3, 0]], &|b, a| b.bshl(a[0], 6)),
        Ok(vec![0x40, 0x80, 0xc0, 0])
    );
    assert_eq!(
        of_bytes(&[x, [8, 1, 0, 0xa0]], &|b, a| b.or(a[0], a[1])),
        Ok(vec![0xbf, 1, 0xff, 0xfa])
    );
    assert_eq!(
        fault(of_bytes(&[x], &|b, a| b.bshl(a[0], 1))),
        "bshl of 183 by 1: bits leave the lane"
    );
}

#[test]
fn tables() {
    let table: [u8; 16] = std::array::from_fn(|i| 255 - 7 * i as u8);
    assert_eq!(
        of_bytes(&[[0, 1, 15, 9]], &|b, a| b.lut(a[0], table)),
        Ok(vec![255, 248, 150, 192])
    );
    assert_eq!(
        fault(of_bytes(&[[3, 16, 0, 0]], &|b, a| b.lut(a[0], table))),
        "lut of 16: the table has 16 entries"
    );
}

/// `dot4` of one group of four lanes.
fn dot(bits: u8, acc: i32, u: [u8; 16], a: [i8; 16]) -> Result<Vec<i32>, InterpError> {
    let input = u.into_iter().chain(a.map(|a| a as u8)).collect();
    let kernel = {
        let mut b = KernelBuilder::new("dot");
        let (x, y) = (b.buf("x", Access::In), b.buf("y", Access::Out));
        let at = start(&mut b, x);
        let (u, a) = (
            b.load(Mem::U8, at, Ty::u8(16)),
            b.load(Mem::I8, at.plus(16), Ty::i8(16)),
        );
        let acc = b.iconst(acc, 4);
        let sum = b.dot4(acc, u, a, bits);
        b.store(Mem::I32, Addr { buf: y, ..at }, sum);
        b.finish()
    };
    run_one(&kernel, input, 16).map(|out| ints(&out))
}

#[test]
fn dot4_is_exact() {
    let sums = dot(8, 5, [255; 16], [-128; 16]);
    assert_eq!(sums, Ok(vec![5 - 4 * 255 * 128; 4]), "beyond the range of i16");
    let u = [1, 2, 3, 4, 0, 0, 0, 0, 15, 0, 0, 1, 7, 7, 7, 7];
    let a = [1, -1, 2, -2, 9, 9, 9, 9, -128, 5, 5, 127, 1, 2, 3, -6];
    assert_eq!(dot(4, -1, u, a), Ok(vec![-4, -1, -1 - 15 * 128 + 127, -1]));
    assert_eq!(
        dot(8, i32::MAX, u, [1; 16]),
        Ok([10, 0, 16, 28].map(|n| i32::MAX.wrapping_add(n)).to_vec())
    );
    assert_eq!(
        fault(dot(3, 0, u, a)),
        "dot4 of the code 15, which has more than 3 bits"
    );
}

#[test]
fn conversions() {
    let input = bytes_of_ints(&[1, -1, i32::MAX, 16_777_217]);
    let converted = eval(Mem::I32, Ty::i32(4), input, Mem::F32, &|b, a| b.cvt_f32(a[0])).expect("runs");
    assert_eq!(
        floats(&converted),
        [1.0, -1.0, 2_147_483_648.0, 16_777_216.0],
        "ties to even"
    );
    let to_int = |xs: [f32; 4]| {
        eval(Mem::F32, Ty::f32(4), bytes_of_floats(&xs), Mem::I32, &|b, a| {
            b.cvt_i32(a[0])
        })
    };
    let converted = to_int([0.5, 1.5, -2.5, -2_147_483_648.0]).expect("runs");
    assert_eq!(ints(&converted), [0, 2, -2, i32::MIN]);
    assert_eq!(
        fault(to_int([0.0, 2_147_483_648.0, 0.0, 0.0])),
        "cvt_i32 of 2147483600: no i32"
    );
    assert_eq!(fault(to_int([f32::NAN, 0.0, 0.0, 0.0])), "cvt_i32 of NaN: no i32");
    assert_eq!(
        of_indices(&[(1 << 32) - 3], &|b, a| {
            let low = b.to_i32(a[0]);
            b.to_index(low)
        }),
        Ok(-3)
    );
    let seen = eval(
        Mem::F32,
        Ty::f32(4),
        bytes_of_floats(&[1.0, -0.0, 2.0, 0.0]),
        Mem::I32,
        &|b, a| b.bitcast(a[0]),
    );
    assert_eq!(
        ints(&seen.expect("runs")),
        [0x3f80_0000, i32::MIN, 0x4000_0000, 0]
    );
    assert_eq!(
        of_floats(&[[1.0, -2.0, 3.5, 0.0]], &|b, a| {
            let x = b.bitcast(a[0]);
            b.bitcast(x)
        }),
        [1.0, -2.0, 3.5, 0.0]
    );
}

#[test]
fn lanes_and_reductions() {
    let x = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(
        of_floats(&[x], &|b, a| {
            let lane = b.extract(a[0], 2);
            b.splat(lane, 8)
        }),
        [3.0; 8]
    );
    assert_eq!(of_ints(&[[1, 2, 3, 4]], &|b, a| b.extract(a[0], 3)), [4]);
    // (x0 + x2) + (x1 + x3): from left to right it would be 1.
    assert_eq!(
        of_floats(&[[1e30, 1.0, -1e30, 1.0]], &|b, a| b.reduce_add(a[0])),
        [2.0]
    );
    assert_eq!(
        of_ints(&[[i32::MAX, 1, 2, 3]], &|b, a| b.reduce_add(a[0])),
        [i32::MIN + 5]
    );
    assert_eq!(
        of_floats(&[[-3.0, -1.0, -2.0, -9.0]], &|b, a| b.reduce_max(a[0])),
        [-1.0]
    );
    assert_eq!(of_ints(&[[-3, -7, 5, 2]], &|b, a| b.reduce_max(a[0])), [5]);
    let wide = eval(
        Mem::F32,
        Ty::f32(16),
        bytes_of_floats(&[1.0; 16]),
        Mem::F32,
        &|b, a| b.reduce_add(a[0]),
    );
    assert_eq!(floats(&wide.expect("runs")), [16.0]);
}

#[test]
fn comparisons_make_masks() {
    let (x, y) = ([1.0, 2.0, f32::NAN, 0.0], [1.0, 3.0, 1.0, -0.0]);
    let compared = |cmp: Cmp| {
        let input = bytes_of_floats([x, y].as_flattened());
        ints(
            &eval(Mem::F32, Ty::f32(4), input, Mem::I32, &|b, a| {
                b.cmp(cmp, a[0], a[1])
            })
            .expect("runs"),
        )
    };
    assert_eq!(compared(Cmp::Eq), [-1, 0, 0, -1]);
    assert_eq!(compared(Cmp::Ne), [0, -1, -1, 0]);
    assert_eq!(compared(Cmp::Lt), [0, -1, 0, 0]);
    assert_eq!(compared(Cmp::Le), [-1, -1, 0, -1]);
    let (i, j) = ([-1, 2, 3, 4], [1, 2, 2, i32::MIN]);
    assert_eq!(
        of_ints(&[i, j], &|b, a| b.cmp(Cmp::Lt, a[0], a[1])),
        [-1, 0, 0, 0],
        "signed"
    );
    let picked = of_ints(&[i, j], &|b, a| {
        let mask = b.cmp(Cmp::Lt, a[0], a[1]);
        b.select(mask, a[0], a[1])
    });
    assert_eq!(picked, [-1, 2, 2, i32::MIN]);
    let input = bytes_of_ints([i, i, j].as_flattened());
    let bad = eval(Mem::I32, Ty::i32(4), input, Mem::I32, &|b, a| {
        b.select(a[0], a[1], a[2])
    });
    assert_eq!(fault(bad), "select by 2, which is neither 0 nor -1");
}
