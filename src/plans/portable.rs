//! Plans in folders of their own, which run without the model's file: on this machine, or on another whose processor has
//! the features that the code uses.

use super::{Compiled, open};
use crate::build::{BuildError, BuildOptions, Built};
use lathe_runtime::cache::{Cache, CacheError};
use std::fs;
use std::path::Path;

/// Copies a compiled plan and its weights to the new folder `to`.
///
/// # Errors
/// Where the folder is there and is not empty, or can't be written; nothing is left of it then.
pub fn export(compiled: &Compiled, to: &Path) -> Result<(), CacheError> {
    let io = |action: &'static str| {
        let path = to.to_owned();
        move |source| CacheError::Io { path, action, source }
    };
    let taken = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if taken || to.is_file() {
        return Err(io("write a plan there")(std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    let copy = || {
        compiled.plan.copy_to(&partial)?;
        compiled.weights.copy_to(&partial.join("weights"))?;
        fs::rename(&partial, to).map_err(io("put it in place"))
    };
    copy().inspect_err(|_| {
        // What can't be removed is no plan: it has another name.
        let _ = fs::remove_dir_all(&partial);
    })
}

/// Opens the plan in `folder`. The context, the rows of a step and the types of the cache are the plan's.
///
/// # Errors
/// Where it is damaged, made by another build or for another processor, or may be somebody else's; where `options` asks
/// for what it was not compiled for.
pub fn load(folder: &Path, options: &BuildOptions, cache: Option<&Cache>) -> Result<Built, BuildError> {
    open::open_folder(folder, cache, options)
}
