//! What a JSON schema says at its top of the values it allows: enough to read and write arguments that stand alone.

use serde_json::Value;

/// Most steps from a `$ref` to what it names.
const MOST_REFS: usize = 8;

/// Follows `$ref` within the whole schema.
pub(super) fn resolve<'a>(mut schema: &'a Value, whole: &'a Value) -> &'a Value {
    for _ in 0..MOST_REFS {
        let named = schema.get("$ref").and_then(Value::as_str);
        let named = named.and_then(|place| whole.pointer(place.strip_prefix('#')?));
        match named {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// Whether the schema allows nothing but strings.
pub(super) fn is_text(schema: &Value) -> bool {
    match schema.get("type") {
        Some(kind) => kind == "string",
        None => strings(schema).is_some(),
    }
}

/// The strings of which the schema allows one, if it says so.
pub(super) fn choices(schema: &Value) -> Option<Vec<&str>> {
    strings(schema).filter(|_| is_text(schema))
}

fn strings(schema: &Value) -> Option<Vec<&str>> {
    if let Some(only) = schema.get("const") {
        return only.as_str().map(|text| vec![text]);
    }
    let all: Vec<&str> = schema
        .get("enum")?
        .as_array()?
        .iter()
        .map(Value::as_str)
        .collect::<Option<_>>()?;
    (!all.is_empty()).then_some(all)
}

/// Whether the schema allows values of this type, as far as its top says.
pub(super) fn permits(schema: &Value, kind: &str) -> bool {
    let types = |named: &str| named == kind || (named, kind) == ("number", "integer");
    let own = match schema.get("type") {
        Some(Value::String(named)) => types(named),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(types),
        _ => listed(schema).is_none_or(|all| all.into_iter().any(|v| types(type_of(v)))),
    };
    let ways = ["anyOf", "oneOf"].map(|key| schema.get(key).and_then(Value::as_array));
    // One level: what a way says of its own ways is not asked.
    let way = |way: &Value| match way.get("type") {
        Some(Value::String(named)) => types(named),
        _ => listed(way).is_none_or(|all| all.into_iter().any(|v| types(type_of(v)))),
    };
    own && ways.into_iter().flatten().all(|all| all.iter().any(way))
}

fn listed(schema: &Value) -> Option<Vec<&Value>> {
    match schema.get("const") {
        Some(only) => Some(vec![only]),
        None => Some(schema.get("enum")?.as_array()?.iter().collect()),
    }
}

/// The JSON schema's name for the type of a value.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
