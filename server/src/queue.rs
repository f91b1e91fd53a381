//! The engine's thread and the way to it. Requests run side by side, as the engine schedules them.
//!
//! A client that goes away is a cancel: its channel closes, and the engine stops at the next token.

use crate::error::ApiError;
use lathe_runtime::{Completion, Engine, Request, RequestId, engine};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Requests that may wait for the engine to take them, which it does between two steps.
const QUEUE: usize = 256;

/// What a client's channel carries.
#[derive(Debug)]
pub enum Event {
    /// More text of a choice.
    Text(u32, String),
    /// The end of a choice.
    Done(u32, Result<Completion, ApiError>),
}

/// Unbounded, so that a client that stops reading can't stop the engine; the context bounds what may wait.
type Client = mpsc::UnboundedSender<Event>;

struct Job {
    request: Request,
    client: Client,
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
        self.jobs.try_send(Job { request, client }).map_err(|e| match e {
            TrySendError::Full(_) => ApiError::unavailable(format!("{QUEUE} requests are waiting already")),
            TrySendError::Disconnected(_) => ApiError::unavailable("the engine has stopped"),
        })?;
        Ok(receiver)
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
                let gone = client.is_closed();
                if gone {
                    self.engine.cancel(id);
                }
                !gone
            });
            let clients = &self.clients;
            self.engine.step(&mut |id, event| {
                // A receiver that is gone wants no answer.
                let Some(client) = clients.get(&id) else {
                    return false;
                };
                let event = match event {
                    engine::Event::Text { choice, text } => Event::Text(choice, text.to_owned()),
                    engine::Event::Done { choice, result } => {
                        Event::Done(choice, result.map_err(ApiError::from))
                    }
                };
                client.send(event).is_ok()
            });
        }
    }

    fn take(&mut self, job: Job) {
        match self.engine.submit(job.request) {
            Ok(id) => {
                self.clients.insert(id, job.client);
            }
            Err(error) => {
                let _ = job.client.send(Event::Done(0, Err(error.into())));
            }
        }
    }
}
