//! Weights: decoded as the graph asks for them, and a source that holds them in memory.

use super::EvalError;
use crate::backend::{WeightData, WeightSource};
use crate::dtype::DType;
use crate::graph::{Graph, RowOrder, Weight, WeightDecl};
use crate::quant::{self, QuantError};
use std::borrow::Cow;
use std::collections::HashMap;

/// The weights of a graph, checked against its declarations.
pub(super) struct Weights<'a> {
    pub(super) graph: &'a Graph,
    pub(super) source: &'a dyn WeightSource,
}

impl<'a> Weights<'a> {
    /// The stored bytes of a weight, with its declaration.
    fn stored(&self, weight: Weight) -> Result<(&'a WeightDecl, WeightData<'a>), EvalError> {
        let decl = &self.graph.weights[weight];
        let Some(data) = self.source.weight(&decl.name) else {
            return Err(EvalError::NoWeight(decl.name.clone()));
        };
        let dims: Vec<u64> = decl.ty.dims.iter().filter_map(|d| d.constant()).collect();
        let same = match dims[..] {
            [n] => data.rows == 1 && data.columns == n,
            [rows, n] => data.rows == rows && data.columns == n,
            _ => false,
        };
        if !same || data.dtype != decl.ty.dtype {
            let got = format!("[{}, {}]{}", data.rows, data.columns, data.dtype);
            return Err(EvalError::Weight {
                name: decl.name.clone(),
                got,
                want: decl.ty.clone(),
            });
        }
        Ok((decl, data))
    }

    /// All elements of a weight.
    pub(super) fn decoded(&self, weight: Weight) -> Result<Vec<f32>, EvalError> {
        let (decl, data) = self.stored(weight)?;
        decode(decl, &data.bytes, data.rows.saturating_mul(data.columns))
    }

    /// Rows of a matrix, chosen by `ids`.
    pub(super) fn rows(&self, weight: Weight, ids: &[i32]) -> Result<Vec<f32>, EvalError> {
        let (decl, data) = self.stored(weight)?;
        let stride = data.dtype.row_bytes(data.columns).unwrap_or(0) as usize;
        let mut out = Vec::new();
        for (row, &id) in ids.iter().enumerate() {
            let id = super::tensor::index("token", row, id, data.rows as usize)?;
            let at = id.checked_mul(stride);
            let bytes = at.and_then(|at| data.bytes.get(at..)?.get(..stride));
            out.extend(decode(decl, bytes.unwrap_or(&[]), data.columns)?);
        }
        Ok(out)
    }

    /// All elements of a weight, with its rows (a vector's elements) in this order; see [`permutation`].
    pub(super) fn ordered(
        &self,
        weight: Weight,
        order: RowOrder,
        heads: usize,
        dims: usize,
    ) -> Result<Vec<f32>, EvalError> {
        let decoded = self.decoded(weight)?;
        if order == RowOrder::Natural {
            return Ok(decoded);
        }
        let rows = self.graph.weights[weight].ty.dims[0].constant().unwrap_or(1) as usize;
        let columns = decoded.len() / rows;
        let row = |i: usize| decoded[i * columns..(i + 1) * columns].iter().copied();
        Ok(permutation(rows, heads, dims).into_iter().flat_map(row).collect())
    }
}

/// Decodes elements; the bytes are checked before anything is allocated.
fn decode(decl: &WeightDecl, bytes: &[u8], elements: u64) -> Result<Vec<f32>, EvalError> {
    let fail = |source| EvalError::Decode {
        name: decl.name.clone(),
        source,
    };
    let dtype = decl.ty.dtype;
    let expected = dtype
        .row_bytes(elements)
        .ok_or_else(|| fail(QuantError::UnsupportedType(dtype)))?;
    if expected != bytes.len() as u64 {
        return Err(fail(QuantError::Length {
            what: "bytes of the weight",
            expected,
            got: bytes.len() as u64,
        }));
    }
    let mut out = vec![0.0; elements as usize];
    quant::dequantize(dtype, bytes, &mut out).map_err(fail)?;
    Ok(out)
}

