//! Machine instructions over virtual registers.
//!
//! Instructions form one list; control flow is by labels. A virtual register may be written several times (a loop's
//! carried values, two-address instructions), so liveness is computed, not assumed.

use super::isa::{VOp, Width};

/// A virtual register.
pub(super) type VReg = u32;

/// A jump target.
pub(super) type Label = u32;

/// What a virtual register is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// A 64-bit general register.
    Gpr,
    /// A vector register.
    Vec,
}

/// An address: `base + index · scale + disp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MemRef {
    /// Added as it is; an address without one is `index · scale + disp`.
    pub(super) base: Option<VReg>,
    /// Multiplied by the scale.
    pub(super) index: Option<VReg>,
    /// 1, 2, 4 or 8.
    pub(super) scale: u8,
    /// Bytes.
    pub(super) disp: i32,
}

impl MemRef {
    /// `base + disp`.
    pub(super) fn based(base: VReg, disp: i32) -> MemRef {
        MemRef {
            base: Some(base),
            index: None,
            scale: 1,
            disp,
        }
    }

    fn registers(&self) -> impl Iterator<Item = VReg> + use<> {
        self.base.into_iter().chain(self.index)
    }
}

/// A place in the constants behind the code, in bytes.
pub(super) type PoolOffset = u32;

/// A place in the frame, by number.
pub(super) type Slot = u32;

/// What an instruction reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Src {
    /// Nothing.
    None,
    /// A register.
    Reg(VReg),
    /// Memory, as many bytes as the instruction reads.
    Mem(MemRef),
    /// A 32-bit element of memory for all lanes.
    Splat(MemRef),
    /// A vector constant.
    Pool(PoolOffset),
    /// A 32-bit constant for all lanes.
    PoolSplat(PoolOffset),
    /// A place in the frame.
    Slot(Slot),
}

/// A condition of two signed indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater or equal.
    Ge,
    /// Greater.
    Gt,
}

impl Cond {
    /// The opposite.
    pub(super) fn not(self) -> Cond {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Lt => Cond::Ge,
            Cond::Le => Cond::Gt,
            Cond::Ge => Cond::Lt,
            Cond::Gt => Cond::Le,
        }
    }

    /// The same of operands exchanged.
    pub(super) fn swapped(self) -> Cond {
        match self {
            Cond::Lt => Cond::Gt,
            Cond::Le => Cond::Ge,
            Cond::Ge => Cond::Le,
            Cond::Gt => Cond::Lt,
            same => same,
        }
    }
}

/// What an instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MOp {
    /// A vector instruction.
    V(VOp),
    /// A copy.
    Mov,
    /// A vector of zeros.
    Zero,
    /// A 64-bit constant: the immediate.
    Const,
    /// The address of the source.
    Lea,
    /// A load of 64 bits.
    Load64,
    /// A load of 32 bits, sign-extended.
    LoadI32,
    /// A load of 16 bits, zero-extended.
    LoadU16,
    /// A load of a byte, zero-extended.
    LoadU8,
    /// A load of a byte, sign-extended.
    LoadI8,
    /// dst = dst + immediate.
    AddImm,
    /// dst = dst − source.
    Sub,
    /// dst = dst & source, or & immediate.
    And,
    /// dst = dst | source.
    Or,
    /// dst = dst · source.
    Mul,
    /// Source times the immediate.
    MulImm,
    /// dst shifted left by the immediate.
    Shl,
    /// dst shifted right by the immediate, signs in.
    Sar,
    /// The lesser of dst and source.
    Min,
    /// The greater of dst and source.
    Max,
    /// The first source divided by the second (unsigned).
    Div,
    /// The high 64 bits of source times the immediate (unsigned), shifted right by the number.
    MulHigh(u8),
    /// A vector register's lowest 32 bits, sign-extended.
    FromVec,
    /// A hint to load the source.
    Prefetch,
    /// Loads the shapes of the tile registers.
    TileConfig,
    /// Frees the tile registers.
    TileRelease,
    /// Sums of tiles: to the first source, of the second and third; the index of each is its stride.
    TileDot,
    /// A jump target.
    Label(Label),
    /// A jump.
    Jump(Label),
    /// A jump where the first source compares so with the second, or with the immediate.
    Branch(Cond, Label),
    /// The end.
    Return,
    /// Writes a register to a place in the frame.
    Spill,
    /// Reads a register from a place in the frame, or a constant.
    Reload,
}

/// An instruction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct MInst {
    /// What it does.
    pub(super) op: MOp,
    /// Width of a vector instruction.
    pub(super) width: Width,
    /// What it writes.
    pub(super) dst: Option<VReg>,
    /// Whether it reads what it writes.
    pub(super) tied: bool,
    /// What it reads.
    pub(super) src: [Src; 3],
    /// An immediate.
    pub(super) imm: i64,
    /// Loops around it.
    pub(super) depth: u8,
}

