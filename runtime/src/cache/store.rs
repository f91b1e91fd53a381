//! The cache as a whole: finding, making, listing, evicting entries.
//!
//! An entry is made under a lock of its own in a folder `ID.partial` and renamed when it is whole, so that there is never
//! half of one; what a killed process left is removed by the next that makes the same. An entry that is not what was
//! written, or may be somebody else's, is moved to `quarantine` and made anew. A process that runs an entry keeps its
//! mapped files though their folder is removed.

use super::bundle::{MANIFEST, stamp};
use super::known::{Known, Stamp};
use super::trust::ensure_private;
use super::{Bundle, BundleWriter, CacheError, Digest, Kind};
use memmap2::Mmap;
use serde::Serialize;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Hexadecimal digits of an entry's id.
const ID_DIGITS: usize = 32;
/// Fewest digits by which an entry may be called.
const FEWEST_DIGITS: usize = 6;
/// Quarantined entries that are kept, for people to look at.
const QUARANTINED: usize = 4;
/// How long entries of other builds are kept after their last use.
const OUTDATED: Duration = Duration::from_secs(7 * 24 * 3600);

/// A folder of entries.
pub struct Cache {
    root: PathBuf,
    /// The build of Lathe that makes entries.
    build: String,
    /// Bytes that entries may take; the least recently used go first.
    most_bytes: Option<u64>,
    known: Known,
    threads: usize,
    notice: Box<Notice>,
}

/// Told what people may want to know: one line each.
pub type Notice = dyn Fn(&str) + Send + Sync;

/// An entry as `cache list` shows it.
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The entry, or what is wrong with it.
    pub bundle: Result<Bundle, CacheError>,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

impl Cache {
    /// The cache in `root`, which is made where it is missing; `build` names this build of Lathe, `threads` hash files.
    ///
    /// # Errors
    /// Where the folder can't be made, or others may write to it.
    pub fn open(root: &Path, build: &str, threads: usize) -> Result<Cache, CacheError> {
        ensure_private(root)?;
        for folder in Kind::ALL
            .map(Kind::folder)
            .iter()
            .chain(&["known", "locks", "quarantine"])
        {
            ensure_private(&root.join(folder))?;
        }
        let root = fs::canonicalize(root).map_err(CacheError::io(root, "find it"))?;
        Ok(Cache {
            known: Known::new(root.join("known")),
            root,
            build: build.to_owned(),
            most_bytes: None,
            threads,
            notice: Box::new(|_| ()),
        })
    }

    /// The same with a bound on its size.
    pub fn with_most_bytes(mut self, most_bytes: Option<u64>) -> Cache {
        self.most_bytes = most_bytes;
        self
    }

    /// The same with somebody to tell.
    pub fn with_notice(mut self, notice: Box<Notice>) -> Cache {
        self.notice = notice;
        self
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The build of Lathe that makes entries.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// The id of what was made from `inputs`, and from nothing else, by this build.
    pub fn id(inputs: &[&str]) -> String {
        let mut text = String::new();
        for input in inputs {
            // Lengths keep inputs apart.
            text.push_str(&format!("{}:{input}\n", input.len()));
        }
        Digest::of(text.as_bytes()).short(ID_DIGITS)
    }

    /// The digest of all of these files; hashed where one has changed since the last time, or `anew` asks for it.
    ///
    /// # Errors
    /// Where one can't be read.
    pub fn content(&self, files: &[PathBuf], anew: bool) -> Result<Digest, CacheError> {
        let digests = files
            .iter()
            .map(|file| self.known.digest(file, self.threads, anew));
        let digests: Vec<String> = digests
            .map(|d| Ok(d?.to_string()))
            .collect::<Result<_, CacheError>>()?;
        match &digests[..] {
            [one] => Ok(one.parse().expect("digests print as they parse")),
            many => Ok(Digest::of(many.join("\n").as_bytes())),
        }
    }

    /// What changes when one of these files does.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn stamps(files: &[PathBuf]) -> Result<impl PartialEq + use<>, CacheError> {
        files
            .iter()
            .map(|file| stamp(file))
            .collect::<Result<Vec<Stamp>, _>>()
    }

    fn folder(&self, kind: Kind, id: &str) -> PathBuf {
        self.root.join(kind.folder()).join(id)
    }

