//! How a value of the kernel IR lives in Cranelift values.
//!
//! A scalar index, integer or float is one Cranelift scalar. Lanes of 32 bits are 128-bit vectors of four, in order.
//! Byte lanes are 128-bit vectors of sixteen; fewer than sixteen (as much as one) lie in the low bytes of one vector,
//! the rest of which means nothing.

use cranelift_codegen::ir::{Type, Value, types};
use lathe_ir::kernel::{Elem, Ty};

/// The Cranelift values of one kernel value, in order of their lanes.
pub(super) type Pieces = Vec<Value>;

/// 32-bit lanes in a piece.
pub(super) const LANES: usize = 4;

/// The Cranelift type of a piece.
pub(super) fn piece_type(ty: Ty) -> Type {
    match (ty.elem, ty.lanes) {
        (Elem::I8 | Elem::U8, _) => types::I8X16,
        (Elem::I64, _) => types::I64,
        (Elem::I32, 1) => types::I32,
        (Elem::F32, 1) => types::F32,
        (Elem::I32, _) => types::I32X4,
        (Elem::F32, _) => types::F32X4,
    }
}

/// How many pieces a value has.
pub(super) fn piece_count(ty: Ty) -> usize {
    let lanes = usize::from(ty.lanes);
    match ty.elem {
        Elem::I8 | Elem::U8 => lanes.div_ceil(16),
        Elem::I32 | Elem::F32 => lanes.div_ceil(LANES),
        Elem::I64 => lanes,
    }
}
