//! The quant formats: one table entry each, and decoding and encoding by that entry.
//!
//! Every block format decodes to one canonical form: unsigned codes in order of the elements, and per group of 16 or 32
//! elements an effective f32 scale and minimum, so that `w = scale · (code − offset) − min`. In formats with a
//! [`Codebook`] codes are indices, and what stands in the codebook takes the place of the code. Scales of two levels are
//! multiplied out in f32, in the order in which ggml does it; decoding from the canonical form is bit-exact.
//! The block layouts are those of ggml's `ggml-common.h`, which the GGUF specification refers to.

mod codebook;
mod encode;
mod levels;
#[cfg(test)]
mod tests;
mod unpack;

pub(crate) use codebook::lookup;
pub use codebook::{CODEBOOK_LEN, Codebook};
pub use levels::Levels;

use crate::dtype::DType;
use codebook::{E2M1, IQ4};
use half::{bf16, f16};

/// Elements in the longest block of any format.
pub const MAX_BLOCK_LEN: usize = 256;

/// What can be wrong with quantized data or with a request to lay it out.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum QuantError {
    /// The table has no entry for the type.
    #[error(
        "element type `{0}` is not supported: weights can be f32, f16, bf16, q4_0 to q8_0, q2_k to q6_k, iq4_nl, iq4_xs, \
         mxfp4 and nvfp4"
    )]
    UnsupportedType(DType),
    /// A number of elements that does not fill whole blocks.
    #[error("{elements} elements of type `{dtype}` are no positive multiple of its block length {block}")]
    Ragged {
        /// The type.
        dtype: DType,
        /// Elements given.
        elements: u64,
        /// Elements that a block of the type (or of the packed layout) holds.
        block: u64,
    },
    /// A byte buffer or slice of values of the wrong length.
    #[error("{what}: expected a length of {expected}, got {got}")]
    Length {
        /// What the buffer holds.
        what: &'static str,
        /// Length wanted, in bytes or values.
        expected: u64,
        /// Length given.
        got: u64,
    },
    /// A matrix without rows, or one that does not fit in the address space.
    #[error("a matrix of {rows} rows of {k} elements of type `{dtype}` can't be laid out: {what}")]
    Matrix {
        /// The type.
        dtype: DType,
        /// Its rows.
        rows: u64,
        /// Elements of a row.
        k: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A row or panel number beyond the last one.
    #[error("{what} {index} is out of range: there are {count}")]
    OutOfRange {
        /// What was numbered.
        what: &'static str,
        /// The number.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// An effective scale or minimum that f16 can't hold: too large, or so small that it would become zero.
    #[error("row {row}, elements from {column} on: {what} {value} is beyond the range of f16")]
    ScaleRange {
        /// The row in the file.
        row: u64,
        /// First element of the group.
        column: u64,
        /// `scale` or `minimum`.
        what: &'static str,
        /// The value.
        value: f32,
    },
}

/// One block in canonical form. Groups beyond the block, and codes beyond it, are left as they were.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// Codes (with a codebook: indices) in order of the elements.
    pub codes: [u8; MAX_BLOCK_LEN],
    /// Effective scale of each group.
    pub scales: [f32; 16],
    /// Effective minimum of each group; all zero in formats without minima.
    pub mins: [f32; 16],
}

impl Canonical {
    /// A block of zero weights in every format.
    pub const ZERO: Canonical = Canonical {
        codes: [0; MAX_BLOCK_LEN],
        scales: [0.0; 16],
        mins: [0.0; 16],
    };
}

/// How many levels the scales of a format have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormatScales {
    /// One: a float a group.
    One,
    /// Two: an integer a group, and a float a block of 256; see [`Levels`].
    Two,
}

/// A block format: all that the compiler knows of it.
#[derive(Debug)]
pub struct QuantFormat {
    /// The GGUF type.
    pub dtype: DType,
    /// Elements in a block.
    pub block_len: usize,
    /// Bytes of a block in a file.
    pub block_bytes: usize,
    /// Bits of a code; with a codebook, of an index.
    pub bits: u8,
    /// What codes are indices into; `None` where they are numbers.
    pub codebook: Option<&'static Codebook>,
    /// What is subtracted from codes, or from what the codebook has for them; 0 or a power of two.
    pub offset: u8,
    /// Elements that share an effective scale: 16 or 32.
    pub group: u32,
    /// Whether groups have a minimum.
    pub has_min: bool,
    /// Widths of the bit planes into which packed codes are split, low bits first.
    pub planes: &'static [u8],
    unpack: fn(&[u8], &mut Canonical),
    encode: fn(&[f32], &mut [u8]),
}

