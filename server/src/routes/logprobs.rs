//! Log-probabilities of the tokens of an answer, in OpenAI's two forms: a list of objects in chats, parallel lists in text
//! completions. Tokens that end an answer are in neither; those of a stop string are.

use crate::Prompter;
use crate::wire::Kind;
use lathe_runtime::sampling::{self, TokenLogprob};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What stands for no probability, since JSON has no infinity; OpenAI's API has the same.
const NEVER: f32 = -9999.0;

/// The tokens of one choice.
#[derive(Clone)]
pub struct Logprobs {
    kind: Kind,
    prompter: Arc<dyn Prompter>,
    tokens: Vec<sampling::Logprobs>,
    /// Tokens that were told, and the characters of their text.
    told: (usize, usize),
}

impl Logprobs {
    /// Of a choice without tokens.
    pub fn new(kind: Kind, prompter: Arc<dyn Prompter>) -> Logprobs {
        Logprobs {
            kind,
            prompter,
            tokens: Vec::new(),
            told: (0, 0),
        }
    }

    /// Adds a token.
    pub fn push(&mut self, token: sampling::Logprobs) {
        if !self.prompter.stop_tokens().contains(&token.picked.token) {
            self.tokens.push(token);
        }
    }

    /// The tokens since the last call; null where there are none.
    pub fn news(&mut self) -> Value {
        let (first, start) = self.told;
        if first == self.tokens.len() {
            return Value::Null;
        }
        let new = &self.tokens[first..];
        let value = self.form(new, start);
        self.told = (
            self.tokens.len(),
            start + new.iter().map(|t| self.characters(t)).sum::<usize>(),
        );
        value
    }

    /// All tokens.
    pub fn all(&self) -> Value {
        self.form(&self.tokens, 0)
    }

    fn form(&self, tokens: &[sampling::Logprobs], start: usize) -> Value {
        match self.kind {
            Kind::Chat => {
                let entry = |token: &sampling::Logprobs| {
                    let mut entry = self.entry(&token.picked);
                    entry["top_logprobs"] = token.top.iter().map(|top| self.entry(top)).collect();
                    entry
                };
                json!({"content": tokens.iter().map(entry).collect::<Value>(), "refusal": null})
            }
            Kind::Text => self.lists(tokens, start),
        }
    }

    fn entry(&self, token: &TokenLogprob) -> Value {
        let bytes = self.prompter.vocabulary().spelled_bytes(token.token);
        json!({"token": String::from_utf8_lossy(bytes), "logprob": number(token.logprob), "bytes": bytes})
    }

    /// The older form. Among the most likely tokens is the one picked, too.
    fn lists(&self, tokens: &[sampling::Logprobs], start: usize) -> Value {
        let text = |token: &TokenLogprob| {
            String::from_utf8_lossy(self.prompter.vocabulary().spelled_bytes(token.token)).into_owned()
        };
        let top = |token: &sampling::Logprobs| {
            let all = token.top.iter().chain([&token.picked]);
            all.map(|t| (text(t), number(t.logprob).into()))
                .collect::<Map<_, _>>()
        };
        let mut end = start;
        let offsets = tokens.iter().map(|token| {
            let bytes = self.prompter.vocabulary().token_bytes(token.picked.token);
            // A token that begins inside a character begins where the character does.
            let at = end - usize::from(bytes.first().is_some_and(|&b| !begins(b))).min(end);
            end += self.characters(token);
            at
        });
        let offsets: Vec<usize> = offsets.collect();
        json!({
            "tokens": tokens.iter().map(|t| text(&t.picked)).collect::<Value>(),
            "token_logprobs": tokens.iter().map(|t| number(t.picked.logprob)).collect::<Value>(),
            "top_logprobs": tokens.iter().map(top).collect::<Value>(),
            "text_offset": offsets,
        })
    }

    /// Characters that begin in a token.
    fn characters(&self, token: &sampling::Logprobs) -> usize {
        let bytes = self.prompter.vocabulary().token_bytes(token.picked.token);
        bytes.iter().filter(|&&b| begins(b)).count()
    }
}

