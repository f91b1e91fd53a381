//! Weights from the model file to device memory: checked against the plan, and laid out as [`crate::layout`] says.
//!
//! Matrices are packed in stretches of rows by several threads; no more than one packed section is in host memory.

use crate::error::Error;
use crate::layout::{ALIGN, BLOCK, Element, Matrix, field, record_bytes};
use crate::plan::{Form, SectionDecl};
use half::f16;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::quant::{Canonical, QuantFormat, dequantize};
use std::sync::Mutex;

/// The bytes of a section.
///
/// # Errors
/// Where the tensor is missing, differs from its declaration or can't be laid out; the error names it.
pub fn pack(decl: &SectionDecl, weights: &dyn WeightSource, threads: usize) -> Result<Vec<u8>, Error> {
    let data = tensor(decl, weights)?;
    let packed = match (decl.form, decl.matrix()) {
        (Form::Vector, _) => vector(decl, &data),
        (Form::Matrix, Some(matrix)) => Packer {
            decl,
            data: &data,
            matrix,
        }
        .pack(threads),
        (Form::Matrix, None) => Err(error(
            decl,
            format!("no kernel reads a matrix of type {}", decl.ty),
        )),
    }?;
    let all = data.bytes.len() as u64;
    drop(data);
    weights.release(&decl.weight, 0..all);
    Ok(packed)
}

/// A vector of `len` f32.
///
/// # Errors
/// Where it is missing, has another length or type.
pub fn floats(name: &str, len: usize, weights: &dyn WeightSource) -> Result<Vec<f32>, Error> {
    let data = weights
        .weight(name)
        .ok_or_else(|| Error::NoWeight(name.to_owned()))?;
    let fail = |what: String| Error::Pack {
        name: name.to_owned(),
        what,
    };
    let count = data.rows.saturating_mul(data.columns);
    if count != len as u64 {
        return Err(fail(format!("it has {count} elements instead of {len}")));
    }
    let mut values = vec![0.0; len];
    dequantize(data.dtype, &data.bytes, &mut values).map_err(|e| fail(e.to_string()))?;
    Ok(values)
}

fn error(decl: &SectionDecl, what: impl Into<String>) -> Error {
    Error::Pack {
        name: decl.weight.clone(),
        what: what.into(),
    }
}

fn tensor<'w>(decl: &SectionDecl, weights: &'w dyn WeightSource) -> Result<WeightData<'w>, Error> {
    let data = weights
        .weight(&decl.weight)
        .ok_or_else(|| Error::NoWeight(decl.weight.clone()))?;
    if !data.is(&decl.ty) {
        return Err(Error::WeightType {
            name: decl.weight.clone(),
            rows: data.rows,
            columns: data.columns,
            dtype: data.dtype,
            want: decl.ty.to_string(),
        });
    }
    data.check_bytes().map_err(|what| error(decl, what))?;
    Ok(data)
}

fn stored_row(decl: &SectionDecl, row: usize, rows: usize) -> usize {
    decl.order
        .stored_row(row, rows, decl.heads as usize, decl.dims as usize)
}

fn vector(decl: &SectionDecl, data: &WeightData) -> Result<Vec<u8>, Error> {
    let n = (data.rows * data.columns) as usize;
    let mut values = vec![0.0f32; n];
    dequantize(data.dtype, &data.bytes, &mut values).map_err(|e| error(decl, e.to_string()))?;
    let ordered = (0..n).flat_map(|i| values[stored_row(decl, i, n)].to_le_bytes());
    Ok(ordered.collect())
}

/// A matrix on its way.
struct Packer<'a> {
    decl: &'a SectionDecl,
    data: &'a WeightData<'a>,
    matrix: Matrix,
}