impl QuantFormat {
    /// Decodes one block into canonical form.
    ///
    /// # Panics
    /// Where `block` is not [`QuantFormat::block_bytes`] long.
    #[inline]
    pub fn unpack(&self, block: &[u8], out: &mut Canonical) {
        (self.unpack)(block, out);
    }

    /// What a code stands for before the scale: `code − offset`, or `codebook[code] − offset`.
    #[inline]
    pub fn level(&self, code: u8) -> i32 {
        lookup(self.codebook, code) - i32::from(self.offset)
    }

    /// Groups in a block.
    pub fn groups(&self) -> usize {
        self.block_len / self.group as usize
    }
}

/// A block format as a type, for code that is compiled for each format by itself. The constants are the fields of
/// [`QuantFormat`].
pub(crate) trait BlockFormat {
    const LEN: usize;
    const BYTES: usize;
    const GROUP: usize;
    const HAS_MIN: bool;
    const PLANES: &'static [u8];

    /// [`QuantFormat::unpack`].
    fn unpack(block: &[u8], out: &mut Canonical);
}

/// Something to do with a format that is known when it runs; see [`visit`].
pub(crate) trait FormatVisitor {
    /// Its result.
    type Out;

    /// Does it.
    fn visit<F: BlockFormat>(self) -> Self::Out;
}

/// Declares the formats: type, elements and bytes a block, bits, planes, levels of a codebook, offset, group, minima,
/// then the functions that decode and encode a block.
macro_rules! formats {
    (@codebook $offset:literal) => { None };
    (@codebook $offset:literal $levels:ident) => { Some(const { &codebook::codebook($levels, $offset) }) };
    ($($dtype:ident: $len:literal in $bytes:literal, $bits:literal bits $planes:expr, $(levels $levels:ident,)? offset $offset:literal,
       group $group:literal, min $has_min:literal, $unpack:path, $encode:path;)*) => {
        /// Every block format, in order of their GGUF numbers.
        pub static FORMATS: &[QuantFormat] = &[$(QuantFormat {
            dtype: DType::$dtype,
            block_len: $len,
            block_bytes: $bytes,
            bits: $bits,
            codebook: formats!(@codebook $offset $($levels)?),
            offset: $offset,
            group: $group,
            has_min: $has_min,
            planes: &$planes,
            unpack: $unpack,
            encode: $encode,
        }),*];

        /// Calls the visitor with the type that stands for a block format; `None` where [`format`] has none.
        pub(crate) fn visit<V: FormatVisitor>(dtype: DType, visitor: V) -> Option<V::Out> {
            match dtype {
                $(DType::$dtype => {
                    struct Format;
                    impl BlockFormat for Format {
                        const LEN: usize = $len;
                        const BYTES: usize = $bytes;
                        const GROUP: usize = $group;
                        const HAS_MIN: bool = $has_min;
                        const PLANES: &'static [u8] = &$planes;

                        #[inline(always)]
                        fn unpack(block: &[u8], out: &mut Canonical) {
                            $unpack(block, out);
                        }
                    }
                    Some(visitor.visit::<Format>())
                })*
                _ => None,
            }
        }
    };
}

formats! {
    Q4_0: 32 in 18, 4 bits [4], offset 8, group 32, min false, unpack::q4_0, encode::q4_0;
    Q4_1: 32 in 20, 4 bits [4], offset 0, group 32, min true, unpack::q4_1, encode::q4_1;
    Q5_0: 32 in 22, 5 bits [4, 1], offset 16, group 32, min false, unpack::q5_0, encode::q5_0;
    Q5_1: 32 in 24, 5 bits [4, 1], offset 0, group 32, min true, unpack::q5_1, encode::q5_1;
    Q8_0: 32 in 34, 8 bits [8], offset 128, group 32, min false, unpack::q8_0, encode::q8_0;
    Q2K: 256 in 84, 2 bits [2], offset 0, group 16, min true, unpack::q2_k, encode::q2_k;
    Q3K: 256 in 110, 3 bits [2, 1], offset 4, group 16, min false, unpack::q3_k, encode::q3_k;
    Q4K: 256 in 144, 4 bits [4], offset 0, group 32, min true, unpack::q4_k, encode::q4_k;
    Q5K: 256 in 176, 5 bits [4, 1], offset 0, group 32, min true, unpack::q5_k, encode::q5_k;
    Q6K: 256 in 210, 6 bits [4, 2], offset 32, group 16, min false, unpack::q6_k, encode::q6_k;
    Iq4Nl: 32 in 18, 4 bits [4], levels IQ4, offset 128, group 32, min false, unpack::iq4_nl, encode::iq4_nl;
    Iq4Xs: 256 in 136, 4 bits [4], levels IQ4, offset 128, group 32, min false, unpack::iq4_xs, encode::iq4_xs;
    Mxfp4: 32 in 17, 4 bits [4], levels E2M1, offset 16, group 32, min false, unpack::mxfp4, encode::mxfp4;
    Nvfp4: 64 in 36, 4 bits [4], levels E2M1, offset 16, group 16, min false, unpack::nvfp4, encode::nvfp4;
}

