//! Ops on single lanes.

use super::super::{Cmp, Elem, KOp};
use super::Fault;

/// The lane of an i32.
pub(super) fn int(x: i32) -> u64 {
    u64::from(x as u32)
}

fn as_int(lane: u64) -> i32 {
    lane as u32 as i32
}

fn float(x: f32) -> u64 {
    u64::from(x.to_bits())
}

fn as_float(lane: u64) -> f32 {
    f32::from_bits(lane as u32)
}

/// Whether a comparison holds.
pub(super) fn holds<T: PartialOrd>(cmp: Cmp, x: T, y: T) -> bool {
    match cmp {
        Cmp::Eq => x == y,
        Cmp::Ne => x != y,
        Cmp::Lt => x < y,
        Cmp::Le => x <= y,
    }
}

/// Ops of one operand with elements `elem`.
pub(super) fn unary(op: KOp, elem: Elem, x: u64) -> Result<u64, Fault> {
    Ok(match op {
        KOp::Shl(n) if elem == Elem::I64 => x << n,
        KOp::Shl(n) => int(as_int(x) << n),
        KOp::Sar(n) if elem == Elem::I64 => ((x as i64) >> n) as u64,
        KOp::Sar(n) => int(as_int(x) >> n),
        KOp::Shr(n) => u64::from(x as u32 >> n),
        KOp::Bits { shift, width } => (x >> shift) & ((1 << width) - 1),
        KOp::BShl(n) => shift_byte(x, n)?,
        KOp::Lut(table) => u64::from(entry(&table, x)?),
        KOp::Neg if elem == Elem::F32 => float(-as_float(x)),
        KOp::Neg => int(as_int(x).wrapping_neg()),
        KOp::Abs => float(as_float(x).abs()),
        KOp::Sqrt => float(as_float(x).sqrt()),
        KOp::Round => float(as_float(x).round_ties_even()),
        KOp::CvtF32 => float(as_int(x) as f32),
        KOp::CvtI32 => int(to_int(as_float(x))?),
        KOp::ToIndex => i64::from(as_int(x)) as u64,
        KOp::ToI32 => int(x as i32),
        KOp::DivConst(n) => not_negative(x)?.div_euclid(n) as u64,
        KOp::RemConst(n) => not_negative(x)?.rem_euclid(n) as u64,
        KOp::Bitcast => x,
        _ => unreachable!("{op:?} does not have one operand"),
    })
}

fn shift_byte(x: u64, by: u8) -> Result<u64, Fault> {
    let shifted = x << by;
    if shifted > 0xff {
        return Err(Fault::Operand(format!("of {x} by {by}: bits leave the lane")));
    }
    Ok(shifted)
}

fn entry(table: &[u8; 16], index: u64) -> Result<u8, Fault> {
    let entry = usize::try_from(index).ok().and_then(|i| table.get(i)).copied();
    entry.ok_or_else(|| Fault::Operand(format!("of {index}: the table has 16 entries")))
}

/// To an i32, ties to even.
fn to_int(x: f32) -> Result<i32, Fault> {
    let rounded = x.round_ties_even();
    // −2^31 is an i32 and 2^31 is none; NaN is in no range.
    if (-2_147_483_648.0..2_147_483_648.0).contains(&rounded) {
        return Ok(rounded as i32);
    }
    Err(Fault::Operand(format!("of {x}: no i32")))
}

fn not_negative(x: u64) -> Result<i64, Fault> {
    let x = x as i64;
    if x < 0 {
        Err(Fault::Operand(format!("of {x}, which is negative")))
    } else {
        Ok(x)
    }
}

/// The quotient of indices.
pub(super) fn quotient(x: u64, y: u64) -> Result<u64, Fault> {
    let (x, y) = (not_negative(x)?, y as i64);
    if y <= 0 {
        return Err(Fault::Operand(format!("of {x} by {y}, which is not positive")));
    }
    Ok((x / y) as u64)
}

