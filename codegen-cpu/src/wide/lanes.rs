//! Selection of ops across lanes and of comparisons.

use super::isa::{Level, VOp, Width};
use super::mir::*;
use super::select::{Select, Value};
use crate::Error;
use lathe_ir::Id;
use lathe_ir::kernel::{Cmp, Elem, KOp, Val};

impl Select<'_> {
    /// One lane as a scalar.
    pub(super) fn extract(&mut self, v: Val, lane: u8) -> Result<Value, Error> {
        let Value::Bits(bits) = self.values[v.index()] else {
            let mut r = self.register(v)?;
            if lane >= 4 {
                let width = self.width(self.ty(v))?;
                let part = self.vreg(Class::Vec, Width::X);
                let src = [Src::Reg(r), Src::None, Src::None];
                self.emit_wide(
                    MOp::V(VOp::Extract128),
                    width,
                    Some(part),
                    false,
                    src,
                    i64::from(lane / 4),
                );
                r = part;
            }
            if !lane.is_multiple_of(4) {
                r = self.v1(VOp::ShuffleD, Width::X, Src::Reg(r), i64::from(lane % 4) * 0x55);
            }
            return Ok(Value::Reg(r));
        };
        self.read(v);
        Ok(Value::Bits(bits))
    }

    /// Folds the upper half of the lanes onto the lower until one is left.
    pub(super) fn reduce(&mut self, op: KOp, v: Val) -> Result<VReg, Error> {
        let ty = self.ty(v);
        let op = match (op, ty.elem) {
            (KOp::ReduceAdd, Elem::F32) => VOp::AddPs,
            (KOp::ReduceAdd, _) => VOp::AddD,
            (_, Elem::F32) => VOp::MaxPs,
            _ => VOp::MaxD,
        };
        let mut r = self.register(v)?;
        if ty.bytes() > 64 || ty.bytes() > self.level.bytes() {
            return Err(self.unsupported("reduce", ty));
        }
        for (bytes, extract, whole) in [(64, VOp::Extract256, Width::Z), (32, VOp::Extract128, Width::Y)] {
            if ty.bytes() >= bytes {
                let half = Width::of_bytes(bytes / 2);
                let high = self.vreg(Class::Vec, half);
                let src = [Src::Reg(r), Src::None, Src::None];
                self.emit_wide(MOp::V(extract), whole, Some(high), false, src, 1);
                r = self.v2(op, half, r, Src::Reg(high));
            }
        }
        if ty.bytes() >= 16 {
            for order in [0x4e, 0x55] {
                let high = self.v1(VOp::ShuffleD, Width::X, Src::Reg(r), order);
                r = self.v2(op, Width::X, r, Src::Reg(high));
            }
        }
        Ok(r)
    }

    /// A comparison as lanes of ones and zeros.
    pub(super) fn mask_register(&mut self, cmp: Cmp, a: Val, b: Val) -> Result<VReg, Error> {
        let width = self.width(self.ty(a))?;
        let (mask, inverted) = self.compare(cmp, a, b, width)?;
        Ok(match mask {
            None => self.v1(VOp::KToMask, width, Src::None, 0),
            Some(mask) if inverted => {
                let ones = self.constant(u32::MAX);
                self.v2(VOp::Xor, width, mask, Src::Reg(ones))
            }
            Some(mask) => mask,
        })
    }

    /// Compares: into k1 (no register), or into a register of masks, which may be inverted.
    fn compare(&mut self, cmp: Cmp, a: Val, b: Val, width: Width) -> Result<(Option<VReg>, bool), Error> {
        let float = self.ty(a).elem == Elem::F32;
        if !float && self.level == Level::Avx2 {
            let (x, y) = (self.register(a)?, self.register(b)?);
            let (op, x, y, inverted) = match cmp {
                Cmp::Eq => (VOp::CmpEqD, x, y, false),
                Cmp::Ne => (VOp::CmpEqD, x, y, true),
                Cmp::Lt => (VOp::CmpGtD, y, x, false),
                Cmp::Le => (VOp::CmpGtD, x, y, true),
            };
            return Ok((Some(self.v2(op, width, x, Src::Reg(y))), inverted));
        }
        let op = if float { VOp::CmpPs } else { VOp::CmpD };
        let imm = match (cmp, float) {
            (Cmp::Eq, _) => 0,
            (Cmp::Ne, _) => 4,
            // Quiet, ordered.
            (Cmp::Lt, true) => 0x11,
            (Cmp::Le, true) => 0x12,
            (Cmp::Lt, false) => 1,
            (Cmp::Le, false) => 2,
        };
        let x = self.register(a)?;
        let y = self.operand(b, op, width)?;
        let src = [Src::Reg(x), y, Src::None];
        Ok(match self.level {
            Level::Avx2 => (Some(self.v(op, width, src, imm)), false),
            Level::Avx512 => {
                self.emit_wide(MOp::V(op), width, None, false, src, imm);
                (None, false)
            }
        })
    }

    /// `mask ? a : b`.
    pub(super) fn select(&mut self, args: &[Val], width: Width) -> Result<VReg, Error> {
        let (mut yes, mut no) = (self.register(args[1])?, self.register(args[2])?);
        let (mask, inverted) = match self.values[args[0].index()] {
            Value::Compare(cmp, a, b) => {
                self.read(args[0]);
                self.compare(cmp, a, b, width)?
            }
            _ => {
                let mask = self.register(args[0])?;
                (self.use_mask(mask, width), false)
            }
        };
        if inverted {
            std::mem::swap(&mut yes, &mut no);
        }
        Ok(match mask {
            None => self.v2(VOp::BlendK, width, no, Src::Reg(yes)),
            Some(mask) => self.v(
                VOp::BlendV,
                width,
                [Src::Reg(no), Src::Reg(yes), Src::Reg(mask)],
                0,
            ),
        })
    }

    /// A register of masks as `compare` gives it.
    fn use_mask(&mut self, mask: VReg, width: Width) -> Option<VReg> {
        if self.level == Level::Avx2 {
            return Some(mask);
        }
        let src = [Src::Reg(mask), Src::None, Src::None];
        self.emit_wide(MOp::V(VOp::MaskToK), width, None, false, src, 0);
        None
    }
}
