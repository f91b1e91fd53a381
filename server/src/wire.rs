//! The request bodies of the OpenAI API, as far as this server knows them, and their checks.
//!
//! Fields that would change the answer and are not supported are refused unless they hold their neutral value; unknown
//! fields are ignored, as OpenAI's servers do.

use crate::error::ApiError;
use lathe_runtime::SamplingParams;
use lathe_runtime::constrain::Constraint;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields that chat and text completions share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Common {
    /// The model asked for.
    pub model: Option<String>,
    /// Whether to stream.
    pub stream: Option<bool>,
    /// How to stream.
    pub stream_options: Option<StreamOptions>,
    /// Most tokens to make.
    pub max_tokens: Option<i64>,
    /// Its newer name.
    pub max_completion_tokens: Option<i64>,
    /// Sampling temperature; 1 where absent, as in OpenAI's API.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Most likely tokens kept (an extension).
    pub top_k: Option<u32>,
    /// Least probability relative to the best (an extension).
    pub min_p: Option<f32>,
    /// Repetition penalty (an extension).
    pub repeat_penalty: Option<f32>,
    /// Frequency penalty.
    pub frequency_penalty: Option<f32>,
    /// Presence penalty.
    pub presence_penalty: Option<f32>,
    /// Random seed.
    pub seed: Option<i64>,
    /// Stop strings.
    pub stop: Option<OneOrMany>,
    /// Number of answers.
    pub n: Option<i64>,
    /// Log-probabilities: bool in chat, a number in completions.
    pub logprobs: Option<Value>,
    /// Added to the logits of tokens: an object of token ids and numbers between -100 and 100.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Locally typical sampling (an extension).
    pub typical_p: Option<f32>,
    /// Truncation by standard deviations of logits (an extension).
    pub top_n_sigma: Option<f32>,
    /// How often top choices are excluded (an extension).
    pub xtc_probability: Option<f32>,
    /// What makes a top choice (an extension).
    pub xtc_threshold: Option<f32>,
    /// Tokens to make before the answer may end (an extension).
    pub min_tokens: Option<u32>,
    /// Whether the model may never end the answer (an extension).
    pub ignore_eos: Option<bool>,
    /// Output format.
    pub response_format: Option<Value>,
    /// More forms that the output can be held to: an object with one of `json`, `json_object`, `regex`, `choice` and
    /// `grammar` (an extension).
    pub structured_outputs: Option<Value>,
    /// A grammar in GBNF or Lark notation (an extension).
    pub grammar: Option<String>,
    /// Tools.
    pub tools: Option<Vec<Value>>,
    /// Whether tools are to be called: `none`, `auto`, `required`, or an object that names one.
    pub tool_choice: Option<Value>,
    /// Whether an answer may call several.
    pub parallel_tool_calls: Option<bool>,
    /// More variables of the chat template (an extension).
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Old name of tools.
    pub functions: Option<Value>,
    /// Text after the completion.
    pub suffix: Option<Value>,
    /// Whether to repeat the prompt.
    pub echo: Option<bool>,
    /// Best of several.
    pub best_of: Option<i64>,
}

/// How to stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether a last chunk carries the usage.
    pub include_usage: Option<bool>,
}

/// A string or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// The body of a chat completion.
#[derive(Clone, Debug, Deserialize)]
pub struct ChatBody {
    /// The conversation.
    pub messages: Vec<Value>,
    /// The rest.
    #[serde(flatten)]
    pub common: Common,
}

/// The body of a text completion.
#[derive(Clone, Debug, Deserialize)]
pub struct CompletionBody {
    /// The prompt.
    pub prompt: Prompt,
    /// The rest.
    #[serde(flatten)]
    pub common: Common,
}

/// A prompt: text, or tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
    /// Several texts; to continue, one is supported.
    Texts(Vec<String>),
    /// Several token lists; to continue, one is supported.
    TokenLists(Vec<Vec<u32>>),
}

/// The body of a request for embeddings.
#[derive(Clone, Debug, Deserialize)]
pub struct EmbeddingBody {
    /// The model asked for.
    pub model: Option<String>,
    /// What to embed; each element on its own.
    pub input: Prompt,
    /// How numbers are written.
    #[serde(default)]
    pub encoding_format: Encoding,
    /// Elements of an embedding.
    pub dimensions: Option<u64>,
}

/// How the numbers of an embedding are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A JSON array.
    #[default]
    Float,
    /// A string: little-endian f32 in base64.
    Base64,
}

