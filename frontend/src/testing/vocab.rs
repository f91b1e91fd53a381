//! Tiny vocabularies: byte-level BPE and SentencePiece, each of 320 tokens and able to spell any text.

use super::GgufWriter;
use crate::gguf::StringArray;

/// Tokens in each vocabulary: a multiple of the longest row block that a tied output projection may be cut into.
pub(super) const SIZE: usize = 320;

/// Token types of `tokenizer.ggml.token_type` (llama.cpp's `llama_token_type`).
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Merges of the byte-level BPE vocabulary, best first; each makes one token. `Ġ` is a leading space.
const MERGES: &[(&str, &str)] = &[
    ("Ġ", "t"),
    ("h", "e"),
    ("i", "n"),
    ("Ġ", "a"),
    ("r", "e"),
    ("o", "n"),
    ("Ġt", "he"),
    ("e", "r"),
    ("Ġ", "s"),
    ("a", "t"),
    ("o", "r"),
    ("Ġ", "o"),
    ("e", "n"),
    ("Ġ", "w"),
    ("i", "s"),
    ("a", "n"),
    ("Ġa", "n"),
    ("Ġan", "d"),
    ("e", "s"),
    ("Ġo", "f"),
    ("in", "g"),
    ("l", "l"),
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
];

/// Pieces of the SentencePiece vocabulary beyond bytes and single characters, best first; each is made of two earlier
/// pieces or characters. `▁` is a space.
const PIECES: &[&str] = &[
    "▁t", "he", "in", "▁a", "re", "on", "▁the", "er", "▁s", "at", "or", "▁o", "en", "▁of", "an", "▁an",
    "▁and", "ing",
];

/// Characters that the SentencePiece vocabulary has as pieces of their own.
const CHARACTERS: &str = "▁etaoinsrhdlcufg";

/// Which special tokens stand first in a vocabulary, and their roles.
pub(super) struct Specials {
    /// The control tokens, from id 0.
    pub(super) names: &'static [&'static str],
    /// Ids of BOS, EOS, unknown and padding.
    pub(super) bos: u32,
    pub(super) eos: u32,
    pub(super) unknown: Option<u32>,
    pub(super) padding: Option<u32>,
    /// Whether BOS is put before a text.
    pub(super) add_bos: bool,
}

/// Writes a byte-level BPE tokenizer: the special tokens, one token a byte, one a merge, unused ones up to [`SIZE`].
pub(super) fn byte_level_bpe(file: &mut GgufWriter, pre: &str, specials: &Specials) {
    let mut tokens: Vec<String> = specials.names.iter().map(|&s| s.to_owned()).collect();
    let mut types = vec![CONTROL; tokens.len()];
    tokens.extend(byte_characters().map(String::from));
    tokens.extend(MERGES.iter().map(|(a, b)| format!("{a}{b}")));
    types.resize(tokens.len(), NORMAL);
    fill(&mut tokens, &mut types);
    let merges: StringArray = MERGES.iter().map(|(a, b)| format!("{a} {b}")).collect();
    file.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre);
    file.set("tokenizer.ggml.tokens", tokens.iter().collect::<StringArray>());
    file.set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.merges", merges);
    roles(file, specials);
}

/// Writes a SentencePiece tokenizer: the special tokens, one token a byte, characters and pieces with scores.
pub(super) fn sentencepiece(file: &mut GgufWriter, specials: &Specials, add_space_prefix: bool) {
    let mut tokens: Vec<String> = specials.names.iter().map(|&s| s.to_owned()).collect();
    let mut types = vec![CONTROL; tokens.len()];
    if let Some(unknown) = specials.unknown {
        types[unknown as usize] = UNKNOWN;
    }
    let mut scores = vec![0f32; tokens.len()];
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    types.resize(tokens.len(), BYTE);
    scores.resize(tokens.len(), 0.0);
    tokens.extend(PIECES.iter().map(|&p| p.to_owned()));
    // SentencePiece merges the pair with the highest score first; single characters rank below all pieces.
    scores.extend((0..PIECES.len()).map(|i| -(i as f32)));
    tokens.extend(CHARACTERS.chars().map(String::from));
    scores.extend((0..CHARACTERS.chars().count()).map(|i| -1000.0 - i as f32));
    types.resize(tokens.len(), NORMAL);
    fill(&mut tokens, &mut types);
    scores.resize(tokens.len(), -10_000.0);
    file.set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.pre", "default");
    file.set("tokenizer.ggml.tokens", tokens.iter().collect::<StringArray>());
    file.set("tokenizer.ggml.scores", scores)
        .set("tokenizer.ggml.token_type", types);
    file.set("tokenizer.ggml.add_space_prefix", add_space_prefix);
    roles(file, specials);
}

/// Appends unused tokens up to [`SIZE`].
fn fill(tokens: &mut Vec<String>, types: &mut Vec<i32>) {
    assert!(tokens.len() <= SIZE, "the vocabulary has {} tokens", tokens.len());
    tokens.extend((0..SIZE - tokens.len()).map(|i| format!("<unused{i}>")));
    types.resize(SIZE, UNUSED);
}

fn roles(file: &mut GgufWriter, specials: &Specials) {
    file.set("tokenizer.ggml.bos_token_id", specials.bos)
        .set("tokenizer.ggml.eos_token_id", specials.eos);
    if let Some(id) = specials.unknown {
        file.set("tokenizer.ggml.unknown_token_id", id);
    }
    if let Some(id) = specials.padding {
        file.set("tokenizer.ggml.padding_token_id", id);
    }
    file.set("tokenizer.ggml.add_bos_token", specials.add_bos)
        .set("tokenizer.ggml.add_eos_token", false);
}

/// The printable character that stands for each byte in byte-level BPE, in order of the bytes: a byte that is a
/// printable Latin-1 character stands for itself, the others for U+0100 and up (GPT-2's `bytes_to_unicode`).
fn byte_characters() -> impl Iterator<Item = char> {
    let mut next = 0x100;
    (0..=255u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("at most U+0143")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_characters_are_those_of_gpt2() {
        let all: Vec<char> = byte_characters().collect();
        assert_eq!(
            (all[b' ' as usize], all[b'\n' as usize], all[0xad]),
            ('Ġ', 'Ċ', 'Ń')
        );
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 256);
    }

    #[test]
    fn every_merge_joins_tokens_that_exist() {
        let mut known: Vec<String> = byte_characters().map(String::from).collect();
        for (a, b) in MERGES {
            assert!(
                known.iter().any(|t| t == a) && known.iter().any(|t| t == b),
                "{a} {b}"
            );
            known.push(format!("{a}{b}"));
        }
    }

    #[test]
    fn every_piece_joins_two_that_exist() {
        let mut known: Vec<String> = CHARACTERS.chars().map(String::from).collect();
        for piece in PIECES {
            let splits = piece.char_indices().skip(1).map(|(i, _)| piece.split_at(i));
            let made = splits
                .into_iter()
                .any(|(a, b)| known.iter().any(|t| t == a) && known.iter().any(|t| t == b));
            assert!(made, "{piece}");
            known.push((*piece).to_owned());
        }
    }
}
