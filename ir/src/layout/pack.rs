//! The packer: rows as they are in a file to panels, and back to f32.
//!
//! Scalar code that works a block of 16 rows at a time, in the nearest cache; callers split panels over threads.

use super::{BLOCK, PANEL_ROWS, PackedKind, PackedLayout, float_bytes};
use crate::dtype::DType;
use crate::quant::{self, Canonical, QuantError, QuantFormat};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;

/// Packs a range of panels of a matrix `[rows, k]dtype`.
///
/// `src` is the whole matrix as a file holds it; `row_map` gives the row of the file of each packed row; `out` is as
/// long as the panels of the range. Effective scales and minima are rounded to f16, the nearest, ties to even.
///
/// # Errors
/// Where `layout` is not that of `dtype`, a length or row number is wrong, or a scale is beyond the range of f16.
pub fn pack_rows(
    layout: &PackedLayout,
    dtype: DType,
    src: &[u8],
    row_map: impl Fn(usize) -> usize,
    panels: Range<u64>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    let matrix = Matrix::new(layout, dtype, src)?;
    if panels.end > layout.panels() {
        return Err(QuantError::OutOfRange {
            what: "panel",
            index: panels.end - 1,
            count: layout.panels(),
        });
    }
    let stride = layout.panel_stride() as usize;
    let count = panels.end.saturating_sub(panels.start) as usize;
    let expected = count as u64 * stride as u64;
    if out.len() as u64 != expected {
        return Err(QuantError::Length {
            what: "bytes of packed panels",
            expected,
            got: out.len() as u64,
        });
    }
    let mut blocks = vec![Canonical::ZERO; PANEL_ROWS];
    for (panel, out) in panels.zip(out.chunks_exact_mut(stride)) {
        let mut rows = [None; PANEL_ROWS];
        for (lane, row) in rows.iter_mut().enumerate() {
            let packed = panel as usize * PANEL_ROWS + lane;
            if (packed as u64) < layout.rows {
                *row = Some(matrix.row(row_map(packed))?);
            }
        }
        match quant::format(dtype) {
            Some(format) => pack_codes(layout, format, &rows, &mut blocks, out)?,
            None => pack_floats(float_bytes(dtype) as usize, layout.k as usize, &rows, out),
        }
    }
    Ok(())
}

/// A row of the file and its number.
type Row<'a> = (u64, &'a [u8]);

/// The matrix as a file holds it.
struct Matrix<'a> {
    src: &'a [u8],
    rows: u64,
    row_bytes: usize,
}

impl<'a> Matrix<'a> {
    fn new(layout: &PackedLayout, dtype: DType, src: &'a [u8]) -> Result<Matrix<'a>, QuantError> {
        let (rows, k) = (layout.rows, layout.k);
        if PackedLayout::of(dtype, rows, k)? != *layout {
            return Err(QuantError::Matrix {
                dtype,
                rows,
                k,
                what: "the layout is that of another type",
            });
        }
        let overflow = QuantError::Matrix {
            dtype,
            rows,
            k,
            what: "its size overflows",
        };
        let row_bytes = dtype.row_bytes(k).ok_or_else(|| overflow.clone())?;
        let expected = row_bytes.checked_mul(rows).ok_or(overflow)?;
        if src.len() as u64 != expected {
            return Err(QuantError::Length {
                what: "bytes of a matrix",
                expected,
                got: src.len() as u64,
            });
        }
        Ok(Matrix {
            src,
            rows,
            row_bytes: row_bytes as usize,
        })
    }

    fn row(&self, row: usize) -> Result<Row<'a>, QuantError> {
        if row as u64 >= self.rows {
            return Err(QuantError::OutOfRange {
                what: "row",
                index: row as u64,
                count: self.rows,
            });
        }
        Ok((
            row as u64,
            &self.src[row * self.row_bytes..(row + 1) * self.row_bytes],
        ))
    }
}

