//! Why a model could not be found, fetched, listed or removed.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An error of the model store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no home directory to put the store in, and `LATHE_MODELS` is not set.
    #[error("there is no home directory for the model store: set LATHE_MODELS")]
    NoHome,
    /// The text is no name, path or `hf:` reference.
    #[error("unknown model `{model}`: give a path to a .gguf file, hf:OWNER/REPO[:FILE], or one of {known}")]
    Unknown {
        /// The text.
        model: String,
        /// The built-in names.
        known: String,
    },
    /// An `hf:` reference is not well formed.
    #[error("`{model}` is not hf:OWNER/REPO[:FILE]: {problem}")]
    Reference {
        /// The reference.
        model: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A path leads to no file.
    #[error("{}: there is no such file", .0.display())]
    NoFile(PathBuf),
    /// The model is not in the store.
    #[error("`{model}` is not in the model store {}", .store.display())]
    NotStored {
        /// The model.
        model: String,
        /// The store's folder.
        store: PathBuf,
    },
    /// A repository has several models and the reference names none of them.
    #[error("{repo} has {count} GGUF models: add one of {files}, as in hf:{repo}:FILE")]
    Ambiguous {
        /// `OWNER/REPO`.
        repo: String,
        /// How many models there are.
        count: usize,
        /// Some of their files.
        files: String,
    },
    /// A repository has no GGUF file.
    #[error("{0} has no GGUF file")]
    NoGguf(String),
    /// The server says that there is no such thing.
    #[error("{0}: not found (404)")]
    NotFound(String),
    /// The server wants a token, or another one: a repository is private or gated, or does not exist.
    #[error("{what}: access refused ({status}): {hint}")]
    Refused {
        /// The address.
        what: String,
        /// The HTTP status, 401 or 403.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// The server answers with another status that is no success.
    #[error("{what}: the server answers with status {status}")]
    Status {
        /// The address.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{what}: {problem}")]
    Network {
        /// The address.
        what: String,
        /// What happened.
        problem: String,
    },
    /// The server's answer makes no sense.
    #[error("{what}: unusable answer: {problem}")]
    Answer {
        /// The address.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The source has a file of that name with other content than the one wanted.
    #[error("{what}: it has another content: sha256 {found}, wanted {wanted}")]
    OtherContent {
        /// The address.
        what: String,
        /// The sha256 that the source states.
        found: String,
        /// The sha256 that is wanted.
        wanted: String,
    },
    /// What was fetched is not what was promised. It has been deleted.
    #[error("{what}: the data fetched has sha256 {found}, wanted {wanted}")]
    WrongHash {
        /// The source.
        what: String,
        /// The sha256 of what was fetched.
        found: String,
        /// The sha256 that is wanted.
        wanted: String,
    },
    /// pip or Python failed.
    #[error("{what}: {problem}")]
    Python {
        /// The package or step.
        what: String,
        /// What it said.
        problem: String,
    },
    /// Every source of a model failed.
    #[error("`{model}` could not be fetched: {reasons}")]
    NoSource {
        /// The model.
        model: String,
        /// What each source said, separated by semicolons.
        reasons: String,
    },
    /// The file system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether what the user asked for is wrong, rather than that the work failed.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            StoreError::Unknown { .. }
                | StoreError::Reference { .. }
                | StoreError::NoFile(_)
                | StoreError::NotStored { .. }
                | StoreError::Ambiguous { .. }
                | StoreError::NoGguf(_)
                | StoreError::NotFound(_)
        )
    }

    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            StoreError::Network { .. } => true,
            StoreError::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// Makes the error of a file system operation, for `map_err`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { path, action, source }
    }
}
