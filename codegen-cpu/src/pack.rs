//! Packs a plan's weights: every section in the form that its kernels read, in one block of memory.
//!
//! Matrices are cut into runs of panels, which the pool's threads take one after another.

use crate::Error;
use crate::memory::Pages;
use crate::pool::ThreadPool;
use lathe_ir::Id;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::graph::RowOrder;
use lathe_ir::layout::{ALIGN, PackedLayout, pack_rows};
use lathe_ir::plan::{Plan, Section, SectionDecl, SectionForm};
use lathe_ir::quant::dequantize;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes of packed panels in one piece of work.
const PIECE: u64 = 1 << 20;

/// A plan's packed weights.
pub struct PackedWeights {
    pages: Pages,
    /// Start of each section.
    offsets: Vec<u64>,
}

/// A section, what is in the model file for it, and its size.
struct Source<'a> {
    decl: &'a SectionDecl,
    data: WeightData<'a>,
    /// For panels only.
    layout: Option<PackedLayout>,
    bytes: u64,
}

/// A run of panels of a section, or a vector, and where it goes.
struct Piece<'a> {
    source: &'a Source<'a>,
    panels: Range<u64>,
    out: &'a mut [u8],
}

impl PackedWeights {
    /// Packs all sections of `plan`.
    ///
    /// # Errors
    /// Where a tensor is missing, differs from its declaration, or cannot be packed; the error names it.
    pub fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        pool: &mut ThreadPool,
    ) -> Result<PackedWeights, Error> {
        let sources = plan.sections.values().map(|decl| Source::new(decl, weights));
        let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
        let mut offsets = Vec::new();
        let mut end = 0u64;
        for source in &sources {
            offsets.push(end);
            let next = end
                .checked_add(source.bytes)
                .and_then(|n| n.checked_next_multiple_of(ALIGN));
            end = next.ok_or_else(|| source.error("the sections exceed the address space"))?;
        }
        let mut pages = Pages::new("packed weights", end)?;
        let pieces = Mutex::new(cut(&sources, pages.slice_mut()));
        let failure = Mutex::new(None);
        pool.run(&|_| {
            while let Some(piece) = lock(&pieces).pop_front() {
                if let Err(error) = piece.pack() {
                    lock(&failure).get_or_insert(error);
                    lock(&pieces).clear();
                }
            }
        });
        drop(pieces);
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(PackedWeights { pages, offsets }),
        }
    }

    /// Bytes of all sections.
    pub fn bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// The bytes of a section and of what follows it.
    pub fn section(&self, section: Section) -> &[u8] {
        &self.pages.slice()[self.offsets[section.index()] as usize..]
    }

    /// The address of a section.
    pub(crate) fn address(&mut self, section: Section) -> *mut u8 {
        let offset = self.offsets[section.index()];
        if offset < self.pages.bytes() {
            self.pages.at(offset)
        } else {
            self.pages.at(0)
        }
    }
}

/// Locks; a panic elsewhere is already on its way to the caller.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts the memory of all sections into pieces of work.
fn cut<'a>(sources: &'a [Source<'a>], mut memory: &'a mut [u8]) -> VecDeque<Piece<'a>> {
    let mut pieces = VecDeque::new();
    for source in sources {
        let size = source.bytes.next_multiple_of(ALIGN) as usize;
        let (mut section, rest) = memory.split_at_mut(size);
        memory = rest;
        let Some(layout) = &source.layout else {
            let out = &mut section[..source.bytes as usize];
            pieces.push_back(Piece {
                source,
                panels: 0..0,
                out,
            });
            continue;
        };
        let stride = layout.panel_stride();
        let run = (PIECE / stride).max(1);
        let mut first = 0;
        while first < layout.panels() {
            let panels = first..(first + run).min(layout.panels());
            let (out, rest) = section.split_at_mut(((panels.end - first) * stride) as usize);
            section = rest;
            first = panels.end;
            pieces.push_back(Piece { source, panels, out });
        }
    }
    pieces
}

