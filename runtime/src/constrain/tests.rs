//! Constraints as a whole, on a vocabulary of bytes.

use super::{Constraint, Grammar, Grammars, Guide, Masks, Start};
use serde_json::json;
use std::time::Instant;

fn compile(constraint: Constraint) -> Grammar {
    Grammars::of_bytes().compile(&constraint).unwrap()
}

fn accepts(grammar: &Grammar, text: &str) -> bool {
    grammar.accepts(text.as_bytes()).unwrap().is_ok()
}

#[test]
fn each_kind_accepts_what_it_says() {
    let object = compile(Constraint::JsonObject);
    assert!(
        accepts(&object, "{\"a\": [1, {\"b\": null}]}")
            && !accepts(&object, "[1]")
            && !accepts(&object, "{\"a\": 1")
    );
    let schema = compile(Constraint::JsonSchema(
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}},
        "required": ["n"], "additionalProperties": false}),
    ));
    assert!(accepts(&schema, "{\"n\": 12}") && !accepts(&schema, "{\"n\": 2}") && !accepts(&schema, "{}"));
    let regex = compile(Constraint::Regex("[a-c]+x?".into()));
    assert!(accepts(&regex, "abcx") && !accepts(&regex, "x") && !accepts(&regex, "abcxa"));
    let choice = compile(Constraint::Choice(vec![
        "ab".into(),
        "abc".into(),
        "x.y".into(),
        "".into(),
    ]));
    assert!(["ab", "abc", "x.y", ""].iter().all(|t| accepts(&choice, t)));
    assert!(!accepts(&choice, "a") && !accepts(&choice, "x_y"));
    let lark = compile(Constraint::grammar("start: \"a\" start? \"b\""));
    assert!(accepts(&lark, "aabb") && !accepts(&lark, "aab"));
    let gbnf = compile(Constraint::grammar("root ::= \"a\" root? \"b\""));
    assert!(accepts(&gbnf, "aabb") && !accepts(&gbnf, "aab"));
}

#[test]
fn where_a_text_leaves_is_told() {
    let regex = compile(Constraint::Regex("[0-9]{3}-[0-9]{2}".into()));
    assert_eq!(regex.accepts(b"123-45"), Ok(Ok(())));
    assert_eq!(regex.accepts(b"12x-45"), Ok(Err(2)));
    assert_eq!(regex.accepts(b"123-4"), Ok(Err(5)));
    assert_eq!(regex.accepts(b"123-456"), Ok(Err(6)));
}

#[test]
fn rewritten_keywords_hold() {
    let accepted = |schema, text| accepts(&compile(Constraint::JsonSchema(schema)), text);
    let dependent = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "additionalProperties": false, "dependentRequired": {"a": ["b"]}});
    for (text, want) in [
        ("{}", true),
        ("{\"b\": 1}", true),
        ("{\"a\": 1, \"b\": 1}", true),
        ("{\"a\": 1}", false),
    ] {
        assert_eq!(accepted(dependent.clone(), text), want, "{text}");
    }
    let not_both = json!({"type": "object", "properties": {"a": true, "b": true}, "additionalProperties": false,
        "not": {"required": ["a", "b"]}});
    for (text, want) in [
        ("{}", true),
        ("{\"b\": 1}", true),
        ("{\"a\": 1}", true),
        ("{\"a\": 1, \"b\": 1}", false),
    ] {
        assert_eq!(accepted(not_both.clone(), text), want, "{text}");
    }
    let condition = json!({"type": ["integer", "string"], "if": {"type": "string"}, "then": {"maxLength": 2}, "else": {"minimum": 5}});
    for (text, want) in [("\"ab\"", true), ("\"abc\"", false), ("5", true), ("4", false)] {
        assert_eq!(accepted(condition.clone(), text), want, "{text}");
    }
}

#[test]
fn what_can_not_be_is_refused_with_its_reason() {
    let refusal = |constraint| Grammars::of_bytes().compile(&constraint).unwrap_err().to_string();
    for (schema, reason) in [
        (
            json!({"properties": {"a": {"contains": {}}}}),
            "#/properties/a/contains: `contains` can't be",
        ),
        (json!(false), "nsatisfiable"),
        (json!({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 5}]}), "oneOf"),
        (json!({"$ref": "https://example.com/other"}), "example.com"),
    ] {
        let got = refusal(Constraint::JsonSchema(schema));
        assert!(got.contains(reason) && got.lines().count() == 1, "{got}");
    }
    assert_eq!(
        refusal(Constraint::Choice(Vec::new())),
        "there is no string to choose from"
    );
    assert!(refusal(Constraint::Regex("(a".into())).contains("unclosed group"));
    assert!(refusal(Constraint::Lark("start: x".into())).contains("x"));
    assert!(refusal(Constraint::Regex("(".repeat(5000))).contains("nested too deeply"));
    assert!(refusal(Constraint::Lark("a".repeat(2 << 20))).contains("longer than"));
    assert_eq!(
        refusal(Constraint::Gbnf("root ::= x".into())),
        "line 1, column 10: the rule `x` is not defined"
    );
}

/// Bytes as tokens.
fn follow(guide: &mut Guide, text: &str) {
    for byte in text.bytes() {
        guide.take(byte.into(), &[byte]).unwrap();
    }
}

fn allowed(guide: &mut Guide) -> String {
    let mask = guide.mask().unwrap().unwrap().to_vec();
    (0..128u8)
        .filter(|&b| mask[b as usize / 32] >> (b % 32) & 1 == 1)
        .map(char::from)
        .collect()
}

