//! The vocabulary: token texts and kinds by id, and ids by text. Texts are as the file holds them (byte-level
//! characters, `▁` for a space); `bytes` turns them into what they stand for.

use super::tables::{Sections, Strings, View, hash};
use crate::Error;
use crate::gguf::Metadata;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Longest token text, in bytes: far beyond real ones, and a bound on what a damaged file can make us do.
const MAX_TOKEN_LEN: usize = 4096;
const KINDS: &str = "tokenizer.ggml.token_type";

/// What kind of token an id is (`tokenizer.ggml.token_type` in the GGUF specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// Ordinary text.
    Normal = 1,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Structure, such as BOS or the start of a turn: never made from plain text.
    Control,
    /// Added text that is always one token.
    UserDefined,
    /// Padding of the vocabulary.
    Unused,
    /// One byte, spelled `<0xAB>`.
    Byte,
}

impl TokenKind {
    fn from_gguf(number: i32) -> Option<Self> {
        Some(match number {
            // 0 is "undefined"; llama.cpp treats it as ordinary text.
            0 | 1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }
}

/// Token texts and kinds, with an index from text to id.
pub(super) struct Vocab {
    texts: Strings,
    /// Numbers of kinds, as the file has them.
    kinds: Vec<u8>,
    index: Index,
}

impl Vocab {
    /// Reads the token list and the kinds.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Self, Error> {
        let texts = metadata.str_array(TOKENS)?;
        if texts.is_empty() {
            return Err(metadata.reject(TOKENS, "the vocabulary is empty"));
        }
        if u32::try_from(texts.len()).is_err() {
            return Err(metadata.reject(TOKENS, format!("{} tokens are more than ids reach", texts.len())));
        }
        if let Some(id) = texts.iter().position(|text| text.len() > MAX_TOKEN_LEN) {
            return Err(metadata.reject(TOKENS, format!("token {id} is longer than {MAX_TOKEN_LEN} bytes")));
        }
        let kinds = match metadata.opt_i32_array(KINDS)? {
            Some(numbers) => read_kinds(metadata, &numbers, texts.len())?,
            None => vec![TokenKind::Normal as u8; texts.len()],
        };
        if texts.iter().map(|text| text.len() as u64).sum::<u64>() > u32::MAX.into() {
            return Err(metadata.reject(TOKENS, "the texts are longer than 4 GiB"));
        }
        let texts = Strings::new(texts.iter().map(str::as_bytes));
        let index = Index::new(&texts);
        Ok(Vocab { texts, kinds, index })
    }

    /// What [`Vocab::read`] reads.
    pub(super) fn sections(&self) -> [&[u8]; 4] {
        let [bytes, ends] = self.texts.sections();
        [bytes, ends, &self.kinds, self.index.slots.bytes()]
    }

    /// A vocabulary of an index with this seed.
    pub(super) fn read(sections: &mut Sections, seed: u64) -> Result<Vocab, Error> {
        let texts = Strings::read(sections)?;
        let kinds = sections.next()?.bytes().to_vec();
        let slots = sections.next()?;
        let len = slots.len() / 2;
        if kinds.len() != texts.len() || !len.is_power_of_two() || u32::try_from(texts.len()).is_err() {
            return Err(Error::Tables(
                "a vocabulary whose tables do not fit together".into(),
            ));
        }
        let index = Index { seed, slots };
        Ok(Vocab { texts, kinds, index })
    }

    /// The seed of the index.
    pub(super) fn seed(&self) -> u64 {
        self.index.seed
    }

    /// The number of tokens; ids are below it.
    pub(super) fn len(&self) -> u32 {
        self.texts.len() as u32
    }

    /// The text of a token as the file holds it.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        text_of(&self.texts, id)
    }

    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        TokenKind::from_gguf((*self.kinds.get(id as usize)?).into())
    }

    pub(super) fn set_kind(&mut self, id: u32, kind: TokenKind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind as u8;
        }
    }

    /// The id of a text; the first one where a vocabulary has it twice. The empty text has none.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.index.get(&self.texts, text)
    }

    /// All tokens in order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, TokenKind)> {
        (0..self.len()).filter_map(|id| Some((id, self.text(id)?, self.kind(id)?)))
    }

    /// The ids of tokens that `wanted` takes by their kind.
    pub(super) fn of_kind(&self, wanted: impl Fn(TokenKind) -> bool) -> impl Iterator<Item = u32> {
        let kinds = self.kinds.iter().zip(0..);
        kinds.filter_map(move |(&kind, id)| wanted(TokenKind::from_gguf(kind.into())?).then_some(id))
    }

    /// An array with one entry a token, as long as the vocabulary.
    pub(super) fn check_len(&self, metadata: &Metadata, key: &str, len: usize) -> Result<(), Error> {
        check_len(metadata, key, len, self.texts.len())
    }
}