fn pack_codes(
    layout: &PackedLayout,
    format: &QuantFormat,
    rows: &[Option<Row>; PANEL_ROWS],
    blocks: &mut [Canonical],
    out: &mut [u8],
) -> Result<(), QuantError> {
    for (block, row) in blocks.iter_mut().zip(rows) {
        if row.is_none() {
            *block = Canonical::ZERO;
        }
    }
    let record = layout.record_bytes() as usize;
    let (records, padding) = out.split_at_mut(layout.k as usize / BLOCK * record);
    padding.fill(0);
    let (per_file_block, code_bytes) = (format.block_len / BLOCK, 2 * BLOCK * usize::from(format.bits));
    let block_groups = BLOCK / format.group as usize;
    for file_block in 0..layout.k as usize / format.block_len {
        for (block, row) in blocks.iter_mut().zip(rows) {
            if let Some((_, row)) = row {
                format.unpack(
                    &row[file_block * format.block_bytes..][..format.block_bytes],
                    block,
                );
            }
        }
        let out = &mut records[file_block * per_file_block * record..][..per_file_block * record];
        for (b, out) in out.chunks_exact_mut(record).enumerate() {
            let (codes, ends) = out.split_at_mut(code_bytes);
            pack_block(blocks, b * BLOCK, format.planes, codes);
            let (scales, mins) = ends.split_at_mut(block_groups * 2 * PANEL_ROWS);
            for n in 0..block_groups {
                let g = b * block_groups + n;
                let bad = |(lane, what, value): (usize, _, _)| {
                    let row = rows[lane].map_or(0, |(row, _)| row);
                    let group = file_block * format.groups() + g;
                    QuantError::ScaleRange {
                        row,
                        column: group as u64 * u64::from(format.group),
                        what,
                        value,
                    }
                };
                let at = n * 2 * PANEL_ROWS;
                let values = std::array::from_fn(|r| blocks[r].scales[g]);
                put_halves(values, &mut scales[at..]).map_err(|(lane, v)| bad((lane, "scale", v)))?;
                if format.has_min {
                    let values = std::array::from_fn(|r| blocks[r].mins[g]);
                    put_halves(values, &mut mins[at..]).map_err(|(lane, v)| bad((lane, "minimum", v)))?;
                }
            }
        }
    }
    Ok(())
}

/// Rounds 16 values to f16; the first that is not finite then, or zero and was not, is the error.
fn put_halves(values: [f32; PANEL_ROWS], out: &mut [u8]) -> Result<(), (usize, f32)> {
    let mut halves = [f16::ZERO; PANEL_ROWS];
    halves.convert_from_f32_slice(&values);
    let lost = |(h, v): (&f16, &f32)| !h.is_finite() || (h.to_bits() << 1 == 0 && *v != 0.0);
    if let Some(lane) = halves.iter().zip(&values).position(lost) {
        return Err((lane, values[lane]));
    }
    for (out, half) in out.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
        *out = half.to_le_bytes();
    }
    Ok(())
}

/// The codes of 32 elements of 16 rows, from element `from` of the file's block on.
fn pack_block(blocks: &[Canonical], from: usize, planes: &[u8], out: &mut [u8]) {
    let mut chunks = [[0u32; PANEL_ROWS]; 8];
    for (r, block) in blocks.iter().enumerate() {
        for (j, word) in block.codes[from..from + BLOCK]
            .as_chunks::<4>()
            .0
            .iter()
            .enumerate()
        {
            chunks[j][r] = u32::from_le_bytes(*word);
        }
    }
    let (mut at, mut shift) = (0, 0);
    for &w in planes {
        let out = &mut out[at..at + 64 * usize::from(w)];
        match w {
            8 => pack_plane::<8>(&chunks, shift, out),
            4 => pack_plane::<4>(&chunks, shift, out),
            2 => pack_plane::<2>(&chunks, shift, out),
            1 => pack_plane::<1>(&chunks, shift, out),
            _ => unreachable!("widths of planes divide 8"),
        }
        at += out.len();
        shift += u32::from(w);
    }
}

/// A plane of `W` bits: the field of each chunk, shifted beside those of the chunks that share its vector.
fn pack_plane<const W: usize>(chunks: &[[u32; PANEL_ROWS]; 8], shift: u32, out: &mut [u8]) {
    let mask = 0x0101_0101 * ((1u32 << W) - 1);
    for (chunks, out) in chunks.chunks_exact(8 / W).zip(out.as_chunks_mut::<64>().0) {
        let mut vector = [0u32; PANEL_ROWS];
        for (n, chunk) in chunks.iter().enumerate() {
            for (word, c) in vector.iter_mut().zip(chunk) {
                *word |= ((c >> shift) & mask) << (n * W);
            }
        }
        for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(vector) {
            *out = word.to_le_bytes();
        }
    }
}

