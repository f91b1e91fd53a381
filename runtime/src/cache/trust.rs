//! Whose files are used. Compiled code is code: it runs only where this user, or the superuser, wrote it and nobody else
//! could have.

use super::CacheError;
use std::fs::{self, DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// Checks that nobody but this user and the superuser could have written what `metadata` describes.
pub(super) fn check(path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    let user = rustix::process::geteuid().as_raw();
    check_as(path, metadata, user)
}

fn check_as(path: &Path, metadata: &Metadata, user: u32) -> Result<(), CacheError> {
    let foreign = |what: String| CacheError::Foreign {
        path: path.to_owned(),
        what,
    };
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(foreign(format!(
            "it belongs to user {}, not to user {user}",
            metadata.uid()
        )));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(foreign(format!("others may write to it (mode {mode:04o})")));
    }
    Ok(())
}

/// Makes a folder for this user alone; those above it too, where they are missing.
pub(super) fn make_private(path: &Path) -> Result<(), CacheError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(CacheError::io(path, "make the folder"))
}

/// Makes a private folder, or checks the one that is there.
pub(super) fn ensure_private(path: &Path) -> Result<(), CacheError> {
    make_private(path)?;
    let metadata = fs::metadata(path).map_err(CacheError::io(path, "look at the folder"))?;
    check(path, &metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_own_files_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        ensure_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let metadata = fs::metadata(&path).unwrap();
        check_as(&path, &metadata, metadata.uid()).unwrap();
        if metadata.uid() != 0 {
            check_as(&path, &metadata, metadata.uid() + 1).unwrap_err();
        }
        for mode in [0o720, 0o702] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = ensure_private(&path).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("others may write to it (mode {mode:04o})")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_stranger_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
            eprintln!("skipped: only the superuser can give files away");
            return;
        }
        let error = check_as(&file, &fs::metadata(&file).unwrap(), 0)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("it belongs to user 12345, not to user 0"),
            "{error}"
        );
    }
}
