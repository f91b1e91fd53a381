//! The engine: schedules, runs and commits steps of many sequences, and turns what is picked into text, or rows into
//! embeddings.
//!
//! A step is `schedule → run → commit`. What is computed for a token depends on the tokens before it alone, so a request
//! gets the same tokens whatever else is under way, and blocks of a common prefix serve other requests as they are.

mod choice;
mod content;
mod drafter;
mod embedding;
mod lookup;
mod prefix;
mod request;
mod revival;
mod swap;
#[cfg(test)]
mod tests;
mod tuner;

pub use crate::schedule::RequestId;
pub use embedding::{Embedding, EmbeddingRequest};
pub use prefix::SavedPrefix;
pub use request::{Completion, Event, Finish, Request, Vocabulary};
pub use revival::{Reopen, Reopened};
pub use swap::SwapWhen;

use crate::constrain::Masks;
use crate::error::Error;
use crate::evaluator::check_tokens;
use crate::sampling::{Candidates, Sampler};
use crate::schedule::{self, ChoiceId, Config, Results, ScheduleStats, Scheduler};
use choice::{Choice, Means, Row};
use drafter::{Drafter, Wanted};
use embedding::Pooler;
use lathe_ir::backend::Executable;
use lathe_ir::plan::ModelOutput;
use revival::Revival;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swap::SwapStore;
use tuner::{Checked, Outcome, Tuner};

/// One model and the requests under way.
pub struct Engine {
    executable: Box<dyn Executable>,
    vocabulary: Arc<dyn Vocabulary>,
    scheduler: Scheduler,
    /// The origin of the scheduler's times.
    origin: Instant,
    active: BTreeMap<RequestId, Active>,
    /// Blocks of sequences that gave way.
    swap: SwapStore,
    results: Results,
    /// The places of the largest logits of a step's rows, where that is all it was asked for.
    largest: Vec<Option<u32>>,
    candidates: Candidates,
    guesses: Vec<(ChoiceId, Vec<u32>)>,
    /// Started by the first request with a constraint.
    masks: Option<Masks>,
    /// A smaller model, the sequences that it is to write ahead, and for how long.
    drafter: Option<Drafter>,
    wanted: Vec<ChoiceId>,
    /// One for each class of numbers of sequences.
    tuners: [Tuner; CLASSES],
    /// The drafts of the next step.
    ahead: Option<Ahead>,
    /// What to do when the device fails.
    revival: Option<Revival>,
}

/// Drafts that are under way.
struct Ahead {
    class: usize,
    number: usize,
    /// What they took, where the draft model had nothing else to do.
    drafting: Option<Duration>,
    checked_from: Instant,
}

/// Classes of numbers of sequences that are written ahead together: 1, 2, 3 and 4, more.
const CLASSES: usize = 4;

fn class(sequences: usize) -> usize {
    match sequences {
        0..=2 => sequences.saturating_sub(1),
        3..=4 => 2,
        _ => 3,
    }
}

/// A request under way.
enum Active {
    /// For text: those of its choices that are under way.
    Text(Box<Request>, Vec<Option<Choice>>),
    /// For an embedding.
    Embedding(Pooler),
}

/// Who is told what happens; returns whether more text of the choice is wanted.
pub type Show<'a> = dyn FnMut(RequestId, Event) -> bool + 'a;

impl Engine {
    /// An engine over an executable. Prompts are cut into chunks of the plan's largest step.
    pub fn new(executable: Box<dyn Executable>, vocabulary: Arc<dyn Vocabulary>) -> Engine {
        let config = Config {
            windows: executable.windows(),
            ..Config::new(executable.limits(), executable.kv_blocks())
        };
        Engine {
            candidates: Candidates::default(),
            executable,
            vocabulary,
            scheduler: Scheduler::new(config),
            origin: Instant::now(),
            active: BTreeMap::new(),
            swap: SwapStore::default(),
            results: Results::default(),
            largest: Vec::new(),
            guesses: Vec::new(),
            masks: None,
            drafter: None,
            wanted: Vec::new(),
            tuners: Default::default(),
            ahead: None,
            revival: None,
        }
    }

