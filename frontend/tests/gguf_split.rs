//! Split sets: opening the first file opens the model, and a set that does not fit together is refused.

use std::path::Path;

use lathe_frontend::gguf::{GgufFile, Value};
use lathe_frontend::testing::{Family, GgufWriter, TinyModel};

/// The message of the error that opening `path` gives.
fn message(path: &Path) -> String {
    GgufFile::open(path).expect_err("the set is bad").to_string()
}

#[test]
fn a_split_model_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let writer = TinyModel::new(Family::Llama).writer();
    let whole = GgufFile::from_bytes(writer.to_bytes(), "whole").unwrap();
    for count in [1, 2, 5, 30] {
        let split = GgufFile::open(writer.write_split(folder.path(), "m", count).unwrap()).unwrap();
        assert_eq!(split.parts().len(), usize::from(count));
        assert_eq!(split.tensors().len(), whole.tensors().len());
        for tensor in whole.tensors() {
            let other = split.require_tensor(&tensor.name).unwrap();
            assert_eq!(split.data(other), whole.data(tensor), "{}", tensor.name);
        }
        assert_eq!(
            split.metadata().str_array("tokenizer.ggml.tokens").unwrap().len(),
            320
        );
    }
}

#[test]
fn sets_that_do_not_fit_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let writer = TinyModel::new(Family::Llama).writer();
    let first = writer.write_split(folder.path(), "m", 3).unwrap();
    let path = |no: u32| folder.path().join(format!("m-{no:05}-of-00003.gguf"));

    assert!(message(&path(2)).ends_with("it is file 2 of 3 of a split model; give the first"));
    let renamed = folder.path().join("renamed.gguf");
    std::fs::copy(&first, &renamed).unwrap();
    assert!(
        message(&renamed).contains("must be named …-00001-of-00003.gguf"),
        "{}",
        message(&renamed)
    );
    let bytes = std::fs::read(&first).unwrap();
    assert!(
        GgufFile::from_bytes(bytes, "memory")
            .unwrap_err()
            .to_string()
            .contains("one of 3 files")
    );

    let third = std::fs::read(path(3)).unwrap();
    std::fs::copy(path(2), path(3)).unwrap();
    assert!(
        message(&first).contains("`split.no`: it is 1, but the file's name says 2"),
        "{}",
        message(&first)
    );
    GgufWriter::new()
        .set("split.no", 2u32)
        .set("split.count", 4u32)
        .write(path(3))
        .unwrap();
    assert!(message(&first).contains("`split.count`: it is 4, but the first file says 3"));
    GgufWriter::new()
        .set("split.no", 2u32)
        .set("split.count", 3u32)
        .write(path(3))
        .unwrap();
    assert!(
        message(&first).contains("it promises 20 tensors, but the 3 files have 14"),
        "{}",
        message(&first)
    );
    std::fs::remove_file(path(3)).unwrap();
    assert!(
        message(&first).contains("m-00003-of-00003.gguf: cannot open"),
        "{}",
        message(&first)
    );
    std::fs::write(path(3), third).unwrap();
    assert!(GgufFile::open(&first).is_ok());
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let writer = TinyModel::new(Family::Llama).writer();
    let first = writer.write_split(folder.path(), "m", 2).unwrap();
    let second = folder.path().join("m-00002-of-00002.gguf");
    let mut again = writer.clone();
    again
        .set("split.no", Value::U16(1))
        .set("split.count", Value::U16(2))
        .write(second)
        .unwrap();
    assert!(message(&first).contains("m-00002-of-00002.gguf: tensor `token_embd.weight`: there is another"));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(message(folder.path()).contains("cannot open: not a regular file"));
    assert!(message(&folder.path().join("absent.gguf")).contains("absent.gguf: cannot open: "));
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    assert!(message(&empty).ends_with("not a GGUF file: it is empty"));
}
