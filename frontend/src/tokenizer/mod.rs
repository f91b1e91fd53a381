//! Tokenizers, built from what a GGUF file says of its vocabulary: byte-level BPE (`gpt2`), SentencePiece (`llama`) and
//! WordPiece (`bert`).
//!
//! Here: [`Tokenizer`], which cuts text at special tokens, hands the rest to the model of the vocabulary, and adds BOS
//! and EOS. `vocab` has texts and kinds, `special` the roles, `matcher` finds special tokens in text, `bytes` says what
//! tokens stand for, `pre_list` lists the pre-tokenizers and `pre` applies them; `bpe`, `spm` and `wordpiece` are the
//! models, `tables` what they lie in. The ids are those that llama.cpp gives. Nothing here knows an architecture.

mod bpe;
mod bytes;
mod matcher;
mod pre;
mod pre_list;
mod special;
mod spm;
mod stream;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vocab;
mod wordpiece;

use std::fmt;

use bytes::{Spelling, TokenBytes};
use matcher::{Fragment, Matcher};
use serde::{Deserialize, Serialize};
use special::Defaults;
use tables::Sections;
use vocab::Vocab;

pub use special::SpecialTokens;
pub use stream::DecodeStream;
pub use tables::Shared;
pub use vocab::TokenKind;

use crate::Error;
use crate::error::shown;
use crate::gguf::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// How to encode a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add BOS, EOS or SEP as the vocabulary asks.
    pub add_special: bool,
    /// Take control tokens that are spelled out (`<|im_end|>`) for the tokens. Without it they are plain text, as text
    /// from a stranger should be; added tokens that are no control tokens are found either way.
    pub parse_special: bool,
}

impl EncodeOptions {
    /// For a raw prompt: special tokens are added and parsed.
    pub const PROMPT: Self = Self {
        add_special: true,
        parse_special: true,
    };
    /// For the output of a chat template, which spells out all special tokens.
    pub const TEMPLATED: Self = Self {
        add_special: false,
        parse_special: true,
    };
    /// For plain text: nothing is added, nothing parsed.
    pub const PLAIN: Self = Self {
        add_special: false,
        parse_special: false,
    };
}

/// Text to token ids and back.
pub struct Tokenizer {
    vocab: Vocab,
    special: SpecialTokens,
    matcher: Matcher,
    bytes: TokenBytes,
    model: Model,
    /// Whether encoding put a space in front, which decoding takes away again.
    space_prefix: bool,
}

/// What is small of a tokenizer: the first section of its tables.
#[derive(Serialize, Deserialize)]
struct Facts {
    model: ModelFacts,
    special: SpecialTokens,
    space_prefix: bool,
    /// The seed of hashes.
    seed: u64,
}

#[derive(Serialize, Deserialize)]
enum ModelFacts {
    Bpe { pre: String },
    Spm(spm::SpmFacts),
    WordPiece(wordpiece::BertFacts),
}

enum Model {
    Bpe(Box<bpe::ByteLevelBpe>),
    Spm(spm::SentencePiece),
    WordPiece(Box<wordpiece::Bert>),
}

