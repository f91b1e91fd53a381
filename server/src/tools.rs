//! The tools of a chat request, and what `tool_choice` makes of them.

use crate::error::ApiError;
use crate::wire::Common;
use lathe_runtime::tools::Tools;
use serde_json::Value;
use std::collections::HashSet;

/// Longest name of a function, as at OpenAI.
const LONGEST_NAME: usize = 64;

/// What an answer may and must call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ToolUse {
    /// The tools that the model is told of.
    pub shown: Vec<Value>,
    /// Those that it may call.
    pub callable: Tools,
    /// Whether it must call one, and say nothing else.
    pub must: bool,
    /// Whether it may call several.
    pub parallel: bool,
}

impl ToolUse {
    /// What a request says.
    ///
    /// # Errors
    /// A tool without a name or with somebody else's, or a choice that is none.
    pub fn of(common: &Common) -> Result<ToolUse, ApiError> {
        let shown = common.tools.clone().unwrap_or_default();
        check(&shown)?;
        let all = Tools::new(&shown);
        let invalid = |message: String| ApiError::invalid("tool_choice", message);
        let choice = common.tool_choice.clone().filter(|v| !v.is_null());
        let said = choice.as_ref().and_then(Value::as_str);
        let parallel = common.parallel_tool_calls.unwrap_or(true);
        let some = |callable: Tools, must: bool| ToolUse {
            shown: shown.clone(),
            callable,
            must,
            parallel,
        };
        match (&choice, said) {
            (None, _) | (_, Some("auto")) => Ok(some(all, false)),
            (_, Some("none")) => Ok(ToolUse::default()),
            (_, Some("required")) if all.is_empty() => Err(invalid(
                "`tool_choice` requires a call, but there are no `tools`".into(),
            )),
            (_, Some("required")) => Ok(some(all, true)),
            (Some(choice), None) => {
                let name = choice.pointer("/function/name").and_then(Value::as_str);
                let name = name.ok_or_else(|| invalid("`tool_choice` names no function".into()))?;
                let only = all.only(name);
                let only = only.ok_or_else(|| {
                    invalid(format!(
                        "`tool_choice` names `{name}`, which is not among `tools`"
                    ))
                })?;
                Ok(ToolUse {
                    parallel: false,
                    ..some(only, true)
                })
            }
            _ => Err(invalid(
                "`tool_choice` must be `none`, `auto`, `required`, or name a function".into(),
            )),
        }
    }
}

fn check(tools: &[Value]) -> Result<(), ApiError> {
    let mut names = HashSet::new();
    for (number, tool) in tools.iter().enumerate() {
        let invalid = |what: &str| Err(ApiError::invalid("tools", format!("tool {number} {what}")));
        if tool["type"] != "function" {
            return invalid("is no function: its `type` must be `function`");
        }
        let Some(name) = tool.pointer("/function/name").and_then(Value::as_str) else {
            return invalid("has no `function.name`");
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            return invalid("has a name that is not of 1 to 64 letters, digits, `_`, `-` and `.`");
        }
        if !names.insert(name) {
            return invalid("has the name of another");
        }
        let parameters = tool.pointer("/function/parameters");
        if parameters.is_some_and(|p| !p.is_object() && !p.is_null()) {
            return invalid("has `parameters` that are no JSON Schema");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<ToolUse, ApiError> {
        ToolUse::of(&serde_json::from_value(body).unwrap())
    }

    #[test]
    fn choices_are_read() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
        let names = |found: &ToolUse| found.callable.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let found = read(json!({"tools": tools})).unwrap();
        assert_eq!(
            (names(&found), found.must, found.parallel, found.shown.len()),
            (vec!["f".into(), "g".into()], false, true, 2)
        );
        assert_eq!(
            read(json!({"tools": tools, "tool_choice": "auto"})).unwrap(),
            found
        );
        let required =
            read(json!({"tools": tools, "tool_choice": "required", "parallel_tool_calls": false})).unwrap();
        assert_eq!(
            (names(&required).len(), required.must, required.parallel),
            (2, true, false)
        );
        let named = json!({"type": "function", "function": {"name": "g"}});
        let named = read(json!({"tools": tools, "tool_choice": named})).unwrap();
        assert_eq!(
            (names(&named), named.must, named.shown.len()),
            (vec!["g".into()], true, 2)
        );
        assert_eq!(
            read(json!({"tools": tools, "tool_choice": "none"})).unwrap(),
            ToolUse::default()
        );
        assert!(read(json!({})).unwrap().callable.is_empty());
    }

    #[test]
    fn what_is_no_tool_is_refused() {
        let f = json!({"type": "function", "function": {"name": "f"}});
        for (body, param) in [
            (json!({"tools": [{"type": "web_search"}]}), "tools"),
            (json!({"tools": [{"type": "function", "function": {}}]}), "tools"),
            (
                json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
                "tools",
            ),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}),
                "tools",
            ),
            (json!({"tools": [f, f]}), "tools"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tools": [f], "tool_choice": "always"}), "tool_choice"),
            (
                json!({"tools": [f], "tool_choice": {"type": "function"}}),
                "tool_choice",
            ),
            (
                json!({"tools": [f], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
                "tool_choice",
            ),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param, Some(param), "{body}");
        }
    }
}