/// Where each row comes from in `rope_half` order: within each of `heads` groups of rows, of the leading `dims` rows first
/// the even ones, then the odd ones; then the others.
fn permutation(rows: usize, heads: usize, dims: usize) -> Vec<usize> {
    let group = rows / heads;
    let source = |i: usize| match i {
        i if i < dims / 2 => 2 * i,
        i if i < dims => 2 * (i - dims / 2) + 1,
        i => i,
    };
    (0..rows)
        .map(|row| row / group * group + source(row % group))
        .collect()
}

/// Weights held in memory, for tests and tools.
#[derive(Clone, Debug, Default)]
pub struct MemoryWeights {
    tensors: HashMap<String, Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    dtype: DType,
    rows: u64,
    columns: u64,
    bytes: Vec<u8>,
}

impl MemoryWeights {
    /// No weights.
    pub fn new() -> MemoryWeights {
        MemoryWeights::default()
    }

    /// Adds `rows` rows of elements (1 for a vector), encoded in `dtype` as [`quant::quantize`] does.
    ///
    /// # Errors
    /// Where the type can't be encoded or rows do not fill its blocks.
    pub fn insert(
        &mut self,
        name: &str,
        dtype: DType,
        rows: usize,
        elements: &[f32],
    ) -> Result<(), QuantError> {
        let columns = (elements.len() / rows.max(1)) as u64;
        let block = dtype.block().map_or(1, |b| u64::from(b.len));
        if dtype.row_bytes(columns).is_none() {
            return Err(QuantError::Ragged {
                dtype,
                elements: columns,
                block,
            });
        }
        let bytes = quant::quantize(dtype, elements)?;
        self.tensors.insert(
            name.to_owned(),
            Stored {
                dtype,
                rows: rows as u64,
                columns,
                bytes,
            },
        );
        Ok(())
    }

    /// Random weights for every declaration of a graph, the same for the same seed and name. Elements of matrices are
    /// within ±1/√columns, so that products keep their size; those of vectors are between 0.5 and 1.5.
    ///
    /// # Errors
    /// Where a type can't be encoded.
    pub fn random(graph: &Graph, seed: u64) -> Result<MemoryWeights, QuantError> {
        let mut all = MemoryWeights::new();
        for decl in graph.weights.values() {
            let dims: Vec<usize> = decl
                .ty
                .dims
                .iter()
                .filter_map(|d| d.constant())
                .map(|n| n as usize)
                .collect();
            let (rows, columns) = match dims[..] {
                [rows, columns] => (rows, columns),
                _ => (1, dims.iter().product()),
            };
            let (low, high) = match dims.len() {
                2 => (-1.0 / (columns as f32).sqrt(), 1.0 / (columns as f32).sqrt()),
                _ => (0.5, 1.5),
            };
            let mut random = Random::new(seed, &decl.name);
            let elements: Vec<f32> = (0..rows * columns)
                .map(|_| low + (high - low) * random.fraction())
                .collect();
            all.insert(&decl.name, decl.ty.dtype, rows, &elements)?;
        }
        Ok(all)
    }
}

impl WeightSource for MemoryWeights {
    fn weight(&self, name: &str) -> Option<WeightData<'_>> {
        let Stored {
            dtype,
            rows,
            columns,
            bytes,
        } = self.tensors.get(name)?;
        Some(WeightData {
            dtype: *dtype,
            rows: *rows,
            columns: *columns,
            bytes: Cow::Borrowed(bytes),
        })
    }
}

/// SplitMix64, begun from a seed and a name. Source: Steele, Lea & Flood, "Fast splittable pseudorandom number
/// generators".
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Random {
        // FNV-1a: the same on every machine and version, unlike the standard library's hash.
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        Random(name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash))
    }

    /// A number in 0..1.
    fn fraction(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}
