//! Rules of the source that the compiler does not check: see docs/architecture.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that may use `unsafe`.
const UNSAFE: &[&str] = &[
    "codegen-cpu/src/amx.rs",
    "codegen-cpu/src/code_memory.rs",
    "codegen-cpu/src/kernels.rs",
    "codegen-cpu/src/exec/",
    "codegen-cpu/src/exec.rs",
    "codegen-cpu/src/limits/probe.rs",
    "codegen-cpu/src/memory.rs",
    "codegen-cpu/src/pool.rs",
    "codegen-cpu/src/pack.rs",
    "codegen-cpu/src/pool/",
    "codegen-cuda/src/driver.rs",
    "codegen-cuda/src/nvrtc.rs",
    "frontend/src/gguf/map.rs",
    "ir/src/layout/dispatch.rs",
    "runtime/src/cache/bundle.rs",
    "src/plans/open.rs",
    // Tests: counting allocators, mapped files, and calls of generated code.
    "frontend/tests/gguf_bad.rs",
    "codegen-cpu/tests/",
    "codegen-cpu/src/pack/tests.rs",
    "codegen-cpu/src/clif/tests",
    "tests/allocations.rs",
    "tests/kernels",
];

/// What each crate may depend on among ours.
const LAYERS: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("frontend", &["lathe-ir"]),
    ("passes", &["lathe-ir"]),
    ("codegen-cpu", &["lathe-ir"]),
    ("codegen-cuda", &["lathe-ir"]),
    ("runtime", &["lathe-ir", "lathe-frontend", "lathe-passes"]),
    ("server", &["lathe-runtime"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace, by path from its root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let crates = LAYERS.iter().map(|(folder, _)| *folder);
    let folders = crates.chain(["src", "tests", "benches"]);
    let mut open: Vec<PathBuf> = folders.map(|f| root().join(f)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "the walk found the sources");
    found
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn files_say_what_lives_there_and_stay_short() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        if !text.starts_with("//!") {
            broken.push(format!("{name} does not begin with a `//!` header"));
        }
        let lines = text.lines().count();
        if lines > 600 {
            broken.push(format!("{name} has {lines} lines"));
        }
    }
    report(broken);
}

#[test]
fn unsafe_stays_in_the_listed_files() {
    let word = ["un", "safe"].concat();
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let listed = UNSAFE.iter().any(|f| name.starts_with(f));
        for (n, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            if !listed && code.split(|c| !is_word(c)).any(|w| w == word) {
                broken.push(format!("{name}:{} uses `{word}`", n + 1));
            }
        }
    }
    report(broken);
}

/// The rules here are for every crate of the workspace.
#[test]
fn no_crate_is_forgotten() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest
        .lines()
        .find_map(|l| l.strip_prefix("members = "))
        .unwrap();
    let members = members
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|m| m.trim_matches('"'));
    let members: BTreeSet<&str> = members.collect();
    assert_eq!(members, LAYERS.iter().map(|(folder, _)| *folder).collect());
}

#[test]
fn crates_depend_downwards() {
    let mut broken = Vec::new();
    for (folder, allowed) in LAYERS {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        for line in normal.lines().filter(|l| l.starts_with("lathe-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            if !allowed.contains(&name) {
                broken.push(format!("{folder} depends on {name}"));
            }
        }
    }
    report(broken);
}

#[test]
fn nothing_is_left_to_do() {
    let words = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["FIX", "ME"].concat(),
    ];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for word in &words {
            if text.contains(word.as_str()) {
                broken.push(format!("{name} has {word}"));
            }
        }
    }
    report(broken);
}

#[test]
fn architectures_are_named_in_the_frontend_alone() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let knows_ops_only = [
            "ir/src",
            "passes/src",
            "codegen-cpu/src",
            "codegen-cuda/src",
            "runtime/src",
            "server/src",
        ];
        if !knows_ops_only.iter().any(|f| name.starts_with(f)) || name.contains("test") {
            continue;
        }
        for (n, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["\"llama\"", "\"qwen2\"", "\"gemma3\""]
                .iter()
                .any(|a| code.contains(a))
            {
                broken.push(format!("{name}:{} names an architecture", n + 1));
            }
        }
    }
    report(broken);
}
