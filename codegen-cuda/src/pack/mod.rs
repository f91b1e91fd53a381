//! Weights from the model file to device memory: checked against the plan, and laid out as [`crate::layout`] says.
//!
//! Matrices are packed tile by tile by several threads; no more than three packed sections are in host memory:
//! one that goes up, one that waits, one that is being made.

mod planes;

use crate::error::Error;
use crate::layout::{Element, GROUP, Matrix, SCALE_BIAS, TILE};
use crate::plan::{Form, SectionDecl};
use half::f16;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::quant::{Canonical, Levels, QuantFormat, dequantize};
use planes::Plane;
use std::sync::Mutex;

/// Most groups of a cell.
const MOST_GROUPS: usize = crate::layout::MOST_GROUPS as usize;

/// The bytes of a section, in `out`, whose memory is used again.
///
/// # Errors
/// Where the tensor is missing, differs from its declaration or can't be laid out; the error names it.
pub fn pack(
    decl: &SectionDecl,
    weights: &dyn WeightSource,
    threads: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let data = tensor(decl, weights)?;
    match (decl.form, decl.matrix()) {
        (Form::Vector, _) => vector(decl, &data, out),
        (Form::Matrix, Some(matrix)) => Packer {
            decl,
            data: &data,
            matrix,
        }
        .pack(threads, out),
        (Form::Matrix | Form::Panels { .. }, _) => Err(error(
            decl,
            format!("no kernel reads a matrix of type {}", decl.ty),
        )),
    }?;
    let all = data.bytes.len() as u64;
    drop(data);
    weights.release(&decl.weight, 0..all);
    Ok(())
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

fn vector(decl: &SectionDecl, data: &WeightData, out: &mut Vec<u8>) -> Result<(), Error> {
    let n = (data.rows * data.columns) as usize;
    let mut values = vec![0.0f32; n];
    dequantize(data.dtype, &data.bytes, &mut values).map_err(|e| error(decl, e.to_string()))?;
    let ordered = (0..n).flat_map(|i| values[stored_row(decl, i, n)].to_le_bytes());
    out.clear();
    out.extend(ordered);
    Ok(())
}

/// A matrix on its way.
struct Packer<'a> {
    decl: &'a SectionDecl,
    data: &'a WeightData<'a>,
    matrix: Matrix,
}

impl Packer<'_> {
    fn pack(&self, threads: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        // What was there before is overwritten.
        out.resize(self.matrix.bytes() as usize, 0);
        let rows = self.matrix.rows as usize;
        if !self.matrix.tiled() {
            let stride = out.len() / rows;
            for (row, to) in out.chunks_exact_mut(stride).enumerate() {
                to.copy_from_slice(self.row(row));
            }
            return Ok(());
        }
        let planes = Plane::all(&self.matrix);
        let tile = out.len() / self.matrix.tiles() as usize;
        let queue = Mutex::new((out.chunks_exact_mut(tile).enumerate(), None));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let next = || queue.lock().ok().and_then(|mut q| q.0.next());
                    while let Some((number, tile)) = next() {
                        if let (Err(e), Ok(mut q)) = (self.tile(&planes, number, tile), queue.lock()) {
                            q.1 = Some(e);
                        }
                    }
                });
            }
        });
        let failed = queue.into_inner().map_or(None, |q| q.1);
        failed.map_or(Ok(()), Err)
    }

    /// A row as it is in the file.
    fn row(&self, row: usize) -> &[u8] {
        let rows = self.matrix.rows as usize;
        let stride = self.data.bytes.len() / rows;
        &self.data.bytes[stored_row(self.decl, row, rows) * stride..][..stride]
    }

    fn tile(&self, planes: &[Plane], number: usize, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0);
        let first = number * TILE as usize;
        let rows: Vec<&[u8]> = (first..(first + TILE as usize).min(self.matrix.rows as usize))
            .map(|row| self.row(row))
            .collect();
        let cells = out.chunks_exact_mut(self.matrix.cell_bytes() as usize);
        for (n, cell) in cells.enumerate() {
            match self.matrix.element {
                Element::Codes(format) => self
                    .codes(planes, format, &rows, n, cell)
                    .map_err(|(row, what)| error(self.decl, format!("row {}: {what}", first + row)))?,
                _ => self.floats(planes, &rows, n, cell),
            }
        }
        Ok(())
    }

    fn floats(&self, planes: &[Plane], rows: &[&[u8]], number: usize, cell: &mut [u8]) {
        let groups = self.matrix.cell_groups() as usize;
        let bytes = groups * 2 * GROUP as usize;
        let mut floats = [0u8; TILE as usize * MOST_GROUPS * 2 * GROUP as usize];
        for (to, row) in floats.chunks_exact_mut(bytes).zip(rows) {
            // The last groups of a row may have no elements in the file.
            let own = row.get(number * bytes..).unwrap_or_default();
            let own = &own[..own.len().min(bytes)];
            to[..own.len()].copy_from_slice(own);
        }
        planes[0].put_floats(cell, &floats[..rows.len() * bytes], groups);
    }

    /// A cell of codes; or the row of the tile at which it can't be made, and why.
    fn codes(
        &self,
        planes: &[Plane],
        format: &QuantFormat,
        rows: &[&[u8]],
        number: usize,
        cell: &mut [u8],
    ) -> Result<(), (usize, String)> {
        let groups = self.matrix.cell_groups() as usize;
        let len = groups * GROUP as usize;
        let blocks = len / format.block_len;
        let mut all = [0u8; TILE as usize * MOST_GROUPS * GROUP as usize];
        let mut canonical = Canonical::ZERO;
        for (row, (codes, bytes)) in all.chunks_exact_mut(len).zip(rows).enumerate() {
            let bytes = &bytes[number * blocks * format.block_bytes..][..blocks * format.block_bytes];
            let scales = ScalesOf {
                matrix: &self.matrix,
                row,
            };
            let of_file = bytes.chunks_exact(format.block_bytes);
            for (n, (block, codes)) in of_file.zip(codes.chunks_exact_mut(format.block_len)).enumerate() {
                format.unpack(block, &mut canonical);
                codes.copy_from_slice(&canonical.codes[..format.block_len]);
                scales
                    .put(cell, n * format.groups(), format, block, &canonical)
                    .map_err(|what| (row, what))?;
            }
        }
        for plane in planes {
            plane.put_codes(cell, &all[..rows.len() * len], groups);
        }
        Ok(())
    }
}

