//! A reader over untrusted bytes: every read is checked against the end, and says what it was for when it fails.

use crate::Error;

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a str,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`; `file` names them in errors.
    pub(super) fn new(bytes: &'a [u8], file: &'a str) -> Self {
        Cursor { bytes, at: 0, file }
    }

    /// The name of the file.
    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// Bytes from the start.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `need` bytes; `what` names the thing they belong to.
    pub(super) fn take(&mut self, need: u64, what: impl FnOnce() -> String) -> Result<&'a [u8], Error> {
        let have = self.bytes.len() - self.at;
        match usize::try_from(need) {
            Ok(n) if n <= have => {
                let taken = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(taken)
            }
            _ => Err(self.truncated(need, what())),
        }
    }

    /// Fails unless `count` things of at least `least` bytes each can follow. Called before memory is reserved for
    /// them, so that a damaged count never costs more than the file's own size.
    pub(super) fn expect(
        &self,
        count: u64,
        least: u64,
        what: impl FnOnce() -> String,
    ) -> Result<usize, Error> {
        let need = count.saturating_mul(least);
        match usize::try_from(count) {
            Ok(n) if need <= (self.bytes.len() - self.at) as u64 => Ok(n),
            _ => Err(self.truncated(need, what())),
        }
    }

    /// The next little-endian `u32`.
    pub(super) fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, Error> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(
            bytes.try_into().expect("four bytes were taken"),
        ))
    }

    /// The next little-endian `u64`.
    pub(super) fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, Error> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(
            bytes.try_into().expect("eight bytes were taken"),
        ))
    }

    /// The next string: a `u64` length, then as many bytes of UTF-8.
    pub(super) fn string(&mut self, what: impl Fn() -> String) -> Result<&'a str, Error> {
        let length = self.u64(|| format!("the length of {}", what()))?;
        let bytes = self.take(length, &what)?;
        std::str::from_utf8(bytes).map_err(|e| Error::Malformed {
            file: self.file.to_owned(),
            what: what(),
            problem: format!("not valid UTF-8 (byte {} of {})", e.valid_up_to(), bytes.len()),
        })
    }

    /// The error for a thing at the position of this cursor that needs more than there is.
    fn truncated(&self, need: u64, what: String) -> Error {
        Error::Truncated {
            file: self.file.to_owned(),
            what,
            offset: self.at as u64,
            need,
            have: (self.bytes.len() - self.at) as u64,
        }
    }
}
