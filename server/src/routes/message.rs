//! One answer's text, taken apart into content, reasoning and calls as it comes.

use super::reply::Kind;
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

/// One choice of an answer, as far as it is there.
pub struct Answer {
    /// The start of the ids of its calls.
    id: String,
    /// None for plain text.
    parser: Option<Parser>,
    message: Message,
    /// What came of it.
    pub completion: Option<Completion>,
}

impl Answer {
    /// An answer to be read, or with no reader plain text; `id` tells it from others.
    pub fn new(reader: Option<&Reader>, id: String) -> Answer {
        let parser = reader.map(|reader| {
            let parser = Parser::new(reader.format, reader.reasoning.clone(), &reader.tools);
            // A client can't take back a call that turns out to be none.
            if reader.held { parser } else { parser.hold_calls() }
        });
        Answer {
            id,
            parser,
            message: Message::default(),
            completion: None,
        }
    }

    /// Takes text; hands what a client is told of it to `tell`, as a `delta`.
    pub fn push(&mut self, text: &str, tell: &mut dyn FnMut(Value)) {
        let (message, id) = (&mut self.message, &self.id);
        match &mut self.parser {
            None => take(message, id, Piece::Content(text), tell),
            Some(parser) => parser.push(text, &mut |piece| take(message, id, piece, tell)),
        }
    }

    /// Takes the end.
    pub fn finish(&mut self, completion: Completion, tell: &mut dyn FnMut(Value)) {
        let (message, id) = (&mut self.message, &self.id);
        if let Some(parser) = &mut self.parser {
            parser.finish(&mut |piece| take(message, id, piece, tell));
        }
        self.completion = Some(completion);
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
        if kind == Kind::Text {
            return json!({"index": index, "text": content, "logprobs": null, "finish_reason": finish});
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
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish})
    }
}

fn call_id(id: &str, number: usize) -> String {
    format!("call_{id}_{number}")
}

fn take(message: &mut Message, id: &str, piece: Piece, tell: &mut dyn FnMut(Value)) {
    let delta = match piece {
        Piece::Content(text) => json!({"content": text}),
        Piece::Reasoning(text) => json!({"reasoning_content": text}),
        Piece::CallStarted { index, name } => {
            json!({"tool_calls": [{"index": index, "id": call_id(id, index), "type": "function",
            "function": {"name": name, "arguments": ""}}]})
        }
        Piece::Arguments { index, json } => {
            json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]})
        }
        Piece::CallEnded { .. } | Piece::CallDropped { .. } => Value::Null,
    };
    message.add(piece);
    if !delta.is_null() {
        tell(delta);
    }
}
