//! `--session FILE`: keys and values that one run leaves to the next.

use super::error::CliError;
use clap::Args;
use lathe_runtime::Engine;
use lathe_runtime::session::{Identity, Session, SessionError};
use serde_json::Value;
use std::path::PathBuf;

/// Where a session is kept.
#[derive(Args, Clone, Debug)]
pub struct SessionArgs {
    /// Go on from the keys and values in this file, if it is there, and leave those of this run in it: what the prompt
    /// shares with it from the start is not computed again, and a conversation goes on where it was left
    #[arg(long, env = "LATHE_SESSION", value_name = "FILE")]
    session: Option<PathBuf>,
}

/// A session's file as it was found.
pub struct SessionFile {
    path: PathBuf,
    found: Option<Session>,
}

/// A session that goes on.
pub struct OpenSession {
    path: PathBuf,
    identity: Identity,
    /// What was noted when it was saved; null where it is new.
    pub note: Value,
    /// Its tokens.
    pub tokens: Vec<u32>,
}

impl SessionArgs {
    /// Reads the file that is named, which may not be there yet.
    pub fn read(&self) -> Result<Option<SessionFile>, CliError> {
        let Some(path) = self.session.clone() else {
            return Ok(None);
        };
        let found = Session::read(&path).map_err(CliError::input)?;
        Ok(Some(SessionFile { path, found }))
    }
}

impl SessionFile {
    /// Puts what was found into an engine whose keys and values are these.
    pub fn restore(self, identity: Option<Identity>, engine: &mut Engine) -> Result<OpenSession, CliError> {
        let needed = "--session needs a compiled plan, which there is neither with --no-cache nor on GPUs";
        let identity = identity.ok_or_else(|| CliError::input(needed))?;
        let SessionFile { path, found } = self;
        let (note, tokens) = match found {
            None => (Value::Null, Vec::new()),
            Some(session) => {
                session.check(&identity, &path).map_err(CliError::input)?;
                engine
                    .restore_prefix(&session.prefix)
                    .map_err(|e| refused(&path, &e))?;
                (session.note, session.prefix.tokens)
            }
        };
        Ok(OpenSession {
            path,
            identity,
            note,
            tokens,
        })
    }
}

fn refused(path: &std::path::Path, error: &lathe_runtime::Error) -> CliError {
    CliError::input(SessionError::Other {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

impl OpenSession {
    /// Saves what the engine has of a sequence.
    pub fn save(&self, engine: &mut Engine, tokens: &[u32], note: Value) -> Result<(), CliError> {
        let session = Session {
            identity: self.identity.clone(),
            note,
            prefix: engine.save_prefix(tokens)?,
        };
        session.write(&self.path).map_err(CliError::failed)
    }
}
