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
