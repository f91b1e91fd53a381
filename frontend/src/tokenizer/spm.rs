//! SentencePiece's BPE (`llama` vocabularies): the pair whose joined token has the best score is merged first, leftmost
//! among equals; what ends up in no token is spelled in byte tokens.
//!
//! The `tokenizers` crate ranks merges by pair, not by the score of the result, which gives other ids where one token
//! can be joined from two pairs, or scores are equal. Hence this loop of our own; it also loads faster, having no table
//! of merges to make.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::bytes::{SPACE_MARK, byte_token};
use super::tables::{Sections, View};
use super::vocab::{TOKENS, TokenKind, Vocab};
use crate::Error;
use crate::gguf::Metadata;

const SCORES: &str = "tokenizer.ggml.scores";

/// Scores and byte tokens of a SentencePiece vocabulary.
pub(super) struct SentencePiece {
    /// Bits of the f32 score of each token.
    scores: View,
    /// The token of each byte, or the unknown token.
    bytes: Vec<u32>,
    /// Length in bytes of the longest token.
    longest: usize,
    /// Whether text that begins or follows a special token gets a space in front.
    add_space_prefix: bool,
}

/// What is small of a SentencePiece vocabulary.
#[derive(Serialize, Deserialize)]
pub(super) struct SpmFacts {
    bytes: Vec<u32>,
    longest: usize,
    add_space_prefix: bool,
}

/// A run of text that is one symbol so far; `len` is 0 once it is merged into its left neighbour.
struct Symbol {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
}

/// No neighbour.
const NONE: usize = usize::MAX;

/// A pair of neighbours that would make a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length of both when the pair was found: another one by now means that the pair is out of date.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    pub(super) fn new(
        metadata: &Metadata,
        vocab: &Vocab,
        unk: Option<u32>,
        add_space_prefix: bool,
    ) -> Result<Self, Error> {
        let scores = metadata.f32_array(SCORES)?;
        vocab.check_len(metadata, SCORES, scores.len())?;
        // Adding zero makes one of the two zeros, which must not rank differently.
        let scores = scores.into_iter().map(|score| (score + 0.0).to_bits()).collect();
        let bytes = byte_ids(metadata, vocab, unk)?;
        let longest = vocab.iter().map(|(_, text, _)| text.len()).max().unwrap_or(0);
        Ok(SentencePiece {
            scores,
            bytes,
            longest,
            add_space_prefix,
        })
    }

    /// What [`SentencePiece::read`] reads.
    pub(super) fn sections(&self) -> [&[u8]; 1] {
        [self.scores.bytes()]
    }

    /// What the tables say in JSON.
    pub(super) fn facts(&self) -> SpmFacts {
        SpmFacts {
            bytes: self.bytes.clone(),
            longest: self.longest,
            add_space_prefix: self.add_space_prefix,
        }
    }

    pub(super) fn read(sections: &mut Sections, facts: SpmFacts) -> Result<Self, Error> {
        if facts.bytes.len() != 256 {
            return Err(Error::Tables("a vocabulary without 256 byte tokens".into()));
        }
        Ok(SentencePiece {
            scores: sections.next()?,
            bytes: facts.bytes,
            longest: facts.longest,
            add_space_prefix: facts.add_space_prefix,
        })
    }

    /// Appends the ids of `text`; `after_special` says that a special token or nothing precedes it.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, after_special: bool, out: &mut Vec<u32>) {
        let prefix = (self.add_space_prefix && after_special).then_some(SPACE_MARK);
        let marked = text.chars().map(|c| if c == ' ' { SPACE_MARK } else { c });
        let text: String = prefix.into_iter().chain(marked).collect();
        let mut symbols = characters(&text);
        self.merge(vocab, &text, &mut symbols);
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.len];
            match token(vocab, piece) {
                Some(id) => out.push(id),
                None => out.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }

    fn merge(&self, vocab: &Vocab, text: &str, symbols: &mut [Symbol]) {
        let starts = 1..symbols.len();
        let mut queue: BinaryHeap<Pair> = starts
            .filter_map(|right| self.pair(vocab, text, symbols, right - 1, right))
            .collect();
        while let Some(Pair { left, right, len, .. }) = queue.pop() {
            if symbols[left].len == 0
                || symbols[right].len == 0
                || symbols[left].len + symbols[right].len != len
            {
                continue;
            }
            let (prev, next) = (symbols[left].prev, symbols[right].next);
            symbols[left].len = len;
            symbols[left].next = next;
            symbols[right].len = 0;
            if next != NONE {
                symbols[next].prev = left;
            }
            queue.extend(self.pair(vocab, text, symbols, prev, left));
            queue.extend(self.pair(vocab, text, symbols, left, next));
        }
    }

    /// The pair of two neighbours, if it makes a token.
    fn pair(&self, vocab: &Vocab, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        if left == NONE || right == NONE {
            return None;
        }
        let len = symbols[left].len + symbols[right].len;
        if len > self.longest {
            return None;
        }
        let id = token(vocab, &text[symbols[left].start..symbols[left].start + len])?;
        let score = f32::from_bits(self.scores.get(id as usize)?);
        Some(Pair {
            score,
            left,
            right,
            len,
        })
    }
}

/// The token of a text that plain text may make: control tokens are none of them.
fn token(vocab: &Vocab, text: &str) -> Option<u32> {
    let id = vocab.id(text)?;
    match vocab.kind(id)? {
        TokenKind::Control | TokenKind::Unknown => None,
        _ => Some(id),
    }
}

fn characters(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(i, (start, c))| Symbol {
            start,
            len: c.len_utf8(),
            prev: i.wrapping_sub(1),
            next: i + 1,
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

/// The ids for bytes that no token covers: byte tokens, or the unknown token where a vocabulary has none.
fn byte_ids(metadata: &Metadata, vocab: &Vocab, unk: Option<u32>) -> Result<Vec<u32>, Error> {
    let mut ids = vec![unk; 256];
    for (id, text, kind) in vocab.iter() {
        if kind == TokenKind::Byte
            && let Some(byte) = byte_token(text)
        {
            ids[usize::from(byte)] = Some(id);
        }
    }
    let missing = |byte: usize| {
        metadata.reject(
            TOKENS,
            format!("neither a token <0x{byte:02X}> for that byte nor an unknown token"),
        )
    };
    ids.into_iter()
        .enumerate()
        .map(|(byte, id)| id.ok_or_else(|| missing(byte)))
        .collect()
}