#[test]
fn a_guide_says_what_may_and_what_must_come() {
    let grammar = compile(Constraint::Regex("a(xyz|b[0-2])!?".into()));
    let masks = Masks::start().unwrap();
    for prepared in [false, true] {
        let mut guide = Guide::new(&grammar, &Start::Now);
        assert_eq!(guide.forced(), [u32::from(b'a')]);
        follow(&mut guide, "a");
        if prepared {
            guide.prepare(&masks);
        }
        assert_eq!(allowed(&mut guide), "bx");
        assert!(guide.forced().is_empty());
        let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
        assert_eq!(
            (
                guide.allows(&ids("b1!")),
                guide.allows(&ids("xyb")),
                guide.allows(&ids("q"))
            ),
            (3, 2, 0)
        );
        follow(&mut guide, "x");
        assert_eq!(guide.forced(), ids("yz"));
        follow(&mut guide, "yz");
        assert!(!guide.is_done());
        assert_eq!(allowed(&mut guide), "!");
        follow(&mut guide, "!");
        assert!(guide.is_done());
        assert!(guide.take(b'!'.into(), b"!").is_err());
    }
}

#[test]
fn a_constraint_may_begin_later() {
    let grammar = compile(Constraint::Regex("[0-9]+".into()));
    let mut guide = Guide::new(&grammar, &Start::After("</think>".into()));
    for piece in ["so ", "</thi", "nk", "</think", "> "] {
        assert_eq!(guide.mask(), Ok(None));
        assert!(!guide.is_done() && guide.forced().is_empty());
        guide.take(0, piece.as_bytes()).unwrap();
    }
    assert_eq!(allowed(&mut guide), "0123456789");
}

#[test]
fn grammars_are_compiled_once() {
    let grammars = Grammars::of_bytes();
    let constraint = |i: usize| Constraint::Regex(format!("a{i}"));
    let first = grammars.compile(&constraint(0)).unwrap();
    assert_eq!(grammars.compile(&constraint(0)).unwrap(), first);
    (1..100).for_each(|i| drop(grammars.compile(&constraint(i)).unwrap()));
    assert_ne!(
        grammars.compile(&constraint(0)).unwrap(),
        first,
        "it was dropped for others"
    );
}

/// Schemas of 64 KiB that are made to take long.
#[test]
fn large_schemas_are_compiled_or_refused_in_time() {
    let names: Vec<String> = (0..800).map(|i| format!("property number {i}")).collect();
    let wide: serde_json::Map<_, _> = names
        .iter()
        .map(|n| (n.clone(), json!({"type": "string"})))
        .collect();
    let mut deep = json!({"type": "string"});
    (0..90).for_each(|i| {
        deep = json!({"type": "object", "properties": {format!("p{i}"): deep}, "required": [format!("p{i}")]})
    });
    let refs: serde_json::Map<_, _> = (0..900)
        .map(|i| {
            (
                format!("d{i}"),
                json!({"anyOf": [{"$ref": format!("#/$defs/d{}", (i + 1) % 900)}, {"const": i}]}),
            )
        })
        .collect();
    let branches: Vec<_> = (0..12)
        .map(|i| json!({"anyOf": [{"minLength": i}, {"maxLength": 90 + i}, {"pattern": format!("x{i}")}]}))
        .collect();
    for (name, schema) in [
        (
            "wide",
            json!({"type": "object", "properties": wide, "required": names}),
        ),
        ("optional", json!({"type": "object", "properties": wide})),
        ("deep", deep),
        ("references", json!({"$ref": "#/$defs/d0", "$defs": refs})),
        ("products", json!({"type": "string", "allOf": branches})),
        (
            "long strings",
            json!({"type": "string", "minLength": 60000, "maxLength": 65000}),
        ),
        (
            "long lists",
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 60000, "maxItems": 65000}),
        ),
        (
            "long choice",
            json!({"enum": (0..6000).map(|i| format!("value {i}")).collect::<Vec<_>>()}),
        ),
        (
            "nested counts",
            json!({"type": "string", "pattern": "^((.{0,500}a){0,500}b){0,500}$"}),
        ),
        (
            "large pattern",
            json!({"type": "string", "pattern": "(a|b|ab|ba){1,50}".repeat(60)}),
        ),
        (
            "many patterns",
            json!({"type": "object", "patternProperties": (0..80).map(|i| (format!("^x{i}.*y{i}$"), json!({"type": "integer"}))).collect::<serde_json::Map<_, _>>()}),
        ),
    ] {
        let start = Instant::now();
        let result = Grammars::of_bytes().compile(&Constraint::JsonSchema(schema));
        let took = start.elapsed().as_millis();
        println!("{name}: {took} ms, {:?}", result.err().map(|e| e.to_string()));
        // 100 on a machine that does nothing else; this one may be busy, and the build not optimized.
        assert!(took < 3000, "{name} took {took} ms");
    }
}

#[test]
fn patterns_that_are_refused_have_their_place() {
    let place = |schema| {
        let error = Grammars::of_bytes()
            .compile(&Constraint::JsonSchema(schema))
            .unwrap_err();
        assert!(error.message.contains("look-around"), "{error}");
        error.place.unwrap()
    };
    let bad = json!({"type": "string", "pattern": "^(?=x)y"});
    let good = json!({"type": "string", "pattern": "^x+$"});
    assert_eq!(
        place(json!({"type": "object", "properties": {"g": good, "a/b": {"anyOf": [good, bad]}}})),
        "#/properties/a~1b/anyOf/1/pattern"
    );
    assert_eq!(
        place(json!({"type": "object", "patternProperties": {"(?!a)b": {"type": "integer"}}})),
        "#/patternProperties/(?!a)b"
    );
}