    /// The same with a smaller model that writes ahead for requests that ask for it ([`Request::draft`]). It must have the
    /// same vocabulary.
    ///
    /// # Errors
    /// Where its logits are not as many as the model's.
    pub fn with_draft(mut self, executable: Box<dyn Executable>) -> Result<Engine, Error> {
        let (own, other) = (&self.executable, &executable);
        if (own.width(), own.gives()) != (other.width(), ModelOutput::Logits) {
            return Err(Error::Draft {
                has: other.width(),
                want: own.width(),
            });
        }
        self.drafter = Some(Drafter::new(executable));
        Ok(self)
    }

    /// The same with memory beside the KV cache for the blocks of sequences that give way: at most so many bytes, used as
    /// `when` says. Without, and on devices that don't give their blocks away, such sequences are computed again.
    ///
    /// Requests that were submitted before are forgotten.
    pub fn with_swap_space(self, bytes: u64, when: SwapWhen) -> Engine {
        let block_bytes = self.executable.block_bytes();
        let blocks = block_bytes.map_or(0, |one| bytes / one.max(1));
        let config = Config {
            swap_blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
            ..self.scheduler.config().clone()
        };
        Engine {
            scheduler: Scheduler::new(config),
            active: BTreeMap::new(),
            swap: SwapStore::new(when),
            ..self
        }
    }

    /// The compiled model.
    pub fn executable(&self) -> &dyn Executable {
        self.executable.as_ref()
    }

    /// Most positions of a sequence: the plan's context, or what the pool holds if that is less.
    pub fn context(&self) -> usize {
        self.scheduler.config().context()
    }

    /// What the scheduler did so far.
    pub fn stats(&self) -> ScheduleStats {
        self.scheduler.stats()
    }

    /// Sequences that wait and that run.
    pub fn load(&self) -> (usize, usize) {
        self.scheduler.load()
    }

    /// KV blocks that nobody holds, and all of them.
    pub fn blocks(&self) -> (usize, usize) {
        let pool = self.scheduler.pool();
        (pool.free(), pool.blocks())
    }

    /// KV blocks of sequences that gave way which are kept in memory beside the pool.
    pub fn swapped_blocks(&self) -> usize {
        self.swap.blocks()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Forgets prefixes that nobody uses, so that nothing of past sequences is found again.
    pub fn reset(&mut self) {
        self.scheduler.forget_prefixes();
    }

    /// Takes a request; the steps after that work on it.
    ///
    /// # Errors
    /// A bad prompt, bad parameters or a full queue; a model that is compiled for embeddings; a device that failed and is
    /// not back yet.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, Error> {
        self.revive()?;
        self.check_output(ModelOutput::Logits)?;
        check_tokens(&request.prompt, self.executable.vocab(), self.context())?;
        let sampler = Sampler::new(request.sampling.clone())?;
        if request.constraint.is_some() && self.masks.is_none() {
            self.masks = Some(Masks::start().map_err(|_| Error::NoThread)?);
        }
        let (start, now) = (Instant::now(), self.origin.elapsed());
        let id = self.scheduler.submit(
            schedule::Request {
                prompt: request.prompt.clone(),
                max_new: request.max_tokens.unwrap_or(usize::MAX),
                choices: request.choices,
                priority: request.priority,
                deadline: request.timeout.map(|timeout| now.saturating_add(timeout)),
                namespace: 0,
                every_row: false,
            },
            now,
        )?;
        let most = request.max_tokens.unwrap_or(usize::MAX);
        let most = most.min(self.context() + 1 - request.prompt.len());
        let mut choices: Vec<Choice> = (0..request.choices)
            .map(|number| Choice::new(&request, sampler.of_choice(number), most, start))
            .collect();
        if let Some(masks) = &self.masks {
            choices.iter_mut().for_each(|choice| choice.prepare(masks));
        }
        let choices = choices.into_iter().map(Some).collect();
        self.active.insert(id, Active::Text(Box::new(request), choices));
        Ok(id)
    }

    /// Checks that the model is compiled for what a request asks for.
    fn check_output(&self, asked: ModelOutput) -> Result<(), Error> {
        let name = |output| match output {
            ModelOutput::Logits => "text",
            ModelOutput::Embeddings => "embeddings",
            ModelOutput::Hidden => "hidden states",
        };
        match self.executable.gives() {
            has if has == asked => Ok(()),
            has => Err(Error::Output {
                has: name(has),
                asked: name(asked),
            }),
        }
    }

    /// Ends a request at the next step.
    pub fn cancel(&mut self, id: RequestId) {
        self.scheduler.cancel(id);
    }

