//! What end-to-end tests share: the command, the models, and skipping by name.
#![allow(dead_code)]

use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tiny model in a folder of its own, which goes with it.
pub struct TinyFile {
    folder: tempfile::TempDir,
    /// The model's file.
    pub path: PathBuf,
}

impl TinyFile {
    /// A model whose matrices have this type.
    pub fn new(family: Family, dtype: DType) -> TinyFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(family).with_dtype(dtype).write(&path).unwrap();
        TinyFile { folder, path }
    }

    /// The file, for a command line.
    pub fn model(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// A path in its folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The `lathe` that cargo built for this test. It keeps no compiled plans.
pub fn lathe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lathe"));
    command.env("LATHE_NO_CACHE", "1");
    command
}

/// The same with a plan cache in `folder`.
pub fn lathe_with_cache(folder: &Path) -> Command {
    let mut command = lathe();
    command.env_remove("LATHE_NO_CACHE").env("LATHE_CACHE", folder);
    command
}

/// Runs `lathe` with arguments.
pub fn run(args: &[&str]) -> Output {
    lathe().args(args).output().expect("the command starts")
}

/// Stdout of a run that must succeed.
pub fn stdout(args: &[&str]) -> String {
    let out = run(args);
    assert!(
        out.status.success(),
        "lathe {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("stdout is UTF-8")
}

/// The JSON on stdout of a run that must succeed.
pub fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(args)).expect("stdout is JSON")
}

/// The one line on stderr of a run that must fail with `status`.
pub fn refusal(args: &[&str], status: i32) -> String {
    let out = run(args);
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(status), "lathe {args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// Whether the slow tests are switched on, by `LATHE_TEST_SLOW=1`. Says that `test` is skipped where they are not.
pub fn slow(test: &str) -> bool {
    let on = std::env::var("LATHE_TEST_SLOW").is_ok_and(|v| v == "1");
    if !on {
        eprintln!("skipped: {test} (set LATHE_TEST_SLOW=1)");
    }
    on
}

/// The file of a built-in model, for a slow test. Where slow tests are on, a missing model fails the test.
pub fn model(test: &str, name: &str) -> Option<PathBuf> {
    if !slow(test) {
        return None;
    }
    let entries = json(&["list", "--json"]);
    let found = entries
        .as_array()
        .into_iter()
        .flatten()
        .find(|e| e["name"] == name);
    let path = found.and_then(|e| e["path"].as_str()).map(PathBuf::from);
    assert!(
        path.is_some(),
        "{test} needs the model {name}: run `lathe pull {name}`"
    );
    path
}

/// A folder of the reference data that stands beside a checkout of this repository, where it does.
pub fn shared(test: &str, folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {test} (no reference data in {})", path.display());
        return None;
    }
    Some(path)
}
