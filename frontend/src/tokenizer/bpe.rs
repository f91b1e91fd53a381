//! Byte-level BPE (`gpt2` vocabularies): pieces of the pre-tokenizer, spelled in GPT-2's byte alphabet, merged by the
//! `tokenizers` crate.

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab as BpeVocab};

use super::bytes::BYTE_CHARS;
use super::pre::Splitter;
use super::pre_list::{self, PreTokenizer};
use super::vocab::{TOKENS, Vocab};
use crate::Error;
use crate::error::shown;
use crate::gguf::Metadata;

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

/// The merges of a vocabulary with its pre-tokenizer.
pub(super) struct ByteLevelBpe {
    bpe: BPE,
    splitter: Splitter,
}

/// The pre-tokenizer that the file names; one without a name has the default of llama.cpp.
pub(super) fn pre_tokenizer(metadata: &Metadata) -> Result<&'static PreTokenizer, Error> {
    let name = metadata.opt_str(PRE)?.unwrap_or("default");
    pre_list::find(name).ok_or_else(|| {
        let known: Vec<_> = pre_list::names().collect();
        metadata.reject(
            PRE,
            format!(
                "unknown pre-tokenizer `{}` (known: {})",
                shown(name),
                known.join(", ")
            ),
        )
    })
}

impl ByteLevelBpe {
    pub(super) fn new(metadata: &Metadata, vocab: &Vocab, pre: &PreTokenizer) -> Result<Self, Error> {
        check_alphabet(metadata, vocab)?;
        let mut ids = BpeVocab::with_capacity(vocab.len() as usize);
        for (id, text, _) in vocab.iter() {
            if !text.is_empty() {
                ids.entry(text.to_owned()).or_insert(id);
            }
        }
        let merges = read_merges(metadata)?;
        let bpe = BPE::builder()
            .vocab_and_merges(ids, merges)
            .ignore_merges(pre.ignore_merges)
            .build();
        let bpe = bpe.map_err(|error| metadata.reject(MERGES, shown(&error.to_string())))?;
        let splitter = Splitter::new(pre).map_err(|error| metadata.reject(PRE, error.to_string()))?;
        Ok(ByteLevelBpe { bpe, splitter })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut spelled = String::new();
        for piece in self.splitter.split(text) {
            spelled.clear();
            spelled.extend(piece.bytes().map(|byte| BYTE_CHARS[usize::from(byte)]));
            // The crate fails only where its unknown token is not in the vocabulary, and it is given none.
            let tokens = self
                .bpe
                .tokenize(&spelled)
                .expect("BPE without an unknown token does not fail");
            out.extend(tokens.iter().map(|token| token.id));
        }
    }
}

/// A byte-level vocabulary spells at least ASCII text. Real ones lack some other bytes, and those are dropped from text,
/// as llama.cpp drops them.
fn check_alphabet(metadata: &Metadata, vocab: &Vocab) -> Result<(), Error> {
    for byte in 0x20..=0x7eu8 {
        let c = BYTE_CHARS[usize::from(byte)];
        if vocab.id(c.encode_utf8(&mut [0; 4])).is_none() {
            return Err(metadata.reject(TOKENS, format!("no token for the byte 0x{byte:02X} (`{c}`)")));
        }
    }
    Ok(())
}

fn read_merges(metadata: &Metadata) -> Result<Vec<(String, String)>, Error> {
    let merge = |(rank, text): (usize, &str)| {
        // The left side is never empty, so the space that parts the sides is not the first character.
        let space = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ' ')
            .map(|(at, _)| at);
        match space.map(|at| (&text[..at], &text[at + 1..])) {
            Some((left, right)) if !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
            _ => Err(metadata.reject(
                MERGES,
                format!("merge {rank} `{}` is not two tokens", shown(text)),
            )),
        }
    };
    metadata
        .str_array(MERGES)?
        .iter()
        .enumerate()
        .map(merge)
        .collect()
}
