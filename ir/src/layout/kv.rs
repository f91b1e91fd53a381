//! The paged KV cache of one layer.

use super::ALIGN;

/// Where the f16 keys and values of one layer are. The cache is in blocks of [`KvLayout::POSITIONS`] positions; a block
/// of either part holds all KV heads, `[kv_heads]` outermost. Keys are transposed: `[head_dim][positions]`, so that a
/// vector holds one element of many keys; values are `[positions][head_dim]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KvLayout {
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
}

impl KvLayout {
    /// Positions of a block.
    pub const POSITIONS: u64 = 32;

    /// Bytes of one head of a block of either part.
    pub fn head_bytes(&self) -> u64 {
        u64::from(self.head_dim) * Self::POSITIONS * 2
    }

    /// Bytes of a block of either part, a multiple of 64. `None` where they overflow.
    pub fn block_bytes(&self) -> Option<u64> {
        let bytes = self.head_bytes().checked_mul(u64::from(self.kv_heads))?;
        debug_assert!(bytes.is_multiple_of(ALIGN));
        Some(bytes)
    }

    /// Bytes of either part of a cache of `blocks` blocks; `None` where they overflow.
    pub fn part_bytes(&self, blocks: u64) -> Option<u64> {
        self.block_bytes()?.checked_mul(blocks)
    }

    /// Offset in a block of element `d` of the key at `position` of the block.
    pub fn key_offset(&self, kv_head: u64, position: u64, d: u64) -> u64 {
        kv_head * self.head_bytes() + 2 * (d * Self::POSITIONS + position)
    }

    /// Offset in a block of element `d` of the value at `position` of the block.
    pub fn value_offset(&self, kv_head: u64, position: u64, d: u64) -> u64 {
        kv_head * self.head_bytes() + 2 * (position * u64::from(self.head_dim) + d)
    }
}