    /// Runs one step and tells what happened. Returns whether anything is left to do. A step that fails ends all requests
    /// with its error.
    pub fn step(&mut self, show: &mut Show) -> bool {
        for (id, guess) in self.guesses.drain(..) {
            self.scheduler.set_draft(id, &guess);
        }
        self.scheduler.set_swap_cost(self.swap.cost());
        self.scheduler.schedule(self.origin.elapsed());
        self.close(show);
        let moved = self.make_moves();
        if !self.scheduler.step().is_empty() || moved.is_err() {
            match moved
                .and_then(|()| self.run(show))
                .and_then(|()| self.write_ahead())
            {
                Ok(()) => self.close(show),
                Err(error) => {
                    self.fail(&error, show);
                    self.get_over(&error, show);
                }
            }
        }
        !self.scheduler.is_idle()
    }

    fn make_moves(&mut self) -> Result<(), Error> {
        for one in self.scheduler.drain_moves() {
            self.swap.make(one, self.executable.as_mut())?;
        }
        Ok(())
    }

    /// Ends everything with an error.
    fn fail(&mut self, error: &Error, show: &mut Show) {
        self.guesses.clear();
        self.wanted.clear();
        // Moves after the one that failed are lost, and what they would have dropped with them.
        self.swap.clear();
        for (id, active) in std::mem::take(&mut self.active) {
            self.scheduler.cancel(id);
            match active {
                Active::Embedding(_) => {
                    let result = Err(error.clone());
                    show(id, Event::Embedding { result });
                }
                Active::Text(_, choices) => {
                    for (choice, _) in (0..).zip(&choices).filter(|(_, c)| c.is_some()) {
                        let result = Err(error.clone());
                        show(id, Event::Done { choice, result });
                    }
                }
            }
        }
    }

    /// Lets the smaller model write ahead where that is wanted.
    fn write_ahead(&mut self) -> Result<(), Error> {
        let Some(drafter) = self.drafter.as_mut().filter(|_| !self.wanted.is_empty()) else {
            return Ok(());
        };
        let (start, class) = (Instant::now(), class(self.wanted.len()));
        let mut all: Vec<Wanted> = Vec::new();
        for (&id, active) in &mut self.active {
            let Active::Text(request, choices) = active else {
                continue;
            };
            let choices = (0..)
                .zip(choices)
                .filter_map(|(number, choice)| Some((number, choice.as_mut()?)));
            for (number, choice) in choices {
                let id = ChoiceId {
                    request: id,
                    choice: number,
                };
                if self.wanted.contains(&id) {
                    all.push(choice.wanted(id, request, request.draft));
                }
            }
        }
        self.wanted.clear();
        let number = self.tuners[class].choose(all.iter().map(|w| w.most).max().unwrap_or(0));
        all.iter_mut().for_each(|w| w.most = w.most.min(number));
        let caught_up = drafter.draft(&mut all, &mut self.candidates)?;
        let drafting = (!caught_up).then(|| start.elapsed());
        for w in all {
            if let (Some(guide), Some(masks)) = (w.guide, &self.masks) {
                guide.prepare(masks);
            }
            if !w.drafts.is_empty() {
                self.guesses.push((w.id, w.drafts));
            }
        }
        self.ahead = Some(Ahead {
            class,
            number,
            drafting,
            checked_from: Instant::now(),
        });
        Ok(())
    }

    /// Tells the tuner what came of the last drafts, where the step had nothing else to do.
    fn learn(&mut self, checked: Checked) {
        let Some(ahead) = self.ahead.take() else { return };
        let parts = self.scheduler.step().sequences();
        if parts.iter().all(|part| part.rows.len() == 1 + part.drafts) {
            self.tuners[ahead.class].learn(Outcome {
                drafting: ahead.drafting,
                checking: ahead.checked_from.elapsed(),
                checked,
            });
        }
    }

    /// Whether the largest logit of each row is all that the step's sequences need.
    fn needs_largest(&self) -> bool {
        let parts = self.scheduler.step().sequences().iter();
        parts.filter(|part| !part.outputs.is_empty()).all(|part| {
            let Some(Active::Text(request, choices)) = self.active.get(&part.id.request) else {
                return false;
            };
            let choices = choices
                .iter()
                .skip(part.id.choice as usize)
                .take(part.lists as usize);
            choices
                .flatten()
                .all(|choice| choice.needs_largest(request, part.drafts))
        })
    }

