//! A bundle: a folder of files with a manifest that names each of them, its size and its digest.
//!
//! The manifest's first line is `lathe FORMAT DIGEST`, where the digest is that of the rest, which is JSON. It is written
//! last. What is read is checked: the manifest and small files always, large ones when they are not [`known`](super::known).

use super::digest::CHUNK;
use super::known::{Known, Stamp};
use super::trust;
use super::{CacheError, Digest};
use memmap2::Mmap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The version of the format of bundles and of what is in them.
const FORMAT: u32 = 1;
/// The name of the manifest.
pub(super) const MANIFEST: &str = "manifest";
/// The largest manifest that is read.
const MOST_BYTES: u64 = 64 << 20;

/// What is in a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A compiled plan.
    Plan,
    /// Packed weights, with the tokenizer.
    Weights,
    /// A kernel for GPUs.
    Kernel,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Plan, Kind::Weights, Kind::Kernel];

    /// The name of the folder that holds bundles of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Plan => "plans",
            Kind::Weights => "weights",
            Kind::Kernel => "kernels",
        }
    }
}

#[derive(Clone, Serialize, Deserialize, Debug)]
struct Manifest {
    kind: Kind,
    /// The build of Lathe that made it.
    build: String,
    /// Seconds since 1970.
    created: u64,
    files: BTreeMap<String, FileEntry>,
    data: serde_json::Value,
}

#[derive(Clone, Serialize, Deserialize, Debug)]
struct FileEntry {
    bytes: u64,
    digest: String,
}

