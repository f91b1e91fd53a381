//! What the engine is asked for, and what it answers.

use super::embedding::Embedding;
use crate::constrain::{Grammar, Start};
use crate::error::Error;
use crate::sampling::{Logprobs, SamplingParams};
use std::time::Duration;

/// What the engine must know of a vocabulary to turn tokens into text.
pub trait Vocabulary: Send + Sync {
    /// The bytes that a token stands for; none for control tokens.
    fn token_bytes(&self, token: u32) -> &[u8];

    /// The same, and what control tokens are called.
    fn spelled_bytes(&self, token: u32) -> &[u8] {
        self.token_bytes(token)
    }
}

/// Completions of one prompt.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// How to pick tokens. Choice `i` starts its random sequence from the seed plus `i`.
    pub sampling: SamplingParams,
    /// Most tokens to make; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Tokens to make before a stop token may be picked.
    pub min_tokens: usize,
    /// Never picks a stop token.
    pub ignore_stop_tokens: bool,
    /// Reports the log-probability of each token, and of so many of the most likely ones in its place.
    pub logprobs: Option<usize>,
    /// Strings that end the text; they are not shown.
    pub stop: Vec<String>,
    /// Tokens that end the sequence.
    pub stop_tokens: Vec<u32>,
    /// Control tokens whose names are part of the text, such as those around calls of tools.
    pub spelled: Vec<u32>,
    /// How many completions to make, each a choice; at least 1.
    pub choices: u32,
    /// Higher goes first.
    pub priority: i32,
    /// How long after its arrival to give up.
    pub timeout: Option<Duration>,
    /// Most tokens to guess ahead from what was said before (prompt lookup); 0 for none. What is made does not change.
    pub lookup: usize,
    /// Most tokens that a smaller model, where the engine has one, writes ahead in a step; how many it does is tuned. What
    /// is made does not change.
    pub draft: usize,
    /// What the text must be; it ends where nothing can follow. `ignore_stop_tokens` and `min_tokens` don't outlive it.
    pub constraint: Option<Grammar>,
    /// Where in the text the constraint begins.
    pub constrain_from: Start,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            prompt: Vec::new(),
            sampling: SamplingParams::default(),
            max_tokens: None,
            min_tokens: 0,
            ignore_stop_tokens: false,
            logprobs: None,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            spelled: Vec::new(),
            choices: 1,
            priority: 0,
            timeout: None,
            lookup: 0,
            draft: 0,
            constraint: None,
            constrain_from: Start::Now,
        }
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// A stop token or stop string.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// Nobody wants it any more.
    Cancelled,
    /// Its time was over.
    Expired,
}

/// What came of a choice.
#[derive(Clone, PartialEq, Debug)]
pub struct Completion {
    /// Tokens made, the stop token included.
    pub tokens: Vec<u32>,
    /// For each token, what the model thought of it, where the request asks for that; else empty.
    pub logprobs: Vec<Logprobs>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose keys and values were there already.
    pub cached_tokens: usize,
    /// Tokens guessed ahead, and those of them that were right.
    pub drafts: (usize, usize),
    /// Time from submission to the first token.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
}

/// Something that happened to a request.
#[derive(Debug)]
pub enum Event<'a> {
    /// A token of a choice that asks for log-probabilities, before its text. The answer counts for nothing.
    Token {
        /// Which choice.
        choice: u32,
        /// What the model thought of it.
        logprobs: &'a Logprobs,
    },
    /// More text of a choice.
    Text {
        /// Which choice.
        choice: u32,
        /// The text.
        text: &'a str,
    },
    /// The end of a request for an embedding.
    Embedding {
        /// What came of it.
        result: Result<Embedding, Error>,
    },
    /// The end of a choice.
    Done {
        /// Which choice.
        choice: u32,
        /// What came of it.
        result: Result<Completion, Error>,
    },
}
