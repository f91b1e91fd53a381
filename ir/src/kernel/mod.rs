//! The kernel (tile) IR: what one kernel does, in structured loops over vector values.
//!
//! A [`Kernel`] handles *units* of work numbered from 0 (a panel of output rows, a head of a row …). It is called with
//! a range of units; ranges are split statically over threads, and a unit's result depends on nothing but its number.
//! Memory is a list of byte buffers, addressed as buffer + index value + constant. Vector widths are explicit in the
//! types: a generator takes the width W as a parameter and the text shows what it chose. Nothing here names an
//! instruction set. The order of every float operation is in the text: the same text gives the same bits on every
//! lowering, and in the interpreter.

pub mod builder;
pub mod interp;
mod lex;
pub mod math;
pub mod op;
pub mod parse;
pub mod print;
pub mod stats;
pub mod verify;

#[cfg(test)]
mod tests;

pub use builder::KernelBuilder;
pub use op::{Cmp, Elem, KOp, KOpInfo, Mem, TileDot, Ty};

use crate::id::{Arena, define_id};

define_id!(
    /// An SSA value of a kernel.
    Val, "%"
);
define_id!(
    /// A buffer parameter of a kernel.
    Buf, "$"
);
define_id!(
    /// An index parameter of a kernel.
    Scalar, "#"
);

/// One kernel. Its body runs once a unit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kernel {
    /// The name; equal names in a plan mean equal kernels.
    pub name: String,
    /// Buffers, in the order in which a plan passes them.
    pub bufs: Arena<Buf, BufDecl>,
    /// Index parameters (i64), such as the number of rows, and the value that holds each.
    pub scalars: Arena<Scalar, ScalarDecl>,
    /// Bytes of scratch memory that each thread owns, 64-byte aligned, addressed as [`Buf`] number `bufs.len()`;
    /// its content at the start of a unit is undefined.
    pub scratch: u32,
    /// The types of all values.
    pub values: Arena<Val, Ty>,
    /// The value that holds the unit's number.
    pub unit: Option<Val>,
    /// What a unit does.
    pub body: Region,
}

/// A buffer parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BufDecl {
    /// Its name, printed after `$`.
    pub name: String,
    /// Whether the kernel reads, writes, or does both.
    pub access: Access,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only reads.
    In,
    /// Only writes.
    Out,
    /// Reads and writes.
    InOut,
}

/// An index parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScalarDecl {
    /// Its name, printed after `#`.
    pub name: String,
    /// The value that holds it.
    pub value: Val,
}

/// A straight line of instructions with parameters (loop-carried values) and the values it yields.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Region {
    /// Values bound on entry.
    pub params: Vec<Val>,
    /// Instructions in order.
    pub insts: Vec<Inst>,
    /// Values handed to the next iteration and, after the last, to the results of the loop.
    pub yields: Vec<Val>,
}

/// An instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct Inst {
    /// What it does.
    pub op: KOp,
    /// Values it reads, in the order of the table.
    pub args: Vec<Val>,
    /// Values it makes.
    pub results: Vec<Val>,
    /// Nested regions: the body of a `for`, the two arms of an `if`.
    pub regions: Vec<Region>,
}

impl Kernel {
    /// The buffer id that names the thread's scratch memory.
    pub fn scratch_buf(&self) -> Buf {
        self.bufs.next_id()
    }
}
