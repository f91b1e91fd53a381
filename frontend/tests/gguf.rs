//! The GGUF reader on real files, where there are any beside the repository.

use std::path::{Path, PathBuf};

use lathe_frontend::gguf::GgufFile;

/// The GGUF files in `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "gguf"))
        .collect()
}

#[test]
fn real_files_open() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let mut paths: Vec<PathBuf> = ["conformance", "tokenizers"]
        .iter()
        .flat_map(|f| files(&shared.join(f)))
        .collect();
    paths.extend(
        std::env::home_dir()
            .iter()
            .flat_map(|h| files(&h.join(".cache/lathe/models"))),
    );
    if paths.is_empty() {
        eprintln!("skipped real_files_open: neither ../shared nor the model store has a GGUF file");
    }
    for path in paths {
        let file = GgufFile::open(&path).unwrap();
        file.metadata().str("general.architecture").unwrap();
        for tensor in file.tensors() {
            assert_eq!(
                file.data(tensor).len() as u64,
                tensor.bytes,
                "{}: {}",
                path.display(),
                tensor.name
            );
            assert_eq!(file.tensor(&tensor.name), Some(tensor));
        }
        let tokens = file.metadata().opt_str_array("tokenizer.ggml.tokens").unwrap();
        eprintln!("{file:?}: {} tokens", tokens.map_or(0, |t| t.len()));
    }
}
