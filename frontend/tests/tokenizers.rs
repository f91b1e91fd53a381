//! Real vocabularies against the ids that llama.cpp gives, and the local model files. The data lies in
//! `../shared/tokenizers`; without it the test says so and skips (unit tests cover the models on tiny vocabularies).

use std::path::Path;

use lathe_frontend::gguf::GgufFile;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// Checks one vocabulary; the number of inputs.
fn check(path: &Path) -> Result<usize, String> {
    let file = GgufFile::open(path).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::from_metadata(file.metadata()).map_err(|error| error.to_string())?;
    // As a compiled plan has it.
    let tokenizer =
        Tokenizer::from_bytes(std::sync::Arc::new(tokenizer.to_bytes())).map_err(|e| e.to_string())?;
    let read = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", path.display())).unwrap();
    let (inputs, outputs) = (read(".inp"), read(".out"));
    let inputs: Vec<&str> = inputs.split(SEPARATOR).collect();
    let outputs: Vec<&str> = outputs.lines().collect();
    // The input file ends in a separator.
    assert!(
        inputs.len() == outputs.len() || inputs.len() == outputs.len() + 1,
        "{}",
        path.display()
    );
    for (input, output) in inputs.iter().zip(&outputs) {
        let expected: Vec<u32> = output.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let ids = tokenizer.encode(input, EncodeOptions::PLAIN);
        if ids != expected {
            return Err(format!("{input:?}: expected {expected:?}, got {ids:?}"));
        }
        let is_lossy = tokenizer.token_to_id("[CLS]").is_some();
        let text = tokenizer.decode(&ids, false);
        if !is_lossy && text != *input {
            return Err(format!("{input:?} decodes to {text:?}"));
        }
    }
    Ok(outputs.len())
}

#[test]
fn real_vocabularies_give_the_ids_of_llama_cpp() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tokenizers"));
    if !folder.is_dir() {
        eprintln!(
            "skipped real_vocabularies_give_the_ids_of_llama_cpp: {} is absent",
            folder.display()
        );
        return;
    }
    let (mut vocabularies, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            vocabularies += 1;
            match check(&path) {
                Ok(inputs) => assert!(inputs > 40, "{}: only {inputs} inputs", path.display()),
                Err(why) => failures.push(format!("{}: {why}", path.display())),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(vocabularies >= 9, "only {vocabularies} vocabularies found");
}

#[test]
fn tiny_models_have_tokenizers_that_round_trip() {
    for family in Family::ALL {
        let file = GgufFile::from_bytes(TinyModel::new(family).writer().to_bytes(), "tiny.gguf").unwrap();
        let tokenizer = Tokenizer::from_metadata(file.metadata()).unwrap();
        for text in ["Hello, world", "  a\n\nb ", "Köln 😀", ""] {
            let ids = tokenizer.encode(text, EncodeOptions::PROMPT);
            assert!(ids.iter().all(|id| *id < tokenizer.vocab_size()));
            assert_eq!(tokenizer.decode(&ids, true), text, "{family:?}");
        }
    }
}
