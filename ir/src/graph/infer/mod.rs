//! Result types of every op, and the rules of types, shapes and attributes that they follow from.
//!
//! The rules of `linear` have a file of their own; which rows and shapes an op takes stands at each variant of
//! [`Op`]. [`super::verify`] runs these rules on every live node.

mod linear;

use super::op::Attr;
use super::{Graph, Op, RowOrder, Value, Weight};
use crate::dtype::DType;
use crate::types::{Dim, Sym, TensorType};

/// An op applied to what it can't take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{op}: {what}")]
pub struct TypeError {
    /// The op's keyword.
    pub op: &'static str,
    /// What was given and what was expected.
    pub what: String,
}

/// The types of the results of `op` applied to these weights and operands.
///
/// # Errors
/// Names the op and the operand that does not fit.
pub fn infer(
    graph: &Graph,
    op: &Op,
    weights: &[Weight],
    operands: &[Value],
) -> Result<Vec<TensorType>, TypeError> {
    let info = op.info();
    let cx = Cx {
        graph,
        op: info.keyword,
        weights,
        operands,
    };
    let count = |n: usize, (lo, hi): (usize, usize)| (lo..=hi).contains(&n);
    for (what, got, want) in [
        ("weights", weights.len(), info.weights),
        ("operands", operands.len(), info.operands),
    ] {
        cx.check(count(got, want), || {
            format!("{got} {what}, but {} expected", range(want))
        })?;
    }
    if let Op::Linear(linear) = op {
        return cx.linear(linear);
    }
    cx.attrs(op)?;
    Ok(vec![cx.single(op)?])
}

/// A range of counts in words.
fn range((lo, hi): (usize, usize)) -> String {
    match hi {
        usize::MAX => format!("at least {lo}"),
        _ if lo == hi => lo.to_string(),
        _ => format!("{lo} to {hi}"),
    }
}

/// `[rows]i32`: one index a row.
fn index_type(rows: Dim) -> TensorType {
    TensorType {
        dims: vec![rows],
        dtype: DType::I32,
    }
}

/// An application of an op, under inspection.
struct Cx<'a> {
    graph: &'a Graph,
    op: &'static str,
    weights: &'a [Weight],
    operands: &'a [Value],
}

