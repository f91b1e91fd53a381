//! Packed weights in chunks of two megabytes: a thread makes a chunk in memory of its own, which stays in its cache, and
//! hands it on at once.
//!
//! Chunks start at multiples of their size, whatever sections they hold: written to a file so, the system keeps them in
//! huge pages, and maps them as such. A panel on the border of two chunks is packed for either. On one NUMA node the
//! pool's threads take chunks one after another; on several, the thread that will multiply with most of a chunk makes it
//! ([`Owners`]), because the system puts memory on the node of the thread that touches it first.

use super::source::{Form, Source};
use super::{Owners, SectionMap, forms, lock};
use crate::Error;
use crate::pool::ThreadPool;
use lathe_ir::backend::WeightSource;
use lathe_ir::layout::pack_rows;
use lathe_ir::plan::Plan;
use lathe_ir::quant::dequantize;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a chunk, all but the last: a huge page of x86-64 and of aarch64 with 4 KiB pages.
pub const CHUNK: u64 = 2 << 20;

/// Takes the chunk of this number.
pub type Sink<'a> = dyn Fn(usize, &[u8]) -> io::Result<()> + Sync + 'a;

/// Packs all sections of `plan` on the pool's threads and hands each chunk to `sink`, in any order and from any thread.
/// Bytes between sections are zero.
///
/// # Errors
/// Where a tensor is missing, differs from its declaration, or cannot be packed; the error names it. Where the sink
/// fails.
pub(crate) fn pack_chunks(
    plan: &Plan,
    weights: &dyn WeightSource,
    pool: &mut ThreadPool,
    owners: Option<&Owners>,
    sink: &Sink<'_>,
) -> Result<(), Error> {
    let forms = forms(plan)?;
    let job = Job::new(&forms, weights)?;
    let queues = Queues::new(&job, pool.threads(), owners);
    let failure = Mutex::new(None);
    pool.run(&|team| {
        let mut memory = Memory::default();
        while let Some(number) = queues.next(team.thread) {
            let made = job.make(number, &mut memory);
            let sent = made.and_then(|()| sink(number, &memory.chunk).map_err(Error::Sink));
            if let Err(error) = sent {
                lock(&failure).get_or_insert(error);
                queues.clear();
            }
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// What a thread makes chunks in.
#[derive(Default)]
struct Memory {
    chunk: Vec<u8>,
    /// Panels of which a part is in the chunk.
    edge: Vec<u8>,
}

/// Everything that is to be packed.
struct Job<'a> {
    forms: &'a [Form<'a>],
    map: SectionMap,
    weights: &'a dyn WeightSource,
    tensors: Vec<Mutex<Tensor<'a>>>,
}

/// The tensor of a section while chunks need it.
struct Tensor<'a> {
    source: Option<Arc<Source<'a>>>,
    /// Chunks that need it and are not made yet.
    left: u64,
}

impl<'a> Job<'a> {
    fn new(forms: &'a [Form<'a>], weights: &'a dyn WeightSource) -> Result<Job<'a>, Error> {
        let map = SectionMap::new(forms)?;
        let tensor = |(form, &start): (&Form, &u64)| {
            let left = match form.bytes {
                0 => 0,
                bytes => (start + bytes - 1) / CHUNK - start / CHUNK + 1,
            };
            Mutex::new(Tensor { source: None, left })
        };
        let tensors = forms.iter().zip(&map.offsets).map(tensor).collect();
        Ok(Job {
            forms,
            map,
            weights,
            tensors,
        })
    }

    fn chunks(&self) -> usize {
        self.map.bytes.div_ceil(CHUNK) as usize
    }

    fn range(&self, number: usize) -> Range<u64> {
        let start = number as u64 * CHUNK;
        start..(start + CHUNK).min(self.map.bytes)
    }

    /// The sections that have bytes in a range.
    fn sections(&self, range: &Range<u64>) -> Range<usize> {
        let offsets = &self.map.offsets;
        let end = offsets.partition_point(|&o| o < range.end);
        let mut start = offsets.partition_point(|&o| o <= range.start).saturating_sub(1);
        while start < end && offsets[start] + self.forms[start].bytes <= range.start {
            start += 1;
        }
        start..end
    }

    /// Makes a chunk in `memory`.
    fn make(&self, number: usize, memory: &mut Memory) -> Result<(), Error> {
        let range = self.range(number);
        memory.chunk.clear();
        memory.chunk.resize((range.end - range.start) as usize, 0);
        for section in self.sections(&range) {
            let (start, form) = (self.map.offsets[section], &self.forms[section]);
            if form.bytes == 0 {
                continue;
            }
            // The bytes of the section that are wanted, from its own start.
            let wanted = range.start.saturating_sub(start)..(range.end - start).min(form.bytes);
            let at = (start + wanted.start - range.start) as usize;
            let out = &mut memory.chunk[at..at + (wanted.end - wanted.start) as usize];
            let source = self.acquire(section)?;
            let panels = pack_part(&source, wanted, out, &mut memory.edge)?;
            self.release(section, &source, panels);
        }
        Ok(())
    }

    /// The tensor of a section, which is there from the first chunk that needs it to the last.
    fn acquire(&self, section: usize) -> Result<Arc<Source<'a>>, Error> {
        let mut tensor = lock(&self.tensors[section]);
        if let Some(source) = &tensor.source {
            return Ok(source.clone());
        }
        let source = Arc::new(Source::new(&self.forms[section], self.weights)?);
        Ok(tensor.source.insert(source).clone())
    }

    fn release(&self, section: usize, source: &Source, panels: Range<u64>) {
        let mut tensor = lock(&self.tensors[section]);
        tensor.left -= 1;
        let last = tensor.left == 0;
        if last {
            tensor.source = None;
        }
        drop(tensor);
        source.release(self.weights, panels, last);
    }
}

