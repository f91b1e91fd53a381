//! Grammars of calls, in Lark's notation as llguidance extends it: one call or more, whose arguments follow the schemas.

use super::frames::{Arguments, Frame, Part, Tags};
use super::json::quote;
use super::list::Tool;
use super::markers;
use super::shapes::{choices, is_text, permits};
use super::{Format, Tools};
use crate::constrain::{ConstraintError, compiler_schema};
use serde_json::{Map, Value};

/// A string of Python in single quotes.
const SINGLE_QUOTED: &str = r"/'([^'\\\x00-\x1f]|\\[\\'\x22nrt])*'/";

/// Values in Gemma's way, whatever the schema says of what they hold.
const GEMMA_VALUES: &str = r#"gemma_value: gemma_text | %json {"type": ["number", "boolean", "null"]} | gemma_list | gemma_object
gemma_list: "[" (gemma_value ("," gemma_value)*)? "]"
gemma_object: "{" (gemma_pair ("," gemma_pair)*)? "}"
gemma_pair: /[A-Za-z_][A-Za-z0-9_-]{0,100}/ ":" gemma_value
"#;

/// Gives the token that a marker is, if it is a single one that text can't spell.
pub type TokenOf<'a> = &'a dyn Fn(&str) -> Option<u32>;

impl Format {
    /// A grammar of answers that are calls and nothing else: one, or with `parallel` one or more, of `tools`. It begins
    /// with one of [`Format::triggers`]; reasoning comes before it, and the token that ends an answer behind it.
    ///
    /// A marker such as `<tool_call>` is a token of its own in some vocabularies, and text in others: `token` is asked
    /// for everything that looks like one. Arguments follow their schemas; in forms that write them one by one they come
    /// in the schema's order, those that may be strings among others are any text, and in Gemma 4's form only the types
    /// at the top are kept to. Arguments of tools that are not strict may have any values.
    ///
    /// # Errors
    /// Where there is nothing to call, or a schema says what can't be honoured.
    pub fn grammar(self, tools: &Tools, parallel: bool, token: TokenOf) -> Result<String, ConstraintError> {
        if tools.is_empty() {
            return Err(ConstraintError::new("there is no tool to call"));
        }
        let mut writer = Writer {
            token,
            rules: String::new(),
            texts: Vec::new(),
        };
        let mut forms = Vec::new();
        for (i, frame) in self.frames().iter().enumerate() {
            forms.push(format!("form_{i}"));
            writer.frame(i, frame, tools, parallel)?;
        }
        Ok(format!(
            "%llguidance {{}}\nstart: {}\n{}",
            forms.join(" | "),
            writer.rules
        ))
    }
}

/// An argument to be written by itself.
struct Argument<'a> {
    key: &'a str,
    /// What its schema says at the top.
    shape: &'a Value,
    /// Its schema, with those that it names.
    schema: Value,
}

struct Writer<'a> {
    token: TokenOf<'a>,
    rules: String,
    /// Markers up to which there are rules for any text.
    texts: Vec<String>,
}