/// The text of a token.
fn text_of(texts: &Strings, id: u32) -> Option<&str> {
    std::str::from_utf8(texts.get(id as usize)?).ok()
}

fn read_kinds(metadata: &Metadata, numbers: &[i32], tokens: usize) -> Result<Vec<u8>, Error> {
    check_len(metadata, KINDS, numbers.len(), tokens)?;
    let kind = |(id, &number): (usize, &i32)| {
        TokenKind::from_gguf(number)
            .map(|kind| kind as u8)
            .ok_or_else(|| {
                metadata.reject(
                    KINDS,
                    format!("token {id} has the unknown kind {number} (0 to 6 are known)"),
                )
            })
    };
    numbers.iter().enumerate().map(kind).collect()
}

fn check_len(metadata: &Metadata, key: &str, len: usize, tokens: usize) -> Result<(), Error> {
    if len != tokens {
        return Err(metadata.reject(key, format!("it has {len} entries, but `{TOKENS}` has {tokens}")));
    }
    Ok(())
}

/// Open-addressing table from text to id: it borrows the texts at each use, so it owns no strings, and it is built in
/// one pass without allocating for a token.
struct Index {
    seed: u64,
    /// Hash bits and id + 1 of each slot; id + 1 = 0 marks a free slot. Their number is a power of two.
    slots: View,
}

impl Index {
    fn new(texts: &Strings) -> Self {
        let len = (texts.len() * 2).next_power_of_two();
        let seed = hash(0, texts.sections()[0]);
        let mut slots = vec![[0u32; 2]; len];
        for id in 0..texts.len() as u32 {
            let text = text_of(texts, id).unwrap_or_default();
            let slot = |number: usize| slots.get(number).copied();
            if !text.is_empty()
                && let Some(Err((slot, tag))) = find(texts, text, seed, len, slot)
            {
                slots[slot] = [tag, id + 1];
            }
        }
        Index {
            seed,
            slots: slots.into_iter().flatten().collect(),
        }
    }

    fn get(&self, texts: &Strings, text: &str) -> Option<u32> {
        let len = self.slots.len() / 2;
        find(texts, text, self.seed, len, |number| self.slots.record(number))?.ok()
    }
}

/// The id, or the free slot and the hash bits with which to insert; `None` where there is neither.
fn find(
    texts: &Strings,
    text: &str,
    seed: u64,
    len: usize,
    slot: impl Fn(usize) -> Option<[u32; 2]>,
) -> Option<Result<u32, (usize, u32)>> {
    let hash = hash(seed, text.as_bytes());
    let (start, tag) = (hash as usize, (hash >> 32) as u32);
    for step in 0..len {
        let at = start.wrapping_add(step) & (len - 1);
        match slot(at)? {
            [_, 0] => return Some(Err((at, tag))),
            [found, next] if found == tag && texts.get(next as usize - 1) == Some(text.as_bytes()) => {
                return Some(Ok(next - 1));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Array, StringArray, Value};
    use proptest::prelude::*;

    fn metadata(texts: &[String], kinds: Option<Vec<i32>>) -> Metadata {
        let mut array = StringArray::default();
        texts.iter().for_each(|text| array.push(text));
        let mut metadata = Metadata::new("test.gguf");
        metadata.insert(TOKENS, Value::Array(Array::String(array)));
        if let Some(kinds) = kinds {
            metadata.insert(KINDS, Value::Array(Array::I32(kinds)));
        }
        metadata
    }

    #[test]
    fn bad_arrays_are_named() {
        let texts = ["a".to_string(), "b".to_string()];
        let error = |kinds| {
            Vocab::from_metadata(&metadata(&texts, Some(kinds)))
                .err()
                .unwrap()
                .to_string()
        };
        assert!(
            error(vec![1]).contains("token_type") && error(vec![1]).contains("1 entries"),
            "{}",
            error(vec![1])
        );
        assert!(error(vec![1, 9]).contains("token 1 has the unknown kind 9"));
        assert!(
            Vocab::from_metadata(&metadata(&[], None))
                .err()
                .unwrap()
                .to_string()
                .contains("empty")
        );
        assert!(Vocab::from_metadata(&Metadata::new("x")).is_err());
        let long = Vocab::from_metadata(&metadata(&["a".into(), "b".repeat(4097)], None));
        assert!(
            long.err()
                .unwrap()
                .to_string()
                .contains("token 1 is longer than 4096 bytes")
        );
    }

    proptest! {
        #[test]
        fn the_index_finds_first_ids(texts in prop::collection::vec("[ab]{0,4}", 1..200), other in "[abc]{0,5}") {
            let vocab = Vocab::from_metadata(&metadata(&texts, None)).unwrap();
            for text in texts.iter().chain([&other]) {
                let first = texts.iter().position(|t| t == text).filter(|_| !text.is_empty());
                prop_assert_eq!(vocab.id(text), first.map(|i| i as u32));
            }
        }
    }
}
