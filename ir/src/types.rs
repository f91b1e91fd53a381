//! Shapes and tensor types: dims are constants or named symbols.

use crate::dtype::DType;
use std::fmt;

/// A dimension known only when a batch arrives. Symbols are global to a graph and have bounds in the plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Sym {
    /// Rows of the step's ragged batch, one a token.
    Tokens,
    /// Rows whose result is wanted.
    Outputs,
    /// KV positions that a row may attend to.
    Ctx,
}

impl Sym {
    /// Every symbol.
    pub const ALL: [Sym; 3] = [Sym::Tokens, Sym::Outputs, Sym::Ctx];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            Sym::Tokens => "tokens",
            Sym::Outputs => "outputs",
            Sym::Ctx => "ctx",
        }
    }
}

/// One dimension of a shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Dim {
    /// A number of elements known to the compiler.
    Const(u64),
    /// A number of elements known to the step.
    Sym(Sym),
}

impl Dim {
    /// The constant, where it is one.
    pub fn constant(self) -> Option<u64> {
        match self {
            Dim::Const(n) => Some(n),
            Dim::Sym(_) => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Dim {
        Dim::Const(n)
    }
}

impl From<Sym> for Dim {
    fn from(s: Sym) -> Dim {
        Dim::Sym(s)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Const(n) => write!(f, "{n}"),
            Dim::Sym(s) => f.write_str(s.keyword()),
        }
    }
}

/// The type of a value or weight: dims, outermost first, and the element type. Prints as `[tokens, 576]f32`.
///
/// The last dim is contiguous. A [`DType::Kv`] token has no dims and prints as `kv`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Dims, outermost first.
    pub dims: Vec<Dim>,
    /// Element type.
    pub dtype: DType,
}

impl TensorType {
    /// A tensor type of these dims.
    pub fn new<D: Into<Dim>>(dims: impl IntoIterator<Item = D>, dtype: DType) -> TensorType {
        TensorType {
            dims: dims.into_iter().map(Into::into).collect(),
            dtype,
        }
    }

    /// `[rows, columns]` of `dtype`.
    pub fn matrix(rows: impl Into<Dim>, columns: u64, dtype: DType) -> TensorType {
        TensorType {
            dims: vec![rows.into(), Dim::Const(columns)],
            dtype,
        }
    }

    /// The type of a KV-cache state token.
    pub fn kv() -> TensorType {
        TensorType {
            dims: Vec::new(),
            dtype: DType::Kv,
        }
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The last dim, where it is constant.
    pub fn columns(&self) -> Option<u64> {
        self.dims.last().and_then(|d| d.constant())
    }

    /// The number of elements where every dim is constant and the product fits.
    pub fn elements(&self) -> Option<u64> {
        self.dims
            .iter()
            .try_fold(1u64, |n, d| n.checked_mul(d.constant()?))
    }

    /// The same dims with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType {
            dims: self.dims.clone(),
            dtype,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dtype == DType::Kv {
            return f.write_str("kv");
        }
        f.write_str("[")?;
        for (i, dim) in self.dims.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "]{}", self.dtype)
    }
}