/// The scales of a row of a cell.
struct ScalesOf<'a> {
    matrix: &'a Matrix,
    row: usize,
}

impl ScalesOf<'_> {
    /// The scales of a block, the first of which is the row's scale `first` in this cell.
    fn put(
        &self,
        cell: &mut [u8],
        first: usize,
        format: &QuantFormat,
        block: &[u8],
        canonical: &Canonical,
    ) -> Result<(), String> {
        let levels = format.levels(block);
        if let Some(levels) = &levels {
            self.factors(cell, levels)?;
        }
        let (row, count) = self
            .matrix
            .scales()
            .map_or((0, 1), |s| (s.row_bytes() as usize, s.count as usize));
        let each = row / count;
        let start = self.matrix.scale_offset() as usize + self.row * row + first * each;
        let entries = cell[start..][..format.groups() * each].chunks_exact_mut(each);
        for (n, entry) in entries.enumerate() {
            match &levels {
                None => one(entry, canonical.scales[n], canonical.mins[n])?,
                Some(levels) => two(entry, levels, n),
            }
        }
        Ok(())
    }

    /// What multiplies the scales.
    fn factors(&self, cell: &mut [u8], levels: &Levels) -> Result<(), String> {
        if !levels.d.is_finite() || !levels.dmin.is_finite() {
            return Err(format!("a scale is {} or {}", levels.d, levels.dmin));
        }
        let bytes = self.matrix.scales().map_or(0, |s| s.factor_bytes()) as usize;
        let start = self.matrix.factor_offset() as usize + self.row * bytes;
        let factors = &mut cell[start..start + bytes];
        factors[..2].copy_from_slice(&levels.d.to_le_bytes());
        if let Some(to) = factors.get_mut(2..4) {
            to.copy_from_slice(&levels.dmin.to_le_bytes());
        }
        Ok(())
    }
}

fn one(entry: &mut [u8], by: f32, min: f32) -> Result<(), String> {
    entry[..2].copy_from_slice(&scale("scale", by)?);
    if let Some(to) = entry.get_mut(2..4) {
        to.copy_from_slice(&scale("minimum", min)?);
    }
    Ok(())
}

fn two(entry: &mut [u8], levels: &Levels, n: usize) {
    entry[0] = (levels.scales[n] as u8).wrapping_add(SCALE_BIAS);
    if let Some(to) = entry.get_mut(1) {
        *to = levels.mins[n];
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
