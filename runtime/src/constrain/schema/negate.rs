//! The opposite of a schema, where the grammar compiler's keywords can say it.

use serde_json::{Map, Value, json};

/// The types of JSON Schema but `integer`, which is a part of `number`.
const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];
/// Keywords that say nothing of values.
const NOTES: [&str; 6] = [
    "title",
    "description",
    "$comment",
    "default",
    "examples",
    "deprecated",
];

/// A schema of all values that `schema` rejects; `None` where that can't be said.
pub(super) fn negate(schema: &Value) -> Option<Value> {
    match schema {
        Value::Bool(accepts) => Some(Value::Bool(!accepts)),
        Value::Object(object) => {
            let said = object.iter().filter(|(key, _)| !NOTES.contains(&key.as_str()));
            let mut ways: Vec<Value> = said
                .map(|(key, value)| keyword(object, key, value))
                .collect::<Option<_>>()?;
            Some(match ways.len() {
                0 => Value::Bool(false),
                1 => ways.remove(0),
                _ => json!({"anyOf": ways}),
            })
        }
        _ => None,
    }
}

/// What one keyword rejects. Those that depend on others are left to nobody.
fn keyword(object: &Map<String, Value>, key: &str, value: &Value) -> Option<Value> {
    match key {
        "not" => Some(value.clone()),
        "type" => types(value),
        "anyOf" => Some(json!({"allOf": all(value)?})),
        "allOf" => Some(json!({"anyOf": all(value)?})),
        "required" => {
            let lacks = |name: &Value| {
                let mut properties = Map::new();
                properties.insert(name.as_str()?.to_owned(), Value::Bool(false));
                Some(json!({"type": "object", "properties": properties}))
            };
            let ways: Vec<Value> = value.as_array()?.iter().map(lacks).collect::<Option<_>>()?;
            Some(if ways.is_empty() {
                Value::Bool(false)
            } else {
                json!({"anyOf": ways})
            })
        }
        "minimum" if !object.contains_key("exclusiveMinimum") => bound("number", "exclusiveMaximum", value),
        "maximum" if !object.contains_key("exclusiveMaximum") => bound("number", "exclusiveMinimum", value),
        "exclusiveMinimum" => bound("number", "maximum", value),
        "exclusiveMaximum" => bound("number", "minimum", value),
        "minLength" => count("string", "maxLength", value, -1),
        "maxLength" => count("string", "minLength", value, 1),
        "minItems" => count("array", "maxItems", value, -1),
        "maxItems" => count("array", "minItems", value, 1),
        _ => None,
    }
}

fn all(schemas: &Value) -> Option<Vec<Value>> {
    schemas.as_array()?.iter().map(negate).collect()
}

fn types(value: &Value) -> Option<Value> {
    let named: Vec<&str> = match value {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    // Numbers that are no integers have no type of their own.
    if named.contains(&"integer") && !named.contains(&"number") {
        return None;
    }
    let others: Vec<&str> = TYPES.into_iter().filter(|t| !named.contains(t)).collect();
    Some(if others.is_empty() {
        Value::Bool(false)
    } else {
        json!({"type": others})
    })
}

fn bound(of: &str, key: &str, value: &Value) -> Option<Value> {
    let number = value.as_number()?;
    Some(json!({"type": of, key: number}))
}

fn count(of: &str, key: &str, value: &Value, change: i64) -> Option<Value> {
    match value.as_i64()?.checked_add(change)? {
        count @ 0.. => Some(json!({"type": of, key: count})),
        _ => Some(Value::Bool(false)),
    }
}