impl<'a> Source<'a> {
    fn new(decl: &'a SectionDecl, weights: &'a dyn WeightSource) -> Result<Source<'a>, Error> {
        let data = weights
            .weight(&decl.weight)
            .ok_or_else(|| Error::NoWeight(decl.weight.clone()))?;
        let shape: Option<Vec<u64>> = decl.ty.dims.iter().map(|d| d.constant()).collect();
        let agrees = match shape.as_deref() {
            Some(&[rows, columns]) => data.rows == rows && data.columns == columns,
            Some(&[n]) => data.rows.checked_mul(data.columns) == Some(n),
            _ => false,
        };
        if !agrees || data.dtype != decl.ty.dtype {
            return Err(Error::WeightType {
                name: decl.weight.clone(),
                got: data.dtype,
                got_rows: data.rows,
                got_columns: data.columns,
                want: decl.ty.to_string(),
            });
        }
        let mut source = Source {
            decl,
            data,
            layout: None,
            bytes: 0,
        };
        source.check_bytes()?;
        match decl.form {
            SectionForm::Panels => {
                let layout = PackedLayout::of(decl.ty.dtype, source.data.rows, source.data.columns)
                    .map_err(|e| source.error(e.to_string()))?;
                source.check_order(layout.rows)?;
                source.bytes = layout.bytes();
                source.layout = Some(layout);
            }
            SectionForm::Vector => {
                let n = source.data.rows * source.data.columns;
                source.check_order(n)?;
                source.bytes = n
                    .checked_mul(4)
                    .ok_or_else(|| source.error("its size overflows"))?;
            }
        }
        Ok(source)
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::Pack {
            name: self.decl.weight.clone(),
            what: what.into(),
        }
    }

    fn check_bytes(&self) -> Result<(), Error> {
        let row = self.data.dtype.row_bytes(self.data.columns);
        let want = row.and_then(|row| row.checked_mul(self.data.rows));
        let got = self.data.bytes.len() as u64;
        match want {
            Some(want) if want == got => Ok(()),
            Some(want) => Err(self.error(format!("it has {got} bytes instead of {want}"))),
            None => Err(self.error("its size overflows or its rows are no whole blocks")),
        }
    }

    fn check_order(&self, rows: u64) -> Result<(), Error> {
        let SectionDecl {
            order, heads, dims, ..
        } = *self.decl;
        if order == RowOrder::Natural {
            return Ok(());
        }
        let (heads, dims) = (u64::from(heads), u64::from(dims));
        let fits = heads > 0 && rows.is_multiple_of(heads) && dims <= rows / heads && dims.is_multiple_of(2);
        if fits {
            Ok(())
        } else {
            Err(self.error(format!("{rows} rows are no {heads} heads that rotate {dims}")))
        }
    }

    /// The row of the file that goes to row `packed`.
    fn file_row(&self, packed: usize, rows: usize) -> usize {
        match self.decl.order {
            RowOrder::Natural => packed,
            RowOrder::RopeHalf => {
                let group = rows / self.decl.heads as usize;
                let (start, row) = (packed / group * group, packed % group);
                start + rope_half(row, self.decl.dims as usize)
            }
        }
    }
}

/// Of `dims` rows that rotate in neighbouring pairs, the even ones come first, then the odd ones; others stay.
fn rope_half(row: usize, dims: usize) -> usize {
    let half = dims / 2;
    if row < half {
        2 * row
    } else if row < dims {
        2 * (row - half) + 1
    } else {
        row
    }
}

impl Piece<'_> {
    fn pack(self) -> Result<(), Error> {
        let Piece { source, panels, out } = self;
        let data = &source.data;
        let packed = match &source.layout {
            Some(layout) => {
                let row = |packed| source.file_row(packed, layout.rows as usize);
                pack_rows(layout, data.dtype, &data.bytes, row, panels, out)
            }
            None => {
                let mut values = vec![0.0f32; out.len() / 4];
                dequantize(data.dtype, &data.bytes, &mut values).map(|()| {
                    for (i, out) in out.chunks_exact_mut(4).enumerate() {
                        out.copy_from_slice(&values[source.file_row(i, values.len())].to_le_bytes());
                    }
                })
            }
        };
        packed.map_err(|e| source.error(e.to_string()))
    }
}

