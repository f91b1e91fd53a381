//! Arguments that are written one by one, as in XML-like forms: turned into one JSON object, typed by the schema.

use super::json::{escape, quote};
use super::list::Tool;
use super::queue::Queue;
use super::shapes::{is_text, permits, type_of};
use serde_json::Value;

/// How the text of an argument is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// As its schema says.
    Typed,
    /// As its schema says, and set in lines of its own: one line break at each end is none of the value.
    Lines,
    /// A string.
    Text,
    /// JSON.
    Json,
}

/// The arguments of an open call.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    tool: Tool,
    key: String,
    written: usize,
    /// In a string that is handed on as it comes.
    streaming: bool,
}

impl Fields {
    pub(super) fn new(tool: Tool) -> Fields {
        Fields {
            tool,
            key: String::new(),
            written: 0,
            streaming: false,
        }
    }

    /// Names the argument that follows.
    pub(super) fn key(&mut self, key: &str, queue: &mut Queue) {
        self.key = key.to_owned();
        let before = if self.written == 0 { "{" } else { ", " };
        queue.arguments(&format!("{before}{}: ", quote(key)));
        self.written += 1;
    }

    /// The name of the argument at this place.
    pub(super) fn nth(&self, place: usize) -> Option<String> {
        self.tool.nth(place).map(str::to_owned)
    }

    /// Whether the argument's text can be handed on before its end is known.
    pub(super) fn streams(&self, kind: Kind) -> bool {
        match kind {
            Kind::Text => true,
            Kind::Json => false,
            Kind::Typed | Kind::Lines => self.schema().is_some_and(is_text),
        }
    }

    fn schema(&self) -> Option<&Value> {
        self.tool.schema(&self.key)
    }

    /// Hands on a part of a string.
    pub(super) fn part(&mut self, text: &str, queue: &mut Queue) {
        let mut json = String::with_capacity(text.len() + 1);
        if !self.streaming {
            json.push('"');
            self.streaming = true;
        }
        text.chars().for_each(|c| escape(c, &mut json));
        queue.arguments(&json);
    }

    /// Ends a string that was handed on in parts.
    pub(super) fn end_parts(&mut self, queue: &mut Queue) {
        self.part("", queue);
        queue.arguments("\"");
        self.streaming = false;
    }

    /// Writes a whole argument; false if it has to be JSON and is not.
    pub(super) fn whole(&mut self, text: &str, kind: Kind, queue: &mut Queue) -> bool {
        let value = match kind {
            Kind::Json => serde_json::from_str(text.trim()).ok(),
            _ => Some(typed(text, self.schema())),
        };
        if let Some(value) = &value {
            queue.arguments(&value.to_string());
        }
        value.is_some()
    }

    /// Ends the call.
    pub(super) fn end(&mut self, queue: &mut Queue) {
        queue.arguments(if self.written == 0 { "{}" } else { "}" });
        queue.end();
    }
}

/// Reads text as the schema says: JSON, or Python's words for true, false and none, where that gives a value that the
/// schema allows; else the text itself, or JSON once more where no string is allowed.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    if schema.is_some_and(is_text) {
        return text.into();
    }
    let value = match text.trim() {
        "True" => Some(Value::Bool(true)),
        "False" => Some(Value::Bool(false)),
        "None" => Some(Value::Null),
        json => serde_json::from_str(json).ok(),
    };
    let allows = |kind: &str| schema.is_none_or(|schema| permits(schema, kind));
    match value {
        Some(value) if !value.is_string() && allows(type_of(&value)) => value,
        Some(value) if !allows("string") => value,
        _ => text.into(),
    }
}
