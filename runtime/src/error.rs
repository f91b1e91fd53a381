//! Errors of the runtime.

use crate::constrain::ConstraintError;
use crate::schedule::{CommitError, Refused};
use lathe_ir::backend::ExecError;

/// Why a request can't be served.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Error {
    /// The prompt and the tokens asked for do not fit the context.
    #[error("the prompt has {prompt} tokens, but the context holds {context}")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Positions of the context.
        context: usize,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty: it has no token to go on from")]
    EmptyPrompt,
    /// A token id that the model has no row for.
    #[error("token {index} of the prompt is {token}, but the vocabulary has {vocab} tokens")]
    TokenRange {
        /// Which token.
        index: usize,
        /// Its id.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// A sampling parameter is out of range.
    #[error("{name} is {value}, but must be {bound}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// Its range.
        bound: &'static str,
    },
    /// No token may be picked.
    #[error(
        "no token may be picked here: all that the request allows are banned, or the model gives none a finite logit"
    )]
    NoToken,
    /// A constraint can't be followed further.
    #[error("the constraint can't be followed: {0}")]
    Constraint(#[from] ConstraintError),
    /// A draft model of another vocabulary.
    #[error("the draft model gives {has} logits, but the model {want}")]
    Draft {
        /// Logits of the draft model.
        has: u32,
        /// Logits of the model.
        want: u32,
    },
    /// The system gives no thread.
    #[error("there is no thread to compute masks on")]
    NoThread,
    /// The model is compiled for something else.
    #[error("the model is compiled for {has}: it gives no {asked}")]
    Output {
        /// What it gives.
        has: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// An embedding that is no numbers.
    #[error("the model gives this text an embedding that is not finite")]
    NotFinite,
    /// A saved prefix that can't be restored.
    #[error("the saved prefix can't be restored: {0}")]
    Prefix(&'static str),
    /// The request was cancelled before it had a result.
    #[error("the request was cancelled")]
    Cancelled,
    /// The request was not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The engine and its scheduler disagree about what is under way: a fault of Lathe's.
    #[error("the engine lost track of a request")]
    Lost,
    /// Results do not belong to their step: a fault of Lathe's.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The device failed and is not back yet.
    #[error("the device failed and can't be used yet: {0}")]
    Device(String),
    /// A step could not run: the engine broke a bound of its plan.
    #[error("a step failed: {0}")]
    Step(#[from] ExecError),
}

impl Error {
    /// Whether the device is at fault.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Error::Device(_) | Error::Step(ExecError::Device(_)))
    }
}
