//! The op table: every op, declared once, with its keyword, arity, attributes and purity.
//!
//! The printer, the parser, the verifier and the interpreter read [`Op::info`], [`Op::attrs`] and [`Op::from_attrs`];
//! they know no op by name except where its meaning is at stake. Result types come from [`super::infer`].

use super::linear::Linear;
use std::fmt;

/// What the table says of an op, apart from its meaning.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OpInfo {
    /// The name in the text form.
    pub keyword: &'static str,
    /// How many weights it reads: at least, at most.
    pub weights: (usize, usize),
    /// How many values it reads: at least, at most.
    pub operands: (usize, usize),
    /// How many values it makes; `None` where the attributes say ([`Op::Linear`]).
    pub results: Option<usize>,
    /// Whether it may be removed when its results are unused, and merged with an equal node.
    pub pure: bool,
}

/// An attribute's value in a form that prints and parses alike.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// An unsigned integer.
    Int(u64),
    /// A float that prints with the fewest digits that read back as the same f32.
    Float(f32),
    /// A word of a closed set.
    Word(&'static str),
}

/// A type that an attribute of the table may have.
pub trait AttrType: Sized {
    /// The printable form.
    fn to_attr(&self) -> Attr;
    /// Reads an integer, float or word; `None` where it is of the wrong kind or out of range.
    fn from_text(text: &str) -> Option<Self>;
}

