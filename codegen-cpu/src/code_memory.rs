//! Memory for machine code: written first, then made executable; never both at once.

use crate::Error;
use memmap2::{Mmap, MmapMut};

/// The alignment of every function, a cache line.
const ALIGN: usize = 64;

/// Functions in executable memory.
pub(crate) struct CodeMemory {
    map: Mmap,
    entries: Vec<u64>,
    bytes: u64,
}

/// Functions one after another, each at a multiple of a cache line, and where they start.
pub(crate) fn join(functions: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
    let (mut image, mut entries) = (Vec::new(), Vec::new());
    for function in functions {
        entries.push(image.len() as u64);
        image.extend(function);
        image.resize(image.len().next_multiple_of(ALIGN), 0);
    }
    (image, entries)
}

impl CodeMemory {
    /// Copies an image to fresh pages and makes them executable.
    pub(crate) fn new(image: &[u8], entries: Vec<u64>) -> Result<CodeMemory, Error> {
        let bytes = image.len() as u64;
        let error = |source| Error::Memory {
            what: "machine code",
            bytes,
            source,
        };
        // An empty mapping is an error of the system.
        let mut map = MmapMut::map_anon(image.len().max(1)).map_err(error)?;
        map[..image.len()].copy_from_slice(image);
        let map = map.make_exec().map_err(error)?;
        synchronize(&map);
        Ok(CodeMemory { map, entries, bytes })
    }

    /// The image that it was made of.
    pub(crate) fn image(&self) -> &[u8] {
        &self.map[..self.bytes as usize]
    }

    /// Where functions start in the image.
    pub(crate) fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// The first byte of a function.
    pub(crate) fn entry(&self, index: usize) -> *const u8 {
        self.map[self.entries[index] as usize..].as_ptr()
    }

    /// The functions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of code.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Makes instruction fetches see what was written as data. x86 does so by itself.
#[cfg(not(target_arch = "aarch64"))]
fn synchronize(_code: &[u8]) {}

/// Makes instruction fetches see what was written as data: cleans the data cache and invalidates the instruction cache
/// line by line (Arm Architecture Reference Manual, "Synchronization and coherency issues between data and instruction
/// accesses").
#[cfg(target_arch = "aarch64")]
fn synchronize(code: &[u8]) {
    use std::arch::asm;
    // Line sizes are at least 16 bytes on every implementation.
    for line in code.chunks(16) {
        // SAFETY: the address lies in a live mapping; the instructions move cache contents and change no memory.
        unsafe { asm!("dc cvau, {0}", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in code.chunks(16) {
        // SAFETY: as above.
        unsafe { asm!("ic ivau, {0}", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
