//! Digests of files: BLAKE3 of the length and of the BLAKE3 of each chunk, so that chunks can be hashed as they are made,
//! in any order and on any thread.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a chunk, all but the last.
pub const CHUNK: u64 = 2 << 20;

/// What identifies the content of a file. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digest(blake3::Hash);

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let chunks = bytes.chunks(CHUNK as usize).map(blake3::hash);
        Digest::of_chunks(bytes.len() as u64, chunks)
    }

    /// Of the bytes of a whole that has these hashes of chunks.
    pub(super) fn of_chunks(len: u64, chunks: impl IntoIterator<Item = blake3::Hash>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&len.to_le_bytes());
        for chunk in chunks {
            hasher.update(chunk.as_bytes());
        }
        Digest(hasher.finalize())
    }

    /// Of a file's content, read by `threads` threads.
    ///
    /// # Errors
    /// Where it can't be read, or gets shorter meanwhile.
    pub fn of_file(file: &File, threads: usize) -> io::Result<Digest> {
        let len = file.metadata()?.len();
        let chunks = len.div_ceil(CHUNK);
        let hashes = Mutex::new(vec![blake3::Hash::from_bytes([0; 32]); chunks as usize]);
        let next = AtomicU64::new(0);
        let work = || -> io::Result<()> {
            let mut buffer = vec![0; CHUNK.min(len) as usize];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= chunks {
                    return Ok(());
                }
                let start = number * CHUNK;
                let bytes = &mut buffer[..CHUNK.min(len - start) as usize];
                file.read_exact_at(bytes, start)?;
                let hash = blake3::hash(bytes);
                hashes.lock().expect("no thread panics with the lock")[number as usize] = hash;
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(chunks as usize))
                .map(|_| scope.spawn(work))
                .collect();
            let own = work();
            let joined = others
                .into_iter()
                .map(|t| t.join().expect("hashing does not panic"));
            joined.fold(own, io::Result::and)
        })?;
        let hashes = hashes.into_inner().expect("no thread panics with the lock");
        Ok(Digest::of_chunks(len, hashes))
    }

    /// The first `digits` hexadecimal digits, for names.
    pub fn short(&self, digits: usize) -> String {
        self.0.to_hex().chars().take(digits).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for Digest {
    type Err = ();

    /// Of 64 lower-case hexadecimal digits, and nothing else.
    fn from_str(text: &str) -> Result<Digest, ()> {
        let digest = Digest(blake3::Hash::from_hex(text).map_err(|_| ())?);
        (digest.to_string() == text).then_some(digest).ok_or(())
    }
}
