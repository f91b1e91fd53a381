//! Constrained decoding: text that follows a JSON schema, a regular expression, a grammar or one of some strings.
//!
//! A [`Constraint`] says what is wanted; [`Grammars`] compiles it for a vocabulary, once, into a [`Grammar`]; a [`Guide`]
//! follows the text of one choice and says which tokens may come next (a bit mask over the vocabulary) and which must (the
//! text that the grammar leaves no choice of, which then needs no step of the model each).
//!
//! The parsing of grammars and the masks are those of `llguidance` (an Earley parser over lexemes that are matched by
//! derivatives of regular expressions). What is here: the checks before it, since it must not pass over anything that a
//! validator would check ([`schema`]), GBNF, and the way to it from the engine.

pub mod error;
pub mod gbnf;
mod grammars;
mod guide;
pub mod schema;
mod start;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use error::ConstraintError;
pub(crate) use grammars::compiler_schema;
pub use grammars::{Grammar, Grammars};
pub use guide::Guide;
pub(crate) use guide::Masks;
pub use start::{Opening, Openings, Start};

use serde_json::Value;

/// What a text must be.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema accepts: [JSON Schema](https://json-schema.org/), drafts 4 to 2020-12, as far as [`schema`] says.
    /// Properties come in the schema's order.
    JsonSchema(Value),
    /// The whole text matches a regular expression (the syntax of the `regex` crate, without look-around).
    Regex(String),
    /// One of some strings.
    Choice(Vec<String>),
    /// A grammar in Lark's notation, as llguidance extends it; the first symbol is `start`.
    Lark(String),
    /// A grammar in llama.cpp's notation; the first symbol is `root`.
    Gbnf(String),
}

impl Constraint {
    /// A grammar in either notation: GBNF where a rule is written with `::=`.
    pub fn grammar(text: impl Into<String>) -> Constraint {
        let text = text.into();
        match text.lines().any(gbnf::is_rule) {
            true => Constraint::Gbnf(text),
            false => Constraint::Lark(text),
        }
    }
}
