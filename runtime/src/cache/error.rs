//! What can be wrong with the plan cache.

use std::io;
use std::path::{Path, PathBuf};

/// Why an entry, or the whole cache, can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is no folder to keep it in.
    #[error("there is no home directory for compiled plans: set LATHE_CACHE, or use --no-cache")]
    NoHome,
    /// The system.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is not what was written.
    #[error("{path}: damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Somebody else may have written it.
    #[error("{path}: not trusted: {what}")]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        what: String,
    },
    /// It is of another version.
    #[error("{path}: {what}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Which.
        what: String,
    },
    /// A file changed while it was read.
    #[error("{path}: it keeps changing while it is read")]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl CacheError {
    /// Whether the fault lies in an entry, which can be made anew, and not in the cache or the system.
    pub fn is_of_entry(&self) -> bool {
        match self {
            CacheError::Damaged { .. } | CacheError::Foreign { .. } | CacheError::Version { .. } => true,
            CacheError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Makes the error of a file system operation, for `map_err`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> CacheError {
        let path = path.to_owned();
        move |source| CacheError::Io { path, action, source }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> CacheError {
        let (path, what) = (path.to_owned(), what.into());
        CacheError::Damaged { path, what }
    }
}