/// Ops of two operands with elements `elem`.
pub(super) fn binary(op: KOp, elem: Elem, x: u64, y: u64) -> u64 {
    match elem {
        Elem::F32 => floats(op, as_float(x), as_float(y)),
        Elem::I32 => ints(op, as_int(x), as_int(y)),
        Elem::I64 | Elem::I8 | Elem::U8 => indices(op, x as i64, y as i64) as u64,
    }
}

fn floats(op: KOp, x: f32, y: f32) -> u64 {
    let result = match op {
        KOp::Add | KOp::ReduceAdd => x + y,
        KOp::Sub => x - y,
        KOp::Mul => x * y,
        KOp::Div => x / y,
        // Not `f32::min`: what comes of NaN and of zeros of two signs follows from the comparison.
        KOp::Min => {
            if x < y {
                x
            } else {
                y
            }
        }
        KOp::Max | KOp::ReduceMax => {
            if x > y {
                x
            } else {
                y
            }
        }
        KOp::Cmp(cmp) => return mask(holds(cmp, x, y)),
        _ => unreachable!("{op:?} does not have two float operands"),
    };
    float(result)
}

fn ints(op: KOp, x: i32, y: i32) -> u64 {
    int(match op {
        KOp::Add | KOp::ReduceAdd => x.wrapping_add(y),
        KOp::Sub => x.wrapping_sub(y),
        KOp::Mul => x.wrapping_mul(y),
        KOp::Min => x.min(y),
        KOp::Max | KOp::ReduceMax => x.max(y),
        KOp::And => x & y,
        KOp::Or => x | y,
        KOp::Cmp(cmp) => return mask(holds(cmp, x, y)),
        _ => unreachable!("{op:?} does not have two i32 operands"),
    })
}

/// Indices, and for `or` bytes.
fn indices(op: KOp, x: i64, y: i64) -> i64 {
    match op {
        KOp::Add => x.wrapping_add(y),
        KOp::Sub => x.wrapping_sub(y),
        KOp::Mul => x.wrapping_mul(y),
        KOp::Min => x.min(y),
        KOp::Max => x.max(y),
        KOp::And => x & y,
        KOp::Or => x | y,
        _ => unreachable!("{op:?} does not have two index operands"),
    }
}

fn mask(holds: bool) -> u64 {
    int(-i32::from(holds))
}

/// Ops of three operands with as many lanes as the result.
pub(super) fn ternary(op: KOp, x: u64, y: u64, z: u64) -> Result<u64, Fault> {
    let (a, b, c) = (as_float(x), as_float(y), as_float(z));
    match op {
        KOp::Fma => Ok(float(a.mul_add(b, c))),
        KOp::Fnma => Ok(float((-a).mul_add(b, c))),
        KOp::Select => match as_int(x) {
            -1 => Ok(y),
            0 => Ok(z),
            other => Err(Fault::Operand(format!("by {other}, which is neither 0 nor -1"))),
        },
        _ => unreachable!("{op:?} does not have three operands"),
    }
}

/// `acc + Σ₄ u·a`, `u < 2^bits`.
pub(super) fn dot4(bits: u8, acc: u64, u: &[u64], a: &[u64]) -> Result<u64, Fault> {
    let mut sum = as_int(acc);
    for (&u, &a) in u.iter().zip(a) {
        if u >> bits != 0 {
            return Err(Fault::Operand(format!(
                "of the code {u}, which has more than {bits} bits"
            )));
        }
        sum = sum.wrapping_add(u as i32 * i32::from(a as u8 as i8));
    }
    Ok(int(sum))
}

/// Folds the upper half of the lanes onto the lower until one is left.
pub(super) fn reduce(op: KOp, elem: Elem, mut lanes: Vec<u64>) -> u64 {
    while lanes.len() > 1 {
        let half = lanes.len() / 2;
        for i in 0..half {
            lanes[i] = binary(op, elem, lanes[i], lanes[i + half]);
        }
        lanes.truncate(half);
    }
    lanes[0]
}
