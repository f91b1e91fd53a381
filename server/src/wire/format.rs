//! The fields of a request that say what the output must be.

use super::Common;
use crate::error::ApiError;
use lathe_runtime::constrain::Constraint;
use serde_json::Value;

impl Common {
    /// What the output must be, and the field that says so.
    pub fn constraint(&self) -> Result<Option<(&'static str, Constraint)>, ApiError> {
        let present = |value: &Option<Value>| value.clone().filter(|v| !v.is_null());
        let said = [
            (
                "response_format",
                present(&self.response_format)
                    .map(|v| response_format(&v))
                    .transpose()?
                    .flatten(),
            ),
            (
                "structured_outputs",
                present(&self.structured_outputs)
                    .map(|v| structured(&v))
                    .transpose()?,
            ),
            ("grammar", self.grammar.clone().map(Constraint::grammar)),
        ];
        let mut said = said
            .into_iter()
            .filter_map(|(field, constraint)| Some((field, constraint?)));
        match (said.next(), said.next()) {
            (Some((one, _)), Some((other, _))) => {
                let message = format!("`{one}` and `{other}` both say what the output must be");
                Err(ApiError::invalid(other, message))
            }
            (first, _) => Ok(first),
        }
    }
}

/// OpenAI's `response_format`; nothing for plain text.
fn response_format(value: &Value) -> Result<Option<Constraint>, ApiError> {
    let invalid = |message: &str| ApiError::invalid("response_format", format!("`response_format`{message}"));
    match value["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonObject)),
        // The schema lies one deeper at OpenAI, and here in llama.cpp's server.
        Some("json_schema") => match value
            .pointer("/json_schema/schema")
            .or_else(|| value.get("schema"))
        {
            Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            None => Err(invalid(" has no `json_schema.schema`")),
        },
        Some(_) => Err(invalid(".type must be `text`, `json_object` or `json_schema`")),
        None => Err(invalid(" has no `type`")),
    }
}

/// vLLM's `structured_outputs`.
fn structured(value: &Value) -> Result<Constraint, ApiError> {
    let invalid =
        |message: &str| ApiError::invalid("structured_outputs", format!("`structured_outputs` {message}"));
    let said = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    let said: Vec<(&String, &Value)> = said.collect();
    let [(key, value)] = said[..] else {
        return Err(invalid(
            "must have one of `json`, `json_object`, `regex`, `choice` and `grammar`",
        ));
    };
    let text = || {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| invalid(&format!("must have text in `{key}`")))
    };
    match key.as_str() {
        "json" => match value.as_str() {
            Some(text) => serde_json::from_str(text)
                .map(Constraint::JsonSchema)
                .map_err(|e| invalid(&format!("has no JSON in `json`: {e}"))),
            None => Ok(Constraint::JsonSchema(value.clone())),
        },
        "json_object" if value == &Value::Bool(true) => Ok(Constraint::JsonObject),
        "regex" => Ok(Constraint::Regex(text()?)),
        "grammar" => Ok(Constraint::grammar(text()?)),
        "choice" => {
            let strings = value
                .as_array()
                .map(|list| list.iter().map(|s| s.as_str().map(str::to_owned)).collect());
            let strings: Option<Vec<String>> = strings.flatten();
            strings
                .map(Constraint::Choice)
                .ok_or_else(|| invalid("must have a list of strings in `choice`"))
        }
        _ => Err(invalid(&format!("does not know `{key}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_are_read() {
        let read = |body: Value| {
            let common: Common = serde_json::from_value(body).unwrap();
            common
                .constraint()
                .map(|found| found.map(|(_, constraint)| constraint))
        };
        let schema = json!({"type": "null"});
        for (body, want) in [
            (json!({}), None),
            (json!({"response_format": null}), None),
            (json!({"response_format": {"type": "text"}}), None),
            (
                json!({"response_format": {"type": "json_object"}}),
                Some(Constraint::JsonObject),
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
                Some(Constraint::JsonSchema(schema.clone())),
            ),
            (
                json!({"structured_outputs": {"json": schema, "regex": null}}),
                Some(Constraint::JsonSchema(schema.clone())),
            ),
            (
                json!({"structured_outputs": {"json": schema.to_string()}}),
                Some(Constraint::JsonSchema(schema.clone())),
            ),
            (
                json!({"structured_outputs": {"regex": "a+"}}),
                Some(Constraint::Regex("a+".into())),
            ),
            (
                json!({"structured_outputs": {"choice": ["a", "b"]}}),
                Some(Constraint::Choice(vec!["a".into(), "b".into()])),
            ),
            (
                json!({"grammar": "root ::= \"a\""}),
                Some(Constraint::Gbnf("root ::= \"a\"".into())),
            ),
        ] {
            assert_eq!(read(body.clone()), Ok(want), "{body}");
        }
        for (body, param) in [
            (json!({"response_format": {"type": "xml"}}), "response_format"),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format",
            ),
            (json!({"response_format": "json"}), "response_format"),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (
                json!({"structured_outputs": {"regex": "a", "choice": []}}),
                "structured_outputs",
            ),
            (
                json!({"structured_outputs": {"choice": [1]}}),
                "structured_outputs",
            ),
            (json!({"structured_outputs": {"xml": 1}}), "structured_outputs"),
            (
                json!({"grammar": "start: x", "response_format": {"type": "json_object"}}),
                "grammar",
            ),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param, Some(param), "{body}");
        }
    }
}
