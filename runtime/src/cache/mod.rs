//! The plan cache: compiled plans and packed weights in folders of this user alone, made once and mapped from then on.
//!
//! An entry is a [`bundle`]: a folder with a manifest that names every file, its size and its digest. [`Cache`] finds
//! and makes entries under locks; [`known`] remembers which files were hashed already; [`trust`] says whose files are
//! used. Nothing here knows what is in a plan.

mod bundle;
mod digest;
mod error;
mod known;
mod store;
#[cfg(test)]
mod tests;
mod trust;

pub use bundle::{Bundle, BundleWriter, ChunkWriter, Kind};
pub use digest::{CHUNK, Digest};
pub use error::CacheError;
pub use known::content_digest;
pub use store::{Cache, Entry, Notice};
