//! Grammars accept what is rendered as the templates do, and nothing that the schemas forbid.

use super::*;
use crate::constrain::{Constraint, Grammar, Grammars};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["c", "f"]},
            "days": {"type": "integer", "minimum": 1},
            "exact": {"type": "boolean"},
            "near": {"$ref": "#/$defs/spot"},
            "list": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["city"],
        "additionalProperties": false,
        "$defs": {"spot": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    })
}

pub(super) fn tools() -> Tools {
    Tools::new(&[
        json!({"type": "function", "function": {"name": "get", "parameters": {"type": "object", "properties": {}}}}),
        json!({"type": "function", "function": {"name": "get_weather", "parameters": parameters()}}),
        json!({"type": "function", "function": {"name": "turn", "parameters": {"properties": {
            "by": {"type": "number"}, "at": {"type": "string"}}}}}),
    ])
}

pub(super) fn grammar(format: Format, tools: &Tools, parallel: bool, token: TokenOf) -> Grammar {
    let text = format.grammar(tools, parallel, token).unwrap();
    let compiled = Grammars::of_bytes().compile(&Constraint::Lark(text.clone()));
    compiled.unwrap_or_else(|e| panic!("{format:?}: {e}\n{text}"))
}

fn accepts(grammar: &Grammar, text: &str) -> bool {
    grammar.accepts(text.as_bytes()).unwrap().is_ok()
}

pub(super) fn full() -> Value {
    json!({"city": "Köln: \"a\", {b}\n", "unit": "f", "days": 3, "exact": true, "near": {"x": 1.5}, "list": [1, 2.5]})
}

#[test]
fn rendered_calls_are_accepted_and_read_back() {
    let lone = |f: Format| matches!(f, Format::Harmony | Format::GigaChat);
    for &format in ALL {
        let many = grammar(format, &tools(), true, &|_| None);
        let one = grammar(format, &tools(), false, &|_| None);
        let calls = [
            ("get_weather", full()),
            ("get", json!({})),
            ("turn", json!({"at": "x"})),
            ("turn", json!({"by": -1.5})),
            ("turn", json!({})),
            ("get_weather", json!({"city": "", "exact": false})),
        ];
        for call in &calls {
            let text = render(format, std::slice::from_ref(call));
            // The token that ends an answer is not the grammar's.
            let text = text.trim_end_matches("<|call|>");
            for grammar in [&one, &many] {
                let found = grammar.accepts(text.as_bytes()).unwrap();
                assert_eq!(found, Ok(()), "{format:?}: {text}");
            }
            let message = parse(text, Some(format), None, &tools());
            assert_eq!(
                serde_json::from_str::<Value>(&message.calls[0].arguments).unwrap(),
                call.1
            );
            let begins = format.triggers().any(|trigger| text.starts_with(trigger.text));
            assert!(begins, "{format:?} begins with no trigger: {text}");
        }
        let text = render(format, &calls);
        let found = many.accepts(text.as_bytes()).unwrap();
        assert!(lone(format) || found.is_ok(), "{format:?}: {found:?} {text}");
        assert!(!accepts(&one, &text), "{format:?}");
    }
}

#[test]
fn what_schemas_forbid_is_refused() {
    for &format in ALL {
        let grammar = grammar(format, &tools(), true, &|_| None);
        for call in [
            ("nowhere", json!({})),
            ("get_weather", json!({})),
            ("get_weather", json!({"city": "x", "unit": "k"})),
            ("get_weather", json!({"city": "x", "days": "many"})),
            ("get_weather", json!({"city": "x", "days": 0})),
            ("get_weather", json!({"city": "x", "exact": null})),
            ("get_weather", json!({"city": "x", "other": 1})),
        ] {
            let text = render(format, &[call]);
            assert!(!accepts(&grammar, &text), "{format:?}: {text}");
        }
        let good = render(format, &[("get_weather", full())]);
        for bad in [format!("Hm. {good}"), format!("{good}?"), String::new()] {
            assert!(!accepts(&grammar, &bad), "{format:?}: {bad}");
        }
    }
}

#[test]
fn other_ways_to_write_calls_are_accepted() {
    let list = r#"[TOOL_CALLS][{"name": "get", "arguments": {}, "id": "abcdefghi"}, {"name": "get", "arguments": {}}]"#;
    assert!(accepts(
        &grammar(Format::Mistral, &tools(), true, &|_| None),
        list
    ));
    let old = "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"get\", \"arguments\": {}}";
    assert!(accepts(
        &grammar(Format::GigaChat, &tools(), true, &|_| None),
        old
    ));
}

#[test]
fn tokens_stand_for_markers() {
    let token = |marker: &str| (marker.len() > 2).then_some(7);
    for &format in ALL {
        let text = format.grammar(&tools(), true, &token).unwrap();
        let has = !matches!(
            format,
            Format::Llama3 | Format::Pythonic | Format::Gemma3 | Format::Functionary
        );
        assert!(!has || text.contains("<[7]>"), "{format:?}: {text}");
        grammar(format, &tools(), true, &token);
    }
    let text = Format::Hermes.grammar(&tools(), true, &token).unwrap();
    assert!(!text.contains("tool_call>"), "{text}");
}

#[test]
fn only_one_tool_may_be_named() {
    let only = tools().only("get").unwrap();
    let grammar = grammar(Format::Hermes, &only, true, &|_| None);
    assert!(accepts(&grammar, &render(Format::Hermes, &[("get", json!({}))])));
    assert!(!accepts(
        &grammar,
        &render(Format::Hermes, &[("turn", json!({}))])
    ));
    assert_eq!(tools().only("nowhere"), None);
}

#[test]
fn nothing_to_call_and_schemas_that_cannot_be_are_refused() {
    assert!(
        Format::Hermes
            .grammar(&Tools::default(), true, &|_| None)
            .is_err()
    );
    let bad = Tools::new(&[
        json!({"name": "f", "parameters": {"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}}),
    ]);
    let text = Format::Hermes.grammar(&bad, true, &|_| None);
    let refused = text.is_err()
        || Grammars::of_bytes()
            .compile(&Constraint::Lark(text.unwrap()))
            .is_err();
    assert!(refused);
}
