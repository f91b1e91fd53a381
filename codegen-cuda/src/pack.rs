//! Weights from the model file to device memory: checked against the plan, and laid out as [`crate::layout`] says.
//!
//! Matrices are packed tile by tile by several threads; no more than three packed sections are in host memory:
//! one that goes up, one that waits, one that is being made.

use crate::error::Error;
use crate::layout::{Element, Field, GROUP, Matrix, SCALE_BIAS, TILE, word_place};
use crate::plan::{Form, SectionDecl};
use half::f16;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::quant::{Canonical, Levels, QuantFormat, dequantize};
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
        (Form::Matrix | Form::Panels { .. }, _) => Err(error(
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

/// Where pairs of a plane go: of each group of a cell, half of a tile's rows and pair, in the order of fields.
struct Plane {
    /// Mask of a field.
    mask: u32,
    /// Bits of the planes before.
    below: u32,
    pairs: Vec<Pair>,
}

/// Where a pair of lane 0 goes, and how far it is from there to the next lane.
struct Pair {
    byte: u32,
    stride: u32,
    shift: u32,
}

impl Plane {
    fn all(m: &Matrix) -> Vec<Plane> {
        let planes = m.planes().iter().enumerate();
        planes
            .map(|(n, &bits)| Plane {
                mask: (1u32 << bits) - 1,
                below: m.planes()[..n].iter().map(|&b| u32::from(b)).sum(),
                pairs: (0..m.cell_groups() * 8)
                    .map(|i| Plane::pair(m, n, bits, Matrix::field(bits, i / 8, i / 4 % 2, i % 4)))
                    .collect(),
            })
            .collect()
    }

    fn pair(m: &Matrix, n: usize, bits: u8, field: Field) -> Pair {
        let place = |lane| 4 * word_place(m.plane_words(bits), lane, field.word);
        Pair {
            byte: m.plane(n) + place(0),
            stride: place(1) - place(0),
            shift: field.shift,
        }
    }

    /// Writes this plane's part of the group `group` of row `row` of the tile.
    fn put(&self, cell: &mut [u8], group: u32, row: u32, elements: &[u16]) {
        let pairs = &self.pairs[((group * 2 + row / 8) * 4) as usize..][..4];
        let field = |e: usize| (u32::from(elements[e]) >> self.below) & self.mask;
        for (n, pair) in pairs.iter().enumerate() {
            for t in 0..4 {
                let e = n / 2 * 16 + 4 * t + n % 2 * 2;
                let both = (field(e) | field(e + 1) << 16) << pair.shift;
                let lane = row % 8 * 4 + t as u32;
                let word = &mut cell[(pair.byte + lane * pair.stride) as usize..][..4];
                for (byte, part) in word.iter_mut().zip(both.to_le_bytes()) {
                    *byte |= part;
                }
            }
        }
    }
}

impl Packer<'_> {
    fn pack(&self, threads: usize) -> Result<Vec<u8>, Error> {
        let mut out = vec![0u8; self.matrix.bytes() as usize];
        let rows = self.matrix.rows as usize;
        if !self.matrix.tiled() {
            let stride = out.len() / rows;
            for (row, to) in out.chunks_exact_mut(stride).enumerate() {
                to.copy_from_slice(self.row(row));
            }
            return Ok(out);
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
        failed.map_or(Ok(out), Err)
    }

    /// A row as it is in the file.
    fn row(&self, row: usize) -> &[u8] {
        let rows = self.matrix.rows as usize;
        let stride = self.data.bytes.len() / rows;
        &self.data.bytes[stored_row(self.decl, row, rows) * stride..][..stride]
    }

    fn tile(&self, planes: &[Plane], number: usize, out: &mut [u8]) -> Result<(), Error> {
        let first = number * TILE as usize;
        for row in first..(first + TILE as usize).min(self.matrix.rows as usize) {
            let packed = match self.matrix.element {
                Element::Codes(format) => self.codes(planes, format, row, out),
                _ => {
                    self.floats(planes, row, out);
                    Ok(())
                }
            };
            packed.map_err(|what| error(self.decl, format!("row {row}: {what}")))?;
        }
        Ok(())
    }

    /// The cell of a tile that has group `group`, and the group's number in it.
    fn cell<'t>(&self, tile: &'t mut [u8], group: u32) -> (&'t mut [u8], u32) {
        let (bytes, groups) = (self.matrix.cell_bytes() as usize, self.matrix.cell_groups());
        let start = (group / groups) as usize * bytes;
        (&mut tile[start..start + bytes], group % groups)
    }

    fn floats(&self, planes: &[Plane], row: usize, tile: &mut [u8]) {
        let of_tile = row as u32 % TILE;
        for (group, bytes) in self.row(row).chunks(2 * GROUP as usize).enumerate() {
            let mut elements = [0u16; GROUP as usize];
            for (to, two) in elements.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *to = u16::from_le_bytes(*two);
            }
            let (cell, group) = self.cell(tile, group as u32);
            planes[0].put(cell, group, of_tile, &elements);
        }
    }

    fn codes(
        &self,
        planes: &[Plane],
        format: &QuantFormat,
        row: usize,
        tile: &mut [u8],
    ) -> Result<(), String> {
        let of_tile = row as u32 % TILE;
        let mut canonical = Canonical::ZERO;
        let (mut group, per) = (0, format.group as usize);
        for block in self.row(row).chunks_exact(format.block_bytes) {
            format.unpack(block, &mut canonical);
            let levels = format.levels(block);
            for (n, codes) in canonical.codes[..format.block_len]
                .chunks_exact(GROUP as usize)
                .enumerate()
            {
                let (cell, number) = self.cell(tile, group);
                let mut elements = [0u16; GROUP as usize];
                for (to, code) in elements.iter_mut().zip(codes) {
                    *to = u16::from(*code);
                }
                for plane in planes {
                    plane.put(cell, number, of_tile, &elements);
                }
                for part in 0..GROUP as usize / per {
                    let of_block = n * (GROUP as usize / per) + part;
                    let of_cell = number as usize * (GROUP as usize / per) + part;
                    let scales = ScalesOf {
                        matrix: &self.matrix,
                        row: of_tile as usize,
                    };
                    match &levels {
                        None => scales.one(
                            cell,
                            of_cell,
                            canonical.scales[of_block],
                            canonical.mins[of_block],
                        )?,
                        Some(levels) => scales.two(cell, of_cell, levels, of_block)?,
                    }
                }
                group += 1;
            }
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
    /// Bytes of entry `n` of so many in the row.
    fn entry<'c>(&self, cell: &'c mut [u8], n: usize) -> &'c mut [u8] {
        let scales = self.matrix.scales();
        let (row, count) = scales.map_or((0, 1), |s| (s.row_bytes() as usize, s.count as usize));
        let each = row / count;
        let start = self.matrix.scale_offset() as usize + self.row * row + n * each;
        &mut cell[start..start + each]
    }

    fn one(&self, cell: &mut [u8], n: usize, by: f32, min: f32) -> Result<(), String> {
        let entry = self.entry(cell, n);
        entry[..2].copy_from_slice(&scale("scale", by)?);
        if let Some(to) = entry.get_mut(2..4) {
            to.copy_from_slice(&scale("minimum", min)?);
        }
        Ok(())
    }

    fn two(&self, cell: &mut [u8], n: usize, levels: &Levels, of_block: usize) -> Result<(), String> {
        if !levels.d.is_finite() || !levels.dmin.is_finite() {
            return Err(format!("a scale is {} or {}", levels.d, levels.dmin));
        }
        let entry = self.entry(cell, n);
        entry[0] = (levels.scales[of_block] as u8).wrapping_add(SCALE_BIAS);
        if let Some(to) = entry.get_mut(1) {
            *to = levels.mins[of_block];
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

/// An f16, where it can hold the value.
fn scale(what: &str, value: f32) -> Result<[u8; 2], String> {
    let half = f16::from_f32(value);
    if !half.is_finite() || (half == f16::ZERO && value != 0.0) {
        return Err(format!("the {what} {value} is beyond the range of f16"));
    }
    Ok(half.to_le_bytes())
}
