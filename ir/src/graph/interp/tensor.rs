//! Values of the interpreter.

use super::EvalError;
use crate::dtype::DType;
use crate::layout::{Q8a, dequantize_row_q8a, quantize_row_q8a};

/// A value: dims, outermost first, and the elements in row-major order.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Dims, outermost first.
    pub dims: Vec<usize>,
    /// Elements.
    pub data: Data,
}

/// The elements of a [`Tensor`].
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// Floats.
    F32(Vec<f32>),
    /// Indices.
    I32(Vec<i32>),
    /// Rows of int8 activations, each as [`Q8a`] says.
    Q8a(Vec<u8>),
    /// A token of the KV cache, which holds nothing: the cache itself is an argument of [`super::eval`].
    Kv,
}

impl Tensor {
    /// A tensor of floats.
    ///
    /// # Panics
    /// Where the dims do not have as many elements.
    pub fn f32(dims: &[usize], elements: Vec<f32>) -> Tensor {
        assert_eq!(
            dims.iter().product::<usize>(),
            elements.len(),
            "elements of a tensor {dims:?}"
        );
        Tensor {
            dims: dims.to_vec(),
            data: Data::F32(elements),
        }
    }

    /// A vector of indices.
    ///
    /// # Panics
    /// Where one is above `i32::MAX`.
    pub fn indices(indices: &[u32]) -> Tensor {
        let index = |&i: &u32| i32::try_from(i).expect("indices are i32");
        Tensor {
            dims: vec![indices.len()],
            data: Data::I32(indices.iter().map(index).collect()),
        }
    }

    /// A token of the KV cache.
    pub(super) fn kv() -> Tensor {
        Tensor {
            dims: Vec::new(),
            data: Data::Kv,
        }
    }

    /// Rows of floats, quantized. The last dim is a multiple of 32.
    pub(super) fn quantized(dims: &[usize], elements: &[f32]) -> Result<Tensor, EvalError> {
        let k = columns(dims);
        let stride = Q8a::row_stride(k as u64) as usize;
        let mut rows = vec![0; elements.len() / k * stride];
        for (x, out) in elements.chunks_exact(k).zip(rows.chunks_exact_mut(stride)) {
            quantize_row_q8a(x, out).map_err(EvalError::Quantize)?;
        }
        Ok(Tensor {
            dims: dims.to_vec(),
            data: Data::Q8a(rows),
        })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::I32(_) => DType::I32,
            Data::Q8a(_) => DType::Q8A,
            Data::Kv => DType::Kv,
        }
    }

    /// The elements as floats: decoded where they are q8a, none where they are no numbers with fractions.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match &self.data {
            Data::F32(elements) => Some(elements.clone()),
            Data::Q8a(rows) => {
                let k = columns(&self.dims);
                let mut out = vec![0.0; self.dims.iter().product()];
                let stride = Q8a::row_stride(k as u64) as usize;
                for (row, out) in rows.chunks_exact(stride).zip(out.chunks_exact_mut(k)) {
                    dequantize_row_q8a(row, out).ok()?;
                }
                Some(out)
            }
            Data::I32(_) | Data::Kv => None,
        }
    }

    /// The elements of a value that verification has shown to be f32.
    pub(super) fn floats(&self) -> &[f32] {
        match &self.data {
            Data::F32(elements) => elements,
            _ => unreachable!("the verifier has checked that the value is f32"),
        }
    }

    /// The elements of a value that verification has shown to be i32.
    pub(super) fn ints(&self) -> &[i32] {
        match &self.data {
            Data::I32(elements) => elements,
            _ => unreachable!("the verifier has checked that the value is i32"),
        }
    }

    /// Dims and element type, as types print.
    pub(super) fn describe(&self) -> String {
        format!("{:?}{}", self.dims, self.dtype())
    }
}

/// The last dim, at least 1 so that chunks of it are possible (an empty tensor has no chunks).
pub(super) fn columns(dims: &[usize]) -> usize {
    dims.last().map_or(1, |&n| n.max(1))
}

/// Checks an index that data give.
pub(super) fn index(what: &'static str, row: usize, got: i32, limit: usize) -> Result<usize, EvalError> {
    let index = usize::try_from(got).ok().filter(|&i| i < limit);
    index.ok_or(EvalError::Range {
        what,
        row,
        got: i64::from(got),
        limit,
    })
}
