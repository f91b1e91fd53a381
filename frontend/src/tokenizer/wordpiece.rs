//! WordPiece (`bert` vocabularies) by the `tokenizers` crate: BERT's normalizer and word rules, then longest match.
//! GGUF writes a piece that starts a word with `▁` and one inside a word bare; the crate wants the latter with `##`.

use serde::{Deserialize, Serialize};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::bytes::SPACE_MARK;
use super::vocab::{TokenKind, Vocab};
use crate::Error;
use crate::error::shown;
use crate::gguf::Metadata;

const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
/// BERT's limit: a longer word is unknown.
const MAX_WORD_CHARS: usize = 100;

/// What makes a WordPiece model of a vocabulary.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BertFacts {
    unknown: u32,
    lowercase: bool,
    strip_accents: bool,
}

/// A WordPiece vocabulary.
pub(super) struct Bert {
    facts: BertFacts,
    model: WordPiece,
    normalizer: BertNormalizer,
}

impl Bert {
    pub(super) fn new(metadata: &Metadata, vocab: &Vocab, unk: Option<u32>) -> Result<Self, Error> {
        let unknown = unk.filter(|&id| vocab.text(id).is_some_and(|text| !text.is_empty()));
        let unknown = unknown
            .ok_or_else(|| metadata.reject(UNKNOWN, "a WordPiece vocabulary needs an unknown token"))?;
        let lowercase = metadata.opt_bool(LOWERCASE)?.unwrap_or(true);
        let facts = BertFacts {
            unknown,
            lowercase,
            strip_accents: metadata.opt_bool(STRIP_ACCENTS)?.unwrap_or(lowercase),
        };
        Bert::of_facts(vocab, facts).map_err(|error| metadata.reject("tokenizer.ggml.tokens", error))
    }

    /// What the tables say in JSON.
    pub(super) fn facts(&self) -> BertFacts {
        self.facts.clone()
    }

    /// The model of a vocabulary, or what is wrong with it.
    pub(super) fn of_facts(vocab: &Vocab, facts: BertFacts) -> Result<Self, String> {
        let unk = vocab.text(facts.unknown).unwrap_or_default();
        let mut pieces = tokenizers::models::bpe::Vocab::with_capacity(vocab.len() as usize);
        for (id, text, kind) in vocab.iter() {
            let piece = match (text.strip_prefix(SPACE_MARK), kind) {
                (Some(start), _) => start.to_owned(),
                (None, TokenKind::Normal) => format!("##{text}"),
                (None, _) => text.to_owned(),
            };
            pieces.entry(piece).or_insert(id);
        }
        // Under its own text whatever its kind says, for the crate looks it up.
        pieces.insert(unk.to_owned(), facts.unknown);
        let model = WordPiece::builder()
            .vocab(pieces)
            .unk_token(unk.to_owned())
            .continuing_subword_prefix("##".into())
            .max_input_chars_per_word(MAX_WORD_CHARS)
            .build()
            .map_err(|error| shown(&error.to_string()))?;
        let normalizer = BertNormalizer::new(true, true, Some(facts.strip_accents), facts.lowercase);
        Ok(Bert {
            facts,
            model,
            normalizer,
        })
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut normalized = NormalizedString::from(text);
        self.normalizer
            .normalize(&mut normalized)
            .expect("BERT's normalizer does not fail");
        let mut words = PreTokenizedString::from(normalized);
        BertPreTokenizer
            .pre_tokenize(&mut words)
            .expect("BERT's word rules do not fail");
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            // The crate fails only where the unknown token is not in the vocabulary; it was taken from there.
            let tokens = self
                .model
                .tokenize(word)
                .expect("the unknown token is in the vocabulary");
            out.extend(tokens.iter().map(|token| token.id));
        }
    }
}