/// A bundle whose manifest was checked.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Opens the bundle in `folder`. Files are there and have their sizes; their content is checked when it is read.
    ///
    /// # Errors
    /// Where it is missing, damaged, of another kind or format, or may be somebody else's.
    pub fn open(folder: &Path, kind: Kind) -> Result<Bundle, CacheError> {
        let metadata = fs::metadata(folder).map_err(CacheError::io(folder, "look at the folder"))?;
        trust::check(folder, &metadata)?;
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        if manifest.kind != kind {
            let what = format!("it holds {:?} instead of {kind:?}", manifest.kind);
            return Err(CacheError::damaged(&folder.join(MANIFEST), what));
        }
        let bundle = Bundle {
            folder: folder.to_owned(),
            manifest,
        };
        for name in bundle.manifest.files.keys() {
            bundle.file(name)?;
        }
        Ok(bundle)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The build of Lathe that made it.
    pub fn build(&self) -> &str {
        &self.manifest.build
    }

    /// When it was made, in seconds since 1970.
    pub fn created(&self) -> u64 {
        self.manifest.created
    }

    /// Bytes of all files but the manifest.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.values().map(|f| f.bytes).sum()
    }

    /// Files with their sizes.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.manifest
            .files
            .iter()
            .map(|(name, f)| (name.as_str(), f.bytes))
    }

    /// What the manifest says beside files.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, CacheError> {
        T::deserialize(&self.manifest.data)
            .map_err(|e| CacheError::damaged(&self.folder.join(MANIFEST), e.to_string()))
    }

    fn entry(&self, name: &str) -> Result<(PathBuf, &FileEntry), CacheError> {
        let path = self.folder.join(name);
        match self.manifest.files.get(name) {
            Some(entry) => Ok((path, entry)),
            None => Err(CacheError::damaged(&path, "the manifest does not name it")),
        }
    }

    /// Opens a file and checks its owner and size.
    fn file(&self, name: &str) -> Result<(PathBuf, File, &FileEntry), CacheError> {
        let (path, entry) = self.entry(name)?;
        let file = File::open(&path).map_err(CacheError::io(&path, "read it"))?;
        let metadata = file.metadata().map_err(CacheError::io(&path, "look at it"))?;
        trust::check(&path, &metadata)?;
        if metadata.len() != entry.bytes {
            let what = format!("it has {} bytes instead of {}", metadata.len(), entry.bytes);
            return Err(CacheError::damaged(&path, what));
        }
        Ok((path, file, entry))
    }

    /// Reads a file and checks its content.
    ///
    /// # Errors
    /// Where it can't be read, or is not what was written.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, CacheError> {
        let (path, mut file, entry) = self.file(name)?;
        let mut bytes = Vec::with_capacity(entry.bytes as usize);
        file.read_to_end(&mut bytes)
            .map_err(CacheError::io(&path, "read it"))?;
        match Digest::of(&bytes).to_string() == entry.digest {
            true => Ok(bytes),
            false => Err(other_content(&path)),
        }
    }

    /// Reads a text file and checks its content.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn read_text(&self, name: &str) -> Result<String, CacheError> {
        String::from_utf8(self.read(name)?)
            .map_err(|_| CacheError::damaged(&self.folder.join(name), "it is not UTF-8"))
    }

    /// Maps a file. Its content is checked by `threads` threads unless `known` has it.
    pub(super) fn map(&self, name: &str, known: &Known, threads: usize) -> Result<Mmap, CacheError> {
        let (path, file, entry) = self.file(name)?;
        let digest = known.digest(&path, threads, false)?;
        map_file(&path, &file, digest, entry)
    }

    /// Maps a file and checks its content, hashed by `threads` threads.
    ///
    /// # Errors
    /// Where it can't be read, or is not what was written.
    pub fn map_checked(&self, name: &str, threads: usize) -> Result<Mmap, CacheError> {
        let (path, file, entry) = self.file(name)?;
        let digest = Digest::of_file(&file, threads).map_err(CacheError::io(&path, "read it"))?;
        map_file(&path, &file, digest, entry)
    }

    /// Checks the content of all files, hashed anew by `threads` threads.
    ///
    /// # Errors
    /// At the first file that can't be read or is not what was written.
    pub(super) fn verify(&self, known: &Known, threads: usize) -> Result<(), CacheError> {
        for name in self.manifest.files.keys() {
            let (path, _, entry) = self.file(name)?;
            if known.digest(&path, threads, true)?.to_string() != entry.digest {
                return Err(other_content(&path));
            }
        }
        Ok(())
    }

    /// Remembers large files that were just written, so that the next start need not hash them.
    pub(super) fn remember(&self, known: &Known) {
        for (name, entry) in self.manifest.files.iter().filter(|(_, f)| f.bytes >= CHUNK) {
            let path = fs::canonicalize(self.folder.join(name));
            if let (Ok(path), Ok(digest)) = (path, entry.digest.parse()) {
                known.put_written(&path, digest);
            }
        }
    }

    /// Marks the bundle as used now: the time of its manifest's last change.
    pub(super) fn touch(&self) {
        if let Ok(file) = File::open(self.folder.join(MANIFEST)) {
            // Where the folder can't be written to, nothing is evicted from it either.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Copies the bundle to the new folder `to`.
    ///
    /// # Errors
    /// Where a file can't be read or written.
    pub fn copy_to(&self, to: &Path) -> Result<(), CacheError> {
        trust::make_private(to)?;
        for name in self.manifest.files.keys().map(String::as_str).chain([MANIFEST]) {
            let target = to.join(name);
            fs::copy(self.folder.join(name), &target).map_err(CacheError::io(&target, "write it"))?;
        }
        Ok(())
    }
}

/// Maps a file whose content has this digest.
fn map_file(path: &Path, file: &File, digest: Digest, entry: &FileEntry) -> Result<Mmap, CacheError> {
    if digest.to_string() != entry.digest {
        return Err(other_content(path));
    }
    // SAFETY: only this user may write to the file, and Lathe replaces files but does not change them. A program of the
    // user's own that does can end this process; nothing that is read from a map is used as an address.
    unsafe { Mmap::map(file) }.map_err(CacheError::io(path, "map it"))
}

fn other_content(path: &Path) -> CacheError {
    CacheError::damaged(path, "its content is not what was written")
}

/// Reads and checks a manifest.
fn read_manifest(path: &Path) -> Result<Manifest, CacheError> {
    let damaged = |what: &str| CacheError::damaged(path, what);
    let mut file = File::open(path).map_err(CacheError::io(path, "read it"))?;
    let metadata = file.metadata().map_err(CacheError::io(path, "look at it"))?;
    trust::check(path, &metadata)?;
    if metadata.len() > MOST_BYTES {
        return Err(damaged("it is too large"));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut bytes)
        .map_err(CacheError::io(path, "read it"))?;
    let line = bytes
        .iter()
        .position(|&b| b == b'\n')
        .ok_or_else(|| damaged("it has no first line"))?;
    let (head, body) = (&bytes[..line], &bytes[line + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| damaged("its first line is not text"))?;
    let [name, format, digest] = head.split(' ').collect::<Vec<_>>()[..] else {
        return Err(damaged("its first line is not that of a manifest"));
    };
    if name != "lathe" || Digest::of(body).to_string() != digest {
        return Err(damaged("its content is not what was written"));
    }
    if format != FORMAT.to_string() {
        return Err(CacheError::Version {
            path: path.to_owned(),
            what: format!("it has format {format}, and this Lathe reads format {FORMAT}"),
        });
    }
    serde_json::from_slice(body).map_err(|e| damaged(&e.to_string()))
}

/// Writes the files of a bundle, and its manifest last.
pub struct BundleWriter {
    folder: PathBuf,
    files: BTreeMap<String, FileEntry>,
}

impl BundleWriter {
    /// Makes the folder, which must not be there.
    pub(super) fn create(folder: &Path) -> Result<BundleWriter, CacheError> {
        trust::make_private(folder)?;
        Ok(BundleWriter {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let path = self.folder.join(name);
        let mut file = create(&path)?;
        file.write_all(bytes).map_err(CacheError::io(&path, "write it"))?;
        self.add(name, bytes.len() as u64, Digest::of(bytes));
        Ok(())
    }

    /// Starts a file of `bytes` bytes that is written in chunks.
    ///
    /// # Errors
    /// The system's.
    pub fn chunks(&self, name: &str, bytes: u64) -> Result<ChunkWriter, CacheError> {
        let path = self.folder.join(name);
        let file = create(&path)?;
        let hashes = vec![None; bytes.div_ceil(CHUNK) as usize];
        Ok(ChunkWriter {
            name: name.to_owned(),
            path,
            file,
            bytes,
            hashes: Mutex::new(hashes),
        })
    }

    /// Ends a file that was written in chunks.
    ///
    /// # Errors
    /// Where a chunk is missing.
    pub fn end_chunks(&mut self, writer: ChunkWriter) -> Result<(), CacheError> {
        let hashes = writer.hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hashes: Option<Vec<blake3::Hash>> = hashes.into_iter().collect();
        let hashes = hashes.ok_or_else(|| CacheError::damaged(&writer.path, "a chunk was not written"))?;
        self.add(
            &writer.name,
            writer.bytes,
            Digest::of_chunks(writer.bytes, hashes),
        );
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: u64, digest: Digest) {
        let digest = digest.to_string();
        self.files.insert(name.to_owned(), FileEntry { bytes, digest });
    }

    /// Writes the manifest.
    pub(super) fn finish(self, kind: Kind, build: &str, data: &impl Serialize) -> Result<(), CacheError> {
        let path = self.folder.join(MANIFEST);
        let write = || -> io::Result<()> {
            let manifest = Manifest {
                kind,
                build: build.to_owned(),
                created: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs()),
                files: self.files,
                data: serde_json::to_value(data)?,
            };
            let body = serde_json::to_vec_pretty(&manifest)?;
            let mut file = create(&path).map_err(|e| io::Error::other(e.to_string()))?;
            writeln!(file, "lathe {FORMAT} {}", Digest::of(&body))?;
            file.write_all(&body)
        };
        write().map_err(CacheError::io(&path, "write it"))
    }
}

/// A file for this user alone.
fn create(path: &Path) -> Result<File, CacheError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(CacheError::io(path, "write it"))
}

/// A file that is written in chunks of [`CHUNK`] bytes, from any threads and in any order.
pub struct ChunkWriter {
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
    hashes: Mutex<Vec<Option<blake3::Hash>>>,
}

impl ChunkWriter {
    /// Writes a chunk.
    ///
    /// # Errors
    /// The system's; or where there is no such chunk, or it has another length.
    pub fn put(&self, number: usize, bytes: &[u8]) -> io::Result<()> {
        let start = number as u64 * CHUNK;
        if self.bytes.saturating_sub(start).min(CHUNK) != bytes.len() as u64 {
            let what = format!(
                "chunk {number} of {} has {} bytes",
                self.path.display(),
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.file.write_all_at(bytes, start)?;
        let hash = blake3::hash(bytes);
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(hash);
        Ok(())
    }
}

/// The stamp of a file, for checking that it did not change between two moments.
pub(super) fn stamp(path: &Path) -> Result<Stamp, CacheError> {
    let metadata = fs::metadata(path).map_err(CacheError::io(path, "look at it"))?;
    Ok(Stamp::of(&metadata))
}
