//! Where in a text a constraint begins.

use std::collections::VecDeque;

/// Where a constraint begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// With the text.
    #[default]
    Now,
    /// With the token after the one that completes the first occurrence of this text, as after the end of a reasoning
    /// span.
    After(String),
    /// With the first of some texts that stands where it means something; never, if none comes. The constraint is of that
    /// text and what follows it.
    With(Openings),
}

/// Texts that a constraint begins with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Openings {
    /// The texts.
    pub texts: Vec<Opening>,
    /// What surrounds spans in which they mean nothing: such a span begins where nothing but white space stands before it.
    pub around: Option<(String, String)>,
    /// Whether the text begins in such a span.
    pub inside: bool,
}

/// A text that a constraint begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The text, not empty.
    pub text: String,
    /// Whether it is one only at the beginning of a line.
    pub line: bool,
}

/// The tokens that a constraint begins with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Begun {
    /// Bytes that end the token before the first of `tokens`.
    pub(super) lead: Vec<u8>,
    pub(super) tokens: Vec<u32>,
}

/// A byte of the text, and the token that begins with it.
type Byte = (u8, Option<u32>);

/// Follows a text up to where its constraint begins.
pub(super) struct Watch {
    openings: Openings,
    /// The end of the text, of which what comes next may make an opening.
    tail: VecDeque<Byte>,
    inside: bool,
    /// Whether nothing but white space was dropped since the beginning, or since the last span.
    fresh: bool,
    /// The same of the line.
    line: bool,
}

/// What stands at a place of the tail.
enum Found {
    Opening,
    /// A span begins, or ends, with so many bytes.
    Edge(usize),
    /// What will be known only with more text.
    Unknown,
    Nothing,
}

impl Watch {
    pub(super) fn new(openings: &Openings) -> Watch {
        Watch {
            inside: openings.inside,
            openings: openings.clone(),
            tail: VecDeque::new(),
            fresh: true,
            line: true,
        }
    }

    /// Takes a token, which stands for `bytes`. Where a constraint may begin with what was taken, `begins` is asked whether
    /// it does; returns whether it did.
    pub(super) fn take(&mut self, token: u32, bytes: &[u8], begins: &mut dyn FnMut(&Begun) -> bool) -> bool {
        let first = (0..bytes.len()).map(|i| (i == 0).then_some(token));
        self.tail.extend(bytes.iter().copied().zip(first));
        while !self.tail.is_empty() {
            match self.found() {
                Found::Unknown => return false,
                Found::Opening if begins(&self.begun()) => return true,
                Found::Edge(length) => {
                    self.tail.drain(..length);
                    (self.inside, self.fresh, self.line) = (!self.inside, true, true);
                }
                Found::Opening | Found::Nothing => self.skip(),
            }
        }
        false
    }

    /// What stands at the beginning of the tail.
    fn found(&self) -> Found {
        let begins = |text: &str| self.begins(text.as_bytes());
        let around = self.openings.around.as_ref();
        let edge = match (around, self.inside) {
            (Some((_, close)), true) => Some(close),
            (Some((open, _)), false) => Some(open).filter(|_| self.fresh),
            (None, _) => None,
        };
        let edge = edge.map(|edge| (edge, begins(edge)));
        if let Some((edge, Some(true))) = edge {
            return Found::Edge(edge.len());
        }
        let openings = || {
            self.openings
                .texts
                .iter()
                .filter(|o| !self.inside && (self.line || !o.line))
        };
        let all = || openings().map(|o| begins(&o.text));
        match (all().any(|b| b == Some(true)), edge) {
            (true, _) => Found::Opening,
            (false, Some((_, None))) => Found::Unknown,
            (false, _) if all().any(|b| b.is_none()) => Found::Unknown,
            (false, _) => Found::Nothing,
        }
    }

    /// Whether the tail begins with a text; `None` where it may once there is more.
    fn begins(&self, text: &[u8]) -> Option<bool> {
        let same = self.tail.iter().zip(text).all(|((byte, _), other)| byte == other);
        match same {
            true if self.tail.len() < text.len() => None,
            same => Some(same && !text.is_empty()),
        }
    }

    fn begun(&self) -> Begun {
        let lead = self.tail.iter().take_while(|(_, token)| token.is_none());
        Begun {
            lead: lead.map(|&(byte, _)| byte).collect(),
            tokens: self.tail.iter().filter_map(|&(_, token)| token).collect(),
        }
    }

    fn skip(&mut self) {
        let byte = self.tail.pop_front().map_or(b' ', |(byte, _)| byte);
        let space = byte.is_ascii_whitespace();
        self.fresh &= space;
        self.line = byte == b'\n' || self.line && space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(inside: bool) -> Watch {
        let opening = |text: &str, line| Opening {
            text: text.to_owned(),
            line,
        };
        Watch::new(&Openings {
            texts: vec![opening("<call>", false), opening("[f(", true)],
            around: Some(("<think>".into(), "</think>".into())),
            inside,
        })
    }

    /// What a constraint begins with in a text of tokens, and how many of them came before.
    fn begun(mut watch: Watch, tokens: &[&str]) -> Option<(usize, Vec<u8>, Vec<u32>)> {
        for (i, token) in tokens.iter().enumerate() {
            let mut found = None;
            let mut begins = |begun: &Begun| {
                found = Some(begun.clone());
                true
            };
            if watch.take(i as u32, token.as_bytes(), &mut begins) {
                let Begun { lead, tokens } = found.unwrap();
                return Some((i, lead, tokens));
            }
        }
        None
    }

    #[test]
    fn openings_begin_constraints_wherever_tokens_are_cut() {
        for (tokens, lead, first) in [
            (&["<call>"][..], "", 0),
            (&["Hm. ", "<call>"], "", 1),
            (&["Hm. <", "call", ">{"], "<", 1),
            (&["a<c", "<call> x"], "", 1),
            (&["<ca", "<ca", "ll>"], "", 1),
            (&["x\n", " [f", "("], "[f", 2),
            (&["<think> <call>", "[f(", "</think>[f", "("], "[f", 3),
        ] {
            let (last, found, ids) = begun(watch(false), tokens).unwrap_or_else(|| panic!("{tokens:?}"));
            assert_eq!(last, tokens.len() - 1, "{tokens:?}");
            let expected: Vec<u32> = (first..tokens.len() as u32).collect();
            assert_eq!(
                (String::from_utf8(found).unwrap(), ids),
                (lead.into(), expected),
                "{tokens:?}"
            );
        }
    }

    #[test]
    fn other_text_begins_nothing() {
        let none = |inside, tokens: &[&str]| assert_eq!(begun(watch(inside), tokens), None, "{tokens:?}");
        none(false, &["<cal", "l >", "x [f(", "[f "]);
        none(true, &["<call>", "\n[f(", "</thin"]);
        none(false, &["", " <think>", "<call>"]);
        assert!(
            begun(watch(false), &["so <think>", "<call>"]).is_some(),
            "it is no span"
        );
        assert!(begun(watch(true), &["</think>", "<call>"]).is_some());
    }

    #[test]
    fn what_a_constraint_refuses_is_passed_over() {
        let mut watch = watch(false);
        assert!(!watch.take(0, b"<call>?", &mut |_| false));
        assert!(watch.take(1, b"<call>", &mut |begun| begun.tokens == [1]));
    }
}
