//! Split sets: one model in many files, as llama.cpp's `gguf-split` writes them.
//!
//! Every file is a GGUF file of its own with the keys `split.no` (from 0), `split.count` and `split.tensors.count`
//! (of the whole set); the first alone has the model's metadata. File names end in `-NNNNN-of-MMMMM.gguf`, from 1.

use std::path::{Path, PathBuf};

use super::{GgufFile, Metadata, Part, map, parse};
use crate::Error;

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// Most files in a set: the names have five digits.
const MAX_COUNT: u32 = 99_999;

/// Where the metadata says that it is of a set of several files, adds the others to `first`.
pub(super) fn join(first: &mut GgufFile) -> Result<(), Error> {
    let count = count(first.metadata())?;
    if count <= 1 {
        return Ok(());
    }
    let metadata = first.metadata();
    let number = metadata.u32(NO)?;
    if number != 0 {
        let problem = format!(
            "it is file {} of {count} of a split model; give the first",
            number.saturating_add(1)
        );
        return Err(metadata.reject(NO, problem));
    }
    let set = Set::of(first.path(), count).ok_or_else(|| {
        let problem = format!("the first file of a split model must be named …-00001-of-{count:05}.gguf");
        metadata.reject(COUNT, problem)
    })?;
    let total = metadata.opt_u64(TENSORS)?;
    for part in 1..count as usize {
        let path = set.path(part);
        let name = path.display().to_string();
        let bytes = map(&path, &name)?;
        let header = parse::header(&bytes, &name, part)?;
        check(&header.metadata, part, count)?;
        first.parts.push(Part { path, bytes });
        first.add(header.tensors)?;
    }
    match total {
        Some(total) if total != first.tensors.len() as u64 => {
            let problem = format!(
                "it promises {total} tensors, but the {count} files have {}",
                first.tensors.len()
            );
            Err(first.metadata().reject(TENSORS, problem))
        }
        _ => Ok(()),
    }
}

/// Refuses a file in memory that is one of several.
pub(super) fn refuse(file: &GgufFile) -> Result<(), Error> {
    match count(file.metadata())? {
        0 | 1 => Ok(()),
        count => Err(file.metadata().reject(
            COUNT,
            format!("one of {count} files, of which the others are not here"),
        )),
    }
}

/// How many files the set has; 1 where the metadata says nothing.
fn count(metadata: &Metadata) -> Result<u32, Error> {
    let count = metadata.opt_u32(COUNT)?.unwrap_or(1);
    if count > MAX_COUNT {
        return Err(metadata.reject(COUNT, format!("{count} files are more than {MAX_COUNT}")));
    }
    Ok(count)
}

/// The files of the model whose first file is `path`, by its name alone: those of a split set as far as they are there,
/// else the file itself.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let count = name
        .strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit_once("-of-"))
        .and_then(|(_, count)| count.parse().ok())
        .filter(|count| (2..=MAX_COUNT).contains(count));
    let Some(set) = count.and_then(|count| Set::of(path, count)) else {
        return vec![path.to_owned()];
    };
    let others = (1..set.count as usize)
        .map(|part| set.path(part))
        .filter(|path| path.exists());
    std::iter::once(path.to_owned()).chain(others).collect()
}

/// Checks that a file calls itself number `part` of `count`.
fn check(metadata: &Metadata, part: usize, count: u32) -> Result<(), Error> {
    let (number, of) = (metadata.usize(NO)?, metadata.u32(COUNT)?);
    if number != part {
        return Err(metadata.reject(
            NO,
            format!("it is {number}, but the file's name says {part} (counted from 0)"),
        ));
    }
    if of != count {
        return Err(metadata.reject(COUNT, format!("it is {of}, but the first file says {count}")));
    }
    Ok(())
}

/// The names of the files of a set.
struct Set {
    first: PathBuf,
    stem: String,
    count: u32,
}

impl Set {
    /// The set of `count` files whose first is `first`; `None` where its name has not the right end.
    fn of(first: &Path, count: u32) -> Option<Set> {
        let stem = first
            .file_name()?
            .to_str()?
            .strip_suffix(&format!("-00001-of-{count:05}.gguf"))?;
        Some(Set {
            first: first.to_owned(),
            stem: stem.to_owned(),
            count,
        })
    }

    /// The path of file `part`, counted from 0.
    fn path(&self, part: usize) -> PathBuf {
        self.first
            .with_file_name(format!("{}-{:05}-of-{:05}.gguf", self.stem, part + 1, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_set_are_named_by_number() {
        let set = Set::of(Path::new("/m/x-00001-of-00002.gguf"), 2).unwrap();
        assert_eq!(set.path(1), Path::new("/m/x-00002-of-00002.gguf"));
        assert!(Set::of(Path::new("/m/x-00002-of-00002.gguf"), 2).is_none());
        assert!(Set::of(Path::new("/m/x-00001-of-00003.gguf"), 2).is_none());
    }

    #[test]
    fn files_of_a_model_are_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["x-00001-of-00003.gguf", "x-00003-of-00003.gguf", "x.gguf"] {
            std::fs::write(path(name), "").unwrap();
        }
        let set = [path("x-00001-of-00003.gguf"), path("x-00003-of-00003.gguf")];
        assert_eq!(files_of(&set[0]), set);
        for single in [
            "x.gguf",
            "x-00001-of-00001.gguf",
            "x-00002-of-00003.gguf",
            "x-00001-of-99999999999.gguf",
        ] {
            assert_eq!(files_of(&path(single)), [path(single)]);
        }
    }
}
