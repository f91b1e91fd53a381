//! Names this build by the sources that decide what it compiles: plans of another build are never run.
//!
//! `LATHE_BUILD` covers every crate and the versions of dependencies, `LATHE_PACKING` what decides the bytes of packed
//! weights and tokenizers. Sources are hashed with FNV-1a, 128 bits: against accidents, not against forgery, which the
//! cache's own digests and permissions are for.

use std::path::{Path, PathBuf};

/// Sources that decide what is compiled, from the root of the workspace; in a package from a registry only some are there,
/// and the version stands for the rest.
const ALL: &[&str] = &[
    "Cargo.lock",
    "ir/src",
    "frontend/src",
    "passes/src",
    "codegen-cpu/src",
    "runtime/src/cache",
    "src",
];
/// Sources that decide packed bytes.
const PACKING: &[&str] = &[
    "ir/src/dtype.rs",
    "ir/src/layout.rs",
    "ir/src/layout",
    "ir/src/quant",
    "frontend/src",
    "codegen-cpu/src/pack.rs",
    "codegen-cpu/src/pack",
    "runtime/src/cache",
];

fn main() {
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    for (name, paths) in [("LATHE_BUILD", ALL), ("LATHE_PACKING", PACKING)] {
        println!("cargo::rustc-env={name}={version}-{:032x}", hash(paths));
    }
    println!("cargo::rerun-if-changed=build.rs");
    for path in ALL {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// A hash of names and contents of all files beneath `paths`.
fn hash(paths: &[&str]) -> u128 {
    let mut files = Vec::new();
    paths.iter().for_each(|path| collect(Path::new(path), &mut files));
    files.sort();
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for file in files {
        add(file.to_string_lossy().as_bytes());
        let content = std::fs::read(&file).expect("a file of the sources can be read");
        add(&(content.len() as u64).to_le_bytes());
        add(&content);
    }
    hash
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), files);
    }
}