impl MInst {
    /// Registers that it reads.
    pub(super) fn uses(&self) -> impl Iterator<Item = VReg> + use<'_> {
        let tied = self.dst.filter(|_| self.tied);
        let sources = self.src.iter().flat_map(|src| {
            let (one, two) = match src {
                Src::Reg(r) => (Some(*r), None),
                Src::Mem(m) | Src::Splat(m) => {
                    let mut registers = m.registers();
                    (registers.next(), registers.next())
                }
                _ => (None, None),
            };
            one.into_iter().chain(two)
        });
        tied.into_iter().chain(sources)
    }

    /// Puts `new` for `old` in all that it reads and writes.
    pub(super) fn rename(&mut self, mut new: impl FnMut(VReg) -> VReg) {
        self.dst = self.dst.map(&mut new);
        for src in &mut self.src {
            match src {
                Src::Reg(r) => *r = new(*r),
                Src::Mem(m) | Src::Splat(m) => {
                    m.base = m.base.map(&mut new);
                    m.index = m.index.map(&mut new);
                }
                _ => {}
            }
        }
    }

    /// The source that may be memory, for vector instructions that read a full vector there.
    pub(super) fn memory_source(&self) -> Option<usize> {
        use VOp::*;
        let MOp::V(op) = self.op else { return None };
        match op {
            SqrtPs | CvtDqPs | CvtPsDq | RoundPs | ShuffleD | MovUps => Some(0),
            AddPs | SubPs | MulPs | DivPs | MinPs | MaxPs | AddD | SubD | MulD | MinD | MaxD | And | Or
            | Xor | MaddUbs | MaddW | Dot | ShuffleB | Fma231 | Fma213 | Fnma231 | Fnma213 | CmpPs | CmpD
            | CmpEqD | CmpGtD | BlendV | BlendK | PackSsDw | PackSsWb => Some(1),
            _ => None,
        }
    }

    /// Whether the first two sources may be exchanged.
    pub(super) fn commutes(&self) -> bool {
        use VOp::*;
        matches!(
            self.op,
            MOp::V(
                AddPs
                    | MulPs
                    | AddD
                    | MulD
                    | MinD
                    | MaxD
                    | And
                    | Or
                    | Xor
                    | MaddW
                    | Fma231
                    | Fnma231
                    | CmpEqD
            )
        )
    }
}

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct VRegInfo {
    /// What it is given.
    pub(super) class: Class,
    /// Width of a vector.
    pub(super) width: Width,
    /// The constant that it holds, where it holds one from the start of the function on.
    pub(super) constant: Option<Constant>,
    /// Whether it lives for one instruction only, made to carry a spilled value.
    pub(super) short: bool,
}

/// A constant behind the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Constant {
    /// 32 bits for every lane.
    Splat(u32),
    /// A whole vector.
    Full(PoolOffset),
}

/// The constants behind the code, each stored once.
#[derive(Default, Debug)]
pub(super) struct Pool {
    /// Their bytes.
    pub(super) bytes: Vec<u8>,
    known: std::collections::HashMap<Vec<u8>, PoolOffset>,
}

impl Pool {
    /// The place of a constant; 4 bytes or a vector.
    pub(super) fn place(&mut self, bytes: &[u8]) -> PoolOffset {
        if let Some(&known) = self.known.get(bytes) {
            return known;
        }
        while !self.bytes.len().is_multiple_of(bytes.len()) {
            self.bytes.push(0);
        }
        let offset = self.bytes.len() as PoolOffset;
        self.bytes.extend_from_slice(bytes);
        self.known.insert(bytes.to_vec(), offset);
        offset
    }

    /// The place of 32 bits.
    pub(super) fn place32(&mut self, bits: u32) -> PoolOffset {
        self.place(&bits.to_le_bytes())
    }

    /// The place of a vector of equal lanes.
    pub(super) fn place_lanes(&mut self, bits: u32, bytes: u32) -> PoolOffset {
        let lanes: Vec<u8> = bits
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(bytes as usize)
            .collect();
        self.place(&lanes)
    }
}

/// A function in virtual registers.
#[derive(Debug)]
pub(super) struct Function {
    /// Its instructions.
    pub(super) code: Vec<MInst>,
    /// Its registers.
    pub(super) vregs: Vec<VRegInfo>,
    /// Its constants.
    pub(super) pool: Pool,
    /// Places in the frame and their bytes; the first are the arguments.
    pub(super) slots: Vec<u32>,
}