impl Writer<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        self.rules.push_str(&format!("{name}: {body}\n"));
    }

    fn frame(
        &mut self,
        i: usize,
        frame: &Frame,
        tools: &Tools,
        parallel: bool,
    ) -> Result<(), ConstraintError> {
        let more = frame.between.filter(|_| parallel);
        let more = more.map_or(String::new(), |between| {
            format!("({} call_{i})*", self.parts(between))
        });
        let body = format!(
            "{} call_{i} {more} {}",
            self.parts(frame.open),
            self.parts(frame.close)
        );
        self.rule(&format!("form_{i}"), &body);
        let calls: Vec<String> = (0..tools.iter().count())
            .map(|t| format!("call_{i}_{t}"))
            .collect();
        self.rule(&format!("call_{i}"), &calls.join(" | "));
        for (tool, call) in tools.iter().zip(&calls) {
            let arguments = self.arguments(call, frame, &tool.held())?;
            let (before, middle) = (self.parts(frame.before), self.parts(frame.middle));
            let (name, end) = (literal(&tool.name), self.parts(frame.end));
            self.rule(call, &format!("{before} {name} {middle} {arguments} {end}"));
        }
        Ok(())
    }

    /// What is to be written for the arguments of a tool.
    fn arguments(&mut self, call: &str, frame: &Frame, tool: &Tool) -> Result<String, ConstraintError> {
        if let Arguments::Json = frame.arguments {
            let mut parameters = tool.parameters.clone();
            if let Some(object) = parameters.as_object_mut() {
                object.entry("type").or_insert_with(|| "object".into());
            }
            return of_schema(&parameters);
        }
        let properties = tool.parameters.get("properties").and_then(Value::as_object);
        let mut written = Vec::new();
        for (key, schema) in properties.into_iter().flatten() {
            let argument = Argument {
                key,
                shape: tool.schema(key).unwrap_or(schema),
                schema: with_definitions(schema, &tool.parameters),
            };
            let item = match frame.arguments {
                Arguments::Tags(tags) => self.tagged(tags, &argument)?,
                Arguments::Gemma => {
                    format!("{} {}", literal(&format!("{key}:")), self.gemma(&argument)?)
                }
                _ => format!("{} {}", literal(&format!("{key}=")), python(&argument)?),
            };
            let required = tool.parameters.get("required").and_then(Value::as_array);
            let required = required.is_some_and(|r| r.iter().any(|k| k == key));
            written.push((item, required));
        }
        Ok(match frame.arguments {
            Arguments::Tags(_) => {
                let items = written.into_iter();
                let items = items.map(|(item, required)| if required { item } else { format!("({item})?") });
                items.collect::<Vec<_>>().join(" ")
            }
            Arguments::Gemma => self.separated(call, "\",\"", written),
            _ => self.separated(call, "\", \"", written),
        })
    }

    /// Items in order with a separator between; those that are not required may be left out.
    ///
    /// A rule for each item says how the rest goes on where nothing stands before it, and another one where something
    /// does, so that the text grows with the number of items alone.
    fn separated(&mut self, call: &str, separator: &str, items: Vec<(String, bool)>) -> String {
        for (i, (item, required)) in items.iter().enumerate() {
            let next = i + 1;
            let more = if next < items.len() {
                format!("{call}_more_{next}")
            } else {
                String::new()
            };
            let first = if next < items.len() {
                format!("{call}_first_{next}")
            } else {
                String::new()
            };
            self.rule(&format!("{call}_item_{i}"), item);
            let skip = |rest: &str| match (required, rest) {
                (true, _) => String::new(),
                (false, "") => " | \"\"".to_owned(),
                (false, rest) => format!(" | {rest}"),
            };
            self.rule(
                &format!("{call}_first_{i}"),
                &format!("{call}_item_{i} {more}{}", skip(&first)),
            );
            if i > 0 {
                let body = format!("{separator} {call}_item_{i} {more}{}", skip(&more));
                self.rule(&format!("{call}_more_{i}"), &body);
            }
        }
        if items.is_empty() {
            String::new()
        } else {
            format!("{call}_first_0")
        }
    }

    fn tagged(&mut self, tags: &Tags, argument: &Argument) -> Result<String, ConstraintError> {
        let (before, after) = (self.text(tags.before), self.parts(tags.after));
        let json = !permits(argument.shape, "string");
        let middle = self.text(if json { tags.middle.1 } else { tags.middle.0 });
        let value = match (json, choices(argument.shape)) {
            (true, _) => format!("{} {}", of_schema(&argument.schema)?, self.text(tags.close)),
            (false, Some(choices)) => format!("({}) {}", self.choice(&choices), self.text(tags.close)),
            (false, None) => self.text_until(tags.close),
        };
        Ok(format!(
            "{before} {} {middle} {value} {after}",
            literal(argument.key)
        ))
    }

    fn gemma(&mut self, argument: &Argument) -> Result<String, ConstraintError> {
        let mark = self.text("<|\"|>");
        if let Some(choices) = choices(argument.shape) {
            return Ok(format!("{mark} ({}) {mark}", self.choice(&choices)));
        }
        if is_text(argument.shape) {
            return Ok(format!("{mark} {}", self.text_until("<|\"|>")));
        }
        if !["string", "array", "object"]
            .iter()
            .any(|kind| permits(argument.shape, kind))
        {
            return of_schema(&argument.schema);
        }
        if !self.rules.contains("gemma_value:") {
            self.rules.push_str(GEMMA_VALUES);
            let text = format!("{mark} {}", self.text_until("<|\"|>"));
            self.rule("gemma_text", &text);
        }
        Ok("gemma_value".to_owned())
    }

    fn choice(&self, choices: &[&str]) -> String {
        let choices: Vec<String> = choices.iter().map(|c| literal(c)).collect();
        choices.join(" | ")
    }

    /// Any text with this marker at its end and nowhere else.
    fn text_until(&mut self, marker: &str) -> String {
        let known = self.texts.iter().position(|m| m == marker);
        let at = known.unwrap_or(self.texts.len());
        if known.is_none() {
            self.texts.push(marker.to_owned());
            let body = match self.tokens(marker) {
                true => format!("text_{at}: /(?s:.+)/? {}\n", self.text(marker.trim_start())),
                false => format!("text_{at}[suffix={}]: /(?s:.*)/\n", literal(marker)),
            };
            self.rules.push_str(&body);
        }
        format!("text_{at}")
    }

    fn parts(&self, parts: &[Part]) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => self.text(text),
            Part::Maybe(text) => format!("({})?", self.text(text)),
            Part::Regex(regex) => format!("/{regex}/"),
        };
        parts.iter().map(part).collect::<Vec<_>>().join(" ")
    }

    /// Text, and the tokens that stand in it.
    fn text(&self, text: &str) -> String {
        let mut items = Vec::new();
        let (mut from, mut at) = (0, 0);
        while let Some(c) = text[at..].chars().next() {
            match self.token_at(&text[at..]) {
                Some((token, length)) => {
                    items.extend((from < at).then(|| literal(&text[from..at])));
                    items.push(format!("<[{token}]>"));
                    at += length;
                    from = at;
                }
                None => at += c.len_utf8(),
            }
        }
        items.extend((from < at).then(|| literal(&text[from..])));
        items.join(" ")
    }

    /// Whether a text ends with a token.
    fn tokens(&self, text: &str) -> bool {
        self.token_at(text.trim_start())
            .is_some_and(|(_, length)| length == text.trim_start().len())
    }

    /// The token at the beginning of a text, and the length of what it stands for.
    fn token_at(&self, text: &str) -> Option<(u32, usize)> {
        let marker = markers::at(text)?;
        (self.token)(marker).map(|token| (token, marker.len()))
    }
}

