//! Types and ops of the kernel IR, in one table.

use std::fmt;

/// The element type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Elem {
    /// Signed bytes: the activation operand of `dot4`.
    I8,
    /// Unsigned bytes: the weight operand of `dot4`.
    U8,
    /// 32-bit integers, wrapping.
    I32,
    /// Indices and byte offsets; scalars only.
    I64,
    /// IEEE single precision, round to nearest even, no contraction but where the text says `fma`.
    F32,
}

/// A value's type: an element and a number of lanes (1 for a scalar). Prints as `f32`, `f32x4`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ty {
    /// Element type.
    pub elem: Elem,
    /// Lanes: 1, 4, 8, 16, 32 or 64.
    pub lanes: u8,
}

impl Ty {
    /// An index.
    pub const INDEX: Ty = Ty {
        elem: Elem::I64,
        lanes: 1,
    };
    /// A float scalar.
    pub const F32: Ty = Ty {
        elem: Elem::F32,
        lanes: 1,
    };
    /// A 32-bit integer scalar.
    pub const I32: Ty = Ty {
        elem: Elem::I32,
        lanes: 1,
    };

    /// `f32` × lanes.
    pub const fn f32(lanes: u8) -> Ty {
        Ty {
            elem: Elem::F32,
            lanes,
        }
    }
    /// `i32` × lanes.
    pub const fn i32(lanes: u8) -> Ty {
        Ty {
            elem: Elem::I32,
            lanes,
        }
    }
    /// `u8` × lanes.
    pub const fn u8(lanes: u8) -> Ty {
        Ty {
            elem: Elem::U8,
            lanes,
        }
    }
    /// `i8` × lanes.
    pub const fn i8(lanes: u8) -> Ty {
        Ty {
            elem: Elem::I8,
            lanes,
        }
    }
    /// Bytes of the value.
    pub fn bytes(self) -> u32 {
        u32::from(self.lanes)
            * match self.elem {
                Elem::I8 | Elem::U8 => 1,
                Elem::I32 | Elem::F32 => 4,
                Elem::I64 => 8,
            }
    }
}

impl Elem {
    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            Elem::I8 => "i8",
            Elem::U8 => "u8",
            Elem::I32 => "i32",
            Elem::I64 => "i64",
            Elem::F32 => "f32",
        }
    }

    /// Whether lanes are bytes.
    pub fn is_byte(self) -> bool {
        matches!(self, Elem::I8 | Elem::U8)
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.elem.keyword())?;
        if self.lanes > 1 {
            write!(f, "x{}", self.lanes)
        } else {
            Ok(())
        }
    }
}

/// How elements lie in memory (little endian, any alignment) and which element type they have as values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mem {
    /// Bytes, loaded as `i8` lanes, or sign-extended to `i32` lanes; stored from `i32` lanes, saturating.
    I8,
    /// Bytes, loaded as `u8` lanes, or zero-extended to `i32` lanes; stored from `u8` lanes.
    U8,
    /// 32-bit integers, as `i32`; a scalar `i64` result is sign-extended.
    I32,
    /// Single precision, as `f32`.
    F32,
    /// Half precision, as `f32`; stores round to nearest even. Infinities and NaNs are not supported.
    F16,
    /// bfloat16, as `f32`; stores round to nearest even, and to infinity beyond the range. NaNs are not stored.
    Bf16,
}

impl Mem {
    /// Every memory type.
    pub const ALL: [Mem; 6] = [Mem::I8, Mem::U8, Mem::I32, Mem::F32, Mem::F16, Mem::Bf16];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            Mem::I8 => "i8",
            Mem::U8 => "u8",
            Mem::I32 => "i32",
            Mem::F32 => "f32",
            Mem::F16 => "f16",
            Mem::Bf16 => "bf16",
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u32 {
        match self {
            Mem::I8 | Mem::U8 => 1,
            Mem::F16 | Mem::Bf16 => 2,
            Mem::I32 | Mem::F32 => 4,
        }
    }
}

/// A comparison; of indices in `if`, of lanes in `cmp`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less (signed).
    Lt,
    /// Less or equal (signed).
    Le,
}

impl Cmp {
    /// Every comparison.
    pub const ALL: [Cmp; 4] = [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            Cmp::Eq => "eq",
            Cmp::Ne => "ne",
            Cmp::Lt => "lt",
            Cmp::Le => "le",
        }
    }
}

/// What the table says of an op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KOpInfo {
    /// The name in the text form.
    pub keyword: &'static str,
    /// How many values it reads; `for` reads lower bound, upper bound, then the initial carried values.
    pub args: usize,
    /// How many values it makes; `for` makes as many as it carries.
    pub results: usize,
    /// How many regions it has.
    pub regions: usize,
}

