//! The engine's thread and the way to it. Requests run side by side, as the engine schedules them.
//!
//! A client that goes away is a cancel: its channel closes, and the engine stops at the next token.

use crate::error::ApiError;
use lathe_runtime::sampling::Logprobs;
use lathe_runtime::{Completion, Embedding, EmbeddingRequest, Engine, Request, RequestId, engine};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the engine to take them, which it does between two steps.
const QUEUE: usize = 256;

/// What a client's channel carries.
#[derive(Debug)]
pub enum Event {
    /// A token of a choice, before its text, where log-probabilities are asked for.
    Token(u32, Logprobs),
    /// More text of a choice.
    Text(u32, String),
    /// The end of a choice.
    Done(u32, Result<Completion, ApiError>),
}

/// An embedding, or why there is none.
type Embedded = Result<Embedding, ApiError>;

/// Where what comes of a request goes.
enum Client {
    /// Unbounded, so that a client that stops reading can't stop the engine; the context bounds what may wait.
    Text(mpsc::UnboundedSender<Event>),
    Embedding(oneshot::Sender<Embedded>),
}

impl Client {
    /// Whether nobody waits for it any more.
    fn is_gone(&self) -> bool {
        match self {
            Client::Text(client) => client.is_closed(),
            Client::Embedding(client) => client.is_closed(),
        }
    }
}

enum Job {
    Text(Box<Request>, mpsc::UnboundedSender<Event>),
    Embedding(EmbeddingRequest, oneshot::Sender<Embedded>),
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
    pub fn start(engine: Engine) -> std::io::Result<(Queue, JoinHandle<()>)> {
        let (jobs, inbox) = sync_channel(QUEUE);
        let worker = Worker {
            engine,
            inbox,
            clients: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("lathe-engine".into())
            .spawn(move || worker.work())?;
        Ok((Queue { jobs }, thread))
    }

    /// Hands a request to the engine; its events come out of the channel.
    ///
    /// # Errors
    /// Where the queue is full or the engine is gone.
    pub fn submit(&self, request: Request) -> Result<mpsc::UnboundedReceiver<Event>, ApiError> {
        let (client, receiver) = mpsc::unbounded_channel();
        self.send(Job::Text(Box::new(request), client))?;
        Ok(receiver)
    }

    /// Hands a request for an embedding to the engine.
    ///
    /// # Errors
    /// As [`Queue::submit`].
    pub fn submit_embedding(
        &self,
        request: EmbeddingRequest,
    ) -> Result<oneshot::Receiver<Result<Embedding, ApiError>>, ApiError> {
        let (client, receiver) = oneshot::channel();
        self.send(Job::Embedding(request, client))?;
        Ok(receiver)
    }

    fn send(&self, job: Job) -> Result<(), ApiError> {
        self.jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => ApiError::unavailable(format!("{QUEUE} requests are waiting already")),
            TrySendError::Disconnected(_) => ApiError::unavailable("the engine has stopped"),
        })
    }
}

/// What the engine's thread has.
struct Worker {
    engine: Engine,
    inbox: Receiver<Job>,
    clients: HashMap<RequestId, Client>,
}

impl Worker {
    fn work(mut self) {
        loop {
            if self.engine.is_idle() {
                match self.inbox.recv() {
                    Ok(job) => self.take(job),
                    Err(_) => return,
                }
            }
            while let Ok(job) = self.inbox.try_recv() {
                self.take(job);
            }
            self.clients.retain(|&id, client| {
                let gone = client.is_gone();
                if gone {
                    self.engine.cancel(id);
                }
                !gone
            });
            let clients = &mut self.clients;
            self.engine.step(&mut |id, event| tell(clients, id, event));
        }
    }

    fn take(&mut self, job: Job) {
        // A receiver that is gone wants no answer.
        match job {
            Job::Text(request, client) => match self.engine.submit(*request) {
                Ok(id) => {
                    self.clients.insert(id, Client::Text(client));
                }
                Err(error) => {
                    let _ = client.send(Event::Done(0, Err(error.into())));
                }
            },
            Job::Embedding(request, client) => match self.engine.submit_embedding(request) {
                Ok(id) => {
                    self.clients.insert(id, Client::Embedding(client));
                }
                Err(error) => {
                    let _ = client.send(Err(error.into()));
                }
            },
        }
    }
}

/// Tells a client what happened; returns whether it wants more.
fn tell(clients: &mut HashMap<RequestId, Client>, id: RequestId, event: engine::Event) -> bool {
    let event = match event {
        engine::Event::Token { choice, logprobs } => Event::Token(choice, logprobs.clone()),
        engine::Event::Text { choice, text } => Event::Text(choice, text.to_owned()),
        engine::Event::Done { choice, result } => Event::Done(choice, result.map_err(ApiError::from)),
        engine::Event::Embedding { result } => {
            if let Some(Client::Embedding(client)) = clients.remove(&id) {
                let _ = client.send(result.map_err(ApiError::from));
            }
            return false;
        }
    };
    match clients.get(&id) {
        Some(Client::Text(client)) => client.send(event).is_ok(),
        _ => false,
    }
}