impl Cx<'_> {
    fn fail<T>(&self, what: String) -> Result<T, TypeError> {
        Err(TypeError { op: self.op, what })
    }

    fn ty(&self, i: usize) -> &TensorType {
        self.graph.ty(self.operands[i])
    }

    fn weight(&self, i: usize) -> &TensorType {
        &self.graph.weights[self.weights[i]].ty
    }

    fn check(&self, holds: bool, what: impl FnOnce() -> String) -> Result<(), TypeError> {
        if holds { Ok(()) } else { self.fail(what()) }
    }

    /// Floats are finite, and positive where their op divides by them or takes their power.
    fn attrs(&self, op: &Op) -> Result<(), TypeError> {
        for (name, attr) in op.attrs() {
            let Attr::Float(x) = attr else { continue };
            self.finite(name, x)?;
        }
        match *op {
            Op::Softcap { cap } => self.positive("cap", cap),
            Op::AttentionPaged { cap, .. } => self.not_negative("cap", cap),
            Op::RmsNorm { eps } | Op::NormQuant { eps } | Op::NormAdd { eps } => {
                self.not_negative("eps", eps)
            }
            Op::Rope { base, .. } => self.positive("base", base),
            _ => Ok(()),
        }
    }

    fn finite(&self, name: &str, x: f32) -> Result<(), TypeError> {
        self.check(x.is_finite(), || format!("`{name}` is {x}, but must be finite"))
    }

    fn positive(&self, name: &str, x: f32) -> Result<(), TypeError> {
        self.check(x > 0.0, || format!("`{name}` is {x}, but must be positive"))
    }

    fn not_negative(&self, name: &str, x: f32) -> Result<(), TypeError> {
        self.check(x >= 0.0, || format!("`{name}` is {x}, but must not be negative"))
    }

    /// Operand `i` as f32 of rank `rank`.
    fn floats(&self, i: usize, rank: usize) -> Result<&TensorType, TypeError> {
        let ty = self.ty(i);
        self.check(ty.dtype == DType::F32 && ty.rank() == rank, || {
            format!("operand {i} is {ty}, but must be f32 of rank {rank}")
        })?;
        Ok(ty)
    }

    fn any_floats(&self, i: usize) -> Result<&TensorType, TypeError> {
        let ty = self.ty(i);
        self.check(ty.dtype == DType::F32, || {
            format!("operand {i} is {ty}, but must be f32")
        })?;
        Ok(ty)
    }

    /// Operand `i` as one i32 a row of `rows`.
    fn ints(&self, i: usize, rows: Dim) -> Result<(), TypeError> {
        let want = index_type(rows);
        self.check(*self.ty(i) == want, || {
            format!("operand {i} is {}, but must be {want}", self.ty(i))
        })
    }

    fn kv(&self, i: usize) -> Result<(), TypeError> {
        self.check(self.ty(i).dtype == DType::Kv, || {
            format!("operand {i} is {}, but must be kv", self.ty(i))
        })
    }

    /// A weight as a vector of `n`.
    fn vector(&self, weight: Weight, n: Option<u64>) -> Result<(), TypeError> {
        let decl = &self.graph.weights[weight];
        self.check(
            decl.ty.rank() == 1 && n.is_some() && decl.ty.columns() == n,
            || {
                let want = n.map_or("a known number of".to_owned(), |n| n.to_string());
                format!(
                    "weight @{} is {}, but must be a vector of {want} elements",
                    decl.name, decl.ty
                )
            },
        )
    }

    /// `[rows, heads, d]` as `[rows, heads · d]`.
    fn merged(&self, x: &TensorType) -> Result<TensorType, TypeError> {
        let columns = x.dims[1].constant().zip(x.dims[2].constant());
        let Some(n) = columns.and_then(|(h, d)| h.checked_mul(d)) else {
            return self.fail(format!("{x} has heads of no known size"));
        };
        Ok(TensorType {
            dims: vec![x.dims[0], n.into()],
            dtype: DType::F32,
        })
    }

    fn same(&self, a: usize, b: usize) -> Result<(), TypeError> {
        self.check(self.ty(a) == self.ty(b), || {
            format!("operand {b} is {}, but must be {}", self.ty(b), self.ty(a))
        })
    }

    fn quantizable(&self, ty: &TensorType) -> Result<TensorType, TypeError> {
        let fits = ty.rank() == 2 && ty.columns().is_some_and(|n| n > 0 && n.is_multiple_of(32));
        self.check(fits, || {
            format!("{ty} can't be q8a: columns must be a multiple of 32")
        })?;
        Ok(ty.with_dtype(DType::Q8A))
    }

    fn single(&self, op: &Op) -> Result<TensorType, TypeError> {
        match op {
            Op::Embed {} => {
                let table = self.weight(0);
                let Some(n) = table.columns().filter(|_| table.rank() == 2) else {
                    return self.fail(format!("the table is {table}, but must be a matrix"));
                };
                let ids = self.ty(0);
                self.check(ids.rank() == 1 && ids.dtype == DType::I32, || {
                    format!("operand 0 is {ids}, but must be i32 of rank 1")
                })?;
                Ok(TensorType {
                    dims: vec![ids.dims[0], Dim::Const(n)],
                    dtype: DType::F32,
                })
            }
            Op::Dequant { order, heads, dims } => {
                let weight = self.weight(0);
                self.order(weight, *order, *heads, *dims)?;
                Ok(weight.with_dtype(DType::F32))
            }
            Op::Scalar { .. } => Ok(TensorType {
                dims: vec![],
                dtype: DType::F32,
            }),
            Op::Matmul {} => {
                let (x, w) = (self.floats(0, 2)?, self.floats(1, 2)?);
                self.check(x.dims[1] == w.dims[1], || {
                    format!("{x} times {w}: rows differ in length")
                })?;
                Ok(TensorType {
                    dims: vec![x.dims[0], w.dims[0]],
                    dtype: DType::F32,
                })
            }
            Op::Add {} | Op::Mul {} => {
                let (a, b) = (self.any_floats(0)?, self.any_floats(1)?);
                let broadcast = b.rank() == 0 || b.rank() == 1 && b.dims.last() == a.dims.last();
                self.check(a == b || broadcast, || format!("{a} and {b} do not match"))?;
                Ok(a.clone())
            }
            Op::Scale { .. } | Op::Softcap { .. } | Op::Act { .. } => Ok(self.any_floats(0)?.clone()),
            Op::Softmax {} => {
                let x = self.any_floats(0)?;
                self.check(x.rank() > 0, || "a scalar has no last dim".into())?;
                Ok(x.clone())
            }
            Op::RmsNorm { .. } => {
                let x = self.any_floats(0)?;
                self.vector(self.weights[0], x.columns())?;
                Ok(x.clone())
            }
            Op::SplitHeads { heads } => {
                let x = self.floats(0, 2)?;
                let heads = u64::from(*heads);
                let n = x.columns().filter(|n| heads > 0 && n.is_multiple_of(heads));
                let Some(n) = n else {
                    return self.fail(format!("{x} does not split into {heads} heads"));
                };
                Ok(TensorType::new(
                    [x.dims[0], heads.into(), (n / heads).into()],
                    DType::F32,
                ))
            }
            Op::MergeHeads {} => self.merged(self.floats(0, 3)?),
            Op::Rope { dims, .. } => {
                let x = self.floats(0, 3)?;
                self.ints(1, x.dims[0])?;
                self.rope(*dims, x.columns())?;
                if let Some(&w) = self.weights.first() {
                    self.vector(w, Some(u64::from(dims / 2)))?;
                }
                Ok(x.clone())
            }
            Op::KvAppend { .. } => {
                self.kv(0)?;
                let k = self.floats(1, 3)?;
                self.same(1, 2)?;
                self.ints(3, k.dims[0])?;
                self.ints(4, k.dims[0])?;
                Ok(TensorType::kv())
            }
            Op::AttnScores { kv_heads, .. } => {
                let q = self.floats(0, 3)?;
                self.kv(1)?;
                self.ints(2, q.dims[0])?;
                self.groups(q, *kv_heads)?;
                Ok(TensorType::new(
                    [q.dims[0], q.dims[1], Sym::Ctx.into()],
                    DType::F32,
                ))
            }
            Op::CausalMask { .. } => {
                let s = self.floats(0, 3)?;
                self.ints(1, s.dims[0])?;
                Ok(s.clone())
            }
            Op::AttnMix {
                kv_heads, head_dim, ..
            } => {
                let p = self.floats(0, 3)?;
                self.kv(1)?;
                self.ints(2, p.dims[0])?;
                self.groups(p, *kv_heads)?;
                Ok(TensorType::new(
                    [p.dims[0], p.dims[1], u64::from(*head_dim).into()],
                    DType::F32,
                ))
            }
            Op::GatherRows {} => {
                let (x, rows) = (self.floats(0, 2)?, self.ty(1));
                self.check(rows.rank() == 1 && rows.dtype == DType::I32, || {
                    format!("operand 1 is {rows}, but must be i32 of rank 1")
                })?;
                Ok(TensorType {
                    dims: vec![rows.dims[0], x.dims[1]],
                    dtype: DType::F32,
                })
            }
            Op::AttentionPaged { kv_heads, .. } => {
                let q = self.floats(0, 3)?;
                self.kv(1)?;
                self.ints(2, q.dims[0])?;
                self.ints(3, q.dims[0])?;
                self.groups(q, *kv_heads)?;
                self.merged(q)
            }
            Op::Quantize {} => self.quantizable(self.floats(0, 2)?),
            Op::NormQuant { .. } => {
                let x = self.floats(0, 2)?;
                self.vector(self.weights[0], x.columns())?;
                self.quantizable(x)
            }
            Op::NormAdd { .. } => {
                let x = self.floats(0, 2)?;
                self.same(0, 1)?;
                self.vector(self.weights[0], x.columns())?;
                Ok(x.clone())
            }
            Op::Linear(_) => self.fail("linear has its own rule".into()),
        }
    }

    fn rope(&self, dims: u32, head: Option<u64>) -> Result<(), TypeError> {
        let fits = dims > 0 && dims.is_multiple_of(2) && head.is_some_and(|d| u64::from(dims) <= d);
        self.check(fits, || {
            let head = head.map_or("no known number of".to_owned(), |d| d.to_string());
            format!(
                "can't rotate {dims} elements of a head of {head} elements: must be even, positive and fit"
            )
        })
    }

    fn groups(&self, q: &TensorType, kv_heads: u32) -> Result<(), TypeError> {
        let fits = q.dims[1]
            .constant()
            .is_some_and(|h| kv_heads > 0 && h.is_multiple_of(kv_heads.into()));
        self.check(fits, || {
            format!("{kv_heads} KV heads do not divide the heads of {q}")
        })
    }

    fn order(&self, ty: &TensorType, order: RowOrder, heads: u32, dims: u32) -> Result<(), TypeError> {
        if order == RowOrder::Natural {
            return self.check(heads == 0 && dims == 0, || {
                "natural order takes no heads and dims".into()
            });
        }
        let rows = ty.dims.first().and_then(|d| d.constant()).unwrap_or(0);
        let fits = heads > 0 && rows.is_multiple_of(heads.into()) && dims.is_multiple_of(2);
        let fits = fits && dims > 0 && u64::from(dims) <= rows / u64::from(heads.max(1));
        self.check(fits, || {
            format!("{rows} rows can't be reordered in {heads} heads of {dims}")
        })
    }
}