/// The table entry of a block format; `None` for floats, which have no codes, and for types that can't be decoded.
pub fn format(dtype: DType) -> Option<&'static QuantFormat> {
    FORMATS.iter().find(|f| f.dtype == dtype)
}

/// Whether [`dequantize`] and [`quantize`] know the type: a block format of the table, or f32, f16, bf16.
pub fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::Bf16) || format(dtype).is_some()
}

/// Decodes `out.len()` elements of type `dtype`, bit-exact with ggml's scalar code.
///
/// # Errors
/// Where the type is not in the table, the elements do not fill whole blocks, or `bytes` is not as long as they are.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    let expected = encoded_bytes(dtype, out.len())?;
    if bytes.len() as u64 != expected {
        return Err(QuantError::Length {
            what: "bytes to dequantize",
            expected,
            got: bytes.len() as u64,
        });
    }
    match dtype {
        DType::F32 => decode_floats(bytes, out, f32::from_le_bytes),
        DType::F16 => decode_floats(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        DType::Bf16 => decode_floats(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        _ => {
            let format = format(dtype).ok_or(QuantError::UnsupportedType(dtype))?;
            let mut block = Canonical::ZERO;
            for (bytes, out) in bytes
                .chunks_exact(format.block_bytes)
                .zip(out.chunks_exact_mut(format.block_len))
            {
                format.unpack(bytes, &mut block);
                evaluate(format, &block, out);
            }
        }
    }
    Ok(())
}

/// Encodes elements in `dtype`, each to the nearest value that simply chosen scales allow. A reference for tests and
/// tools, not a search for the best scales. Values must be finite and within the range of f16 scales.
///
/// # Errors
/// Where the type is not in the table or the elements do not fill whole blocks.
pub fn quantize(dtype: DType, values: &[f32]) -> Result<Vec<u8>, QuantError> {
    let bytes = encoded_bytes(dtype, values.len())?;
    Ok(match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values
            .iter()
            .flat_map(|&v| f16::from_f32(v).to_le_bytes())
            .collect(),
        DType::Bf16 => values
            .iter()
            .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
            .collect(),
        _ => {
            let format = format(dtype).ok_or(QuantError::UnsupportedType(dtype))?;
            let mut out = vec![0; bytes as usize];
            for (values, out) in values
                .chunks_exact(format.block_len)
                .zip(out.chunks_exact_mut(format.block_bytes))
            {
                (format.encode)(values, out);
            }
            out
        }
    })
}

/// Bytes that `elements` elements of a supported type take.
fn encoded_bytes(dtype: DType, elements: usize) -> Result<u64, QuantError> {
    let block = dtype
        .block()
        .filter(|_| is_supported(dtype))
        .ok_or(QuantError::UnsupportedType(dtype))?;
    let ragged = QuantError::Ragged {
        dtype,
        elements: elements as u64,
        block: u64::from(block.len),
    };
    dtype.row_bytes(elements as u64).ok_or(ragged)
}

fn decode_floats<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (bytes, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *out = decode(*bytes);
    }
}

/// `scale · level − min` of every element of a block.
fn evaluate(format: &QuantFormat, block: &Canonical, out: &mut [f32]) {
    let group = format.group as usize;
    for (g, (out, codes)) in out
        .chunks_exact_mut(group)
        .zip(block.codes.chunks_exact(group))
        .enumerate()
    {
        // Subtracting a minimum of +0 changes no value, not even the sign of a zero.
        let (scale, min) = (block.scales[g], if format.has_min { block.mins[g] } else { 0.0 });
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = scale * format.level(code) as f32 - min;
        }
    }
}
