//! Where tuned shapes are kept: one file for each processor, set of its features and number of threads, in the folder
//! `tuning` of Lathe's cache.

use crate::machine::cpu_model;
use lathe_codegen_cpu::CpuFeatures;
use lathe_passes::lower::{Tuning, TuningError};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The largest file that is read: far more than the shapes of many models take.
const MOST_BYTES: u64 = 4 << 20;

/// Why a tuning file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no folder to keep it in.
    #[error("there is no home directory for tuned shapes: set LATHE_CACHE, or use --no-tuning")]
    NoHome,
    /// The system.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its content.
    #[error("{path}: {source}; tune anew, or use --no-tuning")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TuningError,
    },
    /// It is larger than any that is written.
    #[error("{path}: {bytes} bytes are too many for tuned shapes; tune anew, or use --no-tuning")]
    Large {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// The file for this processor with `features` and `threads` threads, in the [`cache_folder`].
pub fn path(features: &CpuFeatures, threads: usize) -> Option<PathBuf> {
    Some(
        cache_folder()?
            .join("tuning")
            .join(name(&cpu_model(), features, threads)),
    )
}

/// The folder of everything that Lathe can make again: `LATHE_CACHE`, or `~/.cache/lathe` where that is not set. `None`
/// where there is no home directory either.
pub fn cache_folder() -> Option<PathBuf> {
    let set = std::env::var_os("LATHE_CACHE").filter(|folder| !folder.is_empty());
    match set {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(
            std::env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())?
                .join(".cache/lathe"),
        ),
    }
}

/// The processor's name as far as it can stand in a file name, a hash of it and its features, and the threads.
fn name(cpu: &str, features: &CpuFeatures, threads: usize) -> String {
    let mut plain = String::new();
    for c in cpu.chars().take(40) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => plain.push(c),
            _ if plain.ends_with('-') || plain.is_empty() => {}
            _ => plain.push('-'),
        }
    }
    let hash = Sha256::digest(format!("{cpu}\n{features}"));
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}-t{threads}.json", plain.trim_end_matches('-'))
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// Where it can't be read, or is no tuning that this version understands.
pub fn load(path: &Path) -> Result<Option<Tuning>, FileError> {
    let error = |source| FileError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes = match std::fs::metadata(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        found => found.map_err(error)?.len(),
    };
    if bytes > MOST_BYTES {
        let path = path.to_owned();
        return Err(FileError::Large { path, bytes });
    }
    let text = std::fs::read_to_string(path).map_err(error)?;
    let tuning = Tuning::parse(&text).map_err(|source| FileError::Content {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(tuning))
}

/// Writes a file whole: readers see the old one or the new one.
///
/// # Errors
/// Where the folder or the file can't be written.
pub fn save(path: &Path, tuning: &Tuning) -> Result<(), FileError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        std::fs::write(&partial, tuning.text())?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| FileError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_codegen_cpu::Arch;
    use lathe_passes::lower::{ProductKey, Shape, Tile};

    #[test]
    fn names_differ_by_processor_features_and_threads() {
        let (all, few) = (
            CpuFeatures::all(Arch::X86_64),
            CpuFeatures::baseline(Arch::X86_64),
        );
        let names = [
            name("AMD EPYC (9B14)", &all, 2),
            name("AMD EPYC [9B14]", &all, 2),
            name("AMD EPYC (9B14)", &few, 2),
            name("AMD EPYC (9B14)", &all, 1),
            name("../../⚡", &all, 2),
        ];
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            assert!(name.chars().all(plain) && !name.contains(".."), "{name}");
        }
        assert!(names[0].starts_with("amd-epyc-9b14-") && names[0].ends_with("-t2.json"));
    }

    #[test]
    fn what_is_saved_is_loaded_and_bad_content_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tuning/x.json");
        assert!(load(&path).unwrap().is_none());
        let mut tuning = Tuning::default();
        let key = ProductKey {
            n: 64,
            k: 32,
            format: "q8_0".into(),
            epilogue: "q8a".into(),
            lanes: 8,
        };
        let tile = Tile {
            rows: 4,
            groups: 2,
            expand: true,
            prefetch: 0,
        };
        let unit_bytes = 1 << 17;
        tuning.set(key, Shape { tile, unit_bytes }).unwrap();
        save(&path, &tuning).unwrap();
        assert_eq!(load(&path).unwrap(), Some(tuning));
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
        std::fs::write(&path, "{\"version\": 1, \"products\": 3}").unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(
            error.contains("x.json") && error.contains("--no-tuning"),
            "{error}"
        );
        std::fs::write(&path, vec![b' '; MOST_BYTES as usize + 1]).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("too many"));
    }
}
