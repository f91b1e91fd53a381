//! JSON schemas made ready for the grammar compiler: what it can't honour is rewritten into what it can, or refused with
//! its place; nothing that a validator would check is left out.
//!
//! The compiler knows 27 keywords. Some others say the same as combinations of those (`dependentRequired`, some `not` and
//! `if`), and are rewritten here into further entries of `allOf`. Keywords count whatever draft a schema names. Names that
//! JSON Schema does not know, and formats that it does not define, say nothing to a validator, and are left out.

mod negate;
mod patterns;
#[cfg(test)]
mod tests;

use super::error::ConstraintError;
use negate::negate;
pub(super) use patterns::patterns;
use serde_json::{Map, Value, json};
use std::collections::{HashSet, VecDeque};

/// Schemas nested deeper are refused: what walks over them is recursive.
const DEEPEST: usize = 100;
/// Most properties of objects, and most patterns for them: the compiler takes time by their squares, which are added up.
const MOST_PROPERTIES: usize = 800;
const MOST_PATTERNS: usize = 80;
/// Most schemas that `$ref` may name: one may name the next, and the compiler follows them recursively.
const MOST_NAMED: usize = 5000;

/// Keywords whose value is a schema.
const ONE: [&str; 2] = ["additionalProperties", "additionalItems"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Formats of JSON Schema that the compiler has.
const FORMATS: [&str; 10] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];
/// Formats of JSON Schema that it has not.
const NO_FORMATS: [&str; 9] = [
    "idn-email",
    "idn-hostname",
    "uri-reference",
    "iri",
    "iri-reference",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

/// The schema as the compiler takes it.
///
/// # Errors
/// What can't be honoured, with its place as a JSON pointer.
pub fn prepare(schema: &Value) -> Result<Value, ConstraintError> {
    let mut walk = Walk::default();
    let mut root = walk.schema(schema, "#", 0)?;
    while let Some(place) = walk.targets.pop_front() {
        walk.target(schema, &mut root, &place)?;
    }
    if walk.named.len() > MOST_NAMED {
        let message = format!("more than {MOST_NAMED} schemas are named by `$ref`");
        return Err(ConstraintError::at("#", message));
    }
    if let Some(object) = root.as_object_mut() {
        object.remove("x-guidance");
    }
    Ok(root)
}

#[derive(Default)]
struct Walk {
    /// Places that were prepared.
    seen: HashSet<String>,
    /// Places that a `$ref` names, and those of them that were not looked at yet.
    named: HashSet<String>,
    targets: VecDeque<String>,
    /// Squares of the numbers of properties and of patterns.
    properties: usize,
    patterns: usize,
}

impl Walk {
    fn schema(&mut self, schema: &Value, at: &str, depth: usize) -> Result<Value, ConstraintError> {
        self.seen.insert(at.to_owned());
        if depth > DEEPEST {
            return Err(ConstraintError::at(at, "schemas are nested too deeply"));
        }
        match schema {
            Value::Bool(_) => Ok(schema.clone()),
            Value::Object(object) => self.object(object, at, depth),
            _ => Err(ConstraintError::at(at, "a schema is an object, true or false")),
        }
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<Value, ConstraintError> {
        let mut made = Map::new();
        let mut also = Vec::new();
        for (key, value) in object {
            let place = format!("{at}/{}", escape(key));
            let key = key.as_str();
            let value = match key {
                _ if ONE.contains(&key) => self.schema(value, &place, depth + 1)?,
                _ if LIST.contains(&key) => self.list(value, &place, depth)?,
                _ if NAMED.contains(&key) => self.named(value, &place, depth)?,
                "items" if value.is_array() => self.list(value, &place, depth)?,
                "items" => self.schema(value, &place, depth + 1)?,
                "$ref" => {
                    self.follow(value);
                    value.clone()
                }
                "format" => match format_of(value, &place)? {
                    Some(format) => format,
                    None => continue,
                },
                _ => match rewrite(object, key, value, &place)? {
                    Rewrite::Keep => value.clone(),
                    Rewrite::Drop => continue,
                    Rewrite::And(schemas) => {
                        for schema in schemas {
                            also.push(self.schema(&schema, &place, depth + 1)?);
                        }
                        continue;
                    }
                    Rewrite::As(key, value) => {
                        made.insert(key.to_owned(), self.schema(&value, &place, depth + 1)?);
                        continue;
                    }
                },
            };
            made.insert(key.to_owned(), value);
        }
        if !also.is_empty() {
            let all = made.entry("allOf").or_insert_with(|| json!([]));
            all.as_array_mut()
                .into_iter()
                .for_each(|all| all.append(&mut also));
        }
        Ok(Value::Object(made))
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Result<Value, ConstraintError> {
        let schemas = value
            .as_array()
            .ok_or_else(|| ConstraintError::at(at, "a list of schemas is expected"))?;
        let schemas = (0..).zip(schemas);
        schemas
            .map(|(i, schema): (usize, _)| self.schema(schema, &format!("{at}/{i}"), depth + 1))
            .collect()
    }

    fn named(&mut self, value: &Value, at: &str, depth: usize) -> Result<Value, ConstraintError> {
        let schemas = value
            .as_object()
            .ok_or_else(|| ConstraintError::at(at, "an object of schemas is expected"))?;
        self.count(at, schemas.len())?;
        let mut made = Map::new();
        for (name, schema) in schemas {
            let schema = self.schema(schema, &format!("{at}/{}", escape(name)), depth + 1)?;
            made.insert(name.clone(), schema);
        }
        Ok(Value::Object(made))
    }

    /// Bounds what compiling will take.
    fn count(&mut self, at: &str, schemas: usize) -> Result<(), ConstraintError> {
        let (sum, most, what) = match at.rsplit('/').next() {
            Some("properties") => (&mut self.properties, MOST_PROPERTIES, "properties"),
            Some("patternProperties") => (&mut self.patterns, MOST_PATTERNS, "patterns"),
            _ => return Ok(()),
        };
        *sum = sum.saturating_add(schemas.saturating_mul(schemas));
        match *sum <= most * most {
            true => Ok(()),
            false => Err(ConstraintError::at(
                at,
                format!("there are too many {what} (one object may have {most})"),
            )),
        }
    }

    /// Remembers a place of this document that a `$ref` names. Other documents are the compiler's to refuse.
    fn follow(&mut self, reference: &Value) {
        if let Some(place) = reference.as_str().filter(|r| r.starts_with("#/"))
            && self.named.insert(place.to_owned())
        {
            self.targets.push_back(place.to_owned());
        }
    }

    /// Prepares the target of a `$ref` that lies where no schema is expected, such as below `components`.
    fn target(&mut self, from: &Value, root: &mut Value, place: &str) -> Result<(), ConstraintError> {
        let decoded = percent_decode(place);
        if self.seen.contains(&decoded) {
            return Ok(());
        }
        let Some(schema) = from.pointer(&decoded[1..]) else {
            return Err(ConstraintError::at(
                place,
                "there is nothing that this `$ref` could name",
            ));
        };
        let prepared = self.schema(schema, &decoded, 0)?;
        if let Some(slot) = root.pointer_mut(&decoded[1..]) {
            *slot = prepared;
        }
        Ok(())
    }
}

/// What becomes of a keyword.
enum Rewrite {
    /// The compiler has it, or it is no keyword that says anything of values.
    Keep,
    /// It says nothing here.
    Drop,
    /// It says what these say together.
    And(Vec<Value>),
    /// It says what another keyword says.
    As(&'static str, Value),
}

fn rewrite(
    schema: &Map<String, Value>,
    key: &str,
    value: &Value,
    at: &str,
) -> Result<Rewrite, ConstraintError> {
    let refused = |what: &str| Err(ConstraintError::at(at, format!("`{key}` {what}")));
    match key {
        "not" => match negate(value) {
            Some(schema) => Ok(Rewrite::And(vec![schema])),
            None => refused("can't be turned into a grammar here"),
        },
        "if" => match (schema.get("then"), schema.get("else"), negate(value)) {
            (None, None, _) => Ok(Rewrite::Drop),
            (then, other, Some(not)) => {
                let (yes, no) = (Value::Bool(true), Value::Bool(true));
                let yes = json!({"allOf": [value, then.unwrap_or(&yes)]});
                let no = json!({"allOf": [not, other.unwrap_or(&no)]});
                Ok(Rewrite::And(vec![json!({"anyOf": [yes, no]})]))
            }
            _ => refused("can't be turned into a grammar here"),
        },
        "then" | "else" | "minContains" | "maxContains" => Ok(Rewrite::Drop),
        "dependencies" | "dependentRequired" | "dependentSchemas" => {
            dependencies(value, at).map(Rewrite::And)
        }
        "uniqueItems" => match value {
            Value::Bool(false) => Ok(Rewrite::Drop),
            _ if at_most_one_item(schema) => Ok(Rewrite::Drop),
            _ => refused("can't be turned into a grammar"),
        },
        "propertyNames" if is_true(value) => Ok(Rewrite::Drop),
        "contains" if schema.get("minContains") == Some(&json!(0)) && !schema.contains_key("maxContains") => {
            Ok(Rewrite::Drop)
        }
        "unevaluatedProperties" => unevaluated(schema, value, "additionalProperties", at),
        "unevaluatedItems" => unevaluated(schema, value, "items", at),
        "contains" | "propertyNames" | "$dynamicRef" | "$recursiveRef" => {
            refused("can't be turned into a grammar")
        }
        _ => Ok(Rewrite::Keep),
    }
}

/// An object with the first property must have those of a list, or be as a schema says.
fn dependencies(value: &Value, at: &str) -> Result<Vec<Value>, ConstraintError> {
    let all = value
        .as_object()
        .ok_or_else(|| ConstraintError::at(at, "an object is expected"))?;
    let rule = |(name, then): (&String, &Value)| {
        let then = match then {
            Value::Array(_) => json!({"type": "object", "required": then}),
            schema => schema.clone(),
        };
        let mut without = Map::new();
        without.insert(name.clone(), Value::Bool(false));
        json!({"anyOf": [{"properties": without}, then]})
    };
    Ok(all.iter().map(rule).collect())
}

/// What was not evaluated is what is additional, where no other keyword evaluates anything.
fn unevaluated(
    schema: &Map<String, Value>,
    value: &Value,
    plain: &'static str,
    at: &str,
) -> Result<Rewrite, ConstraintError> {
    let evaluates = [
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "$ref",
        "dependentSchemas",
        "contains",
        "items",
    ];
    if is_true(value) || schema.contains_key("additionalProperties") && plain == "additionalProperties" {
        return Ok(Rewrite::Drop);
    }
    if schema.keys().any(|key| evaluates.contains(&key.as_str())) {
        return Err(ConstraintError::at(
            at,
            "what other keywords evaluate can't be told in a grammar",
        ));
    }
    Ok(Rewrite::As(plain, value.clone()))
}

fn format_of(value: &Value, at: &str) -> Result<Option<Value>, ConstraintError> {
    match value.as_str() {
        Some(format) if FORMATS.contains(&format) => Ok(Some(value.clone())),
        Some(format) if NO_FORMATS.contains(&format) => {
            let message = format!("the format `{format}` can't be turned into a grammar");
            Err(ConstraintError::at(at, message))
        }
        Some(_) => Ok(None),
        None => Err(ConstraintError::at(at, "`format` is a string")),
    }
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value.as_object().is_some_and(Map::is_empty)
}

fn at_most_one_item(schema: &Map<String, Value>) -> bool {
    schema
        .get("maxItems")
        .and_then(Value::as_f64)
        .is_some_and(|most| most < 2.0)
}

/// A name as a part of a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A URI fragment without its percent escapes (RFC 3986); as it is where they are no UTF-8.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex
            .filter(|_| first == b'%')
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
