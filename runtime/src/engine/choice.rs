//! One completion under way: from rows of logits to tokens and text.

use super::lookup::Lookup;
use super::request::{Completion, Finish, Request, Vocabulary};
use crate::error::Error;
use crate::sampling::{Candidates, Logprobs, Restriction, Sampler, logprobs};
use crate::schedule::{Ended, Reason};
use crate::text::TextStream;
use std::time::Instant;

/// A choice of a request.
pub(super) struct Choice {
    sampler: Sampler,
    text: TextStream,
    /// The prompt and what was made.
    history: Vec<u32>,
    prompt: usize,
    logprobs: Vec<Logprobs>,
    /// Why it ended, once it did for a reason that the scheduler does not know.
    finish: Option<Result<Finish, Error>>,
    lookup: Lookup,
    drafts: (usize, usize),
    start: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What picking a token needs beside the choice.
pub(super) struct Means<'a> {
    pub request: &'a Request,
    pub vocabulary: &'a dyn Vocabulary,
    pub candidates: &'a mut Candidates,
    /// Where text goes; returns whether more is wanted.
    pub show: &'a mut dyn FnMut(&str) -> bool,
}

impl Choice {
    pub(super) fn new(request: &Request, sampler: Sampler, start: Instant) -> Choice {
        Choice {
            sampler,
            text: TextStream::new(&request.stop),
            history: request.prompt.clone(),
            prompt: request.prompt.len(),
            logprobs: Vec::new(),
            finish: None,
            lookup: Lookup::default(),
            drafts: (0, 0),
            start,
            first: None,
            last: None,
        }
    }

    /// Tokens made so far.
    pub(super) fn made(&self) -> &[u32] {
        &self.history[self.prompt..]
    }

    /// Picks tokens from rows of logits: the row after the last token, then one after each token of `draft`. A draft is
    /// right where it is what is picked; so what is made is what would be made without drafts. Returns whether the choice
    /// ends.
    pub(super) fn take<'l>(
        &mut self,
        rows: impl Iterator<Item = &'l [f32]>,
        draft: &[u32],
        means: &mut Means,
    ) -> bool {
        self.drafts.0 += draft.len();
        let mut guesses = draft.iter();
        for logits in rows {
            match self.pick(logits, means) {
                Err(error) => self.finish = Some(Err(error)),
                Ok(token) => {
                    self.add(token, means);
                    let right = self.finish.is_none() && guesses.next() == Some(&token);
                    self.drafts.1 += usize::from(right);
                    if right {
                        continue;
                    }
                }
            }
            break;
        }
        self.last = Some(Instant::now());
        self.first = self.first.or(self.last);
        self.finish.is_some()
    }

    fn pick(&mut self, logits: &[f32], means: &mut Means) -> Result<u32, Error> {
        let request = means.request;
        let no_stop = request.ignore_stop_tokens || self.made().len() < request.min_tokens;
        let restriction = Restriction {
            banned: if no_stop { &request.stop_tokens } else { &[] },
            ..Restriction::default()
        };
        let token = self
            .sampler
            .sample(logits, &self.history, restriction, means.candidates)
            .ok_or(Error::NoToken)?;
        if let Some(top) = request.logprobs {
            self.logprobs.push(logprobs(logits, token, top));
        }
        Ok(token)
    }

    fn add(&mut self, token: u32, means: &mut Means) {
        self.history.push(token);
        if means.request.stop_tokens.contains(&token) {
            self.finish = Some(Ok(Finish::Stop));
            return;
        }
        let mut wanted = true;
        let bytes = means.vocabulary.token_bytes(token);
        self.text.push(bytes, &mut |text| wanted &= (means.show)(text));
        if self.text.stopped() {
            self.finish = Some(Ok(Finish::Stop));
        } else if !wanted {
            self.finish = Some(Ok(Finish::Cancelled));
        }
    }

    /// Tokens that may follow, by what followed the last few before.
    pub(super) fn guess(&mut self, most: usize) -> &[u32] {
        self.lookup.guess(&self.history, most)
    }

    /// What came of it, and the rest of its text.
    pub(super) fn end(mut self, ended: &Ended, show: &mut dyn FnMut(&str)) -> Result<Completion, Error> {
        let finish = match (self.finish.take(), ended.reason) {
            (Some(result), _) => result?,
            (None, Reason::Stopped) => Finish::Stop,
            (None, Reason::Length) => Finish::Length,
            (None, Reason::Cancelled) => Finish::Cancelled,
            (None, Reason::Expired) => Finish::Expired,
        };
        if finish != Finish::Cancelled {
            self.text.finish(show);
        }
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        Ok(Completion {
            prompt_tokens: self.prompt,
            cached_tokens: ended.cached_tokens,
            finish,
            drafts: self.drafts,
            prefill: first - self.start,
            decode: self.last.unwrap_or(first) - first,
            logprobs: self.logprobs,
            tokens: self.history.split_off(self.prompt),
        })
    }
}
