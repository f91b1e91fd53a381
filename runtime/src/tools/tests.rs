//! Every form with calls that are plain, parallel, wrapped in text, or broken; and cuts that must change nothing.

mod forms;
mod grammars;
mod openings;
mod render;

use super::*;
use proptest::prelude::*;
use render::{ALL, Calls, render};
use serde_json::{Value, json};

fn tools() -> Tools {
    let parameters = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "exact": {"type": "boolean"},
        "where": {"type": "object"}, "any": {}}, "required": ["city"]});
    Tools::new(&[
        json!({"type": "function", "function": {"name": "get_weather", "parameters": parameters}}),
        json!({"type": "function", "function": {"name": "now"}}),
        json!({"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}),
    ])
}

/// Gives `text` to a parser in pieces of these lengths, over and over.
fn cut(text: &str, mut parser: Parser, cuts: &[usize]) -> Message {
    let mut message = Message::default();
    let chars: Vec<char> = text.chars().collect();
    let (mut from, mut n) = (0, 0);
    while from < chars.len() {
        let to = (from + cuts[n % cuts.len()]).min(chars.len());
        let part: String = chars[from..to].iter().collect();
        parser.push(&part, &mut |piece| message.add(piece));
        (from, n) = (to, n + 1);
    }
    parser.finish(&mut |piece| message.add(piece));
    message
}

fn parser(format: Format, reasoning: Option<Reasoning>) -> Parser {
    Parser::new(Some(format), reasoning, &tools())
}

fn read(format: Format, text: &str) -> Message {
    let whole = parse(text, Some(format), None, &tools());
    let by_character = cut(text, parser(format, None), &[1]);
    assert_eq!(by_character, whole, "{format:?} by the character: {text}");
    let held = cut(text, parser(format, None).hold_calls(), &[3, 7]);
    assert_eq!(held, whole, "{format:?} with calls held: {text}");
    whole
}

/// The content, and the calls with their arguments read.
fn calls(format: Format, text: &str) -> (String, Vec<(String, Value)>) {
    let message = read(format, text);
    let read = |c: &Call| {
        (
            c.name.clone(),
            serde_json::from_str(&c.arguments).expect(&c.arguments),
        )
    };
    (message.content, message.calls.iter().map(read).collect())
}

fn expect(format: Format, text: &str, content: &str, want: Calls) {
    let want: Vec<(String, Value)> = want.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    assert_eq!(
        calls(format, text),
        (content.to_owned(), want),
        "{format:?}: {text}"
    );
}

fn weather(city: &str) -> (&'static str, Value) {
    ("get_weather", json!({"city": city}))
}

#[test]
fn plain_calls() {
    let full = json!({"city": "Köln 🌧", "days": 3, "exact": true, "where": {"x": [1.5, {"y": null}]}, "any": [1, "a"]});
    for &format in ALL {
        for call in [
            weather("Köln 🌧"),
            ("now", json!({})),
            ("get_weather", full.clone()),
        ] {
            let call = [call];
            expect(format, &render(format, &call), "", &call);
        }
    }
}

#[test]
fn parallel_calls() {
    let both = [weather("Köln"), ("now", json!({})), weather("東京")];
    for &format in ALL {
        expect(format, &render(format, &both), "", &both);
        expect(format, &format!("\n{}\n", render(format, &both)), "", &both);
    }
}

#[test]
fn content_around_calls() {
    let one = [weather("Köln")];
    for &format in ALL {
        let text = format!("Let me see <b> [1] {{2}} 🌧.\n\n{}", render(format, &one));
        expect(format, &text, "Let me see <b> [1] {2} 🌧.", &one);
        let text = format!("{}\n\nThat was it. ", render(format, &one));
        expect(format, &text, "That was it. ", &one);
    }
}

#[test]
fn markers_and_braces_inside_strings() {
    for &format in ALL {
        for city in [
            "{\"a\": [1}]",
            "a\\\"b;\n\tc]}",
            "{{{{",
            "\"",
            "<tool_call> [TOOL_CALLS] <|tool_call|>",
        ] {
            let one = [weather(city)];
            expect(format, &render(format, &one), "", &one);
        }
    }
    let closing = [weather("x</tool_call></tool_calls></TOOLCALL>]}<|END_ACTION|>")];
    for format in [
        Format::Hermes,
        Format::Llama3,
        Format::Mistral,
        Format::Cohere,
        Format::Nemotron,
    ] {
        expect(format, &render(format, &closing), "", &closing);
    }
}

#[test]
fn text_without_calls_stays_as_it_is() {
    let texts = [
        "",
        " ",
        "Hello.\n",
        "{\"name\": \"Bob\"}",
        "[1, 2]",
        "a < b\n\n{",
        "<tool",
        "<function",
        "x\n[a](b)",
    ];
    for &format in ALL {
        for text in texts {
            expect(format, text, text, &[]);
        }
    }
}

#[test]
fn unknown_functions_are_content() {
    for &format in ALL {
        let text = format!("Hm.\n{}", render(format, &[("nowhere", json!({"city": "x"}))]));
        let message = read(format, &text);
        assert_eq!(message.calls, [], "{format:?}");
        assert_eq!(message.content, text, "{format:?}");
    }
}

#[test]
fn unclosed_calls_are_content() {
    let call = (
        "get_weather",
        json!({"city": "Köln", "days": 3, "where": {"x": [1]}}),
    );
    for &format in ALL {
        let text = format!("Hm.\n{}", render(format, std::slice::from_ref(&call)));
        for (end, _) in text.char_indices() {
            let message = read(format, &text[..end]);
            if message.calls.is_empty() {
                assert_eq!(message.content, text[..end], "{format:?}");
            } else {
                assert_eq!(
                    serde_json::from_str::<Value>(&message.calls[0].arguments).unwrap(),
                    call.1
                );
            }
        }
    }
}

#[test]
fn broken_calls_are_content_and_later_ones_are_found() {
    let one = [weather("Köln")];
    for &format in ALL {
        let good = render(format, &one);
        let at = good.find("Köln").unwrap();
        let broken = format!("{}\u{1}§{{{{[\"", &good[..at.saturating_sub(1)]);
        let message = read(format, &broken);
        assert_eq!(
            (message.content.as_str(), message.calls.len()),
            (broken.as_str(), 0),
            "{format:?}"
        );
    }
    let text = "<tool_call>{oops}</tool_call>\n<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
    expect(
        Format::Hermes,
        text,
        "<tool_call>{oops}</tool_call>",
        &[("now", json!({}))],
    );
}

#[test]
fn no_tools_no_calls() {
    let text = render(Format::Hermes, &[weather("Köln")]);
    let message = parse(&text, Some(Format::Hermes), None, &Tools::default());
    assert_eq!((message.content, message.calls), (text, vec![]));
    let text = "<|channel|>final<|message|>Hi<|return|>";
    assert_eq!(
        parse(text, Some(Format::Harmony), None, &Tools::default()).content,
        "Hi"
    );
}

#[test]
fn deep_nesting_is_refused_and_long_input_is_read() {
    let deep = format!(
        "<tool_call>{{\"name\": \"now\", \"arguments\": {{\"a\": {}",
        "[".repeat(100_000)
    );
    assert_eq!(read(Format::Hermes, &deep).content, deep);
    let many = "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"".repeat(10_000);
    assert_eq!(read(Format::Hermes, &many).content, many);
    let long = [weather(&"x\n".repeat(100_000))];
    for format in [Format::Hermes, Format::Qwen3Coder] {
        expect(format, &render(format, &long), "", &long);
    }
}

/// What each push gives, written down.
fn steps(parser: &mut Parser, parts: &[&str]) -> Vec<String> {
    let mut seen = Vec::new();
    for part in parts {
        let mut now = String::new();
        parser.push(part, &mut |piece| {
            now += &match piece {
                Piece::Content(t) => format!("c({t})"),
                Piece::Reasoning(t) => format!("r({t})"),
                Piece::CallStarted { index, name } => format!("{index}:{name}("),
                Piece::Arguments { json, .. } => json.to_owned(),
                Piece::CallEnded { index } => format!("){index}"),
                Piece::CallDropped { index } => format!("!{index}"),
            }
        });
        seen.push(now);
    }
    seen
}

#[test]
fn pieces_come_as_soon_as_they_are_sure() {
    let parts = [
        "Hi",
        " <",
        "b> <tool_",
        "call>{\"name\": \"no",
        "w\"",
        ", \"arguments\": {\"a",
        "\": 1",
        "}",
        "}",
        "\n",
    ];
    let seen = steps(&mut parser(Format::Hermes, None), &parts);
    assert_eq!(
        seen,
        [
            "c(Hi)", "", "c( <b>)", "", "0:now(", "{\"a", "\": 1", "}", ")0", ""
        ]
    );
    let parts = [
        "<tool_call><function=get_weather>",
        "<parameter=city>\nKö",
        "ln\n",
        "a</p",
        "x\n</parameter>",
        "</function>",
    ];
    let seen = steps(&mut parser(Format::Qwen3Coder, None), &parts);
    assert_eq!(
        seen,
        ["0:get_weather(", "{\"city\": \"Kö", "ln", "\\na", "</px\"", "})0"]
    );
}

#[test]
fn a_call_that_breaks_is_taken_back() {
    let parts = ["<tool_call>{\"name\": \"now\", \"arguments\": {", "]", " x"];
    let seen = steps(&mut parser(Format::Hermes, None), &parts);
    assert_eq!(
        seen[..2],
        ["0:now({", "!0c(<tool_call>{\"name\": \"now\", \"arguments\": {])"]
    );
    let seen = steps(&mut parser(Format::Hermes, None).hold_calls(), &parts);
    assert_eq!(
        seen,
        ["", "c(<tool_call>{\"name\": \"now\", \"arguments\": {])", "c( x)"]
    );
}

/// Text that is likely to hold markers, broken and whole.
fn likely(format: Format) -> impl Strategy<Value = String> {
    let calls = [
        weather("K{ö}l\"n"),
        ("now", json!({})),
        ("nowhere", json!({"a": [1, {}]})),
    ];
    let whole: Vec<String> = calls
        .iter()
        .map(|c| render(format, std::slice::from_ref(c)))
        .collect();
    let both = render(format, &calls[..2]);
    let part = prop_oneof![
        4 => prop::sample::select(whole.clone()),
        2 => Just(both),
        3 => (prop::sample::select(whole.clone()), 0usize..200, 0usize..200).prop_map(|(text, from, to)| {
            let chars: Vec<char> = text.chars().collect();
            let (from, to) = (from.min(to) % chars.len(), from.max(to).min(chars.len()));
            chars[from.min(to)..to].iter().collect()
        }),
        2 => "[ \\n a{}<\\[;ü>/|\"]{0,6}",
        1 => Just("<think>".to_owned()),
        1 => Just("</think>\n".to_owned()),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        (format, text) in prop::sample::select(ALL).prop_flat_map(|f| (Just(f), likely(f))),
        cuts in prop::collection::vec(1usize..9, 1..20),
        inside in prop::option::of(any::<bool>()),
    ) {
        let reasoning = inside.map(|starts_inside| Reasoning {
            open: "<think>".into(),
            close: "</think>".into(),
            starts_inside,
        });
        let whole = parse(&text, Some(format), reasoning.clone(), &tools());
        for call in &whole.calls {
            prop_assert!(serde_json::from_str::<Value>(&call.arguments).unwrap().is_object());
        }
        prop_assert_eq!(&cut(&text, parser(format, reasoning.clone()), &cuts), &whole);
        prop_assert_eq!(&cut(&text, parser(format, reasoning).hold_calls(), &cuts), &whole);
    }

    #[test]
    fn calls_are_read_back(
        format in prop::sample::select(ALL),
        cities in prop::collection::vec("[a-zA-Z äöü{}\"'\\\\;:,\\[\\]\\n€]{0,12}", 1..4),
        days in any::<i32>(),
    ) {
        let all: Vec<(&str, Value)> = cities.iter().map(|c| ("get_weather", json!({"city": c, "days": days}))).collect();
        let (content, found) = calls(format, &render(format, &all));
        prop_assert_eq!(content, "");
        let found: Vec<(&str, Value)> = found.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        prop_assert_eq!(found, all);
    }
}
