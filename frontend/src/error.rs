//! The error type of this crate.
//!
//! A message is one line and names the file, the thing in it and the bound that was broken. Text that comes out of a
//! file goes through [`shown`] first, so that a hostile name can neither break the line nor flood the terminal.

use std::io;

use thiserror::Error;

/// Why a model file could not be read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no tables of a tokenizer.
    #[error("the tables of the tokenizer are damaged: {0}")]
    Tables(String),
    /// The operating system refused an operation on the file.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was tried, as in "cannot open".
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not start with the four bytes `GGUF`.
    #[error("{file}: not a GGUF file: {found}")]
    NotGguf {
        /// The file.
        file: String,
        /// What stands at the start instead.
        found: String,
    },
    /// The file is GGUF in the byte order of big-endian machines.
    #[error("{file}: a big-endian GGUF file (version {version}); only little-endian files are supported")]
    BigEndian {
        /// The file.
        file: String,
        /// The version, in the right byte order.
        version: u32,
    },
    /// The file has a GGUF version that this reader does not know.
    #[error("{file}: GGUF version {version} is not supported (2 and 3 are)")]
    Version {
        /// The file.
        file: String,
        /// The version in its header.
        version: u32,
    },
    /// Something reaches past the end of the file.
    #[error(
        "{file}: {what} at byte {offset} needs {need} bytes, but {have} are left: the file is truncated or damaged"
    )]
    Truncated {
        /// The file.
        file: String,
        /// What was being read.
        what: String,
        /// Where it starts.
        offset: u64,
        /// The bytes it takes, at least.
        need: u64,
        /// The bytes that are left from `offset` to the end.
        have: u64,
    },
    /// Something in the file breaks a rule of the format.
    #[error("{file}: {what}: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// The thing: a key, a tensor, the header.
        what: String,
        /// The rule and how it is broken.
        problem: String,
    },
    /// The element type of a tensor is not one of GGUF's.
    #[error("{file}: tensor `{tensor}` has the unknown element type {number}")]
    TensorType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The number of the type in the file.
        number: u32,
    },
    /// A metadata key that is needed is not there.
    #[error("{file}: the metadata key `{key}` ({expected}) is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The type of value that was wanted.
        expected: &'static str,
    },
    /// The value of a metadata key has another type, or does not fit in the type that is needed.
    #[error("{file}: the metadata key `{key}` should be {expected}, but is {found}")]
    KeyType {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The type of value that was wanted.
        expected: &'static str,
        /// The type, and for a single number the value, that is there.
        found: String,
    },
    /// A tensor that is needed is not there.
    #[error("{file}: the tensor `{tensor}` is missing")]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
}

/// `text` fit for one line of a message: control characters escaped, cut after 80 characters.
pub fn shown(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut out: String = text.chars().take(LIMIT).flat_map(printable).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

/// The characters that stand for `c` in a message.
fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escape = escaped.then(|| c.escape_unicode());
    escape.into_iter().flatten().chain((!escaped).then_some(c))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn shown_escapes_and_cuts() {
        assert_eq!(shown("blk.0.attn_q"), "blk.0.attn_q");
        assert_eq!(shown("a\nb\u{202e}"), "a\\u{a}b\\u{202e}");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 81);
    }
}
