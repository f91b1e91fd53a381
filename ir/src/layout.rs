//! Packed layouts: how weights, int8 activations and the KV cache lie in memory while a plan runs.
//!
//! All sizes and offsets are in bytes. A *panel* is [`PANEL_ROWS`] consecutive packed rows of a weight matrix (outputs of
//! a product), padded with rows of zero weights and to a multiple of 64 bytes. Rows have K elements (inputs), in blocks
//! of [`BLOCK`]. A *section* is the panels of one matrix one after another, and starts at a multiple of 64.
//!
//! Integer family, `w = scale · (code − offset) − min` (with a codebook, `codebook[code]` in place of the code):
//!
//! ```text
//! panel  = [K/32] records
//! record = codes of a block; scales [32/group][16]f16; mins [32/group][16]f16, where the format has minima
//! codes  = planes one after another; a plane of w bits = w vectors of 64 bytes
//! chunk j (0..8) = elements 4j..4j+4 of 16 rows: byte 4r+i is row r, element 4j+i of the block;
//!          in vector j / (8/w) of its plane, bits (j mod 8/w)·w .. +w of each byte
//! ```
//!
//! A product reads a panel as one stream without gaps, which the prefetchers of processors follow. A code is the sum over
//! planes of field << bits of the planes before. Float family: `[K][16 rows]`, K outermost.

mod dispatch;
mod floats;
mod kv;
#[cfg(test)]
mod oracle;
mod pack;
mod panel;
mod q8a;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;

pub use kv::{KvLayout, KvType, KvTypes, UnknownKvType};
pub use pack::{pack_rows, unpack_row};
pub use q8a::{Q8a, dequantize_row_q8a, quantize_row_q8a};

use crate::dtype::DType;
use crate::quant::{self, Codebook, QuantError};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Elements of a block along K.
pub const BLOCK: usize = 32;
/// Alignment of sections and of panels in them.
pub const ALIGN: u64 = 64;

const ROWS: u64 = PANEL_ROWS as u64;

/// What a panel holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PackedKind {
    /// Codes in bit planes with a scale per group.
    Codes {
        /// Bits of a code; with a codebook, of an index.
        bits: u8,
        /// What codes are indices into; `None` where they are numbers.
        codebook: Option<&'static Codebook>,
        /// Widths of the planes, low bits first; each divides 8.
        planes: &'static [u8],
        /// What is subtracted from codes, or from what the codebook has for them; 0 or a power of two.
        offset: u8,
        /// Elements that share a scale: 16 or 32.
        group: u32,
        /// Whether groups have a minimum.
        has_min: bool,
    },
    /// Elements of this type: f32, f16 or bf16.
    Float(DType),
}

/// How a matrix of `rows` rows of `k` elements is packed. Made by [`PackedLayout::of`], which checks that every size
/// and offset fits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackedLayout {
    /// What panels hold.
    pub kind: PackedKind,
    /// Rows of the matrix, without padding.
    pub rows: u64,
    /// Elements of a row.
    pub k: u64,
}

impl PackedLayout {
    /// The packed form of a matrix `[rows, k]dtype`.
    ///
    /// # Errors
    /// Where the type has no packed form, the matrix is empty, `k` does not fill blocks, or the size overflows.
    pub fn of(dtype: DType, rows: u64, k: u64) -> Result<PackedLayout, QuantError> {
        let (kind, block) = match quant::format(dtype) {
            Some(f) => {
                let kind = PackedKind::Codes {
                    bits: f.bits,
                    codebook: f.codebook,
                    planes: f.planes,
                    offset: f.offset,
                    group: f.group,
                    has_min: f.has_min,
                };
                (kind, f.block_len.max(BLOCK) as u64)
            }
            None if quant::is_supported(dtype) => (PackedKind::Float(dtype), 1),
            None => return Err(QuantError::UnsupportedType(dtype)),
        };
        if k == 0 || !k.is_multiple_of(block) {
            return Err(QuantError::Ragged {
                dtype,
                elements: k,
                block,
            });
        }
        let matrix = |what| QuantError::Matrix { dtype, rows, k, what };
        if rows == 0 {
            return Err(matrix("it has no rows"));
        }
        // No kind takes more than 16 · 4 bytes for an element of each of a panel's rows, nor adds more than a vector.
        let fits = k.checked_mul(ROWS * 4).and_then(|n| n.checked_add(ALIGN));
        let fits = fits
            .and_then(|n| n.checked_mul(rows.div_ceil(ROWS)))
            .filter(|n| i64::try_from(*n).is_ok());
        fits.ok_or_else(|| matrix("its size overflows"))?;
        Ok(PackedLayout { kind, rows, k })
    }

    /// Panels of the matrix.
    pub fn panels(&self) -> u64 {
        self.rows.div_ceil(ROWS)
    }

    /// Bytes from one panel to the next, a multiple of 64.
    pub fn panel_stride(&self) -> u64 {
        let bytes = match self.kind {
            PackedKind::Codes { .. } => self.k / BLOCK as u64 * self.record_bytes(),
            PackedKind::Float(dtype) => self.k * ROWS * float_bytes(dtype),
        };
        bytes.next_multiple_of(ALIGN)
    }

    /// Bytes of the record of a block, a multiple of 32: codes, scales, minima. For floats, of a block's elements.
    pub fn record_bytes(&self) -> u64 {
        match self.kind {
            PackedKind::Codes { bits, has_min, .. } => {
                64 * u64::from(bits) + self.block_groups() * 2 * ROWS * if has_min { 2 } else { 1 }
            }
            PackedKind::Float(dtype) => BLOCK as u64 * ROWS * float_bytes(dtype),
        }
    }

    /// Groups of a block; 0 for floats.
    fn block_groups(&self) -> u64 {
        match self.kind {
            PackedKind::Codes { group, .. } => BLOCK as u64 / u64::from(group),
            PackedKind::Float(_) => 0,
        }
    }

    /// Bytes of the section.
    pub fn bytes(&self) -> u64 {
        self.panels() * self.panel_stride()
    }

    /// Offset in a panel of a plane of the codes of a block; for floats, of the block's first element.
    pub fn codes_offset(&self, block: u64, plane: usize) -> u64 {
        let before: u64 = match self.kind {
            PackedKind::Codes { planes, .. } => planes.iter().take(plane).map(|&w| u64::from(w)).sum(),
            PackedKind::Float(_) => 0,
        };
        block * self.record_bytes() + 64 * before
    }

    /// Offset in a panel of the 16 f16 scales of a group. For floats, the panel's end.
    pub fn scales_offset(&self, group: u64) -> u64 {
        match self.kind {
            PackedKind::Codes { bits, .. } => {
                let (block, rest) = (group / self.block_groups(), group % self.block_groups());
                block * self.record_bytes() + 64 * u64::from(bits) + rest * 2 * ROWS
            }
            PackedKind::Float(_) => self.panel_stride(),
        }
    }

    /// Offset in a panel of the 16 f16 minima of a group. Where the kind has none, the end of the group's record.
    pub fn mins_offset(&self, group: u64) -> u64 {
        self.scales_offset(group) + self.block_groups() * 2 * ROWS
    }

    /// Groups in a row; 0 for floats.
    pub fn groups(&self) -> u64 {
        match self.kind {
            PackedKind::Codes { group, .. } => self.k / u64::from(group),
            PackedKind::Float(_) => 0,
        }
    }
}

/// Bytes of an element of the float family.
fn float_bytes(dtype: DType) -> u64 {
    if dtype == DType::F32 { 4 } else { 2 }
}