/// Text in which there are no tokens.
fn literal(text: &str) -> String {
    quote(text).replace('\u{7f}', "\\u007f")
}

/// A value of Python: JSON, which is nearly one, but for what stands alone: truth values, and strings in single quotes.
fn python(argument: &Argument) -> Result<String, ConstraintError> {
    let shape = argument.shape;
    if shape.get("type").and_then(Value::as_str) == Some("boolean") {
        return Ok("(\"True\" | \"False\")".to_owned());
    }
    let json = of_schema(&argument.schema)?;
    if shape.as_object().is_some_and(Map::is_empty) {
        return Ok(format!(
            "({json} | {SINGLE_QUOTED} | \"True\" | \"False\" | \"None\")"
        ));
    }
    if let Some(choices) = choices(shape) {
        let plain = choices.iter().filter(|c| !c.contains(['\'', '\\', '\n']));
        let quoted = plain.map(|c| format!(" | {}", literal(&format!("'{c}'"))));
        return Ok(format!("({json}{})", quoted.collect::<String>()));
    }
    let bounds = [
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    Ok(
        match is_text(shape) && bounds.iter().all(|key| shape.get(key).is_none()) {
            true => format!("({json} | {SINGLE_QUOTED})"),
            false => json,
        },
    )
}

/// JSON that a schema accepts.
fn of_schema(schema: &Value) -> Result<String, ConstraintError> {
    Ok(format!("%json {}", compiler_schema(schema)?))
}

/// The schema of an argument, with those that the whole names for `$ref`.
fn with_definitions(schema: &Value, whole: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(object) = schema.as_object_mut() {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = whole.get(key) {
                object.entry(key).or_insert_with(|| definitions.clone());
            }
        }
    }
    schema
}
