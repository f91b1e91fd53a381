//! Calls of tools and spans of reasoning, found in the text that a model writes.
//!
//! Here: [`Format`] (how a model writes calls, known from its chat template), [`Reasoning`] (how it marks reasoning),
//! and [`Parser`], which takes the text as it comes and gives [`Piece`]s; [`parse`] does the same for a whole text.
//! `programs` has the forms as data, `machine` reads by them; `object`, `python`, `literal`, `fields` and `json` read what
//! stands inside.
//! `frames` has the forms once more, as they are to be written, and `grammar` makes grammars of them for the case that
//! something must be called; `openings` says where
//! calls begin in an answer that may be anything, for a grammar that holds from there on. Pure data in and out: nothing here knows a model, a tokenizer, a server or the engine.
//!
//! Markers of calls are often special tokens. They must be spelled out in the text given to the parser;
//! [`Format::markers`] and [`Reasoning::markers`] say which.

mod fields;
mod format;
mod frames;
mod grammar;
mod json;
mod list;
mod literal;
mod machine;
mod markers;
mod object;
mod openings;
mod parser;
mod programs;
mod python;
mod queue;
mod reasoning;
mod shapes;
#[cfg(test)]
mod tests;

pub use format::{Format, Trigger};
pub use grammar::TokenOf;
pub use list::{Tool, Tools};
pub use parser::Parser;
pub use reasoning::Reasoning;

/// Something that a model said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// Text for the user.
    Content(&'a str),
    /// Text of its reasoning.
    Reasoning(&'a str),
    /// A call begins.
    CallStarted {
        /// Calls are counted from 0.
        index: usize,
        /// The function, one of the request's.
        name: &'a str,
    },
    /// A part of the arguments of the open call.
    Arguments {
        /// Which call.
        index: usize,
        /// A part of the text of a JSON object.
        json: &'a str,
    },
    /// The open call is complete, and its arguments are a JSON object.
    CallEnded {
        /// Which call.
        index: usize,
    },
    /// The open call went wrong and is none; its text follows as content. Its index is not used again.
    CallDropped {
        /// Which call.
        index: usize,
    },
}

/// A call of a function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Call {
    /// The function, one of the request's.
    pub name: String,
    /// Its arguments: the text of a JSON object.
    pub arguments: String,
}

/// A whole answer, taken apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// What is for the user.
    pub content: String,
    /// What the model said to itself.
    pub reasoning: String,
    /// The functions it calls, in order.
    pub calls: Vec<Call>,
}

impl Message {
    /// Adds a piece.
    pub fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Content(text) => self.content.push_str(text),
            Piece::Reasoning(text) => self.reasoning.push_str(text),
            Piece::CallStarted { name, .. } => self.calls.push(Call {
                name: name.to_owned(),
                arguments: String::new(),
            }),
            Piece::Arguments { json, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(json);
                }
            }
            Piece::CallEnded { .. } => {}
            Piece::CallDropped { .. } => {
                self.calls.pop();
            }
        }
    }
}

/// Takes a whole answer apart, as a [`Parser`] does.
pub fn parse(text: &str, format: Option<Format>, reasoning: Option<Reasoning>, tools: &Tools) -> Message {
    let mut message = Message::default();
    let mut parser = Parser::new(format, reasoning, tools);
    parser.push(text, &mut |piece| message.add(piece));
    parser.finish(&mut |piece| message.add(piece));
    message
}