/// Whether a byte of UTF-8 begins a character.
fn begins(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

fn number(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NEVER }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatPrompt, Conversation};
    use lathe_runtime::Vocabulary;
    use lathe_runtime::constrain::{Constraint, ConstraintError, Grammar};

    /// Six tokens: two words, the halves of `é`, a control token, and the end.
    struct Words;

    impl Vocabulary for Words {
        fn token_bytes(&self, token: u32) -> &[u8] {
            match token {
                4.. => &[],
                _ => self.spelled_bytes(token),
            }
        }

        fn spelled_bytes(&self, token: u32) -> &[u8] {
            [&b"one "[..], b"two", b"\xc3", b"\xa9", b"<mark>", b"<end>"][token as usize]
        }
    }

    impl Prompter for Words {
        fn chat(&self, _: &Conversation) -> Result<ChatPrompt, String> {
            Err("no chat".into())
        }

        fn control_token(&self, _: &str) -> Option<u32> {
            None
        }

        fn text(&self, _: &str) -> Result<Vec<u32>, String> {
            Err("no text".into())
        }

        fn grammar(&self, _: &Constraint) -> Result<Grammar, ConstraintError> {
            Err(ConstraintError::new("no grammar"))
        }

        fn vocabulary(&self) -> &dyn Vocabulary {
            self
        }

        fn tokens_with(&self, _: &[String]) -> Vec<u32> {
            Vec::new()
        }

        fn stop_tokens(&self) -> &[u32] {
            &[5]
        }

        fn context(&self) -> usize {
            1
        }
    }

    fn token(token: u32, logprob: f32, top: &[u32]) -> sampling::Logprobs {
        let of = |token, logprob| TokenLogprob { token, logprob };
        sampling::Logprobs {
            picked: of(token, logprob),
            top: top.iter().map(|&t| of(t, -0.5)).collect(),
        }
    }

    /// All tokens but the end, two at first.
    fn told(kind: Kind) -> (Value, Value, Value) {
        let mut logprobs = Logprobs::new(kind, Arc::new(Words));
        assert_eq!(logprobs.news(), Value::Null);
        logprobs.push(token(0, -1.0, &[1]));
        logprobs.push(token(2, f32::NEG_INFINITY, &[2]));
        let first = logprobs.news();
        assert_eq!(logprobs.news(), Value::Null);
        for more in [3, 4, 1, 5] {
            logprobs.push(token(more, -0.25, &[]));
        }
        (first, logprobs.news(), logprobs.all())
    }

    #[test]
    fn chats_have_a_list_of_tokens() {
        let (first, rest, all) = told(Kind::Chat);
        let top = json!({"token": "two", "logprob": -0.5, "bytes": b"two"});
        let want = json!({"token": "one ", "logprob": -1.0, "bytes": b"one ", "top_logprobs": [top]});
        assert_eq!(first["content"][0], want);
        let half = &first["content"][1];
        assert_eq!(
            (&half["token"], &half["bytes"]),
            (&json!("\u{fffd}"), &json!([0xc3]))
        );
        assert_eq!(half["logprob"], -9999.0);
        let names: Vec<_> = rest["content"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 3, "the end is not told: {names:?}");
        assert_eq!(names[1]["token"], "<mark>");
        let list = |value: &Value| value["content"].as_array().unwrap().clone();
        assert_eq!([list(&first), list(&rest)].concat(), list(&all));
    }

    #[test]
    fn texts_have_lists_side_by_side() {
        let (first, rest, all) = told(Kind::Text);
        assert_eq!(first["tokens"], json!(["one ", "\u{fffd}"]));
        assert_eq!(first["token_logprobs"], json!([-1.0, -9999.0]));
        assert_eq!(first["top_logprobs"][0], json!({"two": -0.5, "one ": -1.0}));
        // `one é`, a mark without text, `two`: both halves of the letter begin at 4.
        assert_eq!(first["text_offset"], json!([0, 4]));
        assert_eq!(rest["text_offset"], json!([4, 5, 5]));
        assert_eq!(all["text_offset"], json!([0, 4, 4, 5, 5]));
    }
}