impl Packer<'_> {
    fn pack(&self, threads: usize) -> Result<Vec<u8>, Error> {
        let mut out = vec![0u8; self.matrix.bytes() as usize];
        match self.matrix.element {
            Element::Codes(format) => self.codes(format, threads, &mut out)?,
            Element::F32 | Element::F16 | Element::Bf16 => {
                let rows = self.matrix.rows as usize;
                let stride = out.len() / rows;
                for (row, to) in out.chunks_exact_mut(stride).enumerate() {
                    let from = stored_row(self.decl, row, rows) * stride;
                    to.copy_from_slice(&self.data.bytes[from..from + stride]);
                }
            }
        }
        Ok(out)
    }

    /// Cuts every array of the section into stretches of the same rows, and hands the stretches to threads.
    fn codes(&self, format: &'static QuantFormat, threads: usize, out: &mut [u8]) -> Result<(), Error> {
        let m = &self.matrix;
        let (rows, blocks) = (m.rows as usize, m.blocks() as usize);
        let rows_each = rows.div_ceil(4 * threads.max(1)).max(1);
        let widths: Vec<usize> = format.planes.iter().map(|&w| 4 * usize::from(w)).collect();
        let widths: Vec<usize> = widths
            .into_iter()
            .chain([record_bytes(format) as usize])
            .collect();
        let mut stretches: Vec<Stretch> = (0..rows)
            .step_by(rows_each)
            .map(|first| Stretch {
                first,
                arrays: Vec::new(),
            })
            .collect();
        let mut rest = out;
        for width in widths {
            let bytes = rows * blocks * width;
            let whole = bytes.next_multiple_of(ALIGN as usize).min(rest.len());
            let (array, after) = std::mem::take(&mut rest).split_at_mut(whole);
            rest = after;
            let pieces = array[..bytes].chunks_mut(rows_each * blocks * width);
            for (stretch, piece) in stretches.iter_mut().zip(pieces) {
                stretch.arrays.push((width, piece));
            }
        }
        let queue = Mutex::new((stretches, None));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let next = || queue.lock().ok().and_then(|mut q| q.0.pop());
                    while let Some(stretch) = next() {
                        if let (Err(e), Ok(mut q)) = (self.stretch(format, stretch), queue.lock()) {
                            q.1 = Some(e);
                        }
                    }
                });
            }
        });
        let failed = queue.into_inner().map_or(None, |q| q.1);
        failed.map_or(Ok(()), Err)
    }

    fn stretch(&self, format: &QuantFormat, mut stretch: Stretch) -> Result<(), Error> {
        let m = &self.matrix;
        let (rows, blocks) = (m.rows as usize, m.blocks() as usize);
        let stride = self.data.bytes.len() / rows;
        let here = stretch.arrays[0].1.len() / (blocks * stretch.arrays[0].0);
        let mut canonical = Canonical::ZERO;
        let per = format.block_len / BLOCK as usize;
        for i in 0..here {
            let from = stored_row(self.decl, stretch.first + i, rows) * stride;
            let row = &self.data.bytes[from..from + stride];
            for (b, block) in row.chunks_exact(format.block_bytes).enumerate() {
                format.unpack(block, &mut canonical);
                for part in 0..per {
                    let at = i * blocks + b * per + part;
                    stretch
                        .put(format, &canonical, part, at)
                        .map_err(|what| error(self.decl, format!("row {}: {what}", stretch.first + i)))?;
                }
            }
        }
        Ok(())
    }
}

/// Some rows of a section: of each of its arrays the width of a block, and the bytes.
struct Stretch<'a> {
    first: usize,
    arrays: Vec<(usize, &'a mut [u8])>,
}

impl Stretch<'_> {
    /// Writes 32 elements of a block in canonical form as the block `at` of each array.
    fn put(&mut self, format: &QuantFormat, block: &Canonical, part: usize, at: usize) -> Result<(), String> {
        let codes = &block.codes[part * BLOCK as usize..][..BLOCK as usize];
        let mut below = 0;
        for (&bits, (width, array)) in format.planes.iter().zip(&mut self.arrays) {
            plane(codes, u32::from(bits), below, &mut array[at * *width..][..*width]);
            below += u32::from(bits);
        }
        let groups = (BLOCK / format.group) as usize;
        let Some((width, array)) = self.arrays.last_mut() else {
            return Ok(());
        };
        let record = &mut array[at * *width..][..*width];
        let each = record.len() / groups;
        for (g, out) in record.chunks_exact_mut(each).enumerate() {
            let g = part * groups + g;
            out[..2].copy_from_slice(&scale("scale", block.scales[g])?);
            if format.has_min {
                out[2..].copy_from_slice(&scale("minimum", block.mins[g])?);
            }
        }
        Ok(())
    }
}

/// Writes one plane of 32 codes.
fn plane(codes: &[u8], bits: u32, below: u32, out: &mut [u8]) {
    let mask = ((1u32 << bits) - 1) as u8;
    out.fill(0);
    for (t, four) in codes.as_chunks::<4>().0.iter().enumerate() {
        let (word, shift) = field(bits, t as u32);
        for (byte, code) in out[4 * word as usize..][..4].iter_mut().zip(four) {
            *byte |= ((code >> below) & mask) << shift;
        }
    }
}

/// An f16, where it can hold the value.
fn scale(what: &str, value: f32) -> Result<[u8; 2], String> {
    let half = f16::from_f32(value);
    if !half.is_finite() || (half == f16::ZERO && value != 0.0) {
        return Err(format!("the {what} {value} is beyond the range of f16"));
    }
    Ok(half.to_le_bytes())
}