fn pack_floats(size: usize, k: usize, rows: &[Option<Row>; PANEL_ROWS], out: &mut [u8]) {
    out[k * PANEL_ROWS * size..].fill(0);
    match size {
        4 => transpose::<4>(k, rows, out),
        _ => transpose::<2>(k, rows, out),
    }
}

/// `[16][k]` to `[k][16]`, a stretch of k at a time so that what is written stays in the nearest cache.
fn transpose<const N: usize>(k: usize, rows: &[Option<Row>; PANEL_ROWS], out: &mut [u8]) {
    const STRETCH: usize = 64;
    for (i, out) in out.as_chunks_mut::<N>().0[..k * PANEL_ROWS]
        .chunks_mut(STRETCH * PANEL_ROWS)
        .enumerate()
    {
        for (lane, row) in rows.iter().enumerate() {
            let out = out.iter_mut().skip(lane).step_by(PANEL_ROWS);
            match row {
                Some((_, row)) => {
                    let row = &row.as_chunks::<N>().0[i * STRETCH..];
                    out.zip(row).for_each(|(out, element)| *out = *element);
                }
                None => out.for_each(|out| *out = [0; N]),
            }
        }
    }
}

/// Decodes one packed row of a section to its `k` values; rows of the padding decode too.
///
/// # Errors
/// Where a length or the row number is wrong.
pub fn unpack_row(layout: &PackedLayout, packed: &[u8], row: u64, out: &mut [f32]) -> Result<(), QuantError> {
    let padded = layout.panels() * PANEL_ROWS as u64;
    if row >= padded {
        return Err(QuantError::OutOfRange {
            what: "packed row",
            index: row,
            count: padded,
        });
    }
    let length = |what, expected, got: usize| match got as u64 == expected {
        true => Ok(()),
        false => Err(QuantError::Length {
            what,
            expected,
            got: got as u64,
        }),
    };
    length("bytes of a section", layout.bytes(), packed.len())?;
    length("values of a row", layout.k, out.len())?;
    let stride = layout.panel_stride() as usize;
    let (panel, lane) = (row as usize / PANEL_ROWS, row as usize % PANEL_ROWS);
    let panel = &packed[panel * stride..(panel + 1) * stride];
    match layout.kind {
        PackedKind::Float(dtype) => {
            let size = float_bytes(dtype) as usize;
            for (i, out) in out.iter_mut().enumerate() {
                let at = (i * PANEL_ROWS + lane) * size;
                quant::dequantize(dtype, &panel[at..at + size], std::slice::from_mut(out))?;
            }
        }
        PackedKind::Codes {
            planes,
            codebook,
            offset,
            group,
            has_min,
            ..
        } => {
            for (i, out) in out.iter_mut().enumerate() {
                let code = code_at(layout, planes, panel, lane, i);
                let group = i as u64 / u64::from(group);
                let scale = half_at(panel, layout.scales_offset(group) as usize + 2 * lane);
                let min = if has_min {
                    half_at(panel, layout.mins_offset(group) as usize + 2 * lane)
                } else {
                    0.0
                };
                *out = scale * (quant::lookup(codebook, code) - i32::from(offset)) as f32 - min;
            }
        }
    }
    Ok(())
}

fn half_at(panel: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([panel[at], panel[at + 1]]).to_f32()
}

/// The code of element `i` of a row of a panel, gathered from its planes.
fn code_at(layout: &PackedLayout, planes: &[u8], panel: &[u8], lane: usize, i: usize) -> u8 {
    let (block, chunk, byte) = (i / BLOCK, i % BLOCK / 4, i % 4);
    let (mut code, mut shift) = (0, 0);
    for (plane, &w) in planes.iter().enumerate() {
        let per_vector = 8 / usize::from(w);
        let vector = layout.codes_offset(block as u64, plane) as usize + 64 * (chunk / per_vector);
        let bits = panel[vector + 4 * lane + byte] >> (chunk % per_vector * usize::from(w));
        code |= ((u16::from(bits) & ((1 << w) - 1)) as u8) << shift;
        shift += w;
    }
    code
}