use super::Buf;

/// The matrices of a [`KOp::TileDot`]. Rows of `a` lie `stride` bytes apart, those of `out` 64, those of `w` too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileDot {
    /// Rows of a and out: 1 to 16.
    pub rows: u8,
    /// Bytes of a row of a that take part: a multiple of 4 up to 64.
    pub k: u8,
    /// Bytes from one row of a to the next.
    pub stride: u32,
    /// Buffer and constant byte offset of the sums.
    pub out: (Buf, i32),
    /// Of the signed bytes.
    pub a: (Buf, i32),
    /// Of the codes.
    pub w: (Buf, i32),
}

impl TileDot {
    /// Columns of the panel.
    pub const COLUMNS: u32 = 16;

    /// Bytes that it reads of a, reads of w, and writes of out, each from its first byte on.
    pub fn spans(&self) -> [u32; 3] {
        let a = u32::from(self.rows).saturating_sub(1).saturating_mul(self.stride);
        [
            a.saturating_add(self.k.into()),
            u32::from(self.k) * Self::COLUMNS,
            u32::from(self.rows) * Self::COLUMNS * 4,
        ]
    }
}

/// An op of the kernel IR. "T" is the type of the result where it is not said.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum KOp {
    /// An integer constant in every lane (i64 scalar, i32 any lanes).
    IConst(i64),
    /// A float constant in every lane.
    FConst(f32),
    /// `0, 1, 2, …` in i32 lanes.
    Iota,
    /// Sum; integers wrap. Operands of type T (all elements but bytes).
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient: of f32; or of indices, rounded down (dividend not negative, divisor positive).
    Div,
    /// Quotient of indices by a positive constant, rounded down; operand not negative.
    DivConst(i64),
    /// Remainder of [`KOp::DivConst`].
    RemConst(i64),
    /// Lesser of two; f32, i32 or i64. For f32: `a < b ? a : b`.
    Min,
    /// Greater of two. For f32: `a > b ? a : b`.
    Max,
    /// Bitwise and; i32 or i64.
    And,
    /// Bitwise or; i32, i64, or u8 lanes.
    Or,
    /// Shift left by a constant; i32 or i64.
    Shl(u8),
    /// Arithmetic shift right by a constant; i32 or i64.
    Sar(u8),
    /// Logical shift right by a constant; i32.
    Shr(u8),
    /// `(x >> shift) & (2^width − 1)` in each u8 lane: a plane of packed codes.
    Bits {
        /// Lowest bit.
        shift: u8,
        /// Number of bits.
        width: u8,
    },
    /// Shift left in each u8 lane; the bits that would leave the lane must be zero.
    BShl(u8),
    /// `table[x]` in each u8 lane; `x < 16`: the entries that packed indices stand for.
    Lut([u8; 16]),
    /// `−x`; f32 or i32.
    Neg,
    /// `|x|`; f32.
    Abs,
    /// Square root; f32.
    Sqrt,
    /// Round to the nearest integer, ties to even; f32.
    Round,
    /// `a·b + c` rounded once; f32.
    Fma,
    /// `c − a·b` rounded once; f32 (operands a, b, c).
    Fnma,
    /// `acc + Σ₄ u·a`: i32 lanes plus groups of four bytes (operands acc: i32xN, u: u8x4N, a: i8x4N), exact.
    Dot4 {
        /// Bound on the unsigned operand: below 2^bits.
        bits: u8,
    },
    /// i32 lanes to the nearest f32, ties to even.
    CvtF32,
    /// f32 lanes to i32, ties to even; operands lie within ±2^31.
    CvtI32,
    /// A scalar i32 sign-extended to an index.
    ToIndex,
    /// A scalar index, truncated, to an i32.
    ToI32,
    /// f32 lanes seen as i32 lanes, or the reverse.
    Bitcast,
    /// A scalar in every lane.
    Splat,
    /// The lane with this number.
    Extract(u8),
    /// The sum of the lanes, halves folded onto each other: `x[i] + x[i + n/2]`, until one is left; f32 or i32.
    ReduceAdd,
    /// The maximum of the lanes.
    ReduceMax,
    /// All ones where it holds, else 0: operands f32 or i32 lanes, result i32 lanes.
    Cmp(Cmp),
    /// `mask ? a : b` lane by lane (operands mask: i32xN of 0 or −1, a, b).
    Select,
    /// Loads lanes from `buf[arg + disp]`, widening as [`Mem`] says.
    Load {
        /// Type in memory.
        mem: Mem,
        /// Buffer.
        buf: Buf,
        /// Constant byte offset.
        disp: i32,
    },
    /// Loads one element (for byte lanes: four consecutive bytes) and repeats it in every lane.
    LoadSplat {
        /// Type in memory.
        mem: Mem,
        /// Buffer.
        buf: Buf,
        /// Constant byte offset.
        disp: i32,
    },
    /// Stores lanes (operands offset, value).
    Store {
        /// Type in memory.
        mem: Mem,
        /// Buffer.
        buf: Buf,
        /// Constant byte offset.
        disp: i32,
    },
    /// A hint that `buf[arg + disp]` will be read soon; may lie outside the buffer.
    Prefetch {
        /// Buffer.
        buf: Buf,
        /// Constant byte offset.
        disp: i32,
    },
    /// `out[r][c] = Σⱼ a[r][j] · w[j/4][c][j%4]` for 16 columns c, exact: rows of `k` signed bytes times a panel's unsigned
    /// codes, to rows of 16 i32 (operands: offsets of out, a, w).
    TileDot(TileDot),
    /// `for i in lo..hi step s`: region parameters are `i` and the carried values.
    For {
        /// Positive step.
        step: i64,
    },
    /// Compares two indices and runs the first or the second region.
    If(Cmp),
}

