//! One completion under way: from rows of logits to tokens and text.

use super::drafter::Wanted;
use super::lookup::Lookup;
use super::request::{Completion, Event, Finish, Request, Vocabulary};
use crate::constrain::{Guide, Masks};
use crate::error::Error;
use crate::sampling::{Candidates, Logprobs, Restriction, Sampler, logprobs};
use crate::schedule::{ChoiceId, Ended, Reason};
use crate::text::TextStream;
use std::collections::VecDeque;
use std::time::Instant;

/// What is known of the token after a row.
#[derive(Clone, Copy)]
pub(super) enum Row<'l> {
    Logits(&'l [f32]),
    /// The place of the largest logit alone, where any is finite.
    Largest(Option<u32>),
}

/// A choice of a request.
pub(super) struct Choice {
    sampler: Sampler,
    text: TextStream,
    /// The prompt and what was made.
    history: Vec<u32>,
    prompt: usize,
    /// Most tokens to make.
    most: usize,
    /// What the text must be.
    guide: Option<Guide>,
    /// Tokens that must come next, and were not added yet.
    forced: VecDeque<u32>,
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
    /// The choice's number.
    pub choice: u32,
    /// Where tokens and text go; returns whether more is wanted.
    pub show: &'a mut dyn FnMut(Event) -> bool,
}

impl Choice {
    /// A choice that may make `most` tokens.
    pub(super) fn new(request: &Request, sampler: Sampler, most: usize, start: Instant) -> Choice {
        let mut guide = request
            .constraint
            .as_ref()
            .map(|grammar| Guide::new(grammar, &request.constrain_from));
        Choice {
            sampler,
            most,
            forced: guide.as_mut().map(Guide::forced).unwrap_or_default().into(),
            guide,
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

    /// Guesses that were right so far.
    pub(super) fn right(&self) -> usize {
        self.drafts.1
    }

    /// Whether the largest logit of each row is all that the next tokens need, of which so many are guessed.
    pub(super) fn needs_largest(&self, request: &Request, guessed: usize) -> bool {
        let free = |guide: &Guide| !guide.is_active() && guessed == 0;
        self.sampler.is_plain_greedy()
            && request.logprobs.is_none()
            && self.guide.as_ref().is_none_or(free)
            && self.banned(request).is_empty()
    }

    /// Tokens that may not come next.
    fn banned<'r>(&self, request: &'r Request) -> &'r [u32] {
        let no_stop = request.ignore_stop_tokens || self.made().len() < request.min_tokens;
        if no_stop { &request.stop_tokens } else { &[] }
    }

    /// Picks tokens from rows: the row after the last token, then one after each token of `draft`. A draft is
    /// right where it is what is picked; so what is made is what would be made without drafts. Returns whether the choice
    /// ends.
    pub(super) fn take<'l>(
        &mut self,
        mut rows: impl Iterator<Item = Row<'l>>,
        draft: &[u32],
        means: &mut Means,
    ) -> bool {
        self.drafts.0 += draft.len();
        let mut guesses = draft.iter();
        while let (None, Some(row)) = (&self.finish, rows.next()) {
            let before = self.history.len();
            if let Err(error) = self.advance(row, means) {
                self.finish = Some(Err(error));
            }
            let new = &self.history[before..];
            let right = new
                .iter()
                .take_while(|&token| guesses.next() == Some(token))
                .count();
            self.drafts.1 += right;
            if right < new.len() {
                break;
            }
            // Rows between tokens that came at once.
            (1..new.len()).for_each(|_| _ = rows.next());
        }
        self.last = Some(Instant::now());
        self.first = self.first.or(self.last);
        self.finish.is_some()
    }

    /// Picks a token, and adds those that must follow it.
    fn advance(&mut self, row: Row, means: &mut Means) -> Result<(), Error> {
        let token = match self.forced.pop_front() {
            Some(token) => token,
            None => self.pick(row, means)?,
        };
        if let (Some(top), Row::Logits(logits)) = (means.request.logprobs, row) {
            let (choice, logprobs) = (means.choice, logprobs(logits, token, top));
            (means.show)(Event::Token {
                choice,
                logprobs: &logprobs,
            });
            self.logprobs.push(logprobs);
        }
        self.add(token, means)?;
        self.force(means)
    }

    /// Adds tokens that the constraint leaves no choice of, as far as they need no logits for their log-probabilities.
    fn force(&mut self, means: &mut Means) -> Result<(), Error> {
        if let (Some(guide), true, None) = (&mut self.guide, self.forced.is_empty(), &self.finish) {
            self.forced = guide.forced().into();
        }
        while means.request.logprobs.is_none() && self.finish.is_none() && self.made().len() < self.most {
            match self.forced.pop_front() {
                Some(token) => self.add(token, means)?,
                None => break,
            }
        }
        Ok(())
    }

    fn pick(&mut self, row: Row, means: &mut Means) -> Result<u32, Error> {
        let logits = match row {
            Row::Logits(logits) => logits,
            Row::Largest(place) => return place.ok_or(Error::NoToken),
        };
        let banned = self.banned(means.request);
        let restriction = Restriction {
            allowed: self.guide.as_mut().map(Guide::mask).transpose()?.flatten(),
            banned,
        };
        self.sampler
            .sample(logits, &self.history, restriction, means.candidates)
            .ok_or(Error::NoToken)
    }

    fn add(&mut self, token: u32, means: &mut Means) -> Result<(), Error> {
        self.history.push(token);
        if means.request.stop_tokens.contains(&token) {
            self.finish = Some(Ok(Finish::Stop));
            return Ok(());
        }
        let mut wanted = true;
        if let Some(guide) = &mut self.guide {
            guide.take(token, means.vocabulary.spelled_bytes(token))?;
            if guide.is_done() {
                self.finish = Some(Ok(Finish::Stop));
            }
        }
        let bytes = match means.request.spelled.contains(&token) {
            true => means.vocabulary.spelled_bytes(token),
            false => means.vocabulary.token_bytes(token),
        };
        let choice = means.choice;
        self.text.push(bytes, &mut |text| {
            wanted &= (means.show)(Event::Text { choice, text })
        });
        if self.text.stopped() {
            self.finish = Some(Ok(Finish::Stop));
        } else if !wanted {
            self.finish = Some(Ok(Finish::Cancelled));
        }
        Ok(())
    }

    /// Guesses at what follows: what must, or at most `most` tokens by what followed the last few before.
    pub(super) fn guess(&mut self, most: usize) -> Vec<u32> {
        if !self.forced.is_empty() || most == 0 {
            return self.forced.iter().copied().collect();
        }
        let guess = self.lookup.guess(&self.history, most);
        let allowed = self
            .guide
            .as_mut()
            .map_or(guess.len(), |guide| guide.allows(guess));
        guess[..allowed].to_vec()
    }

    /// What a smaller model is to write ahead of it, at most `most` tokens.
    pub(super) fn wanted<'a>(&'a mut self, id: ChoiceId, request: &'a Request, most: usize) -> Wanted<'a> {
        let most = most.min(self.most - self.made().len());
        Wanted {
            id,
            history: self.history.clone(),
            sampler: self.sampler.clone(),
            guide: self.guide.as_mut(),
            stop_tokens: &request.stop_tokens,
            most,
            drafts: Vec::new(),
        }
    }

    /// Has the mask for the next token computed from now on.
    pub(super) fn prepare(&mut self, masks: &Masks) {
        if let (Some(guide), true) = (&mut self.guide, self.forced.is_empty()) {
            guide.prepare(masks);
        }
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
