//! Answers: the engine's events as one JSON object, or as server-sent events.

use super::logprobs::Logprobs;
use super::message::{Answer, Delta, Reader};
use crate::Served;
use crate::error::ApiError;
use crate::queue::Event;
use crate::wire::{Choices, Common, Kind};
use axum::Json;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use lathe_runtime::constrain::{Grammar, Start};
use lathe_runtime::{Request, SamplingParams};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::UnboundedReceiver;

/// What every object of one answer repeats.
#[derive(Clone)]
struct Header {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
}

impl Header {
    fn new(kind: Kind, model: &str) -> Header {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (created, number) = (crate::now(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        Header {
            kind,
            id: format!("{prefix}-{created:x}-{number}"),
            created,
            model: model.to_owned(),
        }
    }

    fn object(&self, chunk: bool, choices: Value, usage: Value) -> Value {
        let object = match (self.kind, chunk) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Text, _) => "text_completion",
        };
        let mut value = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if !usage.is_null() {
            value["usage"] = usage;
        }
        value
    }

    /// A chunk of a choice: what was said, and why it ended if it did.
    fn chunk(&self, index: u32, Delta { said, logprobs }: Delta, finish: Option<&str>) -> Value {
        let choice = match self.kind {
            Kind::Chat => {
                json!({"index": index, "delta": said, "logprobs": logprobs, "finish_reason": finish})
            }
            Kind::Text => {
                let text = said["content"].as_str().unwrap_or_default();
                json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})
            }
        };
        self.object(true, json!([choice]), Value::Null)
    }

    /// The `told` best of the answers, in order of choice where they are all.
    fn whole(&self, mut answers: Vec<Answer>, told: u32) -> Value {
        let usage = usage(&answers);
        if answers.len() > told as usize {
            answers.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
            answers.truncate(told as usize);
        }
        let choices = answers.iter().enumerate();
        let choices = choices.map(|(index, answer)| answer.whole(self.kind, index));
        self.object(false, choices.collect(), usage)
    }

    fn answers(&self, count: u32, reader: Option<&Reader>, logprobs: Option<&Logprobs>) -> Vec<Answer> {
        let id = |index: u32| format!("{}_{index}", self.id);
        let answer = |index| Answer::new(reader, id(index), logprobs.cloned());
        (0..count).map(answer).collect()
    }
}

/// The prompt counts once, whatever the number of choices; tokens of choices that are not told count too. Predictions are
/// tokens guessed ahead.
fn usage(answers: &[Answer]) -> Value {
    let done = || answers.iter().filter_map(|a| a.completion.as_ref());
    let made: usize = done().map(|c| c.tokens.len()).sum();
    let guessed: usize = done().map(|c| c.drafts.0).sum();
    let right: usize = done().map(|c| c.drafts.1).sum();
    let (prompt, cached) = done()
        .next()
        .map_or((0, 0), |c| (c.prompt_tokens, c.cached_tokens));
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"accepted_prediction_tokens": right, "rejected_prediction_tokens": guessed - right}})
}

/// What is to be continued, and how the answer is read.
#[derive(Default)]
pub struct Prompt {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Control tokens that are part of the text.
    pub spelled: Vec<u32>,
    /// How the answer is read; not at all for plain text.
    pub reader: Option<Reader>,
    /// What the answer must be, if not what the request says itself.
    pub grammar: Option<Grammar>,
    /// From where in the answer.
    pub from: Start,
}

/// Runs a prompt and answers in the form that the request asks for.
///
/// # Errors
/// Where the request is refused before any text was made.
pub async fn answer(
    served: &Arc<Served>,
    kind: Kind,
    common: &Common,
    prompt: Prompt,
) -> Result<Response, ApiError> {
    let Prompt {
        tokens: prompt,
        spelled,
        reader,
        grammar,
        from,
    } = prompt;
    let context = served.prompter.context();
    if prompt.len() > context {
        return Err(lathe_runtime::Error::PromptTooLong {
            prompt: prompt.len(),
            context,
        }
        .into());
    }
    let Choices { told, made } = common.choices(kind)?;
    let logprobs = common.logprobs(kind)?;
    let request = Request {
        prompt,
        sampling: sampling(served, common).await?,
        max_tokens: common.limit()?,
        min_tokens: common.min_tokens.unwrap_or(0) as usize,
        ignore_stop_tokens: common.ignore_eos.unwrap_or(false),
        choices: made,
        // The best of several are known by theirs.
        logprobs: logprobs.or((made > told).then_some(0)),
        stop: common.stops()?,
        stop_tokens: served.prompter.stop_tokens().to_vec(),
        spelled,
        lookup: served.guesses.0,
        draft: served.guesses.1,
        constraint: match grammar {
            Some(grammar) => Some(grammar),
            None => constraint(served, common).await?,
        },
        constrain_from: from,
        ..Request::default()
    };
    let header = Header::new(kind, &served.model);
    let logprobs = logprobs.map(|_| Logprobs::new(kind, served.prompter.clone()));
    let answers = header.answers(made, reader.as_ref(), logprobs.as_ref());
    let events = served.queue.submit(request)?;
    if common.stream == Some(true) {
        let with_usage = common
            .stream_options
            .is_some_and(|o| o.include_usage == Some(true));
        stream(events, header, answers, with_usage).await
    } else {
        whole(events, &header, answers, told).await
    }
}