impl Common {
    /// Refuses what would change the answer and is not there.
    pub fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let present = |v: &Option<Value>| {
            v.as_ref().is_some_and(|v| {
                !v.is_null()
                    && v != &Value::Bool(false)
                    && v.as_array().is_none_or(|a| !a.is_empty())
                    && v.as_object().is_none_or(|o| !o.is_empty())
                    && v.as_str() != Some("")
            })
        };
        let checks = [
            ("best_of", self.best_of.is_some_and(|n| n != 1), "best of several"),
            ("logprobs", present(&self.logprobs), "returning log-probabilities"),
            ("functions", present(&self.functions), "calling functions"),
            ("suffix", present(&self.suffix), "filling in before a suffix"),
            ("echo", self.echo == Some(true), "repeating the prompt"),
        ];
        checks
            .iter()
            .find(|c| c.1)
            .map_or(Ok(()), |c| Err(ApiError::unsupported(c.0, c.2)))
    }

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

    /// Sampling parameters; a seed is made up where none is given.
    pub fn sampling(&self) -> Result<SamplingParams, ApiError> {
        let range = |name, value: Option<f32>, lo: f32, hi: f32| match value {
            Some(v) if !(lo..=hi).contains(&v) => Err(ApiError::invalid(
                name,
                format!("`{name}` is {v}, but must be between {lo} and {hi}"),
            )),
            v => Ok(v),
        };
        let neutral = SamplingParams::default();
        let params = SamplingParams {
            temperature: range("temperature", self.temperature, 0.0, 2.0)?.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            min_p: self.min_p.unwrap_or(0.0),
            typical_p: self.typical_p.unwrap_or(neutral.typical_p),
            top_n_sigma: self.top_n_sigma.unwrap_or(neutral.top_n_sigma),
            xtc_probability: self.xtc_probability.unwrap_or(neutral.xtc_probability),
            xtc_threshold: self.xtc_threshold.unwrap_or(neutral.xtc_threshold),
            logit_bias: self.biases()?,
            repeat_penalty: self.repeat_penalty.unwrap_or(1.0),
            frequency_penalty: range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?.unwrap_or(0.0),
            presence_penalty: range("presence_penalty", self.presence_penalty, -2.0, 2.0)?.unwrap_or(0.0),
            seed: self.seed.map_or_else(random_seed, |s| s as u64),
            ..neutral
        };
        params.validate()?;
        Ok(params)
    }

    fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let invalid = |what: String| ApiError::invalid("logit_bias", format!("`logit_bias` {what}"));
        let biases = self.logit_bias.iter().flatten().map(|(token, &bias)| {
            let token = token
                .parse()
                .map_err(|_| invalid(format!("has the key `{token}`, which is no token id")))?;
            match (-100.0..=100.0).contains(&bias) {
                true => Ok((token, bias)),
                false => Err(invalid(format!(
                    "of {token} is {bias}, but must be between -100 and 100"
                ))),
            }
        });
        biases.collect()
    }

    /// The bound on new tokens.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        match self.max_completion_tokens.or(self.max_tokens) {
            None => Ok(None),
            Some(n) if n >= 1 => Ok(Some(usize::try_from(n).unwrap_or(usize::MAX))),
            Some(n) => Err(ApiError::invalid(
                "max_tokens",
                format!("`max_tokens` is {n}, but must be at least 1"),
            )),
        }
    }

    /// The number of answers, at most 128.
    pub fn choices(&self) -> Result<u32, ApiError> {
        match self.n {
            None => Ok(1),
            Some(n @ 1..=128) => Ok(n as u32),
            Some(n) => Err(ApiError::invalid(
                "n",
                format!("`n` is {n}, but must be between 1 and 128"),
            )),
        }
    }

    /// Stop strings, at most sixteen.
    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(OneOrMany::One(s)) => vec![s],
            Some(OneOrMany::Many(v)) => v,
        };
        if stops.len() > 16 || stops.iter().any(|s| s.len() > 1024) {
            return Err(ApiError::invalid(
                "stop",
                "`stop` takes at most 16 strings of at most 1024 bytes",
            ));
        }
        Ok(stops)
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

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// Turns content given as a list of text parts into a string, as chat templates expect it.
///
/// # Errors
/// Names a message without a role, or a part that is no text.
pub fn normalize_messages(messages: &mut [Value]) -> Result<(), ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "`messages` is empty"));
    }
    for (i, message) in messages.iter_mut().enumerate() {
        let invalid = |what: &str| ApiError::invalid("messages", format!("message {i} {what}"));
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(invalid("has no `role`"));
        }
        match message.get("content") {
            Some(Value::String(_)) => {}
            Some(Value::Array(parts)) => {
                let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
                let texts: Option<Vec<String>> = parts.iter().map(text).collect();
                let joined = texts
                    .ok_or_else(|| invalid("has a content part that is no text"))?
                    .concat();
                message["content"] = Value::String(joined);
            }
            Some(Value::Null) | None if message["role"] == "assistant" => message["content"] = "".into(),
            _ => return Err(invalid("has no text in `content`")),
        }
        read_arguments(message)
            .map_err(|number| invalid(&format!("has no JSON object in the arguments of call {number}")))?;
    }
    Ok(())
}

