//! Packs a plan's weights: every section in the form that its kernels read, one section after another.
//!
//! The packed bytes are made in chunks ([`chunks`]) that go wherever the caller wants them: into memory
//! ([`PackedWeights::pack`]), or into a file that is mapped later ([`PackedWeights::map`]). What was read of the model
//! file is released piece by piece, so that a model is never in memory twice.

mod chunks;
mod owners;
mod source;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::memory::Pages;
use crate::pool::ThreadPool;
pub(crate) use chunks::pack_chunks;
pub use chunks::{CHUNK, Sink};
use lathe_ir::Id;
use lathe_ir::backend::WeightSource;
use lathe_ir::layout::ALIGN;
use lathe_ir::plan::{Plan, Section};
use lathe_ir::quant::dequantize;
use memmap2::Mmap;
pub(crate) use owners::Owners;
use source::Form;
use std::sync::{Mutex, PoisonError};

/// A plan's packed weights.
pub(crate) struct PackedWeights {
    store: Store,
    map: SectionMap,
}

/// Where packed weights are.
enum Store {
    Memory(Pages),
    File(Mmap),
}

/// Where the sections of a plan lie in its packed weights. It follows from their declarations alone.
pub(crate) struct SectionMap {
    /// Start of each section, a multiple of [`ALIGN`].
    pub(crate) offsets: Vec<u64>,
    /// The end of the last.
    pub(crate) bytes: u64,
}

impl SectionMap {
    fn new(forms: &[Form]) -> Result<SectionMap, Error> {
        let mut offsets = Vec::with_capacity(forms.len());
        let mut bytes = 0u64;
        for form in forms {
            offsets.push(bytes);
            let next = bytes
                .checked_add(form.bytes)
                .and_then(|n| n.checked_next_multiple_of(ALIGN));
            bytes = next.ok_or_else(|| form.error("the sections exceed the address space"))?;
        }
        Ok(SectionMap { offsets, bytes })
    }
}

fn forms(plan: &Plan) -> Result<Vec<Form<'_>>, Error> {
    plan.sections.values().map(Form::new).collect()
}

/// Bytes of a plan's packed weights.
///
/// # Errors
/// Where a section has no packed form, or the whole exceeds the address space.
pub fn packed_bytes(plan: &Plan) -> Result<u64, Error> {
    Ok(SectionMap::new(&forms(plan)?)?.bytes)
}

impl PackedWeights {
    /// Packs all sections of `plan` into memory. With `owners`, the thread that multiplies with a panel is the first to
    /// touch its memory, which the system then puts on that thread's NUMA node.
    ///
    /// # Errors
    /// Where a tensor is missing, differs from its declaration, or cannot be packed; the error names it.
    pub(crate) fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        pool: &mut ThreadPool,
        owners: Option<&Owners>,
    ) -> Result<PackedWeights, Error> {
        let map = SectionMap::new(&forms(plan)?)?;
        let mut pages = Pages::new("packed weights", map.bytes)?;
        let parts: Vec<Mutex<&mut [u8]>> = pages
            .slice_mut()
            .chunks_mut(CHUNK as usize)
            .map(Mutex::new)
            .collect();
        pack_chunks(plan, weights, pool, owners, &|number, bytes| {
            lock(&parts[number])[..bytes.len()].copy_from_slice(bytes);
            Ok(())
        })?;
        Ok(PackedWeights {
            store: Store::Memory(pages),
            map,
        })
    }

    /// The packed weights of this plan in a mapped file of the chunks that [`pack_chunks`] made.
    ///
    /// # Errors
    /// Where the file has another length.
    pub(crate) fn map(plan: &Plan, file: Mmap) -> Result<PackedWeights, Error> {
        let map = SectionMap::new(&forms(plan)?)?;
        if file.len() as u64 != map.bytes {
            return Err(Error::Plan {
                plan: plan.name.clone(),
                what: format!("its weights have {} bytes instead of {}", file.len(), map.bytes),
            });
        }
        Ok(PackedWeights {
            store: Store::File(file),
            map,
        })
    }

    /// Bytes of all sections.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.bytes
    }

    /// The bytes of a section and of what follows it.
    pub(crate) fn section(&self, section: Section) -> &[u8] {
        let bytes = match &self.store {
            Store::Memory(pages) => pages.slice(),
            Store::File(map) => map,
        };
        &bytes[self.map.offsets[section.index()] as usize..]
    }

    /// The address of a section, for reading.
    pub(crate) fn address(&self, section: Section) -> *const u8 {
        self.section(section).as_ptr()
    }
}

/// Locks; a panic elsewhere is already on its way to the caller.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
