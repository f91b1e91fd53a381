//! Each rewriting against what it stands for, and each refusal with its place.

use super::negate::negate;
use super::prepare;
use serde_json::{Value, json};

fn refusal(schema: Value) -> String {
    prepare(&schema).unwrap_err().to_string()
}

#[test]
fn what_the_compiler_has_stays() {
    let schema = json!({"type": "object", "properties": {"a/b": {"type": "string", "format": "date"}, "c": {"$ref": "#/$defs/x"}},
        "required": ["c"], "additionalProperties": false, "$defs": {"x": {"enum": [1, "y", null]}}, "title": "t"});
    assert_eq!(prepare(&schema).unwrap(), schema);
    assert_eq!(prepare(&json!(true)).unwrap(), json!(true));
}

#[test]
fn what_says_nothing_is_left_out() {
    let schema = json!({"type": "array", "uniqueItems": false, "items": {"type": "string", "format": "colour"}, "then": false,
        "maxContains": 3, "x-guidance": {"lenient": true}});
    assert_eq!(
        prepare(&schema).unwrap(),
        json!({"type": "array", "items": {"type": "string"}})
    );
    let schema = json!({"uniqueItems": true, "maxItems": 1, "unevaluatedItems": true, "if": {"type": "string"}, "propertyNames": {}});
    assert_eq!(prepare(&schema).unwrap(), json!({"maxItems": 1}));
}

#[test]
fn what_can_be_said_otherwise_is_rewritten() {
    let dependent = json!({"properties": {"a": true}, "dependentRequired": {"a": ["b"]}});
    let want = json!({"properties": {"a": true},
        "allOf": [{"anyOf": [{"properties": {"a": false}}, {"type": "object", "required": ["b"]}]}]});
    assert_eq!(prepare(&dependent).unwrap(), want);
    let sealed = json!({"properties": {"a": true}, "unevaluatedProperties": false});
    assert_eq!(
        prepare(&sealed).unwrap(),
        json!({"properties": {"a": true}, "additionalProperties": false})
    );
    let condition = json!({"if": {"type": "string"}, "then": {"maxLength": 3}});
    let want = json!({"allOf": [{"anyOf": [{"allOf": [{"type": "string"}, {"maxLength": 3}]},
        {"allOf": [{"type": ["null", "boolean", "number", "array", "object"]}, true]}]}]});
    assert_eq!(prepare(&condition).unwrap(), want);
}

#[test]
fn opposites_are_those_of_every_keyword() {
    for (schema, want) in [
        (json!(true), json!(false)),
        (json!({}), json!(false)),
        (
            json!({"not": {"type": "null"}, "description": "d"}),
            json!({"type": "null"}),
        ),
        (
            json!({"type": ["number", "integer"]}),
            json!({"type": ["null", "boolean", "string", "array", "object"]}),
        ),
        (
            json!({"type": ["null", "boolean", "number", "string", "array", "object"]}),
            json!(false),
        ),
        (
            json!({"required": ["a"]}),
            json!({"anyOf": [{"type": "object", "properties": {"a": false}}]}),
        ),
        (json!({"required": []}), json!(false)),
        (
            json!({"minimum": 2.5}),
            json!({"type": "number", "exclusiveMaximum": 2.5}),
        ),
        (json!({"minLength": 0}), json!(false)),
        (json!({"maxLength": 4}), json!({"type": "string", "minLength": 5})),
        (
            json!({"anyOf": [{"type": "null"}, {"maxItems": 0}]}),
            json!({"allOf": [{"type": ["boolean", "number", "string", "array", "object"]}, {"type": "array", "minItems": 1}]}),
        ),
        (
            json!({"type": "number", "maximum": 1}),
            json!({"anyOf": [{"type": ["null", "boolean", "string", "array", "object"]}, {"type": "number", "exclusiveMinimum": 1}]}),
        ),
    ] {
        assert_eq!(negate(&schema), Some(want), "{schema}");
    }
    for schema in [
        json!({"type": "integer"}),
        json!({"enum": ["a"]}),
        json!({"minimum": 1, "exclusiveMinimum": true}),
        json!(3),
    ] {
        assert_eq!(negate(&schema), None, "{schema}");
    }
}

#[test]
fn refusals_name_their_place() {
    let inner = json!({"properties": {"a/b": {"items": [{"not": {"enum": [1]}}]}}});
    assert_eq!(
        refusal(inner),
        "#/properties/a~1b/items/0/not: `not` can't be turned into a grammar here"
    );
    for (schema, place) in [
        (json!({"contains": {}}), "#/contains"),
        (json!({"anyOf": [{"uniqueItems": true}]}), "#/anyOf/0/uniqueItems"),
        (json!({"propertyNames": {"pattern": "a"}}), "#/propertyNames"),
        (
            json!({"$defs": {"x": {"$dynamicRef": "#n"}}}),
            "#/$defs/x/$dynamicRef",
        ),
        (json!({"format": "iri"}), "#/format"),
        (
            json!({"unevaluatedProperties": false, "allOf": []}),
            "#/unevaluatedProperties",
        ),
        (json!({"properties": 3}), "#/properties"),
        (json!({"items": 3}), "#/items"),
        (json!(3), "#"),
        // A place that only a reference makes a schema.
        (
            json!({"$ref": "#/components/x%20y", "components": {"x y": {"contains": {}}}}),
            "#/components/x y/contains",
        ),
        (json!({"$ref": "#/nowhere"}), "#/nowhere"),
    ] {
        let error = prepare(&schema).unwrap_err();
        assert_eq!(error.place.as_deref(), Some(place), "{schema}: {error}");
    }
}

#[test]
fn depth_is_bounded() {
    let mut schema = json!({});
    for _ in 0..110 {
        schema = json!({"items": schema});
    }
    assert!(refusal(schema).ends_with("nested too deeply"));
}