    /// The entry of this id. One that can't be used is quarantined, and is as if it were not there.
    ///
    /// # Errors
    /// Where the system fails otherwise.
    pub fn get(&self, kind: Kind, id: &str) -> Result<Option<Bundle>, CacheError> {
        match Bundle::open(&self.folder(kind, id), kind) {
            Ok(bundle) => {
                bundle.touch();
                Ok(Some(bundle))
            }
            Err(error) if error.is_of_entry() => {
                self.quarantine(kind, id, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Maps a file of a bundle. Its content is checked unless that was done since its last change.
    ///
    /// # Errors
    /// Where it can't be read, or is not what was written.
    pub fn map(&self, bundle: &Bundle, name: &str) -> Result<Mmap, CacheError> {
        bundle.map(name, &self.known, self.threads)
    }

    /// Checks the content of all files of a bundle.
    ///
    /// # Errors
    /// At the first file that can't be read or is not what was written.
    pub fn verify(&self, bundle: &Bundle) -> Result<(), CacheError> {
        bundle.verify(&self.known, self.threads)
    }

    /// The entry of this id; made by `make`, which returns what the manifest is to say, where it is not there. Of several
    /// processes that want it at once, one makes it and the others wait.
    ///
    /// # Errors
    /// Those of `make`, and where the entry can't be written. Nothing is left of an entry that failed.
    pub fn get_or_make<D: Serialize, E: From<CacheError>>(
        &self,
        kind: Kind,
        id: &str,
        make: impl FnOnce(&mut BundleWriter) -> Result<D, E>,
    ) -> Result<Bundle, E> {
        let bundle = self.get_or_add(kind, id, make)?;
        self.shrink(&[bundle.folder()]);
        Ok(bundle)
    }

    /// The same for one of many entries that belong together: [`Cache::shrink`] follows the last of them.
    ///
    /// # Errors
    /// As [`Cache::get_or_make`].
    pub fn get_or_add<D: Serialize, E: From<CacheError>>(
        &self,
        kind: Kind,
        id: &str,
        make: impl FnOnce(&mut BundleWriter) -> Result<D, E>,
    ) -> Result<Bundle, E> {
        let _lock = self.lock(id)?;
        if let Some(bundle) = self.get(kind, id)? {
            return Ok(bundle);
        }
        let folder = self.folder(kind, id);
        let partial = folder.with_extension("partial");
        remove(&partial)?;
        let made = self.make(kind, &partial, make).and_then(|()| {
            Ok(fs::rename(&partial, &folder).map_err(CacheError::io(&folder, "put it in place"))?)
        });
        if let Err(error) = made {
            // What can't be removed now is removed by the next that makes it.
            let _ = remove(&partial);
            return Err(error);
        }
        let bundle = Bundle::open(&folder, kind)?;
        bundle.remember(&self.known);
        Ok(bundle)
    }

    fn make<D: Serialize, E: From<CacheError>>(
        &self,
        kind: Kind,
        partial: &Path,
        make: impl FnOnce(&mut BundleWriter) -> Result<D, E>,
    ) -> Result<(), E> {
        let mut writer = BundleWriter::create(partial)?;
        let data = make(&mut writer)?;
        Ok(writer.finish(kind, &self.build, &data)?)
    }

    /// Takes the lock of an entry, which is released when the file is closed, by whatever means; waits for it.
    fn lock(&self, id: &str) -> Result<File, CacheError> {
        let path = self.root.join("locks").join(id);
        let file = File::create(&path).map_err(CacheError::io(&path, "make the lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                (self.notice)("another process is compiling the same; waiting for it");
                file.lock().map_err(CacheError::io(&path, "wait for the lock"))?;
                Ok(file)
            }
            Err(TryLockError::Error(error)) => Err(CacheError::io(&path, "lock it")(error)),
        }
    }

    /// Moves an entry that can't be used out of the way, and says why. Only the newest few are kept.
    pub fn quarantine(&self, kind: Kind, id: &str, why: &CacheError) {
        let folder = self.folder(kind, id);
        if !folder.exists() {
            return;
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let quarantine = self.root.join("quarantine");
        // Another process may have been faster.
        if fs::rename(&folder, quarantine.join(format!("{now:020}-{id}"))).is_ok() {
            (self.notice)(&format!("{why}; compiling it anew"));
        }
        let mut names: Vec<PathBuf> = folders(&quarantine);
        names.sort();
        let surplus = names.len().saturating_sub(QUARANTINED);
        for name in &names[..surplus] {
            let _ = remove(name);
        }
    }

    /// All entries, the most recently used first.
    ///
    /// # Errors
    /// Where a folder can't be read.
    pub fn list(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries = Vec::new();
        for kind in Kind::ALL {
            for folder in folders(&self.root.join(kind.folder())) {
                let Some(id) = folder.file_name().and_then(|n| n.to_str()) else {
                    continue;
                };
                if is_id(id) {
                    entries.push(Entry::look(kind, id, &folder));
                }
            }
        }
        entries.sort_by_key(|e| std::cmp::Reverse(e.used));
        Ok(entries)
    }

    /// The entry whose id begins with `digits`; `None` where that is no beginning of an id or none has it.
    ///
    /// # Errors
    /// Where several have it: their ids.
    pub fn find(&self, kind: Kind, digits: &str) -> Result<Option<String>, Vec<String>> {
        let hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || digits.len() < FEWEST_DIGITS {
            return Ok(None);
        }
        let ids = folders(&self.root.join(kind.folder())).into_iter();
        let ids = ids.filter_map(|f| Some(f.file_name()?.to_str()?.to_owned()));
        let mut ids: Vec<String> = ids.filter(|id| is_id(id) && id.starts_with(digits)).collect();
        match ids.len() {
            0 | 1 => Ok(ids.pop()),
            _ => Err(ids),
        }
    }

    /// Removes an entry unless somebody is making it. Returns whether it is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, entry: &Entry) -> Result<bool, CacheError> {
        let path = self.root.join("locks").join(&entry.id);
        let lock = File::create(&path).map_err(CacheError::io(&path, "make the lock"))?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        // Renamed first, so that nobody finds half of it.
        let partial = entry.folder.with_extension("partial");
        remove(&partial)?;
        match fs::rename(&entry.folder, &partial) {
            Ok(()) => remove(&partial).map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(CacheError::io(&entry.folder, "remove it")(error)),
        }
    }

    /// Removes everything but the entries that are being made: entries, quarantine, what killed processes left, and the
    /// record of hashed files. Returns the bytes that were freed.
    ///
    /// # Errors
    /// The system's.
    pub fn clear(&self) -> Result<u64, CacheError> {
        let before = size(&self.root);
        for entry in self.list()? {
            self.remove(&entry)?;
        }
        for kind in Kind::ALL {
            for folder in folders(&self.root.join(kind.folder())) {
                let id = folder.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
                let lock = File::create(self.root.join("locks").join(id));
                if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
                    remove(&folder)?;
                }
            }
        }
        for folder in ["quarantine", "known"] {
            remove(&self.root.join(folder))?;
            ensure_private(&self.root.join(folder))?;
        }
        Ok(before.saturating_sub(size(&self.root)))
    }

    /// Removes what no plan has used for long: entries of other builds, and then, where the cache is larger than it may
    /// be, the least recently used. Those in the folders `keep` stay.
    pub fn shrink(&self, keep: &[&Path]) {
        let Ok(mut entries) = self.list() else { return };
        let mut total: u64 = entries.iter().map(|e| e.bytes).sum();
        while let Some(entry) = entries.pop() {
            let old = entry.used.elapsed().is_ok_and(|age| age > OUTDATED);
            let outdated = old && entry.bundle.as_ref().is_ok_and(|b| b.build() != self.build);
            let over = self.most_bytes.is_some_and(|most| total > most);
            if !keep.contains(&entry.folder.as_path())
                && (outdated || over)
                && self.remove(&entry).unwrap_or(false)
            {
                total = total.saturating_sub(entry.bytes);
            }
        }
    }
}

impl Entry {
    fn look(kind: Kind, id: &str, folder: &Path) -> Entry {
        let used = fs::metadata(folder.join(MANIFEST)).and_then(|m| m.modified());
        Entry {
            kind,
            id: id.to_owned(),
            folder: folder.to_owned(),
            bundle: Bundle::open(folder, kind),
            bytes: size(folder),
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

fn is_id(name: &str) -> bool {
    name.len() == ID_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The folders in a folder; none where it can't be read.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders.map(|e| e.path()).collect()
}

/// Bytes of all files beneath a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// Removes a folder with everything in it, where it is there.
fn remove(folder: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CacheError::io(folder, "remove it")(error))
        }
        _ => Ok(()),
    }
}