/// How tokens are picked, with the tokens that break repetitions where they are looked for.
async fn sampling(served: &Arc<Served>, common: &Common) -> Result<SamplingParams, ApiError> {
    let mut params = common.sampling.params()?;
    let breakers = common.sampling.breakers()?;
    if params.dry.multiplier > 0.0 {
        let prompter = served.prompter.clone();
        params.dry.breakers = blocking(move || prompter.tokens_with(&breakers)).await?;
    }
    Ok(params)
}

/// What the answer must be, compiled.
async fn constraint(served: &Arc<Served>, common: &Common) -> Result<Option<Grammar>, ApiError> {
    let Some((field, constraint)) = common.constraint()? else {
        return Ok(None);
    };
    let prompter = served.prompter.clone();
    let grammar = blocking(move || prompter.grammar(&constraint)).await?;
    let refused = |e| ApiError::invalid(field, format!("`{field}` can't be honoured: {e}"));
    grammar.map(Some).map_err(refused)
}

/// Runs work that may take long, such as tokenizing a large prompt, where it holds up no other request.
///
/// # Errors
/// Where the work panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::internal("the prompt could not be prepared"))
}

async fn whole(
    mut events: UnboundedReceiver<Event>,
    header: &Header,
    mut answers: Vec<Answer>,
    told: u32,
) -> Result<Response, ApiError> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Token(choice, logprobs) => answers[choice as usize].note(logprobs),
            Event::Text(choice, piece) => answers[choice as usize].push(&piece, &mut |_| {}),
            Event::Done(choice, done) => {
                answers[choice as usize].finish(done?, &mut |_| {});
                if answers.iter().all(|a| a.completion.is_some()) {
                    return Ok(Json(header.whole(answers, told)).into_response());
                }
            }
        }
    }
    Err(ApiError::internal(
        "the engine stopped before the answer was complete",
    ))
}

/// Waits for the first event, so that a refused request gets a status and not a stream; then streams.
async fn stream(
    mut events: UnboundedReceiver<Event>,
    header: Header,
    answers: Vec<Answer>,
    with_usage: bool,
) -> Result<Response, ApiError> {
    let first = events.recv().await;
    let first = match first {
        Some(Event::Done(_, Err(error))) => return Err(error),
        None => return Err(ApiError::internal("the engine stopped before the answer began")),
        Some(first) => first,
    };
    let state = StreamState {
        events,
        header,
        answers,
        with_usage,
        next: Some(first),
        queue: Vec::new(),
        started: false,
        ended: false,
    };
    let stream = futures_util::stream::unfold(state, |mut state| async move {
        let event = state.next_chunk().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    Ok(Sse::new(stream)
        .keep_alive(sse::KeepAlive::default())
        .into_response())
}

struct StreamState {
    events: UnboundedReceiver<Event>,
    header: Header,
    answers: Vec<Answer>,
    with_usage: bool,
    next: Option<Event>,
    /// Chunks to send, last first.
    queue: Vec<String>,
    started: bool,
    ended: bool,
}

impl StreamState {
    async fn next_chunk(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(data) = self.queue.pop() {
                return Some(sse::Event::default().data(data));
            }
            if self.ended {
                return None;
            }
            if !self.started {
                self.started = true;
                if self.header.kind == Kind::Chat {
                    let openings = (0..self.answers.len() as u32).rev();
                    let opening = || Delta::of(json!({"role": "assistant", "content": ""}));
                    let openings = openings.map(|i| self.header.chunk(i, opening(), None).to_string());
                    self.queue.extend(openings);
                    continue;
                }
            }
            let event = match self.next.take() {
                Some(event) => Some(event),
                None => self.events.recv().await,
            };
            self.take(event);
        }
    }

    /// The chunks of what a choice says, in order.
    fn told(&mut self, choice: u32, say: impl FnOnce(&mut Answer, &mut dyn FnMut(Delta))) -> Vec<String> {
        let (header, mut chunks) = (&self.header, Vec::new());
        say(&mut self.answers[choice as usize], &mut |delta| {
            chunks.push(header.chunk(choice, delta, None).to_string());
        });
        chunks
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Token(choice, logprobs)) => self.answers[choice as usize].note(logprobs),
            Some(Event::Text(choice, text)) => {
                let told = self.told(choice, |answer, tell| answer.push(&text, tell));
                self.queue.extend(told.into_iter().rev());
            }
            Some(Event::Done(choice, Ok(completion))) => {
                let mut told = self.told(choice, |answer, tell| answer.finish(completion, tell));
                let answer = &mut self.answers[choice as usize];
                let (finish, rest) = (answer.finish_reason(), answer.rest());
                told.push(self.header.chunk(choice, rest, finish).to_string());
                self.ended = self.answers.iter().all(|a| a.completion.is_some());
                if self.ended && self.with_usage {
                    let usage = usage(&self.answers);
                    told.push(self.header.object(true, json!([]), usage).to_string());
                }
                if self.ended {
                    told.push("[DONE]".into());
                }
                self.queue.extend(told.into_iter().rev());
            }
            Some(Event::Done(_, Err(error))) => {
                self.ended = true;
                self.queue.push(error.to_json().to_string());
            }
            None => {
                self.ended = true;
                let error = ApiError::internal("the engine stopped before the answer was complete");
                self.queue.push(error.to_json().to_string());
            }
        }
    }
}
