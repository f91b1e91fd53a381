//! The regular expressions of a schema, with their places.

use super::escape;
use serde_json::Value;

/// Every `pattern`, and every name of `patternProperties`, with its place as a JSON pointer.
pub(in super::super) fn patterns(schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![("#".to_owned(), schema)];
    while let Some((at, value)) = left.pop() {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(object) => object.iter().map(|(key, value)| (escape(key), value)).collect(),
            Value::Array(list) => (0..).map(|i: usize| i.to_string()).zip(list).collect(),
            _ => continue,
        };
        if let Some(pattern) = value.get("pattern").and_then(Value::as_str) {
            found.push((format!("{at}/pattern"), pattern.to_owned()));
        }
        let names = value.get("patternProperties").and_then(Value::as_object);
        for name in names.into_iter().flat_map(|names| names.keys()) {
            let place = format!("{at}/patternProperties/{}", escape(name));
            found.push((place, name.clone()));
        }
        left.extend(
            children
                .into_iter()
                .rev()
                .map(|(key, value)| (format!("{at}/{key}"), value)),
        );
    }
    found
}
