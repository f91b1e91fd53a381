//! Loads and stores with their conversions. No access touches a byte outside the lanes it is for.

use super::hoist::{f16_mask, f16_rebias};
use super::lower::{Lower, memory_flags};
use super::value::{LANES, Pieces, piece_count};
use crate::Error;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use lathe_ir::kernel::{Elem, Mem, Ty, Val};

impl Lower<'_> {
    /// Loads a value of type `ty` from `address + disp`.
    pub(super) fn load(&mut self, mem: Mem, address: Value, disp: i32, ty: Ty) -> Result<Pieces, Error> {
        let at = |piece: usize, lane_bytes: i32| disp + piece as i32 * LANES as i32 * lane_bytes;
        let pieces = 0..piece_count(ty);
        match (mem, ty.elem, ty.lanes) {
            (Mem::I32, Elem::I64, 1) => Ok(vec![self.b.ins().sload32(
                memory_flags(),
                address,
                Offset32::new(disp),
            )]),
            (Mem::I32, Elem::I32, 1) | (Mem::F32, Elem::F32, 1) => {
                Ok(vec![self.load_at(super::value::piece_type(ty), address, disp)])
            }
            (Mem::F16, Elem::F32, 1) => Ok(vec![self.load_f16(address, disp)]),
            (Mem::Bf16, Elem::F32, 1) => Ok(vec![self.load_bf16(address, disp)]),
            (Mem::I8, Elem::I32, 1) => Ok(vec![self.b.ins().sload8(
                types::I32,
                memory_flags(),
                address,
                disp,
            )]),
            (Mem::U8, Elem::I32, 1) => Ok(vec![self.b.ins().uload8(
                types::I32,
                memory_flags(),
                address,
                disp,
            )]),
            (Mem::I32, Elem::I32, _) | (Mem::F32, Elem::F32, _) => {
                let piece_ty = super::value::piece_type(ty);
                Ok(pieces
                    .map(|p| self.load_at(piece_ty, address, at(p, 4)))
                    .collect())
            }
            (Mem::F16, Elem::F32, _) => Ok(pieces.map(|p| self.load_f16x4(address, at(p, 2))).collect()),
            (Mem::Bf16, Elem::F32, _) => Ok(pieces.map(|p| self.load_bf16x4(address, at(p, 2))).collect()),
            (Mem::I8 | Mem::U8, Elem::I32, _) => Ok(self.load_widened(mem, address, disp, ty)),
            (Mem::I8, Elem::I8, _) | (Mem::U8, Elem::U8, _) => Ok(self.load_bytes(address, disp, ty)),
            _ => self.unsupported("load", ty),
        }
    }

    /// Loads one element (for byte lanes: four bytes) and repeats it.
    pub(super) fn load_splat(
        &mut self,
        mem: Mem,
        address: Value,
        disp: i32,
        ty: Ty,
    ) -> Result<Pieces, Error> {
        if matches!((mem, ty.elem), (Mem::I8, Elem::I8) | (Mem::U8, Elem::U8)) && ty.lanes >= 4 {
            let quads = self.broadcast(types::F32, address, disp);
            let bytes = self.cast(types::I8X16, quads);
            return Ok(vec![bytes; piece_count(ty)]);
        }
        match (mem, ty.elem, ty.lanes) {
            (Mem::F32, Elem::F32, 2..) => {
                Ok(vec![self.broadcast(types::F32, address, disp); piece_count(ty)])
            }
            (Mem::I32, Elem::I32, 2..) => {
                Ok(vec![self.broadcast(types::I32, address, disp); piece_count(ty)])
            }
            (_, Elem::I32 | Elem::F32, _) => {
                let scalar = self.load(mem, address, disp, Ty { lanes: 1, ..ty })?[0];
                Ok(self.splat(scalar, ty))
            }
            _ => self.unsupported("load_splat", ty),
        }
    }

    /// A 32-bit element in four lanes, by one broadcasting load.
    ///
    /// Cranelift joins a load with the splat of it only where the splat's users are one.
    fn broadcast(&mut self, scalar: Type, address: Value, disp: i32) -> Value {
        let vector = scalar
            .by(LANES as u32)
            .expect("four lanes of 32 bits are a vector");
        let value = self.load_at(scalar, address, disp);
        let splat = self.b.ins().splat(vector, value);
        self.pinned(vector, splat)
    }

    /// f16 bits, sign-extended and shifted so that sign, exponent and mantissa stand in their f32 fields, are the value
    /// divided by 2^112, exactly, subnormals included.
    fn load_f16x4(&mut self, address: Value, disp: i32) -> Value {
        let bits = self
            .b
            .ins()
            .sload16x4(memory_flags(), address, Offset32::new(disp));
        let bits = self.b.ins().ishl_imm_u(bits, 13);
        let mask = self.vector_constant(f16_mask());
        let bits = self.b.ins().band(bits, mask);
        let small = self.cast(types::F32X4, bits);
        let rebias = self.vector_constant(f16_rebias());
        self.b.ins().fmul(small, rebias)
    }

    fn load_f16(&mut self, address: Value, disp: i32) -> Value {
        let bits = self
            .b
            .ins()
            .sload16(types::I32, memory_flags(), address, Offset32::new(disp));
        let bits = self.b.ins().ishl_imm_u(bits, 13);
        let bits = self.b.ins().band_imm_u(bits, 0x8fff_e000);
        let small = self.cast(types::F32, bits);
        let rebias = self.b.ins().f32const(f32::from_bits((127 + 112) << 23));
        self.b.ins().fmul(small, rebias)
    }

    fn load_bf16x4(&mut self, address: Value, disp: i32) -> Value {
        let bits = self
            .b
            .ins()
            .uload16x4(memory_flags(), address, Offset32::new(disp));
        let bits = self.b.ins().ishl_imm_u(bits, 16);
        self.cast(types::F32X4, bits)
    }

    fn load_bf16(&mut self, address: Value, disp: i32) -> Value {
        let bits = self
            .b
            .ins()
            .uload16(types::I32, memory_flags(), address, Offset32::new(disp));
        let bits = self.b.ins().ishl_imm_u(bits, 16);
        self.cast(types::F32, bits)
    }

    /// Bytes to 32-bit lanes, sixteen at a time where there are as many.
    fn load_widened(&mut self, mem: Mem, address: Value, disp: i32, ty: Ty) -> Pieces {
        let mut pieces = Pieces::new();
        for bytes in self.load_bytes(address, disp, ty) {
            for half in 0..2 {
                let words = self.widen(mem, bytes, half == 1);
                pieces.extend([self.widen(mem, words, false), self.widen(mem, words, true)]);
            }
        }
        pieces.truncate(piece_count(ty));
        pieces
    }

    fn widen(&mut self, mem: Mem, x: Value, high: bool) -> Value {
        match (mem, high) {
            (Mem::I8, false) => self.b.ins().swiden_low(x),
            (Mem::I8, true) => self.b.ins().swiden_high(x),
            (_, false) => self.b.ins().uwiden_low(x),
            (_, true) => self.b.ins().uwiden_high(x),
        }
    }

    /// Bytes as they are; fewer than sixteen into the low bytes of a vector.
    fn load_bytes(&mut self, address: Value, disp: i32, ty: Ty) -> Pieces {
        if ty.lanes >= 16 {
            let count = usize::from(ty.lanes) / 16;
            return (0..count)
                .map(|p| self.load_at(types::I8X16, address, disp + 16 * p as i32))
                .collect();
        }
        let (scalar, vector) = partial(ty.lanes);
        let value = self.load_at(scalar, address, disp);
        let value = self.b.ins().scalar_to_vector(vector, value);
        vec![self.cast(types::I8X16, value)]
    }

    /// Stores a value at `address + disp`.
    pub(super) fn store(&mut self, mem: Mem, address: Value, disp: i32, value: Val) -> Result<(), Error> {
        let ty = self.ty(value);
        let pieces = self.pieces(value);
        match (mem, ty.elem) {
            (Mem::I32, Elem::I32) | (Mem::F32, Elem::F32) => {
                self.store_all(address, disp, &pieces);
            }
            (Mem::U8, Elem::U8) | (Mem::I8, Elem::I8) => self.store_bytes(address, disp, &pieces, ty.lanes),
            (Mem::I8, Elem::I32) => self.store_saturated(address, disp, pieces, ty.lanes),
            (Mem::F16, Elem::F32) => self.store_words(address, disp, pieces, ty.lanes, Self::f16_bits),
            (Mem::Bf16, Elem::F32) => self.store_words(address, disp, pieces, ty.lanes, Self::bf16_bits),
            _ => return self.unsupported("store", ty),
        }
        Ok(())
    }

    fn store_at(&mut self, address: Value, disp: i32, value: Value) {
        self.b
            .ins()
            .store(memory_flags(), value, address, Offset32::new(disp));
    }

    fn store_all(&mut self, address: Value, disp: i32, pieces: &[Value]) {
        for (p, &piece) in pieces.iter().enumerate() {
            self.store_at(address, disp + 16 * p as i32, piece);
        }
    }

    /// Stores `count` bytes of vectors.
    fn store_bytes(&mut self, address: Value, disp: i32, pieces: &[Value], count: u8) {
        if count >= 16 {
            return self.store_all(address, disp, pieces);
        }
        let (_, vector) = partial(count);
        let lanes = self.cast(vector, pieces[0]);
        let value = self.b.ins().extractlane(lanes, 0);
        self.store_at(address, disp, value);
    }

    /// i32 lanes as signed bytes: to 16 bits, then to 8, saturating both times.
    fn store_saturated(&mut self, address: Value, disp: i32, pieces: Pieces, lanes: u8) {
        let pieces = self.vectors(pieces, lanes);
        let bytes = pieces.chunks(4).map(|quad| {
            let part = |i: usize| quad[i.min(quad.len() - 1)];
            let low = self.b.ins().snarrow(part(0), part(1));
            let high = if quad.len() > 2 {
                self.b.ins().snarrow(part(2), part(3))
            } else {
                low
            };
            self.b.ins().snarrow(low, high)
        });
        let bytes: Pieces = bytes.collect();
        self.store_bytes(address, disp, &bytes, lanes);
    }

    /// Stores f32 lanes as the 16 bits that `bits` makes of each, in 32-bit lanes.
    fn store_words(
        &mut self,
        address: Value,
        disp: i32,
        pieces: Pieces,
        lanes: u8,
        bits: fn(&mut Self, Value) -> Value,
    ) {
        let pieces = self.vectors(pieces, lanes);
        let halves: Pieces = pieces.into_iter().map(|x| bits(self, x)).collect();
        let words: Pieces = halves
            .chunks(2)
            .map(|pair| self.b.ins().unarrow(pair[0], pair[pair.len() - 1]))
            .collect();
        let words: Pieces = words.into_iter().map(|w| self.cast(types::I8X16, w)).collect();
        self.store_bytes(address, disp, &words, 2 * lanes);
    }

    /// Lanes of a vector, where the value is a scalar.
    fn vectors(&mut self, pieces: Pieces, lanes: u8) -> Pieces {
        if lanes > 1 {
            return pieces;
        }
        let ty = if self.b.func.dfg.value_type(pieces[0]) == types::F32 {
            types::F32X4
        } else {
            types::I32X4
        };
        vec![self.b.ins().splat(ty, pieces[0])]
    }

    /// The bf16 nearest to each f32 lane, ties to even, as bits in 32-bit lanes: half a unit of its last place is added,
    /// less where the place is even.
    fn bf16_bits(&mut self, x: Value) -> Value {
        let bits = self.cast(types::I32X4, x);
        let one = self.vconst32(types::I32X4, 1);
        let parity = self.b.ins().ushr_imm_u(bits, 16);
        let parity = self.b.ins().band(parity, one);
        let rounding = self.vconst32(types::I32X4, 0x7fff);
        let rounded = self.b.ins().iadd(bits, rounding);
        let rounded = self.b.ins().iadd(rounded, parity);
        self.b.ins().ushr_imm_u(rounded, 16)
    }

    /// The f16 nearest to each f32 lane, ties to even, as bits in 32-bit lanes. By integers: a normal result rounds by
    /// adding half a unit of its last place less the parity; a subnormal one by adding 0.5, whose last place is 2^-24,
    /// the unit of f16 subnormals. Magnitudes too large become infinity.
    fn f16_bits(&mut self, x: Value) -> Value {
        let bits = self.cast(types::I32X4, x);
        let constant = |l: &mut Self, n: u32| l.vconst32(types::I32X4, n);
        let sign_mask = constant(self, 0x8000);
        let sign = self.b.ins().ushr_imm_u(bits, 16);
        let sign = self.b.ins().band(sign, sign_mask);
        let magnitude_mask = constant(self, 0x7fff_ffff);
        let magnitude = self.b.ins().band(bits, magnitude_mask);
        // 65536, the first power of two past the range, is where exponents end.
        let limit = constant(self, (127 + 16) << 23);
        let magnitude = self.b.ins().smin(magnitude, limit);

        let parity = self.b.ins().ushr_imm_u(magnitude, 13);
        let one = constant(self, 1);
        let parity = self.b.ins().band(parity, one);
        let rounding = constant(self, 0u32.wrapping_sub(112 << 23).wrapping_add(0xfff));
        let normal = self.b.ins().iadd(magnitude, rounding);
        let normal = self.b.ins().iadd(normal, parity);
        let normal = self.b.ins().ushr_imm_u(normal, 13);

        let half = constant(self, 0.5f32.to_bits());
        let (float, half_float) = (self.cast(types::F32X4, magnitude), self.cast(types::F32X4, half));
        let shifted = self.b.ins().fadd(float, half_float);
        let shifted = self.cast(types::I32X4, shifted);
        let subnormal = self.b.ins().isub(shifted, half);

        let least_normal = constant(self, (127 - 14) << 23);
        let is_subnormal = self.b.ins().icmp(
            cranelift_codegen::ir::condcodes::IntCC::SignedLessThan,
            magnitude,
            least_normal,
        );
        let rounded = self.b.ins().bitselect(is_subnormal, subnormal, normal);
        self.b.ins().bor(rounded, sign)
    }
}

/// The scalar type of `bytes` bytes (1, 2, 4 or 8) and the vector of such scalars.
fn partial(bytes: u8) -> (Type, Type) {
    match bytes {
        1 => (types::I8, types::I8X16),
        2 => (types::I16, types::I16X8),
        4 => (types::I32, types::I32X4),
        _ => (types::I64, types::I64X2),
    }
}
