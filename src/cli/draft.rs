//! Flags for a draft model: a smaller one that writes ahead.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use crate::build::{BuildOptions, Windows};
use crate::session::{same_vocabulary, tokenizer};
use clap::Args;
use lathe_frontend::tokenizer::Tokenizer;
use lathe_ir::backend::Executable;
use lathe_runtime::Engine;

/// Which model writes ahead, and how far.
#[derive(Args, Clone, Debug)]
pub struct DraftArgs {
    /// A smaller model of the same vocabulary that writes ahead what the model then checks in one step; the text stays the
    /// same
    #[arg(long, env = "LATHE_DRAFT", value_name = "MODEL")]
    draft: Option<String>,
    /// Most tokens that it writes ahead; how many it does is tuned while it runs
    #[arg(long, env = "LATHE_DRAFT_LEN", value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=15))]
    draft_len: u32,
}

impl DraftArgs {
    /// Tokens to write ahead; 0 without a draft model.
    pub fn length(&self) -> usize {
        self.draft.as_ref().map_or(0, |_| self.draft_len as usize)
    }

    /// Gives an engine the draft model, if there is one, built for as much as the engine's own.
    pub fn equip(
        &self,
        engine: Engine,
        own: &Tokenizer,
        run: &RunArgs,
        options: &BuildOptions,
    ) -> Result<Engine, CliError> {
        match self.load(own, run, options)? {
            None => Ok(engine),
            Some(executable) => engine.with_draft(executable).map_err(|e| self.refused(&e)),
        }
    }

    fn refused(&self, error: &dyn std::fmt::Display) -> CliError {
        let name = self.draft.as_deref().unwrap_or_default();
        CliError::input(format!("{name} can't be the draft model: {error}"))
    }

    /// The draft model, if there is one, built for as much as the model whose tokenizer is `own`.
    pub fn load(
        &self,
        own: &Tokenizer,
        run: &RunArgs,
        options: &BuildOptions,
    ) -> Result<Option<Box<dyn Executable>>, CliError> {
        let Some(model) = self.draft.clone() else {
            return Ok(None);
        };
        let options = BuildOptions {
            windows: Windows::All,
            // It is small: the device of a model's first layers has room for all of it.
            device: options.cut.map_or(options.device, |cut| cut.device),
            cut: None,
            ..options.clone()
        };
        let built = ModelArg { model }.load(run, &options)?;
        let other = tokenizer(&built.text).map_err(|e| self.refused(&e))?;
        same_vocabulary(own, other).map_err(|e| self.refused(&e))?;
        Ok(Some(built.executable))
    }
}