/// Calls in messages have their arguments as text; chat templates take the object. An error is the number of a call that has
/// no object.
fn read_arguments(message: &mut Value) -> Result<(), usize> {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (number, call) in calls.into_iter().flatten().enumerate() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            return Err(number);
        };
        if let Some(text) = arguments.as_str() {
            *arguments = serde_json::from_str(text).map_err(|_| number)?;
        }
        if !arguments.is_object() {
            return Err(number);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat(body: Value) -> ChatBody {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn neutral_values_pass_and_others_are_named() {
        let body = chat(
            json!({"messages": [], "n": 3, "tools": [], "logprobs": false, "logit_bias": {},
            "response_format": {"type": "text"}, "user": "x"}),
        );
        assert_eq!(body.common.refuse_unsupported(), Ok(()));
        for (field, value) in [("best_of", json!(2)), ("logprobs", json!(true))] {
            let mut request = json!({"messages": []});
            request[field] = value;
            assert_eq!(
                chat(request).common.refuse_unsupported().unwrap_err().param,
                Some(field)
            );
        }
    }

    #[test]
    fn sampling_is_checked() {
        let params = chat(json!({"messages": [], "temperature": 0, "seed": 5}))
            .common
            .sampling()
            .unwrap();
        assert_eq!((params.temperature, params.seed), (0.0, 5));
        let error = chat(json!({"messages": [], "temperature": 3}))
            .common
            .sampling()
            .unwrap_err();
        assert_eq!(error.message, "`temperature` is 3, but must be between 0 and 2");
        assert!(
            chat(json!({"messages": [], "max_tokens": 0}))
                .common
                .limit()
                .is_err()
        );
    }

    #[test]
    fn formats_are_read() {
        let read = |body: Value| {
            let mut whole = json!({"messages": []});
            whole
                .as_object_mut()
                .unwrap()
                .extend(body.as_object().unwrap().clone());
            chat(whole)
                .common
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

    #[test]
    fn biases_are_checked() {
        let biases = |value: Value| {
            chat(json!({"messages": [], "logit_bias": value}))
                .common
                .sampling()
        };
        let found = biases(json!({"42": -1.5, "7": 100})).unwrap().logit_bias;
        assert_eq!(found, [(42, -1.5), (7, 100.0)]);
        for bad in [json!({"x": 1}), json!({"1": 101}), json!({"-1": 1})] {
            assert_eq!(biases(bad).unwrap_err().param, Some("logit_bias"));
        }
    }

    #[test]
    fn arguments_of_calls_are_read() {
        let call = |arguments: &str| {
            json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]})
        };
        let mut messages = vec![call("{\"a\": [1]}")];
        normalize_messages(&mut messages).unwrap();
        assert_eq!(
            messages[0]["tool_calls"][0]["function"]["arguments"],
            json!({"a": [1]})
        );
        assert_eq!(messages[0]["content"], "");
        for bad in ["{", "3"] {
            let error = normalize_messages(&mut [call(bad)]).unwrap_err();
            assert_eq!(
                error.message,
                "message 0 has no JSON object in the arguments of call 0"
            );
        }
    }

    #[test]
    fn text_parts_are_joined() {
        let mut messages = vec![
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        ];
        normalize_messages(&mut messages).unwrap();
        assert_eq!(messages[0]["content"], "ab");
        let mut image = vec![json!({"role": "user", "content": [{"type": "image_url"}]})];
        assert_eq!(
            normalize_messages(&mut image).unwrap_err().message,
            "message 0 has a content part that is no text"
        );
    }
}
