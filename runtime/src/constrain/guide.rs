//! One text under a constraint: which tokens may come next, and which must.
//!
//! Masks are computed on a thread of their own ([`Masks`]) while the model computes the logits that they are for.

use super::error::ConstraintError;
use super::grammars::Grammar;
use super::start::{Begun, Start, Watch};
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

type Mask = Result<SimpleVob, ConstraintError>;

/// Follows one text.
pub struct Guide {
    state: State,
    /// The mask for the next token, once it is known.
    mask: Option<Mask>,
    /// What waits for the constraint to begin.
    waits: Option<Waits>,
    /// The masks at the tokens that may be taken back.
    ahead: Vec<Option<Mask>>,
}

enum Waits {
    /// For the end of this text, of which the end of the text so far may be the beginning.
    After(Vec<u8>, Vec<u8>),
    With(Watch),
}

enum State {
    Here(Box<Matcher>),
    /// The thread of masks has it.
    Away(Receiver<(Box<Matcher>, Mask)>),
    /// It did not come back.
    Lost,
}

impl Guide {
    /// At the start of a text that is under the grammar from `start` on.
    pub fn new(grammar: &Grammar, start: &Start) -> Guide {
        Guide {
            state: State::Here(Box::new(grammar.start())),
            mask: None,
            ahead: Vec::new(),
            waits: match start {
                Start::After(text) if !text.is_empty() => {
                    Some(Waits::After(text.as_bytes().to_vec(), Vec::new()))
                }
                Start::Now | Start::After(_) => None,
                Start::With(openings) => Some(Waits::With(Watch::new(openings))),
            },
        }
    }

    /// Whether the constraint began.
    pub fn is_active(&self) -> bool {
        self.waits.is_none()
    }

    /// A bit for each token that may come next, token 0 the lowest of the first word; `None` where the constraint did not
    /// begin.
    ///
    /// # Errors
    /// Where the mask needs more than the limits allow.
    pub fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        if !self.is_active() {
            return Ok(None);
        }
        self.settle();
        if self.mask.is_none() {
            let mask = self
                .matcher()?
                .compute_mask()
                .map_err(ConstraintError::of_compiler);
            self.mask = Some(mask);
        }
        match &self.mask {
            Some(Ok(mask)) => Ok(Some(mask.as_slice())),
            Some(Err(error)) => Err(error.clone()),
            None => Err(lost()),
        }
    }

    /// Goes on by a token, which stands for `bytes`.
    ///
    /// # Errors
    /// Where the token was not allowed.
    pub fn take(&mut self, token: u32, bytes: &[u8]) -> Result<(), ConstraintError> {
        match &mut self.waits {
            Some(Waits::After(marker, tail)) => {
                tail.extend_from_slice(bytes);
                if tail.windows(marker.len()).any(|part| part == marker) {
                    self.waits = None;
                } else {
                    let rest = tail.len().min(marker.len() - 1);
                    tail.drain(..tail.len() - rest);
                }
                Ok(())
            }
            Some(Waits::With(watch)) => {
                let state = &mut self.state;
                if watch.take(token, bytes, &mut |begun| state.begin(begun)) {
                    self.waits = None;
                }
                Ok(())
            }
            None => {
                self.settle();
                self.mask = None;
                self.matcher()?
                    .consume_token(token)
                    .map_err(ConstraintError::of_compiler)
            }
        }
    }

    /// The tokens that must come next, as the model's tokenizer cuts the text that must; none where there is a choice.
    pub fn forced(&mut self) -> Vec<u32> {
        if !self.is_active() {
            return Vec::new();
        }
        self.settle();
        self.matcher().map_or(Vec::new(), Matcher::compute_ff_tokens)
    }

    /// Whether nothing can follow: the text is complete.
    pub fn is_done(&mut self) -> bool {
        self.settle();
        self.is_active()
            && matches!(&self.state, State::Here(matcher) if matcher.is_stopped() && !matcher.is_error())
    }

    /// How many tokens of a guess the grammar allows.
    pub fn allows(&mut self, guess: &[u32]) -> usize {
        if !self.is_active() {
            return guess.len();
        }
        self.settle();
        let allowed = self.matcher().map(|matcher| matcher.validate_tokens(guess));
        allowed.map_or(0, |allowed| allowed.unwrap_or(0))
    }

    /// Goes on by a token that may be taken back; returns whether it could. Nothing happens where the constraint did not begin.
    pub(crate) fn ahead(&mut self, token: u32) -> bool {
        if !self.is_active() {
            return true;
        }
        self.settle();
        // The mask that is known is kept for after the way back.
        let kept = self.mask.take();
        self.ahead.push(kept);
        self.matcher()
            .is_ok_and(|matcher| matcher.consume_token(token).is_ok())
    }

    /// Takes the tokens of [`Guide::ahead`] back.
    pub(crate) fn back(&mut self) {
        let tokens = self.ahead.len();
        if tokens > 0 {
            self.settle();
            self.mask = self.ahead.drain(..).next().flatten();
            // An error stays with the matcher, and is told when a mask is asked for.
            let _ = self.matcher().map(|matcher| matcher.rollback(tokens));
        }
    }

    /// Has the next mask computed by `masks` from now on.
    pub(crate) fn prepare(&mut self, masks: &Masks) {
        if !self.is_active() || self.mask.is_some() {
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Lost);
        self.state = match state {
            State::Here(matcher) => masks.compute(matcher),
            other => other,
        };
    }

    fn settle(&mut self) {
        if let State::Away(back) = &self.state {
            self.state = match back.recv() {
                Ok((matcher, mask)) => {
                    self.mask = Some(mask);
                    State::Here(matcher)
                }
                Err(_) => State::Lost,
            };
        }
    }

    fn matcher(&mut self) -> Result<&mut Matcher, ConstraintError> {
        match &mut self.state {
            State::Here(matcher) => Ok(matcher),
            _ => Err(lost()),
        }
    }
}