    fn run(&mut self, show: &mut Show) -> Result<(), Error> {
        let by_largest = self.needs_largest();
        let step = self.scheduler.step();
        let batch = step.batch();
        let start = Instant::now();
        self.largest.clear();
        match by_largest {
            true => self.executable.run_largest(&batch, &mut self.largest)?,
            false => _ = self.executable.run(&batch)?,
        }
        self.swap.note_step(start.elapsed(), batch.tokens.len());
        let (output, width) = (self.executable.output(), self.executable.width() as usize);
        self.results.clear();
        let mut checked = Checked::default();
        let room = self.ahead.as_ref().map_or(0, |ahead| ahead.number);
        for part in step.sequences().iter().filter(|part| !part.outputs.is_empty()) {
            let logits = |row: usize| &output[row * width..][..width];
            let largest = &self.largest;
            let row = |row: usize| match by_largest {
                true => Row::Largest(largest[row]),
                false => Row::Logits(logits(row)),
            };
            let rows = || part.outputs.clone().map(row);
            let (request, choices) = match self.active.get_mut(&part.id.request) {
                Some(Active::Text(request, choices)) => (request, choices),
                Some(Active::Embedding(pooler)) => {
                    let first = part.start + part.rows.len() - part.outputs.len();
                    pooler.take(first, part.outputs.clone().map(logits));
                    (0..part.lists).for_each(|_| self.results.push(&[], true));
                    continue;
                }
                None => return Err(Error::Lost),
            };
            let draft = &batch.tokens[part.rows.end - part.drafts..part.rows.end];
            for choice in (0..part.lists).map(|list| part.id.choice + list) {
                let id = ChoiceId { choice, ..part.id };
                let mut means = Means {
                    request,
                    vocabulary: self.vocabulary.as_ref(),
                    candidates: &mut self.candidates,
                    choice,
                    show: &mut |event| show(id.request, event),
                };
                let choice = choices[choice as usize].as_mut().ok_or(Error::Lost)?;
                let (made, before) = (choice.made().len(), choice.right());
                let done = choice.take(rows(), draft, &mut means);
                let right = choice.right() - before;
                checked.add(Checked::new(room, draft.len(), right));
                self.results.push(&choice.made()[made..], done);
                if done {
                    continue;
                }
                let guess = choice.guess(request.lookup);
                if guess.is_empty() && request.draft > 0 && self.drafter.is_some() {
                    // Its mask comes after its drafts, which need its guide.
                    self.wanted.push(id);
                    continue;
                }
                if !guess.is_empty() {
                    self.guesses.push((id, guess));
                }
                if let Some(masks) = &self.masks {
                    choice.prepare(masks);
                }
            }
        }
        self.learn(checked);
        Ok(self.scheduler.commit(&self.results)?)
    }

    /// Tells of the choices and embeddings that ended.
    fn close(&mut self, show: &mut Show) {
        for ended in self.scheduler.drain_ended() {
            let (id, choice) = (ended.id.request, ended.id.choice);
            if let Some(drafter) = &mut self.drafter {
                drafter.forget(ended.id);
            }
            let over = match self.active.get_mut(&id) {
                Some(Active::Text(_, choices)) => {
                    if let Some(under_way) = choices[choice as usize].take() {
                        let result = under_way.end(&ended, &mut |text| {
                            show(id, Event::Text { choice, text });
                        });
                        show(id, Event::Done { choice, result });
                    }
                    choices.iter().all(Option::is_none)
                }
                Some(Active::Embedding(_)) => true,
                None => continue,
            };
            if over && let Some(Active::Embedding(pooler)) = self.active.remove(&id) {
                let result = pooler.end(ended.reason);
                show(id, Event::Embedding { result });
            }
        }
    }

    /// Makes one completion, handing text to `show` as it comes; `show` returns whether it wants more. Of several choices,
    /// the first.
    ///
    /// # Errors
    /// A bad prompt or bad parameters; nothing was shown then.
    pub fn generate(
        &mut self,
        request: &Request,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, Error> {
        let wanted = self.submit(request.clone())?;
        let mut done = None;
        loop {
            let more = self.step(&mut |id, event| match event {
                Event::Text { choice: 0, text } if id == wanted => show(text),
                Event::Done { choice: 0, result } if id == wanted => {
                    done = Some(result);
                    true
                }
                _ => true,
            });
            match done.take() {
                Some(result) => return result,
                None if !more => return Err(Error::Lost),
                None => {}
            }
        }
    }
}
