//! The tools of a request: their names, and the JSON schemas of their arguments.

use super::json::is_space;
use super::shapes::resolve;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// One function that may be called.
#[derive(Clone, PartialEq, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments, an object; empty where the request gives none.
    pub parameters: Value,
    /// Whether calls are held to that schema; where not, their arguments may be anything. A tool says so by `strict:
    /// false`.
    pub strict: bool,
}

/// The tools that may be called. Cheap to clone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tools(Arc<[Tool]>);

impl Tools {
    /// Reads the `tools` field of OpenAI's chat API: objects with `function: {name, parameters}`, or bare function
    /// objects. Entries without a name are left out.
    pub fn new(tools: &[Value]) -> Tools {
        Tools(tools.iter().filter_map(read).collect())
    }

    /// Whether nothing may be called.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tools, in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.0.iter()
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.0.iter().find(|t| t.name == name)
    }

    /// Only the tool of this name, for a `tool_choice` that names it.
    pub fn only(&self, name: &str) -> Option<Tools> {
        self.get(name).map(|t| Tools([t.clone()].into()))
    }

    /// Whether `text` may still become a known name followed by one of `ends`.
    pub(super) fn may_begin(&self, text: &str, ends: &[(&str, usize)]) -> bool {
        let text = text.trim_start_matches(is_space);
        let path = text.strip_prefix("functions.").unwrap_or(text);
        let name_begins = |t: &Tool| {
            t.name.starts_with(path)
                || path
                    .strip_prefix(t.name.as_str())
                    .is_some_and(|r| ending(r, ends))
        };
        "functions.".starts_with(text) || self.0.iter().any(name_begins)
    }

    /// The name that `text` spells, without the decorations that some forms have: `functions.NAME:0`.
    pub(super) fn resolve(&self, text: &str) -> Option<&Tool> {
        let text = text.trim_matches(is_space);
        let bare = text.strip_prefix("functions.").unwrap_or(text);
        let counted = bare.rsplit_once(':').filter(|(_, n)| is_count(n));
        let plain = counted.map_or(bare, |(name, _)| name);
        self.get(text)
            .or_else(|| self.get(bare))
            .or_else(|| self.get(plain))
    }
}

/// Whether what stands behind a name may still become its end.
fn ending(rest: &str, ends: &[(&str, usize)]) -> bool {
    let counted = rest
        .strip_prefix(':')
        .map(|r| r.trim_start_matches(|c: char| c.is_ascii_digit()));
    let rest = counted.unwrap_or(rest).trim_start_matches(is_space);
    ends.iter().any(|(end, _)| end.trim_start().starts_with(rest))
}

fn is_count(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn read(tool: &Value) -> Option<Tool> {
    let function = tool.get("function").unwrap_or(tool);
    let name = function.get("name")?.as_str().filter(|n| !n.is_empty())?;
    let parameters = function.get("parameters").filter(|p| p.is_object());
    Some(Tool {
        name: name.to_owned(),
        parameters: parameters.cloned().unwrap_or_else(|| Value::Object(Map::new())),
        strict: function.get("strict").and_then(Value::as_bool) != Some(false),
    })
}

impl Tool {
    /// The schema of an argument, or the one that it names.
    pub(super) fn schema(&self, key: &str) -> Option<&Value> {
        let schema = self.parameters.get("properties")?.get(key)?;
        Some(resolve(schema, &self.parameters))
    }

    /// The tool as calls of it are held to: its argument's names are known where it is not strict, and not their values.
    pub(super) fn held(&self) -> Tool {
        let mut tool = self.clone();
        if !self.strict {
            let properties = self.parameters.get("properties").and_then(Value::as_object);
            let names = properties.into_iter().flat_map(|all| all.keys());
            let free: Map<String, Value> = names.map(|name| (name.clone(), json!({}))).collect();
            tool.parameters = json!({"type": "object", "properties": free});
        }
        tool
    }

    /// The name of the argument at this place, where the schema lists it.
    pub(super) fn nth(&self, place: usize) -> Option<&str> {
        let properties = self.parameters.get("properties")?.as_object()?;
        properties.keys().nth(place).map(String::as_str)
    }
}
