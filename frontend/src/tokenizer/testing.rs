//! Tiny vocabularies for the tests of this folder.

use super::bytes::BYTE_CHARS;
use crate::gguf::{Array, Metadata, StringArray, Value};

fn strings(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    let mut array = StringArray::default();
    texts.into_iter().for_each(|text| array.push(text.as_ref()));
    Value::Array(Array::String(array))
}

/// Metadata of the tokenizer `model` with tokens of (text, kind).
pub(super) fn metadata(model: &str, tokens: &[(&str, i32)]) -> Metadata {
    let mut metadata = Metadata::new("test.gguf");
    metadata.insert("tokenizer.ggml.model", Value::String(model.into()));
    metadata.insert(
        "tokenizer.ggml.tokens",
        strings(tokens.iter().map(|(text, _)| text)),
    );
    let kinds = tokens.iter().map(|(_, kind)| *kind).collect();
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata
}

/// A byte-level BPE: the 256 bytes (ids by byte), the results of `merges` in order, then `added` (text, kind).
pub(super) fn bpe(pre: &str, merges: &[&str], added: &[(&str, i32)]) -> Metadata {
    let alphabet: Vec<String> = BYTE_CHARS.iter().map(char::to_string).collect();
    let merged: Vec<String> = merges.iter().map(|merge| merge.replacen(' ', "", 1)).collect();
    let plain = alphabet.iter().chain(&merged).map(|text| (text.as_str(), 1));
    let tokens: Vec<_> = plain.chain(added.iter().copied()).collect();
    let mut metadata = metadata("gpt2", &tokens);
    metadata.insert("tokenizer.ggml.pre", Value::String(pre.into()));
    metadata.insert("tokenizer.ggml.merges", strings(merges));
    metadata
}

/// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the 256 byte tokens (ids 3 + byte), then `pieces` with scores.
pub(super) fn spm(pieces: &[(&str, f32)]) -> Metadata {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let mut tokens = vec![("<unk>", 2), ("<s>", 3), ("</s>", 3)];
    tokens.extend(bytes.iter().map(|text| (text.as_str(), 6)));
    tokens.extend(pieces.iter().map(|(text, _)| (*text, 1)));
    let mut metadata = metadata("llama", &tokens);
    let scores = std::iter::repeat_n(0.0, 259)
        .chain(pieces.iter().map(|(_, score)| *score))
        .collect();
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    metadata
}
