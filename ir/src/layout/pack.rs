//! The packer: rows as they are in a file to panels, and back to f32.
//!
//! Checks what it is given and goes from panel to panel; callers split panels over threads.

use super::dispatch::dispatch;
use super::floats::Floats;
use super::panel::Panel;
use super::{BLOCK, PANEL_ROWS, PackedKind, PackedLayout, float_bytes};
use crate::dtype::DType;
use crate::quant::{self, QuantError};
use half::f16;
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
    let mut rows = matrix.panel(panels.start, panels.end, &row_map)?;
    for (panel, out) in panels.clone().zip(out.chunks_exact_mut(stride)) {
        let next = matrix.panel(panel + 1, panels.end, &row_map)?;
        let k = layout.k as usize;
        let panel = Panel { rows, next, k, out };
        match layout.kind {
            PackedKind::Codes { .. } => {
                quant::visit(dtype, panel).ok_or(QuantError::UnsupportedType(dtype))??
            }
            PackedKind::Float(DType::F32) => dispatch(Floats::<4>(panel)),
            PackedKind::Float(_) => dispatch(Floats::<2>(panel)),
        }
        rows = next;
    }
    Ok(())
}

/// The rows of a panel; `None` for padding.
pub(super) type PanelRows<'a> = [Option<Row<'a>>; PANEL_ROWS];

/// A row of the file and its number.
pub(super) type Row<'a> = (u64, &'a [u8]);

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

    /// The rows of a panel; none where it is not before `end`.
    fn panel(&self, panel: u64, end: u64, map: impl Fn(usize) -> usize) -> Result<PanelRows<'a>, QuantError> {
        let mut rows = [None; PANEL_ROWS];
        if panel >= end {
            return Ok(rows);
        }
        for (lane, row) in rows.iter_mut().enumerate() {
            let packed = panel * PANEL_ROWS as u64 + lane as u64;
            if packed < self.rows {
                *row = Some(self.row(map(packed as usize))?);
            }
        }
        Ok(rows)
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
