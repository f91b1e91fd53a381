//! The paged KV cache of one layer, and the types that its elements may have.

use super::ALIGN;
use crate::graph::KvPart;
use std::fmt;
use std::str::FromStr;

/// How keys or values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum KvType {
    /// Single precision.
    F32,
    /// Half precision.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
    /// int8 codes, and a scale (f32) for each [`KvLayout::GROUP`] elements of a head: the largest magnitude of them is
    /// code 127.
    Q8_0,
    /// 4-bit codes from -8 to 7, and such scales: the element of the largest magnitude of a group is code -8, as in the
    /// weight format of this name, so scales have signs.
    Q4_0,
}

impl KvType {
    /// Every type.
    pub const ALL: [KvType; 5] = [KvType::F32, KvType::F16, KvType::Bf16, KvType::Q8_0, KvType::Q4_0];

    /// The name in text forms and options.
    pub fn keyword(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Bf16 => "bf16",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        }
    }

    /// Bytes of an element (of its code), or of as many as there are planes.
    pub fn element_bytes(self) -> u32 {
        match self {
            KvType::F32 => 4,
            KvType::F16 | KvType::Bf16 => 2,
            KvType::Q8_0 | KvType::Q4_0 => 1,
        }
    }

    /// Whether elements are codes with scales.
    pub fn has_scales(self) -> bool {
        matches!(self, KvType::Q8_0 | KvType::Q4_0)
    }

    /// Equal parts of a head that share bytes: with 4-bit codes two, the first half of a head in the low halves of bytes,
    /// the second in the high ones.
    pub fn planes(self) -> u32 {
        if self == KvType::Q4_0 { 2 } else { 1 }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// A name that no [`KvType`] has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no type of cached keys and values; {list} are", list = KvType::ALL.map(KvType::keyword).join(", "))]
pub struct UnknownKvType(pub String);

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(text: &str) -> Result<KvType, UnknownKvType> {
        let known = KvType::ALL.into_iter().find(|ty| ty.keyword() == text);
        known.ok_or_else(|| UnknownKvType(text.to_owned()))
    }
}

/// How keys and how values are stored. Its text is one type for both, or that of keys, a comma, and that of values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct KvTypes {
    /// Keys.
    pub k: KvType,
    /// Values.
    pub v: KvType,
}

impl KvTypes {
    /// The same for both.
    pub fn both(ty: KvType) -> KvTypes {
        KvTypes { k: ty, v: ty }
    }

    /// That of a part.
    pub fn of(self, part: KvPart) -> KvType {
        match part {
            KvPart::K => self.k,
            KvPart::V => self.v,
        }
    }
}

impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.k == self.v {
            self.k.fmt(f)
        } else {
            write!(f, "{},{}", self.k, self.v)
        }
    }
}

impl FromStr for KvTypes {
    type Err = UnknownKvType;

    fn from_str(text: &str) -> Result<KvTypes, UnknownKvType> {
        match text.split_once(',') {
            None => text.parse().map(KvTypes::both),
            Some((k, v)) => Ok(KvTypes {
                k: k.parse()?,
                v: v.parse()?,
            }),
        }
    }
}

/// Where the keys or the values of one layer are. The cache is in blocks of [`KvLayout::POSITIONS`] positions; a block
/// of either part holds all KV heads, `[kv_heads]` outermost. Keys are transposed: `[head_dim][positions]`, so that a
/// vector holds one element of many keys; values are `[positions][head_dim]`. Where the type has scales, those of a head
/// follow its codes, which are padded to 64 bytes: `[planes][groups][positions]f32` for both parts, so that scales of keys
/// are vectors over positions, too. Where the type has two planes, the elements of a plane lie as those of a head of half
/// the size would; groups are within a plane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KvLayout {
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// How elements are stored.
    pub ty: KvType,
}

impl KvLayout {
    /// Positions of a block.
    pub const POSITIONS: u64 = 32;

    /// Consecutive elements of a plane that share a scale; the last group may be smaller.
    pub const GROUP: u32 = 32;

    /// Elements of a plane; the planes of a type divide the head.
    pub fn plane_dim(&self) -> u32 {
        self.head_dim / self.ty.planes()
    }

    /// Bytes of the scales of a plane, where the type has scales.
    pub fn plane_scale_bytes(&self) -> u64 {
        u64::from(self.plane_dim().div_ceil(Self::GROUP)) * Self::POSITIONS * 4
    }

    /// Bytes of one head's elements in a block of either part, and so the offset of its scales: a multiple of 64.
    pub fn code_bytes(&self) -> u64 {
        let bytes = u64::from(self.plane_dim()) * Self::POSITIONS * u64::from(self.ty.element_bytes());
        bytes.next_multiple_of(ALIGN)
    }

    /// Bytes of one head of a block of either part, a multiple of 64.
    pub fn head_bytes(&self) -> u64 {
        match self.ty.has_scales() {
            true => self.code_bytes() + u64::from(self.ty.planes()) * self.plane_scale_bytes(),
            false => self.code_bytes(),
        }
    }

    /// Bytes of a block of either part, a multiple of 64. `None` where they overflow.
    pub fn block_bytes(&self) -> Option<u64> {
        self.head_bytes().checked_mul(u64::from(self.kv_heads))
    }

    /// Bytes of either part of a cache of `blocks` blocks; `None` where they overflow.
    pub fn part_bytes(&self, blocks: u64) -> Option<u64> {
        self.block_bytes()?.checked_mul(blocks)
    }

    /// Offset in a block of element `d` of the key at `position` of the block, or of the byte that it shares.
    pub fn key_offset(&self, kv_head: u64, position: u64, d: u64) -> u64 {
        let d = d % u64::from(self.plane_dim());
        kv_head * self.head_bytes() + u64::from(self.ty.element_bytes()) * (d * Self::POSITIONS + position)
    }

    /// Offset in a block of element `d` of the value at `position` of the block, or of the byte that it shares.
    pub fn value_offset(&self, kv_head: u64, position: u64, d: u64) -> u64 {
        let plane_dim = u64::from(self.plane_dim());
        let element = position * plane_dim + d % plane_dim;
        kv_head * self.head_bytes() + u64::from(self.ty.element_bytes()) * element
    }

    /// Offset in a block of the scale of element `d` of the key or value at `position` of the block, where the type has
    /// scales.
    pub fn scale_offset(&self, kv_head: u64, position: u64, d: u64) -> u64 {
        let (plane, d) = (d / u64::from(self.plane_dim()), d % u64::from(self.plane_dim()));
        let group = d / u64::from(Self::GROUP);
        let start = kv_head * self.head_bytes() + self.code_bytes() + plane * self.plane_scale_bytes();
        start + 4 * (group * Self::POSITIONS + position)
    }
}
