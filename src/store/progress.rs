//! How the store tells what it is doing.

/// Receives what a long fetch is doing. The store draws nothing itself.
pub trait Progress {
    /// A transfer of `total` bytes (if that is known) begins, or begins again, with `done` of them there already.
    /// `what` names it in a few words.
    fn begin(&mut self, what: &str, done: u64, total: Option<u64>);
    /// `bytes` more bytes are there.
    fn advance(&mut self, bytes: u64);
    /// Something that the user may want to know, in one line.
    fn message(&mut self, text: &str);
}

/// Tells nobody.
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _what: &str, _done: u64, _total: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
    fn message(&mut self, _text: &str) {}
}
