//! Ops on values: constants, arithmetic, conversions, comparisons, lane moves and reductions.

use super::hoist::byte_mask;
use super::lower::{Lower, int_condition};
use super::value::{LANES, Pieces, piece_count};
use crate::Error;
use crate::target::Arch;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use lathe_ir::kernel::{Cmp, Elem, KOp, Ty, Val};

impl Lower<'_> {
    /// Lowers an op without regions that touches no memory, to the pieces of its result of type `ty`.
    pub(super) fn compute(&mut self, op: KOp, args: &[Val], ty: Ty) -> Result<Pieces, Error> {
        let keyword = op.info().keyword;
        let pieces = match op {
            KOp::IConst(n) => self.int_constant(n, ty),
            KOp::FConst(x) => self.float_constant(x, ty),
            KOp::Iota => self.iota(ty),
            KOp::Dot4 { bits } => self.dot4(args, bits, ty),
            KOp::Bits { shift, width } => self.map(args[0], |l, x| l.bits(x, shift, width)),
            KOp::Lut(table) => self.map(args[0], |l, x| l.look_up(table, x)),
            KOp::BShl(by) => self.map(args[0], |l, x| l.shift_bytes_left(x, by)),
            KOp::DivConst(n) => vec![self.div_const(args[0], n)],
            KOp::RemConst(n) => vec![self.rem_const(args[0], n)],
            KOp::CvtI32 => self.map(args[0], Lower::float_to_int),
            KOp::CvtF32 => {
                let to = if ty.lanes == 1 { types::F32 } else { types::F32X4 };
                self.map(args[0], |l, x| l.b.ins().fcvt_from_sint(to, x))
            }
            KOp::ToIndex => self.map(args[0], |l, x| l.b.ins().sextend(types::I64, x)),
            KOp::ToI32 => self.map(args[0], |l, x| l.b.ins().ireduce(types::I32, x)),
            KOp::Bitcast => {
                let to = super::value::piece_type(ty);
                self.map(args[0], |l, x| l.cast(to, x))
            }
            KOp::Splat if !matches!(ty.elem, Elem::I8 | Elem::U8) => {
                let scalar = self.one(args[0]);
                self.splat(scalar, ty)
            }
            KOp::Extract(lane) if !matches!(ty.elem, Elem::I8 | Elem::U8) => {
                vec![self.extract(args[0], lane)]
            }
            KOp::ReduceAdd | KOp::ReduceMax => vec![self.reduce(op, args[0])?],
            KOp::Cmp(cmp) => self.compare(cmp, args),
            KOp::Select => self.select(args),
            KOp::Min | KOp::Max => {
                let elem = ty.elem;
                self.zip(args, |l, x, y| l.extreme(op, elem, x, y))
            }
            KOp::Fma | KOp::Fnma => self.fused(op, args),
            KOp::Add | KOp::Sub | KOp::Mul | KOp::Div | KOp::And | KOp::Or => match (op, ty.elem) {
                (KOp::Add, Elem::F32) => self.zip(args, |l, x, y| l.b.ins().fadd(x, y)),
                (KOp::Sub, Elem::F32) => self.zip(args, |l, x, y| l.b.ins().fsub(x, y)),
                (KOp::Mul, Elem::F32) => self.zip(args, |l, x, y| l.b.ins().fmul(x, y)),
                (KOp::Div, Elem::F32) => self.zip(args, |l, x, y| l.b.ins().fdiv(x, y)),
                (KOp::Div, Elem::I64) => self.zip(args, |l, x, y| l.b.ins().udiv(x, y)),
                (KOp::Add, Elem::I32 | Elem::I64) => self.zip(args, |l, x, y| l.b.ins().iadd(x, y)),
                (KOp::Sub, Elem::I32 | Elem::I64) => self.zip(args, |l, x, y| l.b.ins().isub(x, y)),
                (KOp::Mul, Elem::I64) => vec![self.mul_index(args)],
                (KOp::Mul, Elem::I32) => self.zip(args, |l, x, y| l.b.ins().imul(x, y)),
                (KOp::And, Elem::I32 | Elem::I64) => self.zip(args, |l, x, y| l.b.ins().band(x, y)),
                (KOp::Or, Elem::I32 | Elem::I64 | Elem::U8) => self.zip(args, |l, x, y| l.b.ins().bor(x, y)),
                _ => return self.unsupported(keyword, ty),
            },
            KOp::Shl(by) | KOp::Sar(by) | KOp::Shr(by) if matches!(ty.elem, Elem::I32 | Elem::I64) => {
                let by = i64::from(by);
                self.map(args[0], |l, x| match op {
                    KOp::Shl(_) => l.b.ins().ishl_imm_u(x, by),
                    KOp::Sar(_) => l.b.ins().sshr_imm_u(x, by),
                    _ => l.b.ins().ushr_imm_u(x, by),
                })
            }
            KOp::Neg if ty.elem == Elem::F32 => self.map(args[0], |l, x| l.b.ins().fneg(x)),
            KOp::Neg if ty.elem == Elem::I32 => self.map(args[0], |l, x| l.b.ins().ineg(x)),
            KOp::Abs => self.map(args[0], |l, x| l.b.ins().fabs(x)),
            KOp::Sqrt => self.map(args[0], |l, x| l.b.ins().sqrt(x)),
            KOp::Round => self.map(args[0], |l, x| l.b.ins().nearest(x)),
            _ => return self.unsupported(keyword, ty),
        };
        Ok(pieces)
    }

    /// One Cranelift instruction or more for each piece.
    fn map(&mut self, a: Val, mut f: impl FnMut(&mut Self, Value) -> Value) -> Pieces {
        self.pieces(a).into_iter().map(|x| f(self, x)).collect()
    }

    fn zip(&mut self, args: &[Val], mut f: impl FnMut(&mut Self, Value, Value) -> Value) -> Pieces {
        let (a, b) = (self.pieces(args[0]), self.pieces(args[1]));
        a.into_iter().zip(b).map(|(x, y)| f(self, x, y)).collect()
    }

    fn int_constant(&mut self, n: i64, ty: Ty) -> Pieces {
        let value = match (ty.elem, ty.lanes) {
            (Elem::I64, _) => self.b.ins().iconst(types::I64, n),
            // Cranelift takes the zero-extended bits of a narrow constant.
            (_, 1) => self.b.ins().iconst(types::I32, i64::from(n as u32)),
            _ => self.vconst32(types::I32X4, n as u32),
        };
        vec![value; piece_count(ty)]
    }

    fn float_constant(&mut self, x: f32, ty: Ty) -> Pieces {
        let value = if ty.lanes == 1 {
            self.b.ins().f32const(x)
        } else {
            self.vconst32(types::F32X4, x.to_bits())
        };
        vec![value; piece_count(ty)]
    }

    fn iota(&mut self, ty: Ty) -> Pieces {
        if ty.lanes == 1 {
            return vec![self.b.ins().iconst(types::I32, 0)];
        }
        let piece = |l: &mut Self, p: usize| {
            let bytes = std::array::from_fn(|i| if i % 4 == 0 { (p * LANES + i / 4) as u8 } else { 0 });
            l.vconst(types::I32X4, bytes)
        };
        (0..piece_count(ty)).map(|p| piece(self, p)).collect()
    }

    fn bits(&mut self, x: Value, shift: u8, width: u8) -> Value {
        if width == 8 {
            return x;
        }
        // A shift of 16-bit lanes moves bits between bytes; the mask removes them.
        let mask = self.vector_constant(byte_mask(width));
        let shifted = if shift == 0 {
            x
        } else {
            let wide = self.cast(types::I16X8, x);
            let wide = self.b.ins().ushr_imm_u(wide, i64::from(shift));
            self.cast(types::I8X16, wide)
        };
        self.b.ins().band(shifted, mask)
    }

    /// Bytes of a table by index. Every index that means something is below 16, where the instructions of all processors
    /// agree.
    fn look_up(&mut self, table: [u8; 16], x: Value) -> Value {
        let table = self.vector_constant((types::I8X16, table));
        match self.features.arch() {
            Arch::X86_64 => self.b.ins().x86_pshufb(table, x),
            Arch::Aarch64 => self.b.ins().swizzle(table, x),
        }
    }

    fn shift_bytes_left(&mut self, x: Value, by: u8) -> Value {
        if by == 0 {
            return x;
        }
        // No bit leaves its byte, so 16-bit lanes do as well.
        let wide = self.cast(types::I16X8, x);
        let wide = self.b.ins().ishl_imm_u(wide, i64::from(by));
        self.cast(types::I8X16, wide)
    }

    /// A product of indices, a shift where the second is a constant power of two.
    fn mul_index(&mut self, args: &[Val]) -> Value {
        let (x, y) = (self.one(args[0]), self.one(args[1]));
        match self.constant(args[1]) {
            Some(n) if n > 0 && (n as u64).is_power_of_two() => {
                self.b.ins().ishl_imm_u(x, i64::from(n.trailing_zeros()))
            }
            _ => self.b.ins().imul(x, y),
        }
    }

    /// `⌊a / n⌋` for a ≥ 0 by a multiplication with a rounded-up reciprocal: with l = ⌈log₂ n⌉ and
    /// m = ⌊2^(63+l) / n⌋ + 1, the error of m·a / 2^(63+l) is below a / 2^63 · 1/n < 1/n (Granlund & Montgomery,
    /// "Division by Invariant Integers using Multiplication").
    fn div_const(&mut self, a: Val, n: i64) -> Value {
        let x = self.one(a);
        let n = n as u64;
        if n.is_power_of_two() {
            return self.b.ins().ushr_imm_u(x, i64::from(n.trailing_zeros()));
        }
        let log2 = 64 - n.leading_zeros();
        let reciprocal = ((1u128 << (63 + log2)) / u128::from(n) + 1) as u64;
        let reciprocal = self.b.ins().iconst(types::I64, reciprocal as i64);
        let high = self.b.ins().umulhi(x, reciprocal);
        self.b.ins().ushr_imm_u(high, i64::from(log2 - 1))
    }

    fn rem_const(&mut self, a: Val, n: i64) -> Value {
        let x = self.one(a);
        if (n as u64).is_power_of_two() {
            return self.b.ins().band_imm_s(x, n - 1);
        }
        let quotient = self.div_const(a, n);
        let whole = self.b.ins().imul_imm_s(quotient, n);
        self.b.ins().isub(x, whole)
    }

    /// To the nearest integer, ties to even; operands lie within ±2^31.
    fn float_to_int(&mut self, x: Value) -> Value {
        let rounded = self.b.ins().nearest(x);
        if self.features.arch() != Arch::X86_64 {
            let to = if self.is_vector(x) {
                types::I32X4
            } else {
                types::I32
            };
            return self.b.ins().fcvt_to_sint_sat(to, rounded);
        }
        // The x86 conversion of vectors needs no checks of the range.
        if self.is_vector(x) {
            return self.b.ins().x86_cvtt2dq(types::I32X4, rounded);
        }
        let vector = self.b.ins().splat(types::F32X4, rounded);
        let vector = self.b.ins().x86_cvtt2dq(types::I32X4, vector);
        self.b.ins().extractlane(vector, 0)
    }

    /// A scalar in every lane; all pieces are the same value.
    pub(super) fn splat(&mut self, scalar: Value, ty: Ty) -> Pieces {
        let vector = match (ty.elem, ty.lanes) {
            (_, 1) => scalar,
            (Elem::F32, _) => self.b.ins().splat(types::F32X4, scalar),
            _ => self.b.ins().splat(types::I32X4, scalar),
        };
        vec![vector; piece_count(ty)]
    }

    fn extract(&mut self, a: Val, lane: u8) -> Value {
        let (piece, lane) = (usize::from(lane) / LANES, lane % LANES as u8);
        let vector = self.pieces(a)[piece];
        if self.ty(a).lanes == 1 {
            vector
        } else {
            self.b.ins().extractlane(vector, lane)
        }
    }

    /// Folds halves onto each other until one lane is left.
    fn reduce(&mut self, op: KOp, a: Val) -> Result<Value, Error> {
        let ty = self.ty(a);
        if !matches!(ty.elem, Elem::F32 | Elem::I32) {
            return self.unsupported(op.info().keyword, ty);
        }
        let mut pieces = self.pieces(a);
        while pieces.len() > 1 {
            let upper = pieces.split_off(pieces.len() / 2);
            pieces = pieces
                .into_iter()
                .zip(upper)
                .map(|(x, y)| self.fold(op, ty.elem, x, y))
                .collect();
        }
        if ty.lanes == 1 {
            return Ok(pieces[0]);
        }
        let upper = self.lanes_down(pieces[0], 2);
        let pair = self.fold(op, ty.elem, pieces[0], upper);
        let upper = self.lanes_down(pair, 1);
        let all = self.fold(op, ty.elem, pair, upper);
        Ok(self.b.ins().extractlane(all, 0))
    }

    fn fold(&mut self, op: KOp, elem: Elem, x: Value, y: Value) -> Value {
        match (op, elem) {
            (KOp::ReduceAdd, Elem::F32) => self.b.ins().fadd(x, y),
            (KOp::ReduceAdd, _) => self.b.ins().iadd(x, y),
            _ => self.extreme(KOp::Max, elem, x, y),
        }
    }

    /// Lane i of the result is lane i + n of `x`, wrapping.
    fn lanes_down(&mut self, x: Value, n: u8) -> Value {
        let ty = self.b.func.dfg.value_type(x);
        let bytes = self.cast(types::I8X16, x);
        let mask = std::array::from_fn::<u8, 16, _>(|i| (i as u8 + 4 * n) % 16);
        let mask = self.b.func.dfg.immediates.push(mask[..].into());
        let moved = self.b.ins().shuffle(bytes, bytes, mask);
        self.cast(ty, moved)
    }

    /// Lesser or greater. For floats exactly `a < b ? a : b` (`a > b ? a : b`), which is what x86's own instructions do.
    fn extreme(&mut self, op: KOp, elem: Elem, x: Value, y: Value) -> Value {
        let least = matches!(op, KOp::Min);
        if elem != Elem::F32 {
            return if least {
                self.b.ins().smin(x, y)
            } else {
                self.b.ins().smax(x, y)
            };
        }
        if !self.is_vector(x) {
            let (x, y) = (
                self.b.ins().splat(types::F32X4, x),
                self.b.ins().splat(types::F32X4, y),
            );
            let vector = self.extreme(op, elem, x, y);
            return self.b.ins().extractlane(vector, 0);
        }
        let (a, b) = if least { (x, y) } else { (y, x) };
        let first = self.b.ins().fcmp(FloatCC::LessThan, a, b);
        let first = self.cast(types::F32X4, first);
        self.b.ins().bitselect(first, x, y)
    }

    fn fused(&mut self, op: KOp, args: &[Val]) -> Pieces {
        let (a, b, c) = (self.pieces(args[0]), self.pieces(args[1]), self.pieces(args[2]));
        let mut result = Pieces::new();
        for ((x, y), z) in a.into_iter().zip(b).zip(c) {
            let x = if matches!(op, KOp::Fnma) {
                self.b.ins().fneg(x)
            } else {
                x
            };
            result.push(self.b.ins().fma(x, y, z));
        }
        result
    }

    fn compare(&mut self, cmp: Cmp, args: &[Val]) -> Pieces {
        let ty = self.ty(args[0]);
        let float = match cmp {
            Cmp::Eq => FloatCC::Equal,
            Cmp::Ne => FloatCC::NotEqual,
            Cmp::Lt => FloatCC::LessThan,
            Cmp::Le => FloatCC::LessThanOrEqual,
        };
        self.zip(args, |l, x, y| {
            let holds = match ty.elem {
                Elem::F32 => l.b.ins().fcmp(float, x, y),
                _ => l.b.ins().icmp(int_condition(cmp), x, y),
            };
            if ty.lanes == 1 {
                l.b.ins().bmask(types::I32, holds)
            } else {
                holds
            }
        })
    }

    fn select(&mut self, args: &[Val]) -> Pieces {
        let (mask, a, b) = (self.pieces(args[0]), self.pieces(args[1]), self.pieces(args[2]));
        let mut result = Pieces::new();
        for ((m, x), y) in mask.into_iter().zip(a).zip(b) {
            let ty = self.b.func.dfg.value_type(x);
            let value = if self.is_vector(m) {
                let m = self.cast(ty, m);
                self.b.ins().bitselect(m, x, y)
            } else {
                let first = self.b.ins().icmp_imm_s(IntCC::NotEqual, m, 0);
                self.b.ins().select(first, x, y)
            };
            result.push(value);
        }
        result
    }

    /// Whether a Cranelift value is a vector.
    pub(super) fn is_vector(&self, x: Value) -> bool {
        let ty: Type = self.b.func.dfg.value_type(x);
        ty.is_vector()
    }
}
