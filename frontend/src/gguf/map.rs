//! The bytes of one file: mapped, or owned. The only `unsafe` of this crate is here: the mapping, and releasing it.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
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

    /// Lets the system drop the memory behind these bytes of a mapped file, and a little around them: a page that is read
    /// brings its neighbours with it. They are read from the file again if anybody asks for them.
    pub(super) fn release(&self, bytes: Range<usize>) {
        let Bytes::Mapped(map) = self else { return };
        let start = bytes.start / AROUND * AROUND;
        let end = bytes.end.next_multiple_of(AROUND).min(map.len());
        if start < end {
            drop_pages(map, start..end);
        }
    }
}

/// Bytes that Linux maps around one that is read, aligned to as many.
const AROUND: usize = 64 << 10;

#[cfg(unix)]
fn drop_pages(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: The mapping is of a file, read-only and never written, so that a page dropped comes back with the same
    // bytes: slices of it that are alive keep their values.
    let advised =
        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    // Where the system refuses, the pages stay, which costs memory and nothing else.
    let _ = advised;
}

#[cfg(not(unix))]
fn drop_pages(_map: &Mmap, _bytes: Range<usize>) {}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kibibytes of the file at `path` that are in this process's memory.
    #[cfg(target_os = "linux")]
    fn resident_file_kib(path: &Path) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|l| !l.ends_with(path.to_str().unwrap()));
        let rss = lines.find(|l| l.starts_with("Rss:")).expect("the file is mapped");
        rss.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn released_bytes_leave_memory_and_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let content: Vec<u8> = (0..4u32 << 20).map(|i| (i >> 8) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let bytes = Bytes::map(&path).unwrap();
        assert!(*bytes == content[..]);
        assert_eq!(resident_file_kib(&path), 4096);
        bytes.release((1 << 20) + 5..(3 << 20) - 7);
        let left = resident_file_kib(&path);
        // Less than half where the system had mapped a huge page, which it drops whole.
        assert!(left <= 2048, "{left} KiB are left");
        assert!(*bytes == content[..]);
        bytes.release(0..content.len());
        assert_eq!(resident_file_kib(&path), 0);
        Bytes::Owned(vec![7; 10]).release(0..10);
    }
}
