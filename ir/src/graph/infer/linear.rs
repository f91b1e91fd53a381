//! Rules of `linear`: which parts fit its input, which epilogue steps go together, and what each part makes.

use super::{Cx, TypeError, index_type};
use crate::dtype::DType;
use crate::graph::{Epilogue, Linear, Output, Part, RowOrder, Value};
use crate::types::{Dim, TensorType};

/// What the steps of an epilogue before the current one have made of the row.
struct Row {
    /// Rows of the input.
    rows: Dim,
    /// Columns of the product.
    n: u64,
    /// Heads, once split.
    heads: Option<u64>,
    /// Rotated elements of a head, once rotated.
    rope_dims: Option<u32>,
}

impl Row {
    /// Elements of a head.
    fn head(&self) -> Option<u64> {
        self.heads.map(|h| self.n / h)
    }

    /// The row as the product makes it.
    fn flat(&self) -> TensorType {
        TensorType {
            dims: vec![self.rows, self.n.into()],
            dtype: DType::F32,
        }
    }

    /// The row as the epilogue leaves it.
    fn ty(&self) -> TensorType {
        match self.heads {
            Some(h) => TensorType::new([self.rows, h.into(), (self.n / h).into()], DType::F32),
            None => self.flat(),
        }
    }
}

impl Cx<'_> {
    /// Types of the results: one for each part that makes a value, then the token of the parts that store.
    pub(super) fn linear(&self, linear: &Linear) -> Result<Vec<TensorType>, TypeError> {
        let x = self.ty(0);
        self.check(
            x.rank() == 2 && matches!(x.dtype, DType::F32 | DType::Q8A),
            || format!("operand 0 is {x}, but must be f32 or q8a of rank 2"),
        )?;
        self.check(!linear.parts.is_empty(), || "it has no part".into())?;
        self.check(self.weights == linear.weights(), || {
            "its weights are not those that its parts name".into()
        })?;
        self.check(self.operands[1..] == linear.values(), || {
            "its operands are not the input and the values that its parts name".into()
        })?;
        let mut types = Vec::new();
        for (i, part) in linear.parts.iter().enumerate() {
            let ty = self.part(x, part).map_err(|e| TypeError {
                what: format!("part {i}: {}", e.what),
                ..e
            })?;
            types.extend(ty);
        }
        self.check(one_token(linear), || {
            "its parts store to different kv tokens".into()
        })?;
        if linear.stores_kv() {
            types.push(TensorType::kv());
        }
        Ok(types)
    }

    /// The type of the value that a part makes; `None` where it stores.
    fn part(&self, x: &TensorType, part: &Part) -> Result<Option<TensorType>, TypeError> {
        let mut row = self.product(x, part)?;
        self.steps_in_order(part)?;
        for step in &part.epilogue {
            self.step(step, &mut row)?;
        }
        if part.order == RowOrder::RopeHalf {
            self.check(row.rope_dims.is_some(), || {
                "rope_half needs heads and rope in the epilogue".into()
            })?;
            let heads = row.heads.and_then(|h| u32::try_from(h).ok()).unwrap_or(0);
            let w = &self.graph.weights[part.weight].ty;
            self.order(w, part.order, heads, row.rope_dims.unwrap_or(0))?;
        }
        self.output(&part.output, &row)
    }

    /// The product of the input with the weights of a part.
    fn product(&self, x: &TensorType, part: &Part) -> Result<Row, TypeError> {
        let decl = &self.graph.weights[part.weight];
        let w = &decl.ty;
        let n = w
            .dims
            .first()
            .and_then(|d| d.constant())
            .filter(|_| w.rank() == 2 && w.dims[1] == x.dims[1]);
        let Some(n) = n else {
            return self.fail(format!(
                "weight @{} is {w}, but must be a matrix with rows as long as {x}'s",
                decl.name
            ));
        };
        self.check(x.dtype == DType::F32 || w.dtype.is_block_quantized(), || {
            format!(
                "weight @{} is {w}: q8a input goes with weights in blocks only",
                decl.name
            )
        })?;
        if let Some(second) = part.gate_up {
            let second = &self.graph.weights[second];
            self.check(second.ty == *w, || {
                format!(
                    "weight @{} is {}, but must be {w} as @{}",
                    second.name, second.ty, decl.name
                )
            })?;
        }
        Ok(Row {
            rows: x.dims[0],
            n,
            heads: None,
            rope_dims: None,
        })
    }

    /// Steps keep the order of [`Epilogue`], each at most once; a `glu` meets the second product before anything else
    /// has happened to the first.
    fn steps_in_order(&self, part: &Part) -> Result<(), TypeError> {
        let ranks: Vec<usize> = part.epilogue.iter().map(Epilogue::rank).collect();
        self.check(ranks.is_sorted_by(|a, b| a < b), || {
            "epilogue steps are out of order (bias, heads, head_norm, rope, scale, glu, act, softcap, add)"
                .into()
        })?;
        let glu = part.epilogue.iter().position(|e| matches!(e, Epilogue::Glu(_)));
        self.check(glu.is_some() == part.gate_up.is_some(), || {
            "a second weight needs a glu, and a glu needs a second weight".into()
        })?;
        self.check(glu.is_none_or(|i| i == 0), || {
            "a glu must be the first step of its epilogue".into()
        })
    }

    fn step(&self, step: &Epilogue, row: &mut Row) -> Result<(), TypeError> {
        match step {
            Epilogue::Bias(w) => self.vector(*w, Some(row.n)),
            Epilogue::Heads(heads) => {
                let heads = u64::from(*heads);
                self.check(heads > 0 && row.n.is_multiple_of(heads), || {
                    format!("{} columns do not split into {heads} heads", row.n)
                })?;
                row.heads = Some(heads);
                Ok(())
            }
            Epilogue::HeadNorm { weight, eps } => {
                self.finite("eps", *eps)?;
                self.not_negative("eps", *eps)?;
                self.check(row.heads.is_some(), || "head_norm needs heads".into())?;
                self.vector(*weight, row.head())
            }
            Epilogue::Rope { pos, spec, factors } => {
                self.check(row.heads.is_some(), || "rope needs heads".into())?;
                for (name, x) in [
                    ("base", spec.base),
                    ("freq_scale", spec.freq_scale),
                    ("magnitude", spec.magnitude),
                ] {
                    self.finite(name, x)?;
                }
                self.positive("base", spec.base)?;
                self.rope(spec.dims, row.head())?;
                row.rope_dims = Some(spec.dims);
                self.indices(*pos, row.rows, "positions")?;
                factors.map_or(Ok(()), |w| self.vector(w, Some(u64::from(spec.dims / 2))))
            }
            Epilogue::Scale(by) => self.finite("scale", *by),
            Epilogue::Glu(_) | Epilogue::Act(_) => Ok(()),
            Epilogue::Softcap(cap) => {
                self.finite("cap", *cap)?;
                self.positive("cap", *cap)
            }
            Epilogue::Add(value) => {
                self.check(row.heads.is_none(), || "nothing can be added after heads".into())?;
                let (got, want) = (self.graph.ty(*value), row.flat());
                self.check(*got == want, || {
                    format!("the value added is {got}, but must be {want}")
                })
            }
        }
    }

    fn output(&self, output: &Output, row: &Row) -> Result<Option<TensorType>, TypeError> {
        match output {
            Output::F32 => Ok(Some(row.ty())),
            Output::Q8A => {
                self.check(row.heads.is_none(), || "heads can't be q8a".into())?;
                self.quantizable(&row.flat()).map(Some)
            }
            Output::Kv { kv, pos, seq, .. } => {
                self.check(row.heads.is_some(), || "a KV store needs heads".into())?;
                let token = self.graph.ty(*kv);
                self.check(token.dtype == DType::Kv, || {
                    format!("the token stored to is {token}, but must be kv")
                })?;
                self.indices(*pos, row.rows, "positions")?;
                self.indices(*seq, row.rows, "sequences")?;
                Ok(None)
            }
        }
    }

    /// A value that an epilogue names as one index a row.
    fn indices(&self, value: Value, rows: Dim, what: &str) -> Result<(), TypeError> {
        let (got, want) = (self.graph.ty(value), index_type(rows));
        self.check(*got == want, || format!("{what} are {got}, but must be {want}"))
    }
}

/// Whether all parts that store read the same token.
fn one_token(linear: &Linear) -> bool {
    let mut tokens = linear.parts.iter().filter_map(|p| match p.output {
        Output::Kv { kv, .. } => Some(kv),
        _ => None,
    });
    let first = tokens.next();
    tokens.all(|t| Some(t) == first)
}
