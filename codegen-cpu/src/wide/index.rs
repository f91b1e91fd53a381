//! Selection of ops on indices: general registers, constants folded.

use super::isa::Width;
use super::mir::*;
use super::select::{Select, Value};
use crate::Error;
use lathe_ir::Id;
use lathe_ir::kernel::{Inst, KOp, Val};

impl Select<'_> {
    /// A register with an index. Does not count as a read.
    pub(super) fn gpr_of(&mut self, v: Val) -> Result<VReg, Error> {
        match self.values[v.index()] {
            Value::Reg(r) => Ok(r),
            Value::Index(n) => {
                let r = self.gpr();
                self.scalar_op(MOp::Const, r, false, Src::None, n);
                Ok(r)
            }
            Value::Sum(r, n) => {
                let sum = self.gpr();
                self.scalar_op(MOp::Lea, sum, false, Src::Mem(MemRef::based(r, n)), 0);
                Ok(sum)
            }
            _ => Err(self.unsupported("index", self.ty(v))),
        }
    }

    /// An index as the second operand of a comparison: a register, or nothing and an immediate.
    pub(super) fn index_operand(&mut self, v: Val) -> Result<(Src, i64), Error> {
        match self.values[v.index()] {
            Value::Index(n) if i32::try_from(n).is_ok() => Ok((Src::None, n)),
            _ => Ok((Src::Reg(self.gpr_of(v)?), 0)),
        }
    }

    fn known(&self, v: Val) -> Option<i64> {
        match self.values[v.index()] {
            Value::Index(n) => Some(n),
            _ => None,
        }
    }

    /// An op whose result is an index.
    pub(super) fn index_op(&mut self, op: KOp, inst: &Inst) -> Result<(), Error> {
        inst.args.iter().for_each(|&v| self.read(v));
        let result = inst.results[0];
        let args: Vec<Option<i64>> = inst.args.iter().map(|&v| self.known(v)).collect();
        if let Some(n) = fold(op, &args) {
            self.set(result, Value::Index(n));
            return Ok(());
        }
        let value = match (op, &args[..]) {
            (KOp::Add, &[Some(n), None]) if small(n) => self.add_constant(result, inst.args[1], n)?,
            (KOp::Add, &[None, Some(n)]) if small(n) => self.add_constant(result, inst.args[0], n)?,
            (KOp::Sub, &[None, Some(n)]) if small(-n) => self.add_constant(result, inst.args[0], -n)?,
            (KOp::Mul, &[Some(n), None]) if small(n) => Value::Reg(self.times(inst.args[1], n)?),
            (KOp::Mul, &[None, Some(n)]) if small(n) => Value::Reg(self.times(inst.args[0], n)?),
            (KOp::DivConst(n), _) => Value::Reg(self.divide(inst.args[0], n)?),
            (KOp::RemConst(n), _) => Value::Reg(self.remainder(inst.args[0], n)?),
            (KOp::ToIndex, _) => {
                let from = self.register(inst.args[0])?;
                let r = self.gpr();
                self.scalar_op(MOp::FromVec, r, false, Src::Reg(from), 0);
                Value::Reg(r)
            }
            (KOp::Add, _) => {
                let (a, b) = (self.gpr_of(inst.args[0])?, self.gpr_of(inst.args[1])?);
                let sum = MemRef {
                    base: Some(a),
                    index: Some(b),
                    scale: 1,
                    disp: 0,
                };
                let r = self.gpr();
                self.scalar_op(MOp::Lea, r, false, Src::Mem(sum), 0);
                Value::Reg(r)
            }
            (KOp::Shl(by), _) => Value::Reg(self.tied(MOp::Shl, inst.args[0], Src::None, by.into())?),
            (KOp::Sar(by), _) => Value::Reg(self.tied(MOp::Sar, inst.args[0], Src::None, by.into())?),
            (KOp::Div, _) => {
                let (a, b) = (self.gpr_of(inst.args[0])?, self.gpr_of(inst.args[1])?);
                let r = self.gpr();
                let src = [Src::Reg(a), Src::Reg(b), Src::None];
                self.emit_wide(MOp::Div, Width::X, Some(r), false, src, 0);
                Value::Reg(r)
            }
            (KOp::Sub | KOp::Mul | KOp::Min | KOp::Max | KOp::And | KOp::Or, _) => {
                let op = match op {
                    KOp::Sub => MOp::Sub,
                    KOp::Mul => MOp::Mul,
                    KOp::Min => MOp::Min,
                    KOp::Max => MOp::Max,
                    KOp::And => MOp::And,
                    _ => MOp::Or,
                };
                let right = Src::Reg(self.gpr_of(inst.args[1])?);
                Value::Reg(self.tied(op, inst.args[0], right, 0)?)
            }
            _ => return Err(self.unsupported(op.info().keyword, self.ty(result))),
        };
        self.set(result, value);
        Ok(())
    }

    /// `a op b` where the instruction writes its first operand.
    fn tied(&mut self, op: MOp, a: Val, b: Src, imm: i64) -> Result<VReg, Error> {
        let a = self.gpr_of(a)?;
        let r = self.gpr();
        self.copy(r, a);
        self.scalar_op(op, r, true, b, imm);
        Ok(r)
    }

    fn add_constant(&mut self, result: Val, v: Val, n: i64) -> Result<Value, Error> {
        let (base, n) = match self.values[v.index()] {
            Value::Sum(r, more) if small(n + i64::from(more)) => (r, n + i64::from(more)),
            _ => (self.gpr_of(v)?, n),
        };
        if n == 0 {
            return Ok(Value::Reg(base));
        }
        if self.folds_into_addresses(result) {
            return Ok(Value::Sum(base, n as i32));
        }
        let r = self.gpr();
        self.scalar_op(MOp::Lea, r, false, Src::Mem(MemRef::based(base, n as i32)), 0);
        Ok(Value::Reg(r))
    }

    fn times(&mut self, v: Val, n: i64) -> Result<VReg, Error> {
        if n > 0 && n.count_ones() == 1 {
            return self.tied(MOp::Shl, v, Src::None, n.trailing_zeros().into());
        }
        let from = self.gpr_of(v)?;
        let r = self.gpr();
        self.scalar_op(MOp::MulImm, r, false, Src::Reg(from), n);
        Ok(r)
    }

    /// `⌊v / n⌋` for v ≥ 0: multiplication by a rounded-up reciprocal. With l = ⌈log₂ n⌉ and m = ⌈2^(63+l) / n⌉ < 2^64,
    /// v·m / 2^(63+l) exceeds v / n by less than v / 2^63 / n < 1 / n (Granlund & Montgomery).
    fn divide(&mut self, v: Val, n: i64) -> Result<VReg, Error> {
        if n.count_ones() == 1 {
            return self.tied(MOp::Sar, v, Src::None, n.trailing_zeros().into());
        }
        let l = 64 - (n as u64 - 1).leading_zeros();
        let reciprocal = (1u128 << (63 + l)).div_ceil(n as u128) as u64;
        let from = self.gpr_of(v)?;
        let r = self.gpr();
        self.scalar_op(
            MOp::MulHigh(l as u8 - 1),
            r,
            false,
            Src::Reg(from),
            reciprocal as i64,
        );
        Ok(r)
    }

    fn remainder(&mut self, v: Val, n: i64) -> Result<VReg, Error> {
        if n.count_ones() == 1 && small(n - 1) {
            return self.tied(MOp::And, v, Src::None, n - 1);
        }
        let quotient = self.divide(v, n)?;
        let product = self.gpr();
        match small(n) {
            true => self.scalar_op(MOp::MulImm, product, false, Src::Reg(quotient), n),
            false => {
                self.scalar_op(MOp::Const, product, false, Src::None, n);
                self.scalar_op(MOp::Mul, product, true, Src::Reg(quotient), 0);
            }
        }
        self.tied(MOp::Sub, v, Src::Reg(product), 0)
    }
}

fn small(n: i64) -> bool {
    i32::try_from(n).is_ok()
}

/// The result of an op on known indices.
fn fold(op: KOp, args: &[Option<i64>]) -> Option<i64> {
    if let KOp::IConst(n) = op {
        return Some(n);
    }
    let args: Option<Vec<i64>> = args.iter().copied().collect();
    Some(match (op, &args?[..]) {
        (KOp::Add, &[a, b]) => a.wrapping_add(b),
        (KOp::Sub, &[a, b]) => a.wrapping_sub(b),
        (KOp::Mul, &[a, b]) => a.wrapping_mul(b),
        (KOp::Min, &[a, b]) => a.min(b),
        (KOp::Max, &[a, b]) => a.max(b),
        (KOp::And, &[a, b]) => a & b,
        (KOp::Or, &[a, b]) => a | b,
        (KOp::Shl(by), &[a]) => a << by,
        (KOp::Sar(by), &[a]) => a >> by,
        (KOp::Div, &[a, b]) if a >= 0 && b > 0 => a / b,
        (KOp::DivConst(n), &[a]) => a.div_euclid(n),
        (KOp::RemConst(n), &[a]) => a.rem_euclid(n),
        _ => return None,
    })
}
