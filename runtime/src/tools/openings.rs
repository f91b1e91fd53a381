//! What calls begin with, as grammars of them write them.

use super::frames::{Arguments, Frame, Part};
use super::{Format, Reasoning, Tools};
use crate::constrain::{Opening, Openings};

impl Format {
    /// Where in an answer that may say anything calls of `tools` begin as [`Format::grammar`] writes them, outside of
    /// reasoning: a marker, or in forms that have none as much of a call as tells it from other text.
    pub fn openings(self, tools: &Tools, reasoning: Option<&Reasoning>) -> Openings {
        let mut texts: Vec<Opening> = Vec::new();
        for opening in self.frames().iter().flat_map(|frame| self.of_frame(frame, tools)) {
            if !texts.contains(&opening) {
                texts.push(opening);
            }
        }
        Openings {
            texts,
            around: reasoning.map(|r| (r.open.clone(), r.close.clone())),
            inside: reasoning.is_some_and(|r| r.starts_inside),
        }
    }

    fn of_frame(self, frame: &Frame, tools: &Tools) -> Vec<Opening> {
        let text = leading(frame.open.iter().chain(frame.before));
        let mut marks = self.triggers().filter(|t| !t.line && text.starts_with(t.text));
        if let Some(mark) = marks.next() {
            let text = mark.text.to_owned();
            return vec![Opening { text, line: false }];
        }
        let line = |text| Opening { text, line: true };
        match frame.arguments {
            // A list of Python is a call only by the function's name.
            Arguments::Python => {
                let middle = leading(frame.middle);
                let call = |name: &str| format!("{text}{name}{middle}");
                tools.iter().map(|tool| line(call(&tool.name))).collect()
            }
            _ => vec![line(text)],
        }
    }
}

/// The text before anything that may differ.
fn leading<'p>(parts: impl IntoIterator<Item = &'p Part>) -> String {
    let texts = parts.into_iter().map_while(|part| match part {
        Part::Text(text) => Some(*text),
        Part::Maybe(_) | Part::Regex(_) => None,
    });
    texts.collect()
}
