//! A model's vocabulary as the grammar compiler wants it: a trie of what tokens stand for, and the model's own way to cut
//! text into tokens.

use super::error::ConstraintError;
use lathe_frontend::tokenizer::{EncodeOptions, TokenKind, Tokenizer};
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use std::sync::Arc;

/// Longest token that can be part of constrained text, in bytes; the trie holds 1024.
const LONGEST: usize = 1000;
/// Most bytes of all tokens: what the trie can number.
const MOST_BYTES: usize = 4_000_000;
/// Most tokens: what the trie can number.
const MOST_TOKENS: u32 = 1 << 23;
/// No token at all.
const NONE: TokenId = u32::MAX;

/// A vocabulary and its trie.
struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

/// The environment of a model's vocabulary.
///
/// # Errors
/// Where the vocabulary is larger than a trie can be.
pub(super) fn environment(tokenizer: &Arc<Tokenizer>) -> Result<TokEnv, ConstraintError> {
    let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size())
        .map(|id| word(tokenizer, id))
        .collect();
    let bytes: usize = words.iter().map(Vec::len).sum();
    if bytes > MOST_BYTES || tokenizer.vocab_size() > MOST_TOKENS {
        return Err(ConstraintError::new(
            "the vocabulary is too large for constraints",
        ));
    }
    let ends = &tokenizer.special().eog;
    let info = TokRxInfo::new(tokenizer.vocab_size(), ends.first().copied().unwrap_or(NONE));
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(ends);
    }
    let tokenizer = tokenizer.clone();
    Ok(Arc::new(Vocabulary { trie, tokenizer }))
}

/// What a token stands for: text, or after a mark that no text has, the name of a control token; nothing where it can't be
/// part of constrained text.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let control = tokenizer.is_special(id) || tokenizer.is_eog(id);
    match tokenizer.token_kind(id) {
        Some(TokenKind::Unused | TokenKind::Unknown) => Vec::new(),
        _ if bytes.len() > LONGEST => Vec::new(),
        _ if control => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
        _ => bytes.to_vec(),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let encode = |text: &str| self.tokenizer.encode(text, EncodeOptions::PLAIN);
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }

    /// Whether text in the middle of a sequence is cut as it is here: not where a space is put in front.
    fn tokenize_is_canonical(&self) -> bool {
        !self.tokenizer.adds_space()
    }
}
