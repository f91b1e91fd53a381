//! Element types: every GGUF tensor type by name, and the types that only activations have.
//!
//! Sizes and block lengths are those of the GGUF specification ("ggml tensor types"). How the bits of a block decode
//! is not here but in [`crate::quant`].

use std::fmt;
use std::str::FromStr;

/// Declares the GGUF types in one table: variant, keyword, GGUF number, elements a block, bytes a block.
macro_rules! gguf_types {
    ($($variant:ident $keyword:literal = $number:literal: $len:literal in $bytes:literal;)*) => {
        /// The element type of a tensor.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum DType {
            $(
                #[doc = concat!("GGUF type ", $number, ", `", $keyword, "`: ", $len, " elements in ", $bytes, " bytes.")]
                $variant,
            )*
            /// Int8 activations: per 32 elements one f32 scale and the sums of the codes; see [`crate::layout::Q8a`].
            Q8A,
            /// A KV-cache state token: orders the reads and writes of the cache, holds no elements.
            Kv,
        }

        impl DType {
            /// The types a GGUF file may hold, in order of their numbers.
            pub const GGUF: &'static [DType] = &[$(DType::$variant),*];

            /// The keyword of the type in the textual IR, which is also its lower-case GGUF name.
            pub fn keyword(self) -> &'static str {
                match self {
                    $(DType::$variant => $keyword,)*
                    DType::Q8A => "q8a",
                    DType::Kv => "kv",
                }
            }

            /// The type with this GGUF number.
            pub fn from_gguf(number: u32) -> Option<DType> {
                match number {
                    $($number => Some(DType::$variant),)*
                    _ => None,
                }
            }

            /// The number of the type in a GGUF file; `None` for types that only activations have.
            pub fn gguf_number(self) -> Option<u32> {
                match self {
                    $(DType::$variant => Some($number),)*
                    DType::Q8A | DType::Kv => None,
                }
            }

            /// Elements and bytes of one block; `None` for types that no file holds.
            pub fn block(self) -> Option<Block> {
                match self {
                    $(DType::$variant => Some(Block { len: $len, bytes: $bytes }),)*
                    DType::Q8A | DType::Kv => None,
                }
            }
        }
    };
}

gguf_types! {
    F32 "f32" = 0: 1 in 4;
    F16 "f16" = 1: 1 in 2;
    Q4_0 "q4_0" = 2: 32 in 18;
    Q4_1 "q4_1" = 3: 32 in 20;
    Q5_0 "q5_0" = 6: 32 in 22;
    Q5_1 "q5_1" = 7: 32 in 24;
    Q8_0 "q8_0" = 8: 32 in 34;
    Q8_1 "q8_1" = 9: 32 in 36;
    Q2K "q2_k" = 10: 256 in 84;
    Q3K "q3_k" = 11: 256 in 110;
    Q4K "q4_k" = 12: 256 in 144;
    Q5K "q5_k" = 13: 256 in 176;
    Q6K "q6_k" = 14: 256 in 210;
    Q8K "q8_k" = 15: 256 in 292;
    Iq2Xxs "iq2_xxs" = 16: 256 in 66;
    Iq2Xs "iq2_xs" = 17: 256 in 74;
    Iq3Xxs "iq3_xxs" = 18: 256 in 98;
    Iq1S "iq1_s" = 19: 256 in 50;
    Iq4Nl "iq4_nl" = 20: 32 in 18;
    Iq3S "iq3_s" = 21: 256 in 110;
    Iq2S "iq2_s" = 22: 256 in 82;
    Iq4Xs "iq4_xs" = 23: 256 in 136;
    I8 "i8" = 24: 1 in 1;
    I16 "i16" = 25: 1 in 2;
    I32 "i32" = 26: 1 in 4;
    I64 "i64" = 27: 1 in 8;
    F64 "f64" = 28: 1 in 8;
    Iq1M "iq1_m" = 29: 256 in 56;
    Bf16 "bf16" = 30: 1 in 2;
    Tq1_0 "tq1_0" = 34: 256 in 54;
    Tq2_0 "tq2_0" = 35: 256 in 66;
    Mxfp4 "mxfp4" = 39: 32 in 17;
    Nvfp4 "nvfp4" = 40: 64 in 36;
}

/// The size of one block of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Elements in a block.
    pub len: u32,
    /// Bytes that a block takes in a file.
    pub bytes: u32,
}

impl DType {
    /// Bytes that `elements` consecutive elements of a row take; `None` where the type has no file form, the count is
    /// no multiple of the block length, or the size overflows.
    pub fn row_bytes(self, elements: u64) -> Option<u64> {
        let block = self.block()?;
        if !elements.is_multiple_of(u64::from(block.len)) {
            return None;
        }
        (elements / u64::from(block.len)).checked_mul(u64::from(block.bytes))
    }

    /// Whether the type packs elements into blocks with scales.
    pub fn is_block_quantized(self) -> bool {
        self.block().is_some_and(|b| b.len > 1)
    }

    /// Whether the type is a plain float of 16, 32 or 64 bits.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// The text is not the keyword of an element type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown element type `{0}`")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;
    fn from_str(text: &str) -> Result<Self, UnknownDType> {
        let all = DType::GGUF.iter().copied().chain([DType::Q8A, DType::Kv]);
        all.into_iter()
            .find(|t| t.keyword() == text)
            .ok_or_else(|| UnknownDType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_numbers_round_trip() {
        for &t in DType::GGUF {
            assert_eq!(t.keyword().parse(), Ok(t));
            assert_eq!(DType::from_gguf(t.gguf_number().unwrap()), Some(t));
        }
    }

    #[test]
    fn row_bytes_checks_blocks_and_overflow() {
        assert_eq!(DType::Q4K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4K.row_bytes(32), None);
        assert_eq!(DType::F64.row_bytes(u64::MAX), None);
        assert_eq!(DType::Q8A.row_bytes(32), None);
    }
}
