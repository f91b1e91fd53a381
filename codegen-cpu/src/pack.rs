//! Packs a plan's weights: every section in the form that its kernels read, in one block of memory.
//!
//! Matrices are cut into runs of panels. On one NUMA node the pool's threads take them one after another; on several,
//! each thread packs the panels that it will multiply with, because the system puts memory on the node of the thread
//! that touches it first ([`Owners`]). What was read of the model file is released piece by piece, so that a model is
//! never in memory twice.

mod owners;
mod source;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::memory::Pages;
use crate::pool::ThreadPool;
use lathe_ir::Id;
use lathe_ir::backend::WeightSource;
use lathe_ir::layout::{ALIGN, pack_rows};
use lathe_ir::plan::{Plan, Section};
use lathe_ir::quant::dequantize;
pub(crate) use owners::Owners;
use source::{Form, Source};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes of packed panels in one piece of work.
const PIECE: u64 = 1 << 20;
/// Bytes of tensors that are made for packing, rather than lent by the model file, that may exist at a time.
const OWNED: u64 = 64 << 20;

/// A plan's packed weights.
pub struct PackedWeights {
    pages: Pages,
    /// Start of each section.
    offsets: Vec<u64>,
}

/// A run of panels of a section, or a vector, and where it goes.
struct Piece<'a> {
    source: &'a Source<'a>,
    panels: Range<u64>,
    out: &'a mut [u8],
}

/// Pieces of work: for any thread, and for each thread those that only it may take.
struct Queues<'a> {
    shared: Mutex<VecDeque<Piece<'a>>>,
    own: Vec<Mutex<VecDeque<Piece<'a>>>>,
}

impl PackedWeights {
    /// Packs all sections of `plan`, whichever thread comes first.
    ///
    /// # Errors
    /// Where a tensor is missing, differs from its declaration, or cannot be packed; the error names it.
    pub fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        pool: &mut ThreadPool,
    ) -> Result<PackedWeights, Error> {
        PackedWeights::pack_for(plan, weights, pool, None)
    }

    /// The same; panels that have an owner are packed by it.
    pub(crate) fn pack_for(
        plan: &Plan,
        weights: &dyn WeightSource,
        pool: &mut ThreadPool,
        owners: Option<&Owners>,
    ) -> Result<PackedWeights, Error> {
        let forms: Vec<Form> = plan.sections.values().map(Form::new).collect::<Result<_, _>>()?;
        let mut offsets = Vec::new();
        let mut end = 0u64;
        for form in &forms {
            offsets.push(end);
            let next = end
                .checked_add(form.bytes)
                .and_then(|n| n.checked_next_multiple_of(ALIGN));
            end = next.ok_or_else(|| form.error("the sections exceed the address space"))?;
        }
        let mut pages = Pages::new("packed weights", end)?;
        let mut memory = pages.slice_mut();
        let mut next = 0;
        while next < forms.len() {
            let first = next;
            let mut sources = Vec::new();
            let (mut bytes, mut owned) = (0, 0);
            while next < forms.len() && owned < OWNED {
                let source = Source::new(&forms[next], weights)?;
                owned += source.owned_bytes();
                bytes += forms[next].bytes.next_multiple_of(ALIGN) as usize;
                sources.push(source);
                next += 1;
            }
            let (batch, rest) = memory.split_at_mut(bytes);
            memory = rest;
            let queues = Queues::new(pool.threads());
            queues.cut(&sources, first, batch, owners);
            queues.pack(weights, pool)?;
        }
        Ok(PackedWeights { pages, offsets })
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

impl<'a> Queues<'a> {
    fn new(threads: usize) -> Queues<'a> {
        Queues {
            shared: Mutex::default(),
            own: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    /// Cuts `memory`, which holds the sections of `sources` from number `first` on, into pieces of work.
    fn cut(
        &self,
        sources: &'a [Source<'a>],
        first: usize,
        mut memory: &'a mut [u8],
        owners: Option<&Owners>,
    ) {
        for (number, source) in (first..).zip(sources) {
            let bytes = source.form.bytes as usize;
            let (section, rest) = memory.split_at_mut(bytes.next_multiple_of(ALIGN as usize));
            memory = rest;
            let mut section = &mut section[..bytes];
            let Some(layout) = &source.form.layout else {
                self.push(source, None, 0..0, section);
                continue;
            };
            let most = (PIECE / layout.panel_stride()).max(1);
            let mut panel = 0;
            while panel < layout.panels() {
                let (owner, end) = match owners.and_then(|o| o.of(number, panel)) {
                    Some((owner, end)) => (Some(owner), end),
                    None => (None, u64::MAX),
                };
                let end = end.min(panel + most).min(layout.panels());
                let (out, rest) = section.split_at_mut(((end - panel) * layout.panel_stride()) as usize);
                section = rest;
                self.push(source, owner, panel..end, out);
                panel = end;
            }
        }
    }

    fn push(&self, source: &'a Source<'a>, owner: Option<usize>, panels: Range<u64>, out: &'a mut [u8]) {
        source.add_piece();
        let queue = owner.and_then(|thread| self.own.get(thread));
        lock(queue.unwrap_or(&self.shared)).push_back(Piece { source, panels, out });
    }

    /// The next piece for a thread: its own first.
    fn next(&self, thread: usize) -> Option<Piece<'a>> {
        let own = lock(&self.own[thread]).pop_front();
        own.or_else(|| lock(&self.shared).pop_front())
    }

    fn clear(&self) {
        self.own.iter().for_each(|queue| lock(queue).clear());
        lock(&self.shared).clear();
    }

    /// Packs all pieces on the pool's threads.
    fn pack(&self, weights: &dyn WeightSource, pool: &mut ThreadPool) -> Result<(), Error> {
        let failure = Mutex::new(None);
        pool.run(&|team| {
            while let Some(piece) = self.next(team.thread) {
                if let Err(error) = piece.pack(weights) {
                    lock(&failure).get_or_insert(error);
                    self.clear();
                }
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }
}

impl Piece<'_> {
    fn pack(self, weights: &dyn WeightSource) -> Result<(), Error> {
        let Piece { source, panels, out } = self;
        let data = &source.data;
        let form = source.form;
        let packed = match &form.layout {
            Some(layout) => {
                let row = |packed| form.file_row(packed, layout.rows as usize);
                pack_rows(layout, data.dtype, &data.bytes, row, panels.clone(), out)
            }
            None => {
                let mut values = vec![0.0f32; out.len() / 4];
                dequantize(data.dtype, &data.bytes, &mut values).map(|()| {
                    for (i, out) in out.chunks_exact_mut(4).enumerate() {
                        out.copy_from_slice(&values[form.file_row(i, values.len())].to_le_bytes());
                    }
                })
            }
        };
        packed.map_err(|e| form.error(e.to_string()))?;
        source.release(weights, panels);
        Ok(())
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
