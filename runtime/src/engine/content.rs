//! The content of blocks, out of the KV cache and into it.

use crate::schedule::Pair;
use lathe_ir::backend::{ExecError, Executable};

/// The content of each block, as [`Executable::read_block`] gives it.
pub(super) fn read_blocks(
    executable: &mut dyn Executable,
    pairs: &[Pair],
) -> Result<Vec<Vec<u8>>, ExecError> {
    let mut contents = Vec::with_capacity(pairs.len());
    for (block, window) in pairs {
        let mut bytes = Vec::new();
        executable.read_block(block.number(), window.map(|w| w.number()), &mut bytes)?;
        contents.push(bytes);
    }
    Ok(contents)
}

/// Puts contents back, one into each block.
pub(super) fn write_blocks(
    executable: &mut dyn Executable,
    pairs: &[Pair],
    contents: &[Vec<u8>],
) -> Result<(), ExecError> {
    for ((block, window), bytes) in pairs.iter().zip(contents) {
        executable.write_block(block.number(), window.map(|w| w.number()), bytes)?;
    }
    Ok(())
}
