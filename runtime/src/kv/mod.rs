//! The KV cache as data: which block holds which positions of which sequence, and which blocks are found again.
//!
//! [`pool::BlockPool`] counts references to blocks, shares them among sequences and tells which must be copied before a
//! write; [`prefix::PrefixCache`] finds full blocks by their tokens. No keys or values are here: the executor has them.

mod free;
pub mod pool;
pub mod prefix;
mod window;

#[cfg(test)]
mod tests;