impl AttrType for u32 {
    fn to_attr(&self) -> Attr {
        Attr::Int(u64::from(*self))
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl AttrType for f32 {
    fn to_attr(&self) -> Attr {
        Attr::Float(*self)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|x: &f32| x.is_finite())
    }
}

/// Declares a closed set of words as an enum that is an attribute type.
macro_rules! word_attr {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// The word in the text form.
            pub fn keyword(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl AttrType for $name {
            fn to_attr(&self) -> Attr {
                Attr::Word(self.keyword())
            }
            fn from_text(text: &str) -> Option<Self> {
                match text { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

word_attr! {
    /// Which two elements of a head RoPE rotates together.
    RopePairs {
        /// `(2i, 2i + 1)`, as in the RoPE paper and llama GGUF files.
        Adjacent = "adjacent",
        /// `(i, i + dims/2)`, as in GPT-NeoX.
        Half = "half",
    }
}

word_attr! {
    /// An activation function.
    Activation {
        /// `x · sigmoid(x)`.
        Silu = "silu",
        /// GELU, tanh approximation.
        Gelu = "gelu",
    }
}

word_attr! {
    /// A half of the KV cache.
    KvPart {
        /// Keys.
        K = "k",
        /// Values.
        V = "v",
    }
}

word_attr! {
    /// In which order the rows of a projection weight are read.
    RowOrder {
        /// As stored.
        Natural = "natural",
        /// Within each head the even rows first, then the odd ones: turns adjacent RoPE pairs into half pairs.
        RopeHalf = "rope_half",
    }
}

impl RowOrder {
    /// The stored row that is read as row `row` of `rows`, which are `heads` groups of which the first `dims` rows are
    /// reordered. In each group of `rope_half` the even of these rows come first, then the odd ones; others stay.
    pub fn stored_row(self, row: usize, rows: usize, heads: usize, dims: usize) -> usize {
        if self == RowOrder::Natural {
            return row;
        }
        let group = rows / heads;
        let (start, row, half) = (row / group * group, row % group, dims / 2);
        start
            + match row {
                row if row < half => 2 * row,
                row if row < dims => 2 * (row - half) + 1,
                row => row,
            }
    }
}

/// Prints an attribute value as the parser reads it.
impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Int(n) => write!(f, "{n}"),
            Attr::Float(x) => write!(f, "{x:?}"),
            Attr::Word(w) => f.write_str(w),
        }
    }
}

/// How RoPE turns a head: angle of pair `i` at position `p` is `p · freq_scale · base^(−2i/dims) / factor[i]`; cosine
/// and sine are multiplied by `magnitude`. Source: Su et al., "RoFormer"; factors as in Llama 3's long context.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RopeSpec {
    /// Which elements make a pair.
    pub pairs: RopePairs,
    /// How many leading elements of a head are rotated.
    pub dims: u32,
    /// Frequency base.
    pub base: f32,
    /// Multiplies positions (linear scaling).
    pub freq_scale: f32,
    /// Multiplies cosine and sine.
    pub magnitude: f32,
}

/// Declares the op enum and its table.
macro_rules! ops {
    ($($(#[$meta:meta])* $variant:ident $keyword:literal
        weights $wlo:literal..=$whi:literal operands $olo:literal..=$ohi:literal
        { $($attr:ident: $ty:ty),* };)*) => {
        /// An operation of the graph with its attributes. Operand and result shapes stand at each variant.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op {
            $($(#[$meta])* $variant { $(#[allow(missing_docs)] $attr: $ty),* },)*
            /// Matrix products that share their input, each with its epilogue, in one launch. Has its own text form.
            Linear(Box<Linear>),
        }

        impl Op {
            /// The keywords of every op that the table declares.
            pub const KEYWORDS: &'static [&'static str] = &[$($keyword,)* "linear"];

            /// The op's row of the table.
            pub fn info(&self) -> OpInfo {
                match self {
                    $(Op::$variant { .. } => OpInfo {
                        keyword: $keyword,
                        weights: ($wlo, $whi),
                        operands: ($olo, $ohi),
                        results: Some(1),
                        // A store is an effect: later steps read the cache.
                        pure: !matches!(self, Op::KvAppend { .. }),
                    },)*
                    Op::Linear(l) => OpInfo {
                        keyword: "linear",
                        weights: (1, usize::MAX),
                        operands: (1, usize::MAX),
                        results: None,
                        pure: !l.stores_kv(),
                    },
                }
            }

            /// Attribute names and values, in the table's order. Empty for [`Op::Linear`].
            pub fn attrs(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    $(Op::$variant { $($attr),* } => vec![$((stringify!($attr), $attr.to_attr())),*],)*
                    Op::Linear(_) => Vec::new(),
                }
            }

            /// Makes the op `keyword` from attribute texts found by `get`; the error names what is wrong.
            pub fn from_attrs(keyword: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<Op, String> {
                match keyword {
                    $($keyword => Ok(Op::$variant {
                        $($attr: {
                            let text = get(stringify!($attr))
                                .ok_or_else(|| format!("`{keyword}` lacks the attribute `{}`", stringify!($attr)))?;
                            <$ty as AttrType>::from_text(&text)
                                .ok_or_else(|| format!("`{text}` is no value for `{}` of `{keyword}`", stringify!($attr)))?
                        }),*
                    }),)*
                    _ => Err(format!("unknown op `{keyword}`")),
                }
            }
        }
    };
}

ops! {
    /// `@table [vocab, n], %ids [rows]i32 → [rows, n]f32`: rows of the table, decoded.
    Embed "embed" weights 1..=1 operands 1..=1 {};
    /// `@w → the same dims, f32`: decodes a weight, rows in the given order (`heads` groups of rows for `rope_half`,
    /// `dims` leading rows of each group reordered; both 0 for `natural`).
    Dequant "dequant" weights 1..=1 operands 0..=0 { order: RowOrder, heads: u32, dims: u32 };
    /// `→ []f32`: one number.
    Scalar "scalar" weights 0..=0 operands 0..=0 { value: f32 };
    /// `%x [rows, k]f32, %w [n, k]f32 → [rows, n]f32`: x · wᵀ.
    Matmul "matmul" weights 0..=0 operands 2..=2 {};
    /// `%a, %b → as %a`: elementwise sum; `%b` may be `[]` or a `[n]` that is added to every row.
    Add "add" weights 0..=0 operands 2..=2 {};
    /// `%a, %b → as %a`: elementwise product; `%b` may be `[]` or a `[n]` that multiplies every row.
    Mul "mul" weights 0..=0 operands 2..=2 {};
    /// `%x → as %x`: multiplied by a constant.
    Scale "scale" weights 0..=0 operands 1..=1 { by: f32 };
    /// `%x → as %x`: `cap · tanh(x / cap)`.
    Softcap "softcap" weights 0..=0 operands 1..=1 { cap: f32 };
    /// `%x → as %x`: an activation function.
    Act "act" weights 0..=0 operands 1..=1 { func: Activation };
    /// `@w [n], %x [.., n]f32 → as %x`: `x / sqrt(mean(x²) + eps) · w` over the last dim. Source: Zhang & Sennrich.
    RmsNorm "rms_norm" weights 1..=1 operands 1..=1 { eps: f32 };
    /// `%x [rows, heads·d] → [rows, heads, d]`.
    SplitHeads "split_heads" weights 0..=0 operands 1..=1 { heads: u32 };
    /// `%x [rows, heads, d] → [rows, heads·d]`.
    MergeHeads "merge_heads" weights 0..=0 operands 1..=1 {};
    /// `[@factors [dims/2],] %x [rows, heads, d], %pos [rows]i32 → as %x`; see [`RopeSpec`].
    Rope "rope" weights 0..=1 operands 2..=2 { pairs: RopePairs, dims: u32, base: f32, freq_scale: f32, magnitude: f32 };
    /// `%kv, %k [tokens, kv_heads, d], %v (the same), %pos [tokens]i32, %seq [tokens]i32 → kv`: stores the rows, rounded
    /// to f16, at (sequence, position) of the layer.
    KvAppend "kv_append" weights 0..=0 operands 5..=5 { layer: u32 };
    /// `%q [tokens, heads, d], %kv, %seq [tokens]i32 → [tokens, heads, ctx]`: dot products with every cached key of the
    /// row's sequence; head `h` reads KV head `h · kv_heads / heads`.
    AttnScores "attn_scores" weights 0..=0 operands 3..=3 { layer: u32, kv_heads: u32 };
    /// `%s [tokens, heads, ctx], %pos [tokens]i32 → as %s`: −∞ where the key's position exceeds the row's, or lies
    /// `window` or more behind it (0: no window).
    CausalMask "causal_mask" weights 0..=0 operands 2..=2 { window: u32 };
    /// `%x → as %x`: softmax over the last dim.
    Softmax "softmax" weights 0..=0 operands 1..=1 {};
    /// `%p [tokens, heads, ctx], %kv, %seq [tokens]i32 → [tokens, heads, head_dim]`: sums of cached values weighted by %p.
    AttnMix "attn_mix" weights 0..=0 operands 3..=3 { layer: u32, kv_heads: u32, head_dim: u32 };
    /// `%x [tokens, n], %rows [outputs]i32 → [outputs, n]`.
    GatherRows "gather_rows" weights 0..=0 operands 2..=2 {};

    // From here on: ops that only passes make.

    /// `%q [tokens, heads, d], %kv, %pos [tokens]i32, %seq [tokens]i32 → [tokens, heads·d]`: scores, scale, cap (0: none),
    /// mask, softmax and weighted sum in one pass over the paged cache.
    AttentionPaged "attention.paged" weights 0..=0 operands 4..=4
        { layer: u32, kv_heads: u32, scale: f32, cap: f32, window: u32 };
    /// `%x [rows, n]f32 → [rows, n]q8a`: int8 codes with a scale per 32; see [`crate::layout::Q8a`].
    Quantize "quantize" weights 0..=0 operands 1..=1 {};
    /// `@w [n], %x [rows, n]f32 → [rows, n]q8a`: `rms_norm`, then `quantize`.
    NormQuant "norm_quant" weights 1..=1 operands 1..=1 { eps: f32 };
    /// `@w [n], %x [rows, n]f32, %y (the same) → as %x`: `rms_norm(x) + y`.
    NormAdd "norm_add" weights 1..=1 operands 2..=2 { eps: f32 };
}
