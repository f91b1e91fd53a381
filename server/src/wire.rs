//! The request bodies of the OpenAI API, as far as this server knows them, and their checks.
//!
//! Fields that would change the answer and are not supported are refused unless they hold their neutral value; unknown
//! fields are ignored, as OpenAI's servers do.

mod format;
mod sampling;

use crate::error::ApiError;
pub use sampling::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value};

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
    /// How to pick tokens.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Stop strings.
    pub stop: Option<OneOrMany>,
    /// Number of answers.
    pub n: Option<i64>,
    /// Whether to tell log-probabilities: a bool in chat, in completions the number of the most likely tokens to tell of.
    pub logprobs: Option<Value>,
    /// In chat, that number.
    pub top_logprobs: Option<i64>,
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
    /// How many completions to make, of which the `n` most likely are told.
    pub best_of: Option<i64>,
}

/// How to stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether a last chunk carries the usage.
    pub include_usage: Option<bool>,
}

/// The two kinds of completion, which differ in what they take and in the shape of their choices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// How many answers are told, and of how many they are the best.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choices {
    /// Told.
    pub told: u32,
    /// Made.
    pub made: u32,
}

/// Most tokens whose log-probabilities are told in the place of one, as at OpenAI.
const MOST_LOGPROBS: i64 = 20;

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
            ("functions", present(&self.functions), "calling functions"),
            ("suffix", present(&self.suffix), "filling in before a suffix"),
            ("echo", self.echo == Some(true), "repeating the prompt"),
        ];
        checks
            .iter()
            .find(|c| c.1)
            .map_or(Ok(()), |c| Err(ApiError::unsupported(c.0, c.2)))
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

    /// The number of answers, at most 128, and of those they are the best of.
    pub fn choices(&self, kind: Kind) -> Result<Choices, ApiError> {
        let number = |name, value: Option<i64>, least: i64| match value {
            None => Ok(least as u32),
            Some(v) if (least..=128).contains(&v) => Ok(v as u32),
            Some(v) => Err(ApiError::invalid(
                name,
                format!("`{name}` is {v}, but must be between {least} and 128"),
            )),
        };
        let told = number("n", self.n, 1)?;
        if kind == Kind::Chat && self.best_of.is_some_and(|best| best != 1) {
            return Err(ApiError::unsupported(
                "best_of",
                "the best of several answers of a chat",
            ));
        }
        let made = match kind {
            Kind::Chat => told,
            Kind::Text => number("best_of", self.best_of, told.into())?,
        };
        if made > told && self.stream == Some(true) {
            let message =
                "`best_of` of more than `n` can't be streamed: which are the best is known at the end";
            return Err(ApiError::invalid("best_of", message));
        }
        Ok(Choices { told, made })
    }

    /// How many of the most likely tokens are told in the place of each, where log-probabilities are asked for.
    pub fn logprobs(&self, kind: Kind) -> Result<Option<usize>, ApiError> {
        let said = self.logprobs.as_ref().filter(|said| !said.is_null());
        let number = |name, n: Option<i64>| match n {
            Some(n @ 0..=MOST_LOGPROBS) => Ok(Some(n as usize)),
            _ => Err(ApiError::invalid(
                name,
                format!("`{name}` must be a number between 0 and {MOST_LOGPROBS}"),
            )),
        };
        match (kind, said, self.top_logprobs) {
            (Kind::Chat, Some(Value::Bool(true)), top) => number("top_logprobs", top.or(Some(0))),
            (Kind::Chat, None | Some(Value::Bool(false)), None) => Ok(None),
            (Kind::Chat, None | Some(Value::Bool(false)), Some(_)) => Err(ApiError::invalid(
                "top_logprobs",
                "`top_logprobs` needs `logprobs` to be true",
            )),
            (Kind::Chat, Some(_), _) => Err(ApiError::invalid(
                "logprobs",
                "`logprobs` of a chat is true or false; `top_logprobs` is the number",
            )),
            (Kind::Text, _, Some(_)) => Err(ApiError::unsupported("top_logprobs", "a field of chats")),
            (Kind::Text, None | Some(Value::Bool(false)), None) => Ok(None),
            (Kind::Text, Some(said), None) => number("logprobs", said.as_i64()),
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
        let mut request = json!({"messages": []});
        request["suffix"] = json!("x");
        assert_eq!(
            chat(request).common.refuse_unsupported().unwrap_err().param,
            Some("suffix")
        );
        assert!(
            chat(json!({"messages": [], "max_tokens": 0}))
                .common
                .limit()
                .is_err()
        );
    }

    #[test]
    fn numbers_of_answers_are_checked() {
        let choices = |kind, body: Value| {
            let common: Common = serde_json::from_value(body).unwrap();
            common.choices(kind).map(|c| (c.told, c.made))
        };
        assert_eq!(choices(Kind::Text, json!({})), Ok((1, 1)));
        assert_eq!(choices(Kind::Text, json!({"n": 3})), Ok((3, 3)));
        assert_eq!(choices(Kind::Text, json!({"n": 3, "best_of": 5})), Ok((3, 5)));
        assert_eq!(
            choices(Kind::Text, json!({"n": 3, "best_of": 3, "stream": true})),
            Ok((3, 3))
        );
        assert_eq!(choices(Kind::Chat, json!({"n": 2, "best_of": 1})), Ok((2, 2)));
        for (kind, body, param) in [
            (Kind::Text, json!({"n": 0}), "n"),
            (Kind::Text, json!({"n": 129}), "n"),
            (Kind::Text, json!({"n": 3, "best_of": 2}), "best_of"),
            (Kind::Text, json!({"best_of": 129}), "best_of"),
            (Kind::Text, json!({"best_of": 2, "stream": true}), "best_of"),
            (Kind::Chat, json!({"best_of": 2}), "best_of"),
        ] {
            assert_eq!(
                choices(kind, body.clone()).unwrap_err().param,
                Some(param),
                "{body}"
            );
        }
    }

    #[test]
    fn log_probabilities_are_asked_for() {
        let logprobs = |kind, body: Value| {
            let common: Common = serde_json::from_value(body).unwrap();
            common.logprobs(kind)
        };
        for (kind, body, want) in [
            (Kind::Chat, json!({}), None),
            (Kind::Chat, json!({"logprobs": false}), None),
            (Kind::Chat, json!({"logprobs": true}), Some(0)),
            (
                Kind::Chat,
                json!({"logprobs": true, "top_logprobs": 20}),
                Some(20),
            ),
            (Kind::Text, json!({"logprobs": null}), None),
            (Kind::Text, json!({"logprobs": 0}), Some(0)),
            (Kind::Text, json!({"logprobs": 5}), Some(5)),
        ] {
            assert_eq!(logprobs(kind, body.clone()), Ok(want), "{body}");
        }
        for (kind, body, param) in [
            (Kind::Chat, json!({"logprobs": 3}), "logprobs"),
            (Kind::Chat, json!({"top_logprobs": 3}), "top_logprobs"),
            (
                Kind::Chat,
                json!({"logprobs": true, "top_logprobs": 21}),
                "top_logprobs",
            ),
            (Kind::Text, json!({"logprobs": true}), "logprobs"),
            (Kind::Text, json!({"logprobs": -1}), "logprobs"),
            (
                Kind::Text,
                json!({"logprobs": 1, "top_logprobs": 1}),
                "top_logprobs",
            ),
        ] {
            assert_eq!(
                logprobs(kind, body.clone()).unwrap_err().param,
                Some(param),
                "{body}"
            );
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
