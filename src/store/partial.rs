//! A file on its way into the store: locked, written under another name, checked, then renamed.
//!
//! The folder `.partial` in the store holds, for each file being fetched, a lock (`NAME.lock`, kept: removing it would
//! let two processes hold two different locks) and the data so far (`NAME.HASH.part`, where HASH is the start of the
//! sha256 wanted, so that data of another version is never continued).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Progress, StoreError};

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 18;

/// The lock on one file of the store; held as long as the value lives.
pub(super) struct Lock {
    _file: File,
    folder: PathBuf,
    name: String,
}

impl Lock {
    /// Waits until no other process fetches the file `relative` of the store at `root`.
    pub(super) fn take(root: &Path, relative: &str, progress: &mut dyn Progress) -> Result<Lock, StoreError> {
        let folder = root.join(".partial");
        fs::create_dir_all(&folder).map_err(StoreError::io(&folder, "create"))?;
        let name = relative.replace('/', "--");
        let path = folder.join(format!("{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(StoreError::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.message(&format!("waiting for another process that fetches {relative}"));
                file.lock().map_err(StoreError::io(&path, "lock"))?;
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(&path, "lock")(error)),
        }
        Ok(Lock {
            _file: file,
            folder,
            name,
        })
    }

    /// A folder beside the data, for what a source needs while it works. It is not made here.
    pub(super) fn work_folder(&self) -> PathBuf {
        self.folder.join(format!("{}.wheels", self.name))
    }

    /// Opens the data so far. Without a hash there is no way to tell whose data it is, so it starts empty.
    pub(super) fn open(&self, sha256: Option<&str>) -> Result<Partial, StoreError> {
        let version = sha256.map_or("unchecked", |hash| &hash[..12]);
        let path = self.folder.join(format!("{}.{version}.part", self.name));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file = file.map_err(StoreError::io(&path, "open"))?;
        let length = match sha256 {
            Some(_) => file
                .seek(SeekFrom::End(0))
                .map_err(StoreError::io(&path, "read"))?,
            None => file
                .set_len(0)
                .map(|()| 0)
                .map_err(StoreError::io(&path, "truncate"))?,
        };
        Ok(Partial { file, path, length })
    }

    /// Deletes everything of this file that is unfinished, other versions too.
    pub(super) fn clean(&self) {
        // What cannot be deleted now is found and deleted, or continued, the next time.
        let _ = fs::remove_dir_all(self.work_folder());
        let prefix = format!("{}.", self.name);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name
                .strip_prefix(&prefix)
                .is_some_and(|rest| rest.ends_with(".part") && !rest[..rest.len() - 5].contains('.'))
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The data of a file that is not all there yet.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Partial {
    /// Bytes there so far.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Drops everything from byte `length` on.
    pub(super) fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        let done = self
            .file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::Start(length)));
        self.length = done.map_err(StoreError::io(&self.path, "truncate"))?;
        Ok(())
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::io(&self.path, "write"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Checks the data against `sha256`, and moves it to `target` if it is right; deletes it if it is not. `what`
    /// names the source.
    pub(super) fn finish(
        mut self,
        what: &str,
        sha256: Option<&str>,
        target: &Path,
    ) -> Result<(), StoreError> {
        if let Some(wanted) = sha256 {
            self.file
                .seek(SeekFrom::Start(0))
                .map_err(StoreError::io(&self.path, "read"))?;
            let found = hash(&mut self.file).map_err(StoreError::io(&self.path, "read"))?;
            if found != wanted {
                fs::remove_file(&self.path).map_err(StoreError::io(&self.path, "delete"))?;
                return Err(StoreError::WrongHash {
                    what: what.to_owned(),
                    found,
                    wanted: wanted.to_owned(),
                });
            }
        }
        self.file
            .sync_all()
            .map_err(StoreError::io(&self.path, "write"))?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io(folder, "create"))?;
        }
        fs::rename(&self.path, target).map_err(StoreError::io(target, "create"))
    }
}

/// The sha256 of the file at `path`, in lower-case hexadecimal digits.
pub(super) fn hash_file(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io(path, "open"))?;
    hash(&mut file).map_err(StoreError::io(path, "read"))
}

/// The sha256 of what is left in `reader`.
fn hash(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => hasher.update(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
