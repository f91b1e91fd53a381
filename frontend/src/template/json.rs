//! JSON in templates: values in, `tojson` with the semantics of Python's `json.dumps` (as `transformers` defines the
//! filter), and `from_json`.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Deepest nesting that `tojson` follows; Python's own limit is about the same in kind (its recursion limit).
const MAX_DEPTH: usize = 256;

/// Parameters of `tojson` after the value, in the order of `transformers`.
const PARAMETERS: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

/// Converts JSON into template values; object keys keep their order.
pub(super) fn to_template_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(b) => Value::from(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::from(i),
            (None, Some(u)) => Value::from(u),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(s) => Value::from(s.as_str()),
        serde_json::Value::Array(items) => items.iter().map(to_template_value).collect(),
        serde_json::Value::Object(map) => Value::from_pairs(
            map.iter()
                .map(|(k, v)| (Value::from(k.as_str()), to_template_value(v))),
        ),
    }
}

/// The `from_json` filter: parses a string.
pub(super) fn from_json(text: &str) -> Result<Value, Error> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("from_json: {e}")))?;
    Ok(to_template_value(&json))
}

/// The `tojson` filter: `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(value: &Value, positional: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    if positional.len() > PARAMETERS.len() {
        return Err(Error::new(
            ErrorKind::TooManyArguments,
            format!("tojson takes {} arguments", PARAMETERS.len()),
        ));
    }
    let mut arguments = [const { None }; PARAMETERS.len()];
    for (index, name) in PARAMETERS.iter().enumerate() {
        arguments[index] = argument(positional.get(index), &kwargs, name)?;
    }
    let [ensure_ascii, indent, separators, sort_keys] = arguments;
    kwargs.assert_all_used()?;
    let indent = indent.map(|i| indent_unit(&i)).transpose()?;
    let (item, key) = match separators {
        Some(pair) => separator_pair(&pair)?,
        // Python drops the space after the comma where a line break follows it.
        None => (
            if indent.is_some() { "," } else { ", " }.to_string(),
            ": ".to_string(),
        ),
    };
    let mut writer = Writer {
        out: String::new(),
        ensure_ascii: ensure_ascii.is_some_and(|v| v.is_true()),
        sort_keys: sort_keys.is_some_and(|v| v.is_true()),
        indent,
        item,
        key,
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// A parameter given by position or by name; `none` counts as not given.
fn argument(positional: Option<&Value>, kwargs: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    let value = match positional {
        Some(value) => Some(value.clone()),
        None => kwargs.get::<Option<Value>>(name)?,
    };
    Ok(value.filter(|v| !v.is_none() && !v.is_undefined()))
}

/// One level of indentation: so many spaces, or the given string.
fn indent_unit(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_string());
    }
    // As in Python, `true` is one space and `false` none, and a negative count is none.
    let count = match indent.kind() {
        ValueKind::Bool => i64::from(indent.is_true()),
        _ => indent
            .as_i64()
            .filter(|n| *n <= 64)
            .ok_or_else(|| bad("indent must be an integer up to 64"))?,
    };
    Ok(" ".repeat(usize::try_from(count).unwrap_or(0)))
}

fn separator_pair(pair: &Value) -> Result<(String, String), Error> {
    let parts: Vec<Value> = pair.try_iter()?.collect();
    match parts.as_slice() {
        [item, key] => match (item.as_str(), key.as_str()) {
            (Some(item), Some(key)) => Ok((item.to_string(), key.to_string())),
            _ => Err(bad("separators must be two strings")),
        },
        _ => Err(bad("separators must be two strings")),
    }
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}"))
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(bad(format_args!("value is nested deeper than {MAX_DEPTH}")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value)?,
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq => self.list(value, depth)?,
            ValueKind::Map => self.object(value, depth)?,
            // Python has no JSON for generators, undefined values and objects either.
            kind => {
                return Err(bad(format_args!(
                    "a value of type {kind} is not JSON serializable"
                )));
            }
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.before_item(empty, depth);
            empty = false;
            self.value(&item, depth + 1)?;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn object(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        let mut empty = true;
        for key in keys {
            self.before_item(empty, depth);
            empty = false;
            self.object_key(&key)?;
            self.out.push_str(&self.key);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    /// JSON keys are strings: Python spells other scalars as their JSON text.
    fn object_key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
            kind => return Err(bad(format_args!("a key of type {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn before_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.item);
        }
        self.line(depth + 1);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(unit) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(unit));
        }
    }

    fn number(&mut self, value: &Value) -> Result<(), Error> {
        if value.is_integer() {
            self.out.push_str(&value.to_string());
        } else {
            let float = f64::try_from(value.clone())?;
            self.out.push_str(&python_float(float));
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if u32::from(c) < 0x20 => self.out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c if self.ensure_ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// `repr(float)` of Python, with JSON's names of the special values: the shortest digits that read back, in
/// scientific notation below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn dump(expression: &str, value: &serde_json::Value) -> Result<String, Error> {
        let mut env = minijinja::Environment::new();
        env.add_filter("tojson", tojson);
        env.add_filter("from_json", from_json);
        let source = format!("{{{{ {expression} }}}}");
        env.render_str(&source, Value::from_pairs([("x", to_template_value(value))]))
    }

    #[test]
    fn dumps_like_python() {
        let value = json!({"z": [1, -2.5, true, null], "a": "ö<&>'\"\n\u{1}\u{7f}", "e": {}, "l": []});
        for (expression, expected) in [
            (
                "x|tojson",
                "{\"z\": [1, -2.5, true, null], \"a\": \"ö<&>'\\\"\\n\\u0001\u{7f}\", \"e\": {}, \"l\": []}",
            ),
            (
                "x.a|tojson(ensure_ascii=True)",
                "\"\\u00f6<&>'\\\"\\n\\u0001\u{7f}\"",
            ),
            ("x.z|tojson(separators=(',', ':'))", "[1,-2.5,true,null]"),
            (
                "{'b': 1, 'a': {}}|tojson(sort_keys=true)",
                "{\"a\": {}, \"b\": 1}",
            ),
            (
                "[[], {'a': [1, 2]}]|tojson(indent=2)",
                "[\n  [],\n  {\n    \"a\": [\n      1,\n      2\n    ]\n  }\n]",
            ),
            ("[1, 2]|tojson(false, none, [';', ':'])", "[1;2]"),
            ("'😀'|tojson(true)", "\"\\ud83d\\ude00\""),
            ("('[1, {\"k\": 2}]'|from_json)[1].k", "2"),
        ] {
            assert_eq!(dump(expression, &value).unwrap(), expected, "{expression}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for expression in [
            "nothing|tojson",
            "x|tojson(colour=1)",
            "x|tojson(indent=99999999)",
            "'{'|from_json",
        ] {
            assert!(dump(expression, &json!(1)).is_err(), "{expression}");
        }
    }

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(python_float(value), expected);
        }
    }

    proptest! {
        #[test]
        fn dumps_read_back(text in ".*", float in any::<f64>().prop_filter("JSON", |f| f.is_finite()), int in any::<i64>()) {
            prop_assert_eq!(python_float(float).parse::<f64>().unwrap(), float);
            let value = json!({ "t": text, "n": [int, u64::MAX], &text: null });
            let no_kwargs = Kwargs::from_iter(Vec::<(String, Value)>::new());
            let dumped = tojson(&to_template_value(&value), Rest(Vec::new()), no_kwargs);
            let back: serde_json::Value = serde_json::from_str(dumped.unwrap().as_str().unwrap()).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