impl Tokenizer {
    /// Builds the tokenizer that the keys `tokenizer.ggml.*` describe.
    ///
    /// # Errors
    /// A key is missing or has the wrong type, the model or the pre-tokenizer is unknown, or the vocabulary contradicts
    /// itself; the message names the key.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, Error> {
        let name = metadata.str(MODEL)?;
        match name {
            "gpt2" => Self::byte_level_bpe(metadata),
            "llama" => Self::sentence_piece(metadata),
            "bert" => Self::word_piece(metadata),
            _ => Err(metadata.reject(
                MODEL,
                format!(
                    "unknown tokenizer model `{}` (known: gpt2, llama, bert)",
                    shown(name)
                ),
            )),
        }
    }

    fn byte_level_bpe(metadata: &Metadata) -> Result<Self, Error> {
        let mut vocab = Vocab::from_metadata(metadata)?;
        let pre = bpe::pre_tokenizer(metadata)?;
        let defaults = Defaults {
            add_bos: pre.add_bos,
            add_sep: pre.add_sep,
            ..Defaults::default()
        };
        let special = SpecialTokens::new(metadata, &mut vocab, defaults)?;
        let model = Model::Bpe(Box::new(bpe::ByteLevelBpe::new(metadata, &vocab, pre)?));
        Ok(Self::new(vocab, special, model, Spelling::ByteLevel, false))
    }

    fn sentence_piece(metadata: &Metadata) -> Result<Self, Error> {
        let mut vocab = Vocab::from_metadata(metadata)?;
        let defaults = Defaults {
            bos: Some(1),
            eos: Some(2),
            unk: Some(0),
            add_bos: true,
            ..Defaults::default()
        };
        let special = SpecialTokens::new(metadata, &mut vocab, defaults)?;
        let space_prefix = metadata.opt_bool(ADD_SPACE_PREFIX)?.unwrap_or(true);
        let model = Model::Spm(spm::SentencePiece::new(
            metadata,
            &vocab,
            special.unk,
            space_prefix,
        )?);
        Ok(Self::new(
            vocab,
            special,
            model,
            Spelling::SpaceMark,
            space_prefix,
        ))
    }

    fn word_piece(metadata: &Metadata) -> Result<Self, Error> {
        let mut vocab = Vocab::from_metadata(metadata)?;
        let defaults = Defaults {
            bos: Some(101),
            unk: Some(100),
            sep: Some(102),
            pad: Some(0),
            add_bos: true,
            add_sep: true,
            ..Defaults::default()
        };
        let special = SpecialTokens::new(metadata, &mut vocab, defaults)?;
        let model = Model::WordPiece(Box::new(wordpiece::Bert::new(metadata, &vocab, special.unk)?));
        Ok(Self::new(vocab, special, model, Spelling::SpaceMark, true))
    }

    /// The tokenizer as flat tables, from which [`Tokenizer::from_bytes`] makes it again at once.
    pub fn to_bytes(&self) -> Vec<u8> {
        let model = match &self.model {
            Model::Bpe(model) => ModelFacts::Bpe {
                pre: model.pre().to_owned(),
            },
            Model::Spm(model) => ModelFacts::Spm(model.facts()),
            Model::WordPiece(model) => ModelFacts::WordPiece(model.facts()),
        };
        let facts = Facts {
            model,
            special: self.special.clone(),
            space_prefix: self.space_prefix,
            seed: self.vocab.seed(),
        };
        let facts = serde_json::to_vec(&facts).expect("facts are plain data");
        let mut sections: Vec<&[u8]> = vec![&facts];
        sections.extend(self.vocab.sections());
        sections.extend(self.bytes.sections());
        match &self.model {
            Model::Bpe(model) => sections.extend(model.sections()),
            Model::Spm(model) => sections.extend(model.sections()),
            Model::WordPiece(_) => {}
        }
        tables::join(&sections)
    }

    /// A tokenizer over the tables that [`Tokenizer::to_bytes`] gave. They are used where they lie; only added tokens are
    /// gone through. Bytes that are not what was written give an error or other ids.
    ///
    /// # Errors
    /// Where the tables do not fit together.
    pub fn from_bytes(bytes: Shared) -> Result<Self, Error> {
        let mut sections = Sections::new(bytes)?;
        let facts = sections.next()?;
        let facts: Facts =
            serde_json::from_slice(facts.bytes()).map_err(|error| Error::Tables(error.to_string()))?;
        let vocab = Vocab::read(&mut sections, facts.seed)?;
        let bytes = TokenBytes::read(&mut sections)?;
        let model = match facts.model {
            ModelFacts::Bpe { pre } => {
                Model::Bpe(Box::new(bpe::ByteLevelBpe::read(&mut sections, &vocab, &pre)?))
            }
            ModelFacts::Spm(facts) => Model::Spm(spm::SentencePiece::read(&mut sections, facts)?),
            ModelFacts::WordPiece(facts) => {
                let bert = wordpiece::Bert::of_facts(&vocab, facts);
                Model::WordPiece(Box::new(bert.map_err(Error::Tables)?))
            }
        };
        Ok(Tokenizer {
            matcher: Matcher::new(&vocab),
            vocab,
            special: facts.special,
            bytes,
            model,
            space_prefix: facts.space_prefix,
        })
    }

    fn new(
        vocab: Vocab,
        special: SpecialTokens,
        model: Model,
        spelling: Spelling,
        space_prefix: bool,
    ) -> Self {
        let matcher = Matcher::new(&vocab);
        let bytes = TokenBytes::new(&vocab, spelling);
        Tokenizer {
            vocab,
            special,
            matcher,
            bytes,
            model,
            space_prefix,
        }
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<u32> {
        let special = &self.special;
        let added = |wanted: bool, id: Option<u32>| id.filter(|_| wanted && options.add_special);
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        ids.extend(added(special.add_bos, special.bos));
        let mut after_special = true;
        self.matcher
            .split(text, options.parse_special, |fragment| match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    after_special = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, after_special, &mut ids);
                    after_special = false;
                }
            });
        ids.extend(added(special.add_eos, special.eos));
        ids.extend(added(special.add_sep, special.sep));
        ids
    }

    fn encode_text(&self, text: &str, after_special: bool, ids: &mut Vec<u32>) {
        match &self.model {
            Model::Bpe(model) => model.encode(&self.vocab, text, ids),
            Model::Spm(model) => model.encode(&self.vocab, text, after_special, ids),
            Model::WordPiece(model) => model.encode(text, ids),
        }
    }

    /// The text of a whole sequence; `skip_special` leaves control tokens out. Ids past the vocabulary are left out,
    /// bytes that are no UTF-8 become U+FFFD, and the space that encoding put in front of the text is taken away.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = DecodeStream::new();
        let mut text = String::new();
        let mut at_start = self.space_prefix;
        for &id in ids {
            let is_special = self.is_special(id);
            if is_special && skip_special {
                continue;
            }
            let bytes = self.token_bytes(id).unwrap_or_default();
            let bytes = if at_start && !is_special {
                bytes.strip_prefix(b" ").unwrap_or(bytes)
            } else {
                bytes
            };
            at_start &= is_special;
            stream.push(bytes, &mut text);
        }
        stream.finish(&mut text);
        text
    }

    /// The bytes that a token stands for, to be fed to a [`DecodeStream`]; those of a control token spell it out.
    /// `None` past the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id)
    }

    /// Whether a space is put in front of plain text, so that a text in two parts may have other tokens than the whole.
    pub fn adds_space(&self) -> bool {
        self.space_prefix
    }

    /// The number of tokens; all ids are below it.
    pub fn vocab_size(&self) -> u32 {
        self.vocab.len()
    }

    /// The id of a token by its text as the vocabulary spells it.
    pub fn token_to_id(&self, text: &str) -> Option<u32> {
        self.vocab.id(text)
    }

    /// The text of a token as the vocabulary spells it (`Ġthe`, `▁the`).
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// What kind of token an id is.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.vocab.kind(id)
    }

    /// Whether a token is structure rather than text.
    pub fn is_special(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// The tokens with a role.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Beginning of the sequence.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// End of the sequence.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// End of a turn.
    pub fn eot(&self) -> Option<u32> {
        self.special.eot
    }

    /// Whether a token ends a generation.
    pub fn is_eog(&self, id: u32) -> bool {
        self.special.eog.binary_search(&id).is_ok()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = match self.model {
            Model::Bpe(_) => "byte-level BPE",
            Model::Spm(_) => "SentencePiece",
            Model::WordPiece(_) => "WordPiece",
        };
        f.debug_struct("Tokenizer")
            .field("model", &model)
            .field("vocab_size", &self.vocab_size())
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}
