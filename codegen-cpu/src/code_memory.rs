//! Memory for machine code: written first, then made executable; never both at once.

use crate::Error;
use memmap2::{Mmap, MmapMut};

/// The alignment of every function, a cache line.
const ALIGN: usize = 64;

/// Functions in executable memory.
pub(crate) struct CodeMemory {
    map: Mmap,
    offsets: Vec<usize>,
    bytes: u64,
}

impl CodeMemory {
    /// Copies functions to fresh pages and makes them executable.
    pub(crate) fn new(functions: &[Vec<u8>]) -> Result<CodeMemory, Error> {
        let mut offsets = Vec::new();
        let mut end = 0usize;
        for function in functions {
            offsets.push(end);
            end += function.len().next_multiple_of(ALIGN);
        }
        let error = |source| Error::Memory {
            what: "machine code",
            bytes: end as u64,
            source,
        };
        // An empty mapping is an error of the system.
        let mut map = MmapMut::map_anon(end.max(1)).map_err(error)?;
        for (function, &offset) in functions.iter().zip(&offsets) {
            map[offset..offset + function.len()].copy_from_slice(function);
        }
        let map = map.make_exec().map_err(error)?;
        synchronize(&map);
        Ok(CodeMemory {
            map,
            offsets,
            bytes: functions.iter().map(|f| f.len() as u64).sum(),
        })
    }

    /// The first byte of a function.
    pub(crate) fn entry(&self, index: usize) -> *const u8 {
        self.map[self.offsets[index]..].as_ptr()
    }

    /// The functions.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
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
