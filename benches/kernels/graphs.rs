//! Graphs of one kind of launch over and over, in the form that the passes leave, and the weights they want.
//!
//! Passes would merge equal launches and remove those that nothing reads; so the graphs are written as after them.

use crate::cases::{Case, Kind};
use lathe_frontend::testing::Rng;
use lathe_ir::DType;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::graph::builder::GraphBuilder;
use lathe_ir::graph::infer::TypeError;
use lathe_ir::graph::{Activation, Epilogue, Graph, Linear, Op, Output, Part, Value, Weight};
use lathe_ir::quant::quantize;
use lathe_ir::types::{Dim, Sym, TensorType};
use std::borrow::Cow;
use std::collections::HashMap;

/// Entries of the table that activations are made from.
const TABLE_ROWS: u64 = 16;
/// Rows of random weights; further rows repeat them.
const RANDOM_ROWS: u64 = 16;
const EPS: f32 = 1e-6;

/// A graph whose first nodes make the activations, and all others are launches of `case`.
pub struct Launches {
    /// The graph; its output is the table's rows, so that the launches' results can be forgotten at once.
    pub graph: Graph,
    /// Nodes before the launches.
    pub setup: usize,
}

/// A graph of `launches` launches, whose weights are `copies` different ones in turn.
pub fn launches(case: &Case, launches: usize, copies: usize) -> Result<Launches, TypeError> {
    let mut b = GraphBuilder::new("launches");
    let rows = |dtype| TensorType::new([Dim::Sym(Sym::Tokens)], dtype);
    let tok = b.param("tok", rows(DType::I32));
    let pos = b.param("pos", rows(DType::I32));
    let seq = b.param("seq", rows(DType::I32));
    b.param("outputs", TensorType::new([Dim::Sym(Sym::Outputs)], DType::I32));
    let kv = b.param("kv", TensorType::kv());
    let table = b.weight(
        "table",
        TensorType::new([TABLE_ROWS, input_columns(case)], DType::F16),
    );
    let x = b.value(Op::Embed {}, &[table], &[tok])?;
    let input = match case.kind {
        Kind::Linear { .. } => b.value(Op::Quantize {}, &[], &[x])?,
        Kind::Attention { heads, .. } => b.value(Op::SplitHeads { heads }, &[], &[x])?,
        // The residual is another value than what is normed.
        Kind::NormAdd(_) => b.value(Op::Scale { by: 0.5 }, &[], &[x])?,
        _ => x,
    };
    for launch in 0..launches {
        match &case.kind {
            Kind::Linear { k, parts, glu } => linear(&mut b, input, *k, parts, *glu, launch % copies)?,
            Kind::Attention { kv_heads, dim, .. } => {
                let op = Op::AttentionPaged {
                    layer: 0,
                    kv_heads: *kv_heads,
                    scale: (*dim as f32).sqrt().recip(),
                    cap: 0.0,
                    window: 0,
                };
                b.value(op, &[], &[input, kv, pos, seq])?;
            }
            Kind::NormQuant(n) => {
                let w = norm_weight(&mut b, *n);
                b.value(Op::NormQuant { eps: EPS }, &[w], &[input])?;
            }
            Kind::NormAdd(n) => {
                let w = norm_weight(&mut b, *n);
                b.value(Op::NormAdd { eps: EPS }, &[w], &[input, x])?;
            }
            Kind::Quantize(_) => {
                b.value(Op::Quantize {}, &[], &[input])?;
            }
        }
    }
    // Splitting heads moves nothing: it is no step.
    let setup = match case.kind {
        Kind::Linear { .. } | Kind::NormAdd(_) => 2,
        _ => 1,
    };
    Ok(Launches {
        graph: b.finish(&[x]),
        setup,
    })
}

/// Columns of the activations.
fn input_columns(case: &Case) -> u64 {
    match case.kind {
        Kind::Linear { k, .. } => k.into(),
        Kind::Attention { heads, dim, .. } => u64::from(heads) * u64::from(dim),
        Kind::NormQuant(n) | Kind::NormAdd(n) | Kind::Quantize(n) => n.into(),
    }
}

fn norm_weight(b: &mut GraphBuilder, n: u32) -> Weight {
    b.weight("norm", TensorType::new([u64::from(n)], DType::F32))
}

fn linear(
    b: &mut GraphBuilder,
    input: Value,
    k: u32,
    parts: &[(u32, DType)],
    glu: bool,
    copy: usize,
) -> Result<(), TypeError> {
    let mut weight = |name: String, (n, dtype): (u32, DType)| {
        b.weight(&name, TensorType::new([u64::from(n), u64::from(k)], dtype))
    };
    let mut made = Vec::new();
    for (number, &shape) in parts.iter().enumerate() {
        let mut part = Part::new(weight(format!("w{number}.{copy}"), shape));
        if glu {
            part.gate_up = Some(weight(format!("up{number}.{copy}"), shape));
            part.epilogue = vec![Epilogue::Glu(Activation::Silu)];
            part.output = Output::Q8A;
        }
        made.push(part);
    }
    b.linear(input, Linear { parts: made })?;
    Ok(())
}

/// Random weights for a graph: those of one type are all the same.
pub struct Weights {
    types: HashMap<String, TensorType>,
    bytes: HashMap<(DType, u64, u64), Vec<u8>>,
}

impl Weights {
    /// The weights that the graph names.
    pub fn of(graph: &Graph) -> Weights {
        let decls = graph.weights.values();
        let types: HashMap<_, _> = decls.map(|w| (w.name.clone(), w.ty.clone())).collect();
        let mut bytes = HashMap::new();
        for ty in types.values() {
            let (rows, columns) = dims(ty);
            bytes
                .entry((ty.dtype, rows, columns))
                .or_insert_with(|| random(ty.dtype, rows, columns));
        }
        Weights { types, bytes }
    }
}

impl WeightSource for Weights {
    fn weight(&self, name: &str) -> Option<WeightData<'_>> {
        let ty = self.types.get(name)?;
        let (rows, columns) = dims(ty);
        Some(WeightData {
            dtype: ty.dtype,
            rows,
            columns,
            bytes: Cow::Borrowed(self.bytes.get(&(ty.dtype, rows, columns))?),
        })
    }
}

/// Rows and columns; a vector is one row.
fn dims(ty: &TensorType) -> (u64, u64) {
    let columns = ty.columns().unwrap_or(1);
    (ty.elements().unwrap_or(columns) / columns, columns)
}

fn random(dtype: DType, rows: u64, columns: u64) -> Vec<u8> {
    let mut rng = Rng::new(1);
    let random_rows = rows.min(RANDOM_ROWS);
    let values: Vec<f32> = (0..random_rows * columns).map(|_| rng.normal()).collect();
    let some = quantize(dtype, &values).expect("shapes fill blocks");
    let row = some.len() / random_rows as usize;
    some.iter().copied().cycle().take(row * rows as usize).collect()
}
