//! The bytes of one file: mapped, or owned. The only `unsafe` of this crate is the mapping here.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The whole content of a file, readable as a slice.
pub(super) enum Bytes {
    /// A read-only mapping of a file.
    Mapped(Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the regular file at `path`.
    pub(super) fn map(path: &Path) -> io::Result<Bytes> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        // SAFETY: The mapping is private, read-only and only ever read as bytes, of which every value is valid. What
        // remains is the rule of every user of `mmap`: nobody may write to or shorten the file while it is mapped.
        // The store never does: it writes models under temporary names and renames them.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Bytes::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}
