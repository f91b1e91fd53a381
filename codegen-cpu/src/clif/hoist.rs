//! Vector constants that stay in registers over a loop.
//!
//! Cranelift loads a vector constant from memory wherever the lowering asks for it. A loop that needs one often gets it
//! once, before its first iteration; a loop that needs it rarely leaves the register to others.

use super::lower::Lower;
use cranelift_codegen::ir::{Type, Value, types};
use lathe_ir::kernel::{KOp, Mem, Region};

/// A constant is kept in a register where at least one in this many instructions of the loop uses it.
const RARITY: usize = 16;

/// The bits of a vector constant and its type.
pub(super) type VectorConstant = (Type, [u8; 16]);

/// The same 32 bits in four lanes.
pub(super) fn lanes32(ty: Type, bits: u32) -> VectorConstant {
    let lane = bits.to_le_bytes();
    (ty, std::array::from_fn(|i| lane[i % 4]))
}

/// The same byte in every lane.
pub(super) fn byte_splat(byte: u8) -> VectorConstant {
    (types::I8X16, [byte; 16])
}

/// The mask of a byte's `width` low bits.
pub(super) fn byte_mask(width: u8) -> VectorConstant {
    byte_splat(((1u16 << width) - 1) as u8)
}

/// What remains of f16 bits in the fields of an f32.
pub(super) fn f16_mask() -> VectorConstant {
    lanes32(types::I32X4, 0x8fff_e000)
}

/// 2^112: the difference of the exponent biases of f32 and f16.
pub(super) fn f16_rebias() -> VectorConstant {
    lanes32(types::F32X4, (127 + 112) << 23)
}

/// The constants that the lowering of an op asks for.
fn constants_of(op: KOp) -> Vec<VectorConstant> {
    match op {
        KOp::Bits { width, .. } if width < 8 => vec![byte_mask(width)],
        KOp::Lut(table) => vec![(types::I8X16, table)],
        KOp::Load { mem: Mem::F16, .. } => vec![f16_mask(), f16_rebias()],
        _ => Vec::new(),
    }
}

impl Lower<'_> {
    /// Emits the constants that the instructions of `body` (nested loops aside) use often. They are in reach until the
    /// list is cut back to the length that this returns.
    pub(super) fn hoist_constants(&mut self, body: &Region) -> usize {
        let before = self.hoisted.len();
        let mut uses: Vec<(VectorConstant, usize)> = Vec::new();
        let of_dots = |op: KOp| self.constants_of_dot4(op);
        for constant in body
            .insts
            .iter()
            .flat_map(|inst| [constants_of(inst.op), of_dots(inst.op)].concat())
        {
            match uses.iter_mut().find(|(c, _)| *c == constant) {
                Some((_, count)) => *count += 1,
                None => uses.push((constant, 1)),
            }
        }
        for (constant, count) in uses {
            if count * RARITY >= body.insts.len() && !self.hoisted.iter().any(|(c, _)| *c == constant) {
                let value = self.vector_constant(constant);
                self.hoisted.push((constant, value));
            }
        }
        before
    }

    /// A vector constant: the hoisted one, or a new one.
    pub(super) fn vector_constant(&mut self, constant: VectorConstant) -> Value {
        match self.hoisted.iter().find(|(c, _)| *c == constant) {
            Some((_, value)) => *value,
            None => self.vconst(constant.0, constant.1),
        }
    }
}
