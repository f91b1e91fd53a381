//! How weights, keys and values lie in device memory.
//!
//! A matrix of a quantized format is, in blocks of 32 elements of a row and in the canonical form of the quant table:
//!
//! ```text
//! section = planes one after another, then records; each array begins at a multiple of 256 bytes
//! plane of w bits = [rows][K/32] of w words of 32 bits
//! records         = [rows][K/32] of 32/group times: scale f16, then, where the format has minima, minimum f16
//! ```
//!
//! Of a block, dword t (0..8) has elements 4t..4t+4: in word t mod w of a plane of w bits, byte i of the word has element
//! 4t+i in the w bits from bit (t div w)·w on. A code is the sum over planes of field << bits of the planes before. A warp
//! that reads a row thus reads every array from one end to the other.
//!
//! Floats are rows as in the file. Keys and values are `[blocks][kv_heads]` heads of [`KvHead`].

use lathe_ir::DType;
use lathe_ir::layout::KvType;
use lathe_ir::quant::{self, QuantFormat};

/// Elements of a block of a row.
pub const BLOCK: u32 = 32;
/// Alignment of sections and of the arrays in them.
pub const ALIGN: u64 = 256;

/// What the elements of a matrix are.
#[derive(Clone, Copy, Debug)]
pub enum Element {
    /// Codes of a quantized format.
    Codes(&'static QuantFormat),
    /// f32.
    F32,
    /// f16.
    F16,
    /// bfloat16.
    Bf16,
}

/// A matrix in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Its elements.
    pub element: Element,
    /// Type in the file.
    pub dtype: DType,
    /// Rows: outputs of a product.
    pub rows: u32,
    /// Elements of a row: inputs of a product.
    pub k: u32,
}

impl Matrix {
    /// The layout of a weight; `None` where no kernel reads such a type, rows are no whole blocks, or there are none.
    pub fn of(dtype: DType, rows: u64, k: u64) -> Option<Matrix> {
        let element = match dtype {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::Bf16 => Element::Bf16,
            _ => Element::Codes(quant::format(dtype)?),
        };
        let whole = !matches!(element, Element::Codes(_)) || k.is_multiple_of(u64::from(BLOCK));
        let (rows, k) = (u32::try_from(rows).ok()?, u32::try_from(k).ok()?);
        (whole && rows > 0 && k > 0).then_some(Matrix {
            element,
            dtype,
            rows,
            k,
        })
    }

    /// Blocks of 32 in a row.
    pub fn blocks(&self) -> u32 {
        self.k / BLOCK
    }

    /// Bytes of the section.
    pub fn bytes(&self) -> u64 {
        let elements = u64::from(self.rows) * u64::from(self.k);
        match self.element {
            Element::Codes(format) => self.records(format) + self.record_array(format),
            Element::F32 => 4 * elements,
            Element::F16 | Element::Bf16 => 2 * elements,
        }
    }

    /// Where plane `n` begins.
    pub fn plane(&self, format: &QuantFormat, n: usize) -> u64 {
        let before = &format.planes[..n];
        before.iter().map(|&w| self.plane_array(w)).sum()
    }

    /// Where the records begin.
    pub fn records(&self, format: &QuantFormat) -> u64 {
        self.plane(format, format.planes.len())
    }

    fn plane_array(&self, bits: u8) -> u64 {
        let blocks = u64::from(self.rows) * u64::from(self.blocks());
        (blocks * u64::from(bits) * 4).next_multiple_of(ALIGN)
    }

    fn record_array(&self, format: &QuantFormat) -> u64 {
        let blocks = u64::from(self.rows) * u64::from(self.blocks());
        blocks * u64::from(record_bytes(format))
    }
}

/// Bytes of the scales and minima of a block.
pub fn record_bytes(format: &QuantFormat) -> u32 {
    BLOCK / format.group * if format.has_min { 4 } else { 2 }
}

/// The word of a plane of `bits` bits, and the shift in each of its bytes, where elements 4t..4t+4 of a block are.
pub fn field(bits: u32, t: u32) -> (u32, u32) {
    (t % bits, t / bits * bits)
}

/// The keys or values of a head in a block of the cache: `[32 positions][head_dim]` elements; where the type has scales,
/// `[32 positions][groups]` f32 follow the codes, a group being 32 elements or what is left of the head.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KvHead {
    /// Elements of a head.
    pub head_dim: u32,
    /// How elements are stored.
    pub ty: KvType,
}

impl KvHead {
    /// Groups of elements with a scale of their own.
    pub fn groups(&self) -> u32 {
        match self.ty.has_scales() {
            true => self.head_dim.div_ceil(BLOCK),
            false => 0,
        }
    }

    /// Bytes of the elements, and so the offset of the scales; a multiple of 16.
    pub fn code_bytes(&self) -> u64 {
        let bytes = u64::from(self.head_dim) * u64::from(BLOCK) * u64::from(self.ty.element_bytes());
        bytes.next_multiple_of(16)
    }

    /// Bytes of the head, a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.code_bytes() + u64::from(self.groups()) * u64::from(BLOCK) * 4
    }

    /// Elements that a thread loads at once: they divide the head, lie in one group and take 16 bytes at most.
    pub fn vector(&self) -> u32 {
        let most = 16 / self.ty.element_bytes();
        let fits = |&v: &u32| v <= most && self.head_dim.is_multiple_of(v);
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cover_every_bit_of_a_plane_once() {
        for bits in [1, 2, 4, 8] {
            let mut seen = vec![0u32; bits as usize];
            for t in 0..8 {
                let (word, shift) = field(bits, t);
                let mask = (((1u64 << bits) - 1) as u32) * 0x0101_0101;
                let at = mask << shift;
                assert_eq!(seen[word as usize] & at, 0, "{bits} bits, dword {t}");
                seen[word as usize] |= at;
            }
            assert!(seen.iter().all(|&word| word == u32::MAX));
        }
    }

    #[test]
    fn sections_hold_planes_then_records() {
        let m = Matrix::of(DType::Q6K, 10, 512).unwrap();
        let Element::Codes(format) = m.element else {
            panic!("q6_k has codes")
        };
        assert_eq!((m.plane(format, 0), m.plane(format, 1)), (0, 10 * 16 * 16));
        assert_eq!(m.records(format), 10 * 16 * 24);
        assert_eq!(m.bytes(), 10 * 16 * 28);
        assert!(Matrix::of(DType::Q4_0, 4, 40).is_none() && Matrix::of(DType::I8, 4, 32).is_none());
        assert_eq!(Matrix::of(DType::F16, 3, 5).unwrap().bytes(), 30);
    }

    #[test]
    fn vectors_divide_heads() {
        let vector = |head_dim, ty| KvHead { head_dim, ty }.vector();
        assert_eq!(vector(128, KvType::F16), 8);
        assert_eq!(vector(128, KvType::F32), 4);
        assert_eq!(vector(20, KvType::Q8_0), 4);
        assert_eq!(vector(7, KvType::Bf16), 1);
    }
}
