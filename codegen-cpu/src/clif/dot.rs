//! `dot4`: sums of four byte products into 32-bit lanes, exact on every processor.
//!
//! Processors with a mixed-sign dot product (x86 VNNI, Arm I8MM) and Arm processors with a signed one get it through a
//! tree of widening products that Cranelift folds into the instruction; each architecture wants its own operand order.

use super::hoist::{VectorConstant, byte_splat};
use super::lower::Lower;
use super::value::{Pieces, piece_count};
use crate::target::Arch;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use lathe_ir::kernel::{KOp, Ty, Val};

/// Below this many bits an unsigned code is a non-negative signed byte, and two products fit a signed 16-bit lane.
const SIGNED_BITS: u8 = 7;

/// What an unsigned byte differs by from a signed one, and half of that, which is a signed byte.
const SIGNED_CONSTANTS: [u8; 2] = [0x80, 0x40];

impl Lower<'_> {
    /// `acc + Σ₄ u·a` for operands acc, u, a; `u < 2^bits`.
    pub(super) fn dot4(&mut self, args: &[Val], bits: u8, ty: Ty) -> Pieces {
        let (acc, u, a) = (self.pieces(args[0]), self.pieces(args[1]), self.pieces(args[2]));
        if ty.lanes == 1 {
            let vector = self.b.ins().scalar_to_vector(types::I32X4, acc[0]);
            let vector = self.dot4_piece(vector, u[0], a[0], bits);
            return vec![self.b.ins().extractlane(vector, 0)];
        }
        (0..piece_count(ty))
            .map(|i| self.dot4_piece(acc[i], u[i], a[i], bits))
            .collect()
    }

    fn dot4_piece(&mut self, acc: Value, u: Value, a: Value, bits: u8) -> Value {
        let features = self.features;
        match features.arch() {
            Arch::X86_64 if features.has_dot4() => self.dot4_tree((a, true), (u, false), acc),
            Arch::X86_64 if bits <= SIGNED_BITS => self.dot4_pairs(acc, u, a),
            Arch::X86_64 => self.dot4_even_odd(acc, u, a),
            // Signed operands widen and multiply at once where there is no dot product.
            Arch::Aarch64 if bits <= SIGNED_BITS && (features.has("dotprod") || !features.has_dot4()) => {
                self.dot4_tree((u, true), (a, true), acc)
            }
            Arch::Aarch64 if self.has_signed_dots_only() => self.dot4_signed(acc, u, a),
            Arch::Aarch64 => self.dot4_tree((u, false), (a, true), acc),
        }
    }

    /// The widening tree. Each operand comes with whether it is signed.
    fn dot4_tree(&mut self, x: (Value, bool), y: (Value, bool), acc: Value) -> Value {
        let low = self.products(x, y, false);
        let high = self.products(x, y, true);
        let (low, high) = (self.pair_sums(low), self.pair_sums(high));
        let sums = self.b.ins().iadd_pairwise(low, high);
        self.b.ins().iadd(sums, acc)
    }

    fn has_signed_dots_only(&self) -> bool {
        self.features.arch() == Arch::Aarch64 && self.features.has("dotprod") && !self.features.has_dot4()
    }

    /// The vector constants that the lowering of a `dot4` asks for.
    pub(super) fn constants_of_dot4(&self, op: KOp) -> Vec<VectorConstant> {
        match op {
            KOp::Dot4 { bits } if bits > SIGNED_BITS && self.has_signed_dots_only() => {
                SIGNED_CONSTANTS.map(byte_splat).to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// By signed dot products alone: u is a signed byte plus 128, which two products with 64 make up for.
    fn dot4_signed(&mut self, acc: Value, u: Value, a: Value) -> Value {
        let [offset, half] = SIGNED_CONSTANTS.map(|byte| self.vector_constant(byte_splat(byte)));
        let signed = self.signed_bytes(u, offset);
        let sum = self.dot4_tree((signed, true), (a, true), acc);
        let sum = self.dot4_tree((half, true), (a, true), sum);
        self.dot4_tree((half, true), (a, true), sum)
    }

    fn products(&mut self, x: (Value, bool), y: (Value, bool), high: bool) -> Value {
        let mut widen = |(value, signed): (Value, bool)| match (signed, high) {
            (true, false) => self.b.ins().swiden_low(value),
            (true, true) => self.b.ins().swiden_high(value),
            (false, false) => self.b.ins().uwiden_low(value),
            (false, true) => self.b.ins().uwiden_high(value),
        };
        let (x, y) = (widen(x), widen(y));
        self.b.ins().imul(x, y)
    }

    /// Sums of neighbours, from 16 to 32 bits.
    fn pair_sums(&mut self, x: Value) -> Value {
        let (low, high) = (self.b.ins().swiden_low(x), self.b.ins().swiden_high(x));
        self.b.ins().iadd_pairwise(low, high)
    }

    /// Two products a 16-bit lane: exact where u < 2^7, since 2 · 127 · 128 < 2^15.
    fn dot4_pairs(&mut self, acc: Value, u: Value, a: Value) -> Value {
        let pairs = self.b.ins().x86_pmaddubsw(a, u);
        let sums = self.pair_sums(pairs);
        self.b.ins().iadd(sums, acc)
    }

    /// One product a 16-bit lane, even bytes and odd bytes apart: exact for every u, since 255 · 128 < 2^15.
    fn dot4_even_odd(&mut self, acc: Value, u: Value, a: Value) -> Value {
        let mut sum = acc;
        for parity in 0..2 {
            let mask = self.vconst(
                types::I8X16,
                std::array::from_fn(|i| if i % 2 == parity { 0xff } else { 0 }),
            );
            let half = self.b.ins().band(u, mask);
            sum = self.dot4_pairs(sum, half, a);
        }
        sum
    }
}