/// Packs the bytes `wanted` of a section to `out`. Returns the panels that it needed.
fn pack_part(
    source: &Source,
    wanted: Range<u64>,
    out: &mut [u8],
    edge: &mut Vec<u8>,
) -> Result<Range<u64>, Error> {
    let Some(layout) = &source.form.layout else {
        let all = vector(source)?;
        out.copy_from_slice(&all[wanted.start as usize..wanted.end as usize]);
        return Ok(0..0);
    };
    let stride = layout.panel_stride();
    let touched = wanted.start / stride..wanted.end.div_ceil(stride);
    let whole = wanted.start.div_ceil(stride)..wanted.end / stride;
    let pack = |panels: Range<u64>, out: &mut [u8]| {
        let row = |packed| source.form.file_row(packed, layout.rows as usize);
        pack_rows(layout, source.data.dtype, &source.data.bytes, row, panels, out)
            .map_err(|e| source.form.error(e.to_string()))
    };
    // A panel of which a part is wanted goes through `edge`.
    let mut part = |panel: u64, out: &mut [u8]| {
        edge.clear();
        edge.resize(stride as usize, 0);
        pack(panel..panel + 1, edge)?;
        let (from, to) = (panel * stride, (panel + 1) * stride);
        let bytes = wanted.start.max(from) - from..wanted.end.min(to) - from;
        let at = (wanted.start.max(from) - wanted.start) as usize;
        let len = (bytes.end - bytes.start) as usize;
        out[at..at + len].copy_from_slice(&edge[bytes.start as usize..bytes.end as usize]);
        Ok(())
    };
    if whole.start >= whole.end {
        for panel in touched.clone() {
            part(panel, out)?;
        }
        return Ok(touched);
    }
    if touched.start < whole.start {
        part(touched.start, out)?;
    }
    if whole.end < touched.end {
        part(whole.end, out)?;
    }
    let at = (whole.start * stride - wanted.start) as usize;
    let len = ((whole.end - whole.start) * stride) as usize;
    pack(whole, &mut out[at..at + len])?;
    Ok(touched)
}

/// A whole section that is a vector.
fn vector(source: &Source) -> Result<Vec<u8>, Error> {
    let form = source.form;
    let mut values = vec![0.0f32; (form.bytes / 4) as usize];
    dequantize(source.data.dtype, &source.data.bytes, &mut values).map_err(|e| form.error(e.to_string()))?;
    let rows = 0..values.len();
    Ok(rows
        .flat_map(|row| values[form.file_row(row, values.len())].to_le_bytes())
        .collect())
}

/// Chunks to be made: for any thread, and for each thread those that only it may take.
struct Queues {
    shared: Mutex<VecDeque<usize>>,
    own: Vec<Mutex<VecDeque<usize>>>,
}

impl Queues {
    fn new(job: &Job, threads: usize, owners: Option<&Owners>) -> Queues {
        let queues = Queues {
            shared: Mutex::default(),
            own: (0..threads).map(|_| Mutex::default()).collect(),
        };
        for number in 0..job.chunks() {
            let owner = owners.and_then(|owners| owner(job, number, owners));
            let queue = owner.and_then(|thread| queues.own.get(thread));
            lock(queue.unwrap_or(&queues.shared)).push_back(number);
        }
        queues
    }

    /// The next chunk for a thread: its own first.
    fn next(&self, thread: usize) -> Option<usize> {
        let own = lock(&self.own[thread]).pop_front();
        own.or_else(|| lock(&self.shared).pop_front())
    }

    fn clear(&self) {
        self.own.iter().for_each(|queue| lock(queue).clear());
        lock(&self.shared).clear();
    }
}

/// The thread that owns the panel in the middle of a chunk.
fn owner(job: &Job, number: usize, owners: &Owners) -> Option<usize> {
    let range = job.range(number);
    let middle = range.start + (range.end - range.start) / 2;
    let section = job.sections(&(middle..middle + 1)).next()?;
    let layout = job.forms[section].layout.as_ref()?;
    let panel = (middle - job.map.offsets[section]) / layout.panel_stride();
    Some(owners.of(section, panel)?.0)
}
