//! One answer's text, taken apart into content, reasoning and calls as it comes.

use super::logprobs::Logprobs;
use crate::wire::Kind;
use lathe_runtime::sampling;
use lathe_runtime::tools::{Format, Message, Parser, Piece, Reasoning, Tools};
use lathe_runtime::{Completion, Finish};
use serde_json::{Value, json};

/// How answers are read.
#[derive(Clone, Default)]
pub struct Reader {
    /// How calls are written.
    pub format: Option<Format>,
    /// How reasoning is marked.
    pub reasoning: Option<Reasoning>,
    /// What may be called.
    pub tools: Tools,
    /// Whether the text can't be anything but calls.
    pub held: bool,
}

/// More of a choice: what was said, and the log-probabilities of the tokens that are new.
pub struct Delta {
    /// As in a chunk.
    pub said: Value,
    /// Null where there are none.
    pub logprobs: Value,
}

impl Delta {
    /// Something said without tokens.
    pub fn of(said: Value) -> Delta {
        Delta {
            said,
            logprobs: Value::Null,
        }
    }
}

/// One choice of an answer, as far as it is there.
pub struct Answer {
    /// The start of the ids of its calls.
    id: String,
    /// None for plain text.
    parser: Option<Parser>,
    message: Message,
    /// Its tokens, where log-probabilities are asked for.
    logprobs: Option<Logprobs>,
    /// What came of it.
    pub completion: Option<Completion>,
}

impl Answer {
    /// An answer to be read, or with no reader plain text; `id` tells it from others. `logprobs` takes its tokens, where
    /// log-probabilities are asked for.
    pub fn new(reader: Option<&Reader>, id: String, logprobs: Option<Logprobs>) -> Answer {
        let parser = reader.map(|reader| {
            let parser = Parser::new(reader.format, reader.reasoning.clone(), &reader.tools);
            // A client can't take back a call that turns out to be none.
            if reader.held { parser } else { parser.hold_calls() }
        });
        Answer {
            id,
            parser,
            message: Message::default(),
            logprobs,
            completion: None,
        }
    }

    /// Takes a token, which comes before its text.
    pub fn note(&mut self, token: sampling::Logprobs) {
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.push(token);
        }
    }

    /// Takes text; hands what a client is told of it to `tell`.
    pub fn push(&mut self, text: &str, tell: &mut dyn FnMut(Delta)) {
        self.read(tell, |parser, hear| match parser {
            None => hear(Piece::Content(text)),
            Some(parser) => parser.push(text, hear),
        });
    }

    /// Takes the end.
    pub fn finish(&mut self, completion: Completion, tell: &mut dyn FnMut(Delta)) {
        self.read(tell, |parser, hear| {
            if let Some(parser) = parser {
                parser.finish(hear);
            }
        });
        self.completion = Some(completion);
    }

    /// Keeps and tells each piece that comes of reading.
    fn read(
        &mut self,
        tell: &mut dyn FnMut(Delta),
        read: impl FnOnce(Option<&mut Parser>, &mut dyn FnMut(Piece)),
    ) {
        let (message, id, logprobs) = (&mut self.message, &self.id, &mut self.logprobs);
        read(self.parser.as_mut(), &mut |piece| {
            if let Some(said) = take(message, id, piece) {
                let logprobs = logprobs.as_mut().map_or(Value::Null, Logprobs::news);
                tell(Delta { said, logprobs });
            }
        });
    }

    /// What the last chunk says: the tokens that had no text to come with.
    pub fn rest(&mut self) -> Delta {
        Delta {
            said: json!({}),
            logprobs: self.logprobs.as_mut().map_or(Value::Null, Logprobs::news),
        }
    }

    /// The mean log-probability of its tokens, by which the best of several are known; the least where it has none.
    pub fn mean_logprob(&self) -> f64 {
        let tokens = self.completion.iter().flat_map(|c| &c.logprobs);
        let logprobs = tokens.map(|token| f64::from(token.picked.logprob));
        let (count, sum) = logprobs.fold((0, 0.0), |(n, sum), logprob| (n + 1, sum + logprob));
        match count {
            0 => f64::NEG_INFINITY,
            n => sum / f64::from(n),
        }
    }

    /// Why it ended, as OpenAI says it.
    pub fn finish_reason(&self) -> Option<&'static str> {
        self.completion
            .as_ref()
            .map(|completion| match completion.finish {
                Finish::Stop if !self.message.calls.is_empty() => "tool_calls",
                Finish::Stop => "stop",
                Finish::Length | Finish::Cancelled | Finish::Expired => "length",
            })
    }

    /// The whole choice.
    pub fn whole(&self, kind: Kind, index: usize) -> Value {
        let (finish, content) = (self.finish_reason(), &self.message.content);
        let logprobs = self.logprobs.as_ref().map_or(Value::Null, Logprobs::all);
        if kind == Kind::Text {
            return json!({"index": index, "text": content, "logprobs": logprobs, "finish_reason": finish});
        }
        let calls = self.message.calls.iter().enumerate().map(|(number, call)| {
            json!({"id": call_id(&self.id, number), "type": "function",
                "function": {"name": call.name, "arguments": call.arguments}})
        });
        let calls: Vec<Value> = calls.collect();
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !self.message.reasoning.is_empty() {
            message["reasoning_content"] = self.message.reasoning.clone().into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
            if content.is_empty() {
                message["content"] = Value::Null;
            }
        }
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
    }
}

fn call_id(id: &str, number: usize) -> String {
    format!("call_{id}_{number}")
}

/// Keeps a piece, and returns what a client is told of it.
fn take(message: &mut Message, id: &str, piece: Piece) -> Option<Value> {
    let delta = match piece {
        Piece::Content(text) => Some(json!({"content": text})),
        Piece::Reasoning(text) => Some(json!({"reasoning_content": text})),
        Piece::CallStarted { index, name } => Some(
            json!({"tool_calls": [{"index": index, "id": call_id(id, index), "type": "function",
            "function": {"name": name, "arguments": ""}}]}),
        ),
        Piece::Arguments { index, json } => {
            Some(json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]}))
        }
        Piece::CallEnded { .. } | Piece::CallDropped { .. } => None,
    };
    message.add(piece);
    delta
}
