//! In answers that may say anything, calls are held to their schemas from where they begin.

use super::grammars::{full, grammar, tools};
use super::*;
use crate::constrain::{Guide, Start};

fn guide(format: Format, reasoning: Option<&Reasoning>) -> Guide {
    let start = Start::With(format.openings(&tools(), reasoning));
    Guide::new(&grammar(format, &tools(), true, &|_| None), &start)
}

/// Takes a text byte by byte; where it left the grammar, if it did.
fn follow(guide: &mut Guide, text: &str) -> Option<usize> {
    text.bytes().position(|byte| {
        let forbidden = |mask: &[u32]| mask[usize::from(byte) / 32] >> (byte % 32) & 1 == 0;
        guide.mask().unwrap().is_some_and(forbidden) || guide.take(byte.into(), &[byte]).is_err()
    })
}

#[test]
fn calls_are_held_to_from_where_they_begin() {
    for &format in ALL {
        for before in ["", "I look that up: `f(1)` {x} [1].\n", "\n"] {
            let mut guide = guide(format, None);
            assert_eq!(follow(&mut guide, before), None);
            assert!(!guide.is_active() && !guide.is_done(), "{format:?}");
            let text = render(format, &[("get_weather", full())]);
            let text = text.trim_end_matches("<|call|>");
            assert_eq!(follow(&mut guide, text), None, "{format:?}: {text}");
            assert!(guide.is_active(), "{format:?}: {text}");
        }
        for call in [
            ("nowhere", json!({})),
            ("get_weather", json!({"city": "x", "days": 0})),
        ] {
            let mut guide = guide(format, None);
            let (text, named) = (render(format, std::slice::from_ref(&call)), call.0 == "nowhere");
            let left = follow(&mut guide, &text);
            // A list of Python is a call only with a known name.
            let free = named && format == Format::Pythonic;
            assert_eq!(left.is_none(), free, "{format:?}: {text}");
        }
    }
}

#[test]
fn reasoning_may_speak_of_calls() {
    let reasoning = Reasoning {
        open: "<think>".into(),
        close: "</think>".into(),
        starts_inside: true,
    };
    for &format in ALL {
        let mut guide = guide(format, Some(&reasoning));
        let wrong = render(format, &[("nowhere", json!({}))]);
        assert_eq!(
            follow(&mut guide, &format!("{wrong}</think>\n")),
            None,
            "{format:?}"
        );
        assert!(!guide.is_active());
        let text = render(format, &[("get", json!({}))]);
        assert_eq!(
            follow(&mut guide, text.trim_end_matches("<|call|>")),
            None,
            "{format:?}"
        );
        assert!(guide.is_active(), "{format:?}");
    }
}

#[test]
fn tools_that_are_not_strict_take_any_values() {
    let function = json!({"name": "get_weather", "strict": false, "parameters":
        {"type": "object", "properties": {"city": {"type": "string", "pattern": "(?=x)"}}, "required": ["city"]}});
    let loose = Tools::new(&[json!({"type": "function", "function": function})]);
    for &format in ALL {
        let grammar = grammar(format, &loose, true, &|_| None);
        for arguments in [json!({"city": "y"}), json!({})] {
            let text = render(format, &[("get_weather", arguments)]);
            let text = text.trim_end_matches("<|call|>");
            assert_eq!(
                grammar.accepts(text.as_bytes()).unwrap(),
                Ok(()),
                "{format:?}: {text}"
            );
        }
        let other = render(format, &[("nowhere", json!({}))]);
        assert!(grammar.accepts(other.as_bytes()).unwrap().is_err(), "{format:?}");
    }
}
