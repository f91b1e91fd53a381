//! Zeroed memory by the page, at addresses that never change.

use crate::Error;
use memmap2::{Advice, MmapMut};

/// Large blocks are asked for in huge pages: weights and caches are read end to end, and misses of the translation
/// cache would cost more than the reads.
const HUGE: usize = 2 << 20;

/// Zeroed memory of fixed size, aligned to pages.
pub(crate) struct Pages {
    map: MmapMut,
    bytes: u64,
}

impl Pages {
    /// Maps `bytes` bytes. The system commits them when they are first touched.
    pub(crate) fn new(what: &'static str, bytes: u64) -> Result<Pages, Error> {
        let pages = Pages::sparse(what, bytes)?;
        pages.fill_up();
        Ok(pages)
    }

    /// The same for memory of which little is touched, here and there: a huge page for each place would take more time and
    /// memory than all that is stored.
    pub(crate) fn sparse(what: &'static str, bytes: u64) -> Result<Pages, Error> {
        let error = |source| Error::Memory { what, bytes, source };
        let size = usize::try_from(bytes).map_err(|_| error(std::io::ErrorKind::OutOfMemory.into()))?;
        // The system does not map nothing.
        let map = MmapMut::map_anon(size.max(1)).map_err(error)?;
        Ok(Pages { map, bytes })
    }

    /// Says that most of it will be touched: what is not there yet comes in huge pages.
    pub(crate) fn fill_up(&self) {
        if cfg!(target_os = "linux") && self.map.len() >= HUGE {
            advise_huge(&self.map);
        }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes.
    pub(crate) fn slice(&self) -> &[u8] {
        &self.map
    }

    /// The bytes, to write.
    pub(crate) fn slice_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// The address of byte `offset`, which lies inside.
    pub(crate) fn at(&mut self, offset: u64) -> *mut u8 {
        self.map[offset as usize..].as_mut_ptr()
    }
}

#[cfg(target_os = "linux")]
fn advise_huge(map: &MmapMut) {
    // A kernel without huge pages refuses; small pages do as well.
    let _ = map.advise(Advice::HugePage);
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_map: &MmapMut) {}
