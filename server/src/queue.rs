//! The engine's thread and the queue before it: requests run one at a time, in order of arrival.
//!
//! A client that goes away is a cancel: its channel closes, and the engine stops at the next token.

use crate::error::ApiError;
use lathe_runtime::{Completion, Engine, Request, Vocabulary};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Requests that may wait.
const QUEUE: usize = 256;

/// What a client's channel carries.
#[derive(Debug)]
pub enum Event {
    /// More text.
    Text(String),
    /// The end.
    Done(Result<Completion, ApiError>),
}

struct Job {
    request: Request,
    /// Unbounded, so that a client that stops reading can't stop the engine; the context bounds what may wait.
    events: mpsc::UnboundedSender<Event>,
}

/// A handle to the engine's thread. When the last one is dropped the thread ends.
#[derive(Clone)]
pub struct Queue {
    jobs: SyncSender<Job>,
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        engine: Engine,
        vocabulary: Arc<dyn Vocabulary>,
    ) -> std::io::Result<(Queue, JoinHandle<()>)> {
        let (jobs, inbox) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("lathe-engine".into())
            .spawn(move || work(engine, vocabulary.as_ref(), &inbox))?;
        Ok((Queue { jobs }, thread))
    }

    /// Puts a request in the queue; its events come out of the channel.
    ///
    /// # Errors
    /// Where the queue is full or the engine is gone.
    pub fn submit(&self, request: Request) -> Result<mpsc::UnboundedReceiver<Event>, ApiError> {
        let (events, receiver) = mpsc::unbounded_channel();
        self.jobs.try_send(Job { request, events }).map_err(|e| match e {
            TrySendError::Full(_) => ApiError::unavailable(format!("{QUEUE} requests are waiting already")),
            TrySendError::Disconnected(_) => ApiError::unavailable("the engine has stopped"),
        })?;
        Ok(receiver)
    }
}

fn work(mut engine: Engine, vocabulary: &dyn Vocabulary, inbox: &Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        if job.events.is_closed() {
            continue;
        }
        let mut show = |text: &str| job.events.send(Event::Text(text.to_owned())).is_ok();
        let done = engine
            .generate(&job.request, vocabulary, &mut show)
            .map_err(ApiError::from);
        // A receiver that is gone wants no answer.
        let _ = job.events.send(Event::Done(done));
    }
}