/// A weight vector of `n` elements as f32.
///
/// # Errors
/// Where it is missing, of another length, or of a type that does not decode.
pub(crate) fn decode_vector(weights: &dyn WeightSource, name: &str, n: usize) -> Result<Vec<f32>, Error> {
    let data = weights
        .weight(name)
        .ok_or_else(|| Error::NoWeight(name.to_owned()))?;
    let error = |what: String| Error::Pack {
        name: name.to_owned(),
        what,
    };
    if data.rows.checked_mul(data.columns) != Some(n as u64) {
        return Err(error(format!(
            "it has {} x {} elements instead of {n}",
            data.rows, data.columns
        )));
    }
    let mut values = vec![0.0; n];
    dequantize(data.dtype, &data.bytes, &mut values).map_err(|e| error(e.to_string()))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::DType;
    use lathe_ir::layout::unpack_row;
    use lathe_ir::quant::quantize;
    use lathe_ir::types::TensorType;
    use std::borrow::Cow;

    /// A matrix and a vector; `value` of each element by row and column.
    struct Source {
        dtype: DType,
        rows: u64,
        columns: u64,
    }

    fn value(row: u64, column: u64) -> f32 {
        (row as f32 - 20.0) * 0.5 + (column % 7) as f32
    }

    impl WeightSource for Source {
        fn weight(&self, name: &str) -> Option<WeightData<'_>> {
            let (rows, columns, dtype) = match name {
                "matrix" => (self.rows, self.columns, self.dtype),
                "bias" => (1, self.rows, DType::F16),
                _ => return None,
            };
            let values: Vec<f32> = match name {
                "bias" => (0..columns).map(|i| i as f32).collect(),
                _ => (0..rows * columns)
                    .map(|i| value(i / columns, i % columns))
                    .collect(),
            };
            let bytes = Cow::Owned(quantize(dtype, &values).unwrap());
            Some(WeightData {
                dtype,
                rows,
                columns,
                bytes,
            })
        }
    }

    fn plan(source: &Source, order: RowOrder, heads: u32, dims: u32) -> Plan {
        let mut plan = Plan::default();
        let matrix = TensorType::matrix(source.rows, source.columns, source.dtype);
        let bias = TensorType::new([source.rows], DType::F16);
        for (weight, ty, form) in [
            ("matrix", matrix, SectionForm::Panels),
            ("bias", bias, SectionForm::Vector),
        ] {
            let weight = weight.to_owned();
            plan.sections.push(SectionDecl {
                weight,
                ty,
                form,
                order,
                heads,
                dims,
            });
        }
        plan
    }

    fn pack(source: &Source, plan: &Plan, threads: usize) -> Result<PackedWeights, Error> {
        PackedWeights::pack(plan, source, &mut ThreadPool::new(threads).unwrap())
    }

    /// The row of the file that each packed row holds, and the same of the vector.
    fn packed_rows(source: &Source, plan: &Plan) -> Vec<u64> {
        let packed = pack(source, plan, 3).unwrap();
        let sections: Vec<Section> = plan.sections.ids().collect();
        let layout = PackedLayout::of(source.dtype, source.rows, source.columns).unwrap();
        let panels = &packed.section(sections[0])[..layout.bytes() as usize];
        let bias = &packed.section(sections[1])[..4 * source.rows as usize];
        let bias = bias
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()) as u64);
        let mut row = vec![0.0; source.columns as usize];
        let rows = (0..source.rows).map(|packed_row| {
            unpack_row(&layout, panels, packed_row, &mut row).unwrap();
            let found = (0..source.rows).find(|&r| (row[0] - value(r, 0)).abs() < 0.2);
            found.expect("the row is one of the file's")
        });
        let rows: Vec<u64> = rows.collect();
        assert_eq!(rows, bias.collect::<Vec<_>>());
        rows
    }

    #[test]
    fn rows_go_where_their_order_says() {
        for dtype in [DType::F32, DType::Bf16, DType::Q8_0] {
            let source = Source {
                dtype,
                rows: 40,
                columns: 64,
            };
            let natural = packed_rows(&source, &plan(&source, RowOrder::Natural, 0, 0));
            assert_eq!(natural, (0..40).collect::<Vec<_>>());
            let halves = packed_rows(&source, &plan(&source, RowOrder::RopeHalf, 4, 6));
            assert_eq!(
                halves[..20],
                [
                    0, 2, 4, 1, 3, 5, 6, 7, 8, 9, 10, 12, 14, 11, 13, 15, 16, 17, 18, 19
                ]
            );
        }
    }

    #[test]
    fn many_pieces_pack_as_one_thread_does() {
        let source = Source {
            dtype: DType::F32,
            rows: 1000,
            columns: 4096,
        };
        let plan = plan(&source, RowOrder::Natural, 0, 0);
        let (one, three) = (pack(&source, &plan, 1).unwrap(), pack(&source, &plan, 3).unwrap());
        assert_eq!(one.bytes(), three.bytes());
        assert!(one.pages.slice() == three.pages.slice());
        // The last rows of the last panel are padding.
        assert!(
            one.section(plan.sections.ids().next().unwrap())[62 * 16 * 4096 * 4..][8 * 4..16 * 4]
                .iter()
                .all(|&b| b == 0)
        );
    }

    #[test]
    fn an_order_that_does_not_fit_is_refused() {
        let source = Source {
            dtype: DType::F32,
            rows: 40,
            columns: 8,
        };
        for (heads, dims) in [(0, 2), (3, 2), (4, 12), (4, 5)] {
            let error = pack(&source, &plan(&source, RowOrder::RopeHalf, heads, dims), 2)
                .err()
                .unwrap();
            assert!(
                error
                    .to_string()
                    .starts_with("tensor `matrix` cannot be packed: 40 rows"),
                "{error}"
            );
        }
    }
}
