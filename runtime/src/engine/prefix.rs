//! Keys and values of a sequence outside of the engine: saved from the prefix cache, and put back into it.

use super::Engine;
use super::content::{read_blocks, write_blocks};
use crate::error::Error;
use lathe_ir::plan::KV_BLOCK;

/// The keys and values of a sequence's full blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SavedPrefix {
    /// The tokens, as many as the blocks hold.
    pub tokens: Vec<u32>,
    /// The content of each block, as [`lathe_ir::backend::Executable::read_block`] gives it.
    pub blocks: Vec<Vec<u8>>,
}

impl Engine {
    /// Copies what the prefix cache has of a sequence: full blocks from its start, as many as it has.
    ///
    /// # Errors
    /// Where the device does not give its blocks away.
    pub fn save_prefix(&mut self, tokens: &[u32]) -> Result<SavedPrefix, Error> {
        let pairs = self.scheduler.known_blocks(tokens);
        Ok(SavedPrefix {
            tokens: tokens[..pairs.len() * KV_BLOCK as usize].to_vec(),
            blocks: read_blocks(self.executable.as_mut(), &pairs)?,
        })
    }

    /// Puts what [`Engine::save_prefix`] gave into the prefix cache: requests that begin so are continued as if it had been
    /// computed here. It must come from an engine of the same model, compiled alike.
    ///
    /// # Errors
    /// A prefix that is none of this model, or that does not fit free blocks; where the device takes no blocks.
    pub fn restore_prefix(&mut self, saved: &SavedPrefix) -> Result<(), Error> {
        let (blocks, vocab) = (saved.blocks.len(), self.executable.vocab());
        if saved.tokens.len() != blocks * KV_BLOCK as usize {
            return Err(Error::Prefix("its tokens do not fill its blocks"));
        }
        if saved.tokens.iter().any(|&token| token >= vocab) {
            return Err(Error::Prefix("it has a token that the vocabulary does not have"));
        }
        if saved.tokens.len() > self.context() {
            return Err(Error::PromptTooLong {
                prompt: saved.tokens.len(),
                context: self.context(),
            });
        }
        let taken = self.scheduler.take_prefix(blocks);
        let (table, pairs) = taken.ok_or(Error::Prefix("there are not enough free blocks for it"))?;
        if let Err(error) = write_blocks(self.executable.as_mut(), &pairs, &saved.blocks) {
            self.scheduler.drop_prefix(table);
            return Err(error.into());
        }
        self.scheduler.give_prefix(table, &saved.tokens);
        Ok(())
    }
}
