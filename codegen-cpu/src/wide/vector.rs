//! Selection of ops on lanes: arithmetic, conversions, constants.

use super::isa::{Level, VOp, Width};
use super::mir::*;
use super::select::{Deferred, Select, Value};
use crate::Error;
use lathe_ir::Id;
use lathe_ir::kernel::{Elem, Inst, KOp, Mem, Ty, Val};

/// The bit of an f32's sign.
const SIGN: u32 = 1 << 31;
/// One in every 16-bit lane.
const ONES16: u32 = 0x0001_0001;
/// The even bytes.
const EVEN: u32 = 0x00ff_00ff;
/// To the nearest integer, ties to even, without the inexact flag.
const NEAREST: i64 = 8;

impl Select<'_> {
    /// A register with a value. Counts as a read.
    pub(super) fn register(&mut self, v: Val) -> Result<VReg, Error> {
        self.read(v);
        match self.values[v.index()] {
            Value::Reg(r) => Ok(r),
            Value::Bits(bits) => Ok(self.constant(bits)),
            Value::Load(load) => {
                let r = self.load_now(load)?;
                self.set(v, Value::Reg(r));
                Ok(r)
            }
            Value::Compare(cmp, a, b) => {
                let r = self.mask_register(cmp, a, b)?;
                self.set(v, Value::Reg(r));
                Ok(r)
            }
            _ if self.ty(v) == Ty::INDEX => self.gpr_of(v),
            _ => Err(self.unsupported("value", self.ty(v))),
        }
    }

    /// A value as the last operand of an instruction: memory where the value is a load put off, else a register.
    pub(super) fn operand(&mut self, v: Val, op: VOp, width: Width) -> Result<Src, Error> {
        if let Value::Load(load) = self.values[v.index()]
            && let Some(src) = self.memory_operand(load, op, width)
        {
            self.read(v);
            self.set(v, Value::None);
            return Ok(src);
        }
        Ok(Src::Reg(self.register(v)?))
    }

    fn memory_operand(&self, load: Deferred, op: VOp, width: Width) -> Option<Src> {
        let lanes32 = matches!(load.mem, Mem::F32 | Mem::I32);
        let bytes = load.ty.elem.is_byte();
        let broadcasts = self.level == Level::Avx512 && op.broadcasts();
        if load.splat && (lanes32 || bytes) && broadcasts && load.ty.lanes > 1 {
            return Some(Src::Splat(load.at));
        }
        if load.splat || !(lanes32 || bytes) {
            return None;
        }
        if load.ty.lanes == 1 {
            return (lanes32 && broadcasts).then_some(Src::Splat(load.at));
        }
        (load.ty.bytes() == op.memory_bytes(width)).then_some(Src::Mem(load.at))
    }

    /// Appends a vector instruction and returns its result.
    pub(super) fn v(&mut self, op: VOp, width: Width, src: [Src; 3], imm: i64) -> VReg {
        let r = self.vreg(Class::Vec, width);
        self.emit_wide(MOp::V(op), width, Some(r), false, src, imm);
        r
    }

    /// An instruction of one source.
    pub(super) fn v1(&mut self, op: VOp, width: Width, a: Src, imm: i64) -> VReg {
        self.v(op, width, [a, Src::None, Src::None], imm)
    }

    /// An instruction of two sources.
    pub(super) fn v2(&mut self, op: VOp, width: Width, a: VReg, b: Src) -> VReg {
        self.v(op, width, [Src::Reg(a), b, Src::None], 0)
    }

    /// An op on lanes that touches no memory and has no regions.
    pub(super) fn compute(&mut self, op: KOp, inst: &Inst) -> Result<Value, Error> {
        let ty = self.ty(inst.results[0]);
        let args = &inst.args[..];
        let width = self.width(ty)?;
        let r = match op {
            KOp::IConst(n) => return Ok(Value::Bits(n as u32)),
            KOp::FConst(x) => return Ok(Value::Bits(x.to_bits())),
            KOp::Iota => self.iota(),
            KOp::Add | KOp::Sub | KOp::Mul | KOp::Div | KOp::Min | KOp::Max | KOp::And | KOp::Or => {
                let Some(op) = binary_op(op, ty.elem) else {
                    return Err(self.unsupported(op.info().keyword, ty));
                };
                self.binary(op, width, args[0], args[1])?
            }
            KOp::Fma => self.fused((VOp::Fma231, VOp::Fma213), width, args)?,
            KOp::Fnma => self.fused((VOp::Fnma231, VOp::Fnma213), width, args)?,
            KOp::Dot4 { bits } => self.dot4(args, bits, width)?,
            KOp::Bits { shift, width: bits } => return self.bits(args[0], shift, bits, width),
            KOp::Lut(table) => self.look_up(table, width, args[0])?,
            KOp::BShl(by) => self.shift(VOp::SllW, width, args[0], by)?,
            KOp::Shl(by) => self.shift(VOp::SllD, width, args[0], by)?,
            KOp::Sar(by) => self.shift(VOp::SraD, width, args[0], by)?,
            KOp::Shr(by) => self.shift(VOp::SrlD, width, args[0], by)?,
            KOp::Neg if ty.elem == Elem::I32 => {
                let zero = self.constant(0);
                let x = self.operand(args[0], VOp::SubD, width)?;
                self.v2(VOp::SubD, width, zero, x)
            }
            KOp::Neg => self.with_constant(VOp::Xor, width, args[0], SIGN)?,
            KOp::Abs => self.with_constant(VOp::And, width, args[0], !SIGN)?,
            KOp::Sqrt => self.unary(VOp::SqrtPs, width, args[0], 0)?,
            KOp::Round => self.unary(VOp::RoundPs, width, args[0], NEAREST)?,
            KOp::CvtF32 => self.unary(VOp::CvtDqPs, width, args[0], 0)?,
            KOp::CvtI32 => self.unary(VOp::CvtPsDq, width, args[0], 0)?,
            KOp::ToI32 => {
                self.read(args[0]);
                let from = self.gpr_of(args[0])?;
                self.v1(VOp::MovFromGpr, Width::X, Src::Reg(from), 0)
            }
            KOp::Bitcast => return self.same(args[0]),
            KOp::Splat => return self.splat(args[0], ty),
            KOp::Extract(lane) => return self.extract(args[0], lane),
            KOp::ReduceAdd | KOp::ReduceMax => self.reduce(op, args[0])?,
            KOp::Cmp(cmp) if self.reads(inst.results[0]) == 1 => {
                return Ok(Value::Compare(cmp, args[0], args[1]));
            }
            KOp::Cmp(cmp) => self.mask_register(cmp, args[0], args[1])?,
            KOp::Select => self.select(args, width)?,
            _ => return Err(self.unsupported(op.info().keyword, ty)),
        };
        Ok(Value::Reg(r))
    }

    /// The same value under another name.
    pub(super) fn same(&mut self, v: Val) -> Result<Value, Error> {
        match self.values[v.index()] {
            Value::Bits(bits) => {
                self.read(v);
                Ok(Value::Bits(bits))
            }
            _ => Ok(Value::Reg(self.register(v)?)),
        }
    }

    fn splat(&mut self, v: Val, ty: Ty) -> Result<Value, Error> {
        let width = self.width(ty)?;
        match self.values[v.index()] {
            Value::Bits(_) => self.same(v),
            Value::Load(load) if matches!(load.mem, Mem::F32 | Mem::I32) => {
                self.read(v);
                self.set(v, Value::None);
                let load = Deferred {
                    splat: true,
                    ty,
                    ..load
                };
                Ok(Value::Reg(self.load_now(load)?))
            }
            _ => {
                let from = self.register(v)?;
                Ok(Value::Reg(self.v1(VOp::BroadcastD, width, Src::Reg(from), 0)))
            }
        }
    }

    fn iota(&mut self) -> VReg {
        let bytes: Vec<u8> = (0..self.level.bytes() / 4).flat_map(u32::to_le_bytes).collect();
        self.vector_constant(&bytes)
    }

    /// Bytes of a table by index: a copy of the table in each 128-bit lane. Indices that mean something are below 16.
    fn look_up(&mut self, table: [u8; 16], width: Width, v: Val) -> Result<VReg, Error> {
        let table = table.repeat(self.level.bytes() as usize / table.len());
        let table = self.vector_constant(&table);
        let index = self.operand(v, VOp::ShuffleB, width)?;
        Ok(self.v2(VOp::ShuffleB, width, table, index))
    }

    fn unary(&mut self, op: VOp, width: Width, v: Val, imm: i64) -> Result<VReg, Error> {
        let x = self.operand(v, op, width)?;
        Ok(self.v1(op, width, x, imm))
    }

    fn with_constant(&mut self, op: VOp, width: Width, v: Val, bits: u32) -> Result<VReg, Error> {
        let constant = self.constant(bits);
        let x = self.operand(v, op, width)?;
        Ok(self.v2(op, width, constant, x))
    }

    fn shift(&mut self, op: VOp, width: Width, v: Val, by: u8) -> Result<VReg, Error> {
        let x = self.register(v)?;
        Ok(self.v1(op, width, Src::Reg(x), by.into()))
    }

    fn binary(&mut self, op: VOp, width: Width, a: Val, b: Val) -> Result<VReg, Error> {
        use VOp::*;
        let commutes = matches!(op, AddPs | MulPs | AddD | MulD | And | Or | MinD | MaxD);
        let loads = |s: &Self, v: Val| matches!(s.values[v.index()], Value::Load(_));
        let (a, b) = if commutes && loads(self, a) && !loads(self, b) {
            (b, a)
        } else {
            (a, b)
        };
        let left = self.register(a)?;
        let right = self.operand(b, op, width)?;
        Ok(self.v2(op, width, left, right))
    }

    /// `a·b + c` or `c − a·b`: writes over the operand that nothing reads any more, c if it can.
    fn fused(&mut self, (on_c, on_a): (VOp, VOp), width: Width, args: &[Val]) -> Result<VReg, Error> {
        let (mut a, mut b, c) = (args[0], args[1], args[2]);
        let in_register = |s: &Self, v: Val| matches!(s.values[v.index()], Value::Reg(_));
        let last = |s: &Self, v: Val| {
            let times = args.iter().filter(|&&x| x == v).count() as u32;
            in_register(s, v) && s.last_reads(v, times)
        };
        let tie_c = last(self, c) || !(last(self, a) || last(self, b));
        if tie_c && in_register(self, b) {
            // b is the operand that may be memory.
            std::mem::swap(&mut a, &mut b);
        }
        if !tie_c && !last(self, a) {
            std::mem::swap(&mut a, &mut b);
        }
        let r = self.vreg(Class::Vec, width);
        if tie_c {
            let addend = self.register(c)?;
            let left = self.register(a)?;
            let right = self.operand(b, on_c, width)?;
            self.copy(r, addend);
            self.emit_wide(
                MOp::V(on_c),
                width,
                Some(r),
                true,
                [Src::Reg(left), right, Src::None],
                0,
            );
        } else {
            let (first, left) = (self.register(a)?, self.register(b)?);
            let right = self.operand(c, on_a, width)?;
            self.copy(r, first);
            self.emit_wide(
                MOp::V(on_a),
                width,
                Some(r),
                true,
                [Src::Reg(left), right, Src::None],
                0,
            );
        }
        Ok(r)
    }

    /// A field of every byte.
    fn bits(&mut self, v: Val, shift: u8, bits: u8, width: Width) -> Result<Value, Error> {
        if bits == 8 {
            return self.same(v);
        }
        let mask = u32::from((1u16 << bits) as u8 - 1) * 0x0101_0101;
        if shift == 0 {
            return Ok(Value::Reg(self.with_constant(VOp::And, width, v, mask)?));
        }
        let shifted = self.shift(VOp::SrlW, width, v, shift)?;
        let mask = self.constant(mask);
        Ok(Value::Reg(self.v2(VOp::And, width, shifted, Src::Reg(mask))))
    }

    /// `acc + Σ₄ u·a`: one instruction, or pairs of products that do not saturate.
    fn dot4(&mut self, args: &[Val], bits: u8, width: Width) -> Result<VReg, Error> {
        let acc = self.register(args[0])?;
        let codes = self.register(args[1])?;
        if self.dot {
            let x = self.operand(args[2], VOp::Dot, width)?;
            let r = self.vreg(Class::Vec, width);
            self.copy(r, acc);
            self.emit_wide(
                MOp::V(VOp::Dot),
                width,
                Some(r),
                true,
                [Src::Reg(codes), x, Src::None],
                0,
            );
            return Ok(r);
        }
        let x = Src::Reg(self.register(args[2])?);
        if bits < 8 {
            // 2 · 127 · 128 < 2^15.
            return Ok(self.pairs(acc, codes, x, width));
        }
        let mut sum = acc;
        for mask in [EVEN, !EVEN] {
            let mask = self.constant(mask);
            let half = self.v2(VOp::And, width, codes, Src::Reg(mask));
            sum = self.pairs(sum, half, x, width);
        }
        Ok(sum)
    }

    fn pairs(&mut self, acc: VReg, codes: VReg, x: Src, width: Width) -> VReg {
        let pairs = self.v2(VOp::MaddUbs, width, codes, x);
        let ones = self.constant(ONES16);
        let sums = self.v2(VOp::MaddW, width, pairs, Src::Reg(ones));
        self.v2(VOp::AddD, width, acc, Src::Reg(sums))
    }
}

fn binary_op(op: KOp, elem: Elem) -> Option<VOp> {
    Some(match (op, elem) {
        (KOp::Add, Elem::F32) => VOp::AddPs,
        (KOp::Sub, Elem::F32) => VOp::SubPs,
        (KOp::Mul, Elem::F32) => VOp::MulPs,
        (KOp::Div, Elem::F32) => VOp::DivPs,
        (KOp::Min, Elem::F32) => VOp::MinPs,
        (KOp::Max, Elem::F32) => VOp::MaxPs,
        (KOp::Add, Elem::I32) => VOp::AddD,
        (KOp::Sub, Elem::I32) => VOp::SubD,
        (KOp::Mul, Elem::I32) => VOp::MulD,
        (KOp::Min, Elem::I32) => VOp::MinD,
        (KOp::Max, Elem::I32) => VOp::MaxD,
        (KOp::And, Elem::I32) => VOp::And,
        (KOp::Or, Elem::I32 | Elem::U8) => VOp::Or,
        _ => return None,
    })
}