impl KOp {
    /// The op's row of the table.
    pub fn info(&self) -> KOpInfo {
        let (keyword, args, results, regions) = match self {
            KOp::IConst(_) => ("iconst", 0, 1, 0),
            KOp::FConst(_) => ("fconst", 0, 1, 0),
            KOp::Iota => ("iota", 0, 1, 0),
            KOp::Add => ("add", 2, 1, 0),
            KOp::Sub => ("sub", 2, 1, 0),
            KOp::Mul => ("mul", 2, 1, 0),
            KOp::Div => ("div", 2, 1, 0),
            KOp::DivConst(_) => ("div_const", 1, 1, 0),
            KOp::RemConst(_) => ("rem_const", 1, 1, 0),
            KOp::Min => ("min", 2, 1, 0),
            KOp::Max => ("max", 2, 1, 0),
            KOp::And => ("and", 2, 1, 0),
            KOp::Or => ("or", 2, 1, 0),
            KOp::Shl(_) => ("shl", 1, 1, 0),
            KOp::Sar(_) => ("sar", 1, 1, 0),
            KOp::Shr(_) => ("shr", 1, 1, 0),
            KOp::Bits { .. } => ("bits", 1, 1, 0),
            KOp::BShl(_) => ("bshl", 1, 1, 0),
            KOp::Lut(_) => ("lut", 1, 1, 0),
            KOp::Neg => ("neg", 1, 1, 0),
            KOp::Abs => ("abs", 1, 1, 0),
            KOp::Sqrt => ("sqrt", 1, 1, 0),
            KOp::Round => ("round", 1, 1, 0),
            KOp::Fma => ("fma", 3, 1, 0),
            KOp::Fnma => ("fnma", 3, 1, 0),
            KOp::Dot4 { .. } => ("dot4", 3, 1, 0),
            KOp::CvtF32 => ("cvt_f32", 1, 1, 0),
            KOp::CvtI32 => ("cvt_i32", 1, 1, 0),
            KOp::ToIndex => ("to_index", 1, 1, 0),
            KOp::ToI32 => ("to_i32", 1, 1, 0),
            KOp::Bitcast => ("bitcast", 1, 1, 0),
            KOp::Splat => ("splat", 1, 1, 0),
            KOp::Extract(_) => ("extract", 1, 1, 0),
            KOp::ReduceAdd => ("reduce_add", 1, 1, 0),
            KOp::ReduceMax => ("reduce_max", 1, 1, 0),
            KOp::Cmp(_) => ("cmp", 2, 1, 0),
            KOp::Select => ("select", 3, 1, 0),
            KOp::Load { .. } => ("load", 1, 1, 0),
            KOp::LoadSplat { .. } => ("load_splat", 1, 1, 0),
            KOp::Store { .. } => ("store", 2, 0, 0),
            KOp::Prefetch { .. } => ("prefetch", 1, 0, 0),
            KOp::TileDot(_) => ("tile_dot", 3, 0, 0),
            KOp::For { .. } => ("for", 2, 0, 1),
            KOp::If(_) => ("if", 2, 0, 2),
        };
        KOpInfo {
            keyword,
            args,
            results,
            regions,
        }
    }
}
