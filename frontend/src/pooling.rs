//! How the hidden states of a text's tokens become its embedding, and what the file says of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::arch::Architecture;
use crate::gguf::Metadata;

/// How the rows of a text become one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// They stay as they are: a row a token.
    None,
    /// The mean of all rows.
    Mean,
    /// The row of the first token.
    Cls,
    /// The row of the last token.
    Last,
}

/// Every pooling with its number in `ARCHITECTURE.pooling_type` and its name.
const ALL: [(Pooling, u64, &str); 4] = [
    (Pooling::None, 0, "none"),
    (Pooling::Mean, 1, "mean"),
    (Pooling::Cls, 2, "cls"),
    (Pooling::Last, 3, "last"),
];

impl Pooling {
    /// What the file says, or, where it says nothing, the last row: the one that has seen all tokens of a causal model.
    ///
    /// # Errors
    /// The file names a pooling that is none of these.
    pub fn from_metadata(metadata: &Metadata, architecture: Architecture) -> Result<Pooling, Error> {
        let key = format!("{}.pooling_type", architecture.name());
        let Some(number) = metadata.opt_u64(&key)? else {
            return Ok(Pooling::Last);
        };
        let known = ALL.iter().find(|(_, n, _)| *n == number);
        known.map(|(pooling, ..)| *pooling).ok_or_else(|| {
            let names: Vec<String> = ALL.iter().map(|(_, n, name)| format!("{n} ({name})")).collect();
            let problem = format!("pooling {number} is not supported; {} are", names.join(", "));
            metadata.reject(&key, problem)
        })
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ALL.iter().find(|(pooling, ..)| pooling == self);
        f.pad(found.map_or("", |(.., name)| name))
    }
}

impl FromStr for Pooling {
    type Err = String;

    fn from_str(text: &str) -> Result<Pooling, String> {
        let found = ALL.iter().find(|(.., name)| *name == text);
        found.map(|(pooling, ..)| *pooling).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|(.., name)| *name).collect();
            format!("the poolings are {}", names.join(", "))
        })
    }
}