impl State {
    /// Goes on by the tokens that a constraint begins with, if it allows them all.
    fn begin(&mut self, begun: &Begun) -> bool {
        let State::Here(matcher) = self else {
            return false;
        };
        let Ok(vocabulary) = matcher.tok_env() else {
            return false;
        };
        let mut tokens = match begun.lead.is_empty() {
            true => Vec::new(),
            false => vocabulary.tokenize_bytes(&begun.lead),
        };
        tokens.extend(&begun.tokens);
        let allowed = matcher.validate_tokens(&tokens);
        allowed.is_ok_and(|n| n == tokens.len()) && matcher.consume_tokens(&tokens).is_ok()
    }
}

fn lost() -> ConstraintError {
    ConstraintError::new("the thread that computes masks stopped")
}

struct Job {
    matcher: Box<Matcher>,
    back: std::sync::mpsc::SyncSender<(Box<Matcher>, Mask)>,
}

/// The thread that computes masks. It ends with the handle.
pub(crate) struct Masks {
    jobs: Sender<Job>,
}

impl Masks {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start() -> std::io::Result<Masks> {
        let (jobs, inbox) = channel::<Job>();
        let work = move || {
            for mut job in inbox {
                let mask = job.matcher.compute_mask().map_err(ConstraintError::of_compiler);
                // Nobody waits for a text that was cancelled.
                let _ = job.back.send((job.matcher, mask));
            }
        };
        std::thread::Builder::new()
            .name("lathe-masks".into())
            .spawn(work)?;
        Ok(Masks { jobs })
    }

    fn compute(&self, matcher: Box<Matcher>) -> State {
        let (back, receiver) = sync_channel(1);
        match self.jobs.send(Job { matcher, back }) {
            Ok(()) => State::Away(receiver),
            Err(unsent) => State::Here(unsent.0.matcher),
        }
    }
}
