//! Files whose digest is known: hashed once, and again only where size, times, inode or device differ.
//!
//! A change of content changes the time of the last status change (ctime), which no program can set. Clocks of file
//! systems tick some milliseconds apart, so a file is not remembered until its last change is a few ticks back. What
//! Lathe writes itself is not forced to the disk: after a power failure its content may be lost though its times are
//! not, so such files are known only until the system starts again.

use super::trust::make_private;
use super::{CacheError, Digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How far back the last change must be: more than the ticks of any file system's clock.
const SETTLED: Duration = Duration::from_millis(25);
/// By when the system has written to the disk what programs wrote to files.
const WRITTEN: Duration = Duration::from_secs(300);
/// Times that a file which changes is read anew.
const TRIES: usize = 3;

/// What changes with a file's content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    stamp: Stamp,
    digest: String,
    /// The start of the system until which the record holds; always, where there is none.
    boot: Option<String>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the last change was; `None` where its time lies in the future, which is that of another clock.
    fn age(&self) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        now.checked_sub(Duration::new(seconds.max(0) as u64, nanoseconds as u32))
    }

    /// Waits until the last change lies far enough back for the next one to have another time.
    fn settle(&self) {
        if let Some(age) = self.age() {
            std::thread::sleep(SETTLED.saturating_sub(age));
        }
    }
}

/// The record of files in a folder.
pub(super) struct Known {
    folder: PathBuf,
}

impl Known {
    /// The record in `folder`.
    pub(super) fn new(folder: PathBuf) -> Known {
        Known { folder }
    }

    fn record(&self, path: &Path) -> PathBuf {
        self.folder
            .join(Digest::of(path.as_os_str().as_bytes()).short(32))
    }

    /// The digest of a file, if it is known and the file has not changed since.
    pub(super) fn get(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        let bytes = fs::read(self.record(path)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let holds = record.path == path
            && record.stamp == *stamp
            && record
                .boot
                .as_deref()
                .is_none_or(|boot| Some(boot) == boot_id().as_deref());
        holds.then(|| record.digest.parse().ok()).flatten()
    }

    /// Remembers a digest; `durable` says that the content is on the disk. A record that can't be written costs time at
    /// the next start and nothing else.
    pub(super) fn put(&self, path: &Path, stamp: &Stamp, digest: Digest, durable: bool) {
        let boot = match (durable, boot_id()) {
            (true, _) => None,
            (false, Some(boot)) => Some(boot),
            (false, None) => return,
        };
        let record = Record {
            path: path.to_owned(),
            stamp: stamp.clone(),
            digest: digest.to_string(),
            boot,
        };
        let write = || -> std::io::Result<()> {
            let target = self.record(path);
            let partial = target.with_extension(format!("{}", std::process::id()));
            File::create(&partial)?.write_all(&serde_json::to_vec(&record)?)?;
            fs::rename(partial, target)
        };
        if make_private(&self.folder).is_ok() {
            let _ = write();
        }
    }

    /// Remembers a file that was just written and will not change any more.
    pub(super) fn put_written(&self, path: &Path, digest: Digest) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let stamp = Stamp::of(&metadata);
        stamp.settle();
        self.put(path, &stamp, digest, false);
    }

    /// The digest of a file; hashed, where it is not known or `anew` asks for it.
    pub(super) fn digest(&self, path: &Path, threads: usize, anew: bool) -> Result<Digest, CacheError> {
        let path = &fs::canonicalize(path).map_err(CacheError::io(path, "find it"))?;
        let look = |file: &File| file.metadata().map_err(CacheError::io(path, "look at it"));
        let file = File::open(path).map_err(CacheError::io(path, "read it"))?;
        let mut stamp = Stamp::of(&look(&file)?);
        if let Some(digest) = self.get(path, &stamp).filter(|_| !anew) {
            return Ok(digest);
        }
        for _ in 0..TRIES {
            stamp.settle();
            let digest = Digest::of_file(&file, threads).map_err(CacheError::io(path, "read it"))?;
            let after = Stamp::of(&look(&file)?);
            if after == stamp {
                let durable = stamp.age().is_some_and(|age| age > WRITTEN);
                self.put(path, &stamp, digest, durable);
                return Ok(digest);
            }
            stamp = after;
        }
        Err(CacheError::Changing { path: path.clone() })
    }
}

/// The digest of a file's content, with nothing remembered.
///
/// # Errors
/// Where it can't be read.
pub fn content_digest(path: &Path, threads: usize) -> Result<Digest, CacheError> {
    let file = File::open(path).map_err(CacheError::io(path, "read it"))?;
    Digest::of_file(&file, threads).map_err(CacheError::io(path, "read it"))
}

/// What differs each time that the system starts, where it says so.
fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
