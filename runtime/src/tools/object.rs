//! A call as one JSON object: `{"name": "f", "arguments": {…}}`, and its variants.

use super::json::{Json, Malformed, escape, is_space};
use super::list::Tools;
use super::queue::Queue;

/// What the value of the current key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Name,
    Arguments,
    Other,
}

/// Reads a call object. The keys `name` and `tool_name` name the function; `arguments` and `parameters` hold the
/// arguments, as an object or as a string with the JSON of one; other keys are passed over, as are the arguments of a
/// call that has none.
#[derive(Clone, Debug)]
pub(super) struct CallObject {
    json: Json,
    /// The function's name is the only key, and its arguments are the value.
    name_is_key: bool,
    role: Role,
    /// A key or the name, as it is written, from its opening quote.
    word: String,
    /// Arguments that came before the name, or that are written as a string.
    waiting: String,
    named: bool,
    quoted: bool,
    has_arguments: bool,
}

impl CallObject {
    pub(super) fn new(name_is_key: bool) -> CallObject {
        CallObject {
            json: Json::new(),
            name_is_key,
            role: Role::Other,
            word: String::new(),
            waiting: String::new(),
            named: false,
            quoted: false,
            has_arguments: false,
        }
    }

    /// Takes the next character; true when the object is complete and the call has ended.
    pub(super) fn push(&mut self, c: char, tools: &Tools, queue: &mut Queue) -> Result<bool, Malformed> {
        let depth = self.json.depth();
        if depth == 0 && c != '{' {
            return if is_space(c) { Ok(false) } else { Err(Malformed) };
        }
        let (in_key, in_string) = (self.json.in_key(), self.json.in_string());
        let begins = depth == 1 && self.json.at_value() && !is_space(c);
        if begins {
            self.begin_value(c)?;
        }
        self.json.push(c)?;
        if self.json.done() {
            self.complete(queue)?;
            return Ok(true);
        }
        if depth == 1 && (in_key || self.json.in_key()) {
            self.key(c, tools, queue)?;
        } else if begins || in_string || depth > 1 {
            self.value(c, in_string, tools, queue)?;
        }
        Ok(false)
    }

    fn begin_value(&mut self, c: char) -> Result<(), Malformed> {
        match (self.role, c) {
            (Role::Name, '"') if !self.named => Ok(()),
            (Role::Arguments, '{' | '"') if !self.has_arguments => {
                self.has_arguments = true;
                self.quoted = c == '"';
                Ok(())
            }
            (Role::Other, _) => Ok(()),
            _ => Err(Malformed),
        }
    }

    fn key(&mut self, c: char, tools: &Tools, queue: &mut Queue) -> Result<(), Malformed> {
        self.word.push(c);
        if self.json.in_key() {
            return Ok(());
        }
        let key = self.take_word()?;
        if self.name_is_key {
            self.role = Role::Arguments;
            return self.name(&key, tools, queue);
        }
        self.role = match key.as_str() {
            "name" | "tool_name" => Role::Name,
            "arguments" | "parameters" => Role::Arguments,
            _ => Role::Other,
        };
        Ok(())
    }

    fn value(&mut self, c: char, in_string: bool, tools: &Tools, queue: &mut Queue) -> Result<(), Malformed> {
        match self.role {
            Role::Other => Ok(()),
            Role::Name => {
                self.word.push(c);
                if self.json.in_string() {
                    return Ok(());
                }
                let name = self.take_word()?;
                self.name(&name, tools, queue)
            }
            Role::Arguments => {
                match in_string && c < ' ' {
                    true => escape(c, &mut self.waiting),
                    false => self.waiting.push(c),
                }
                if self.quoted && !self.json.in_string() {
                    self.unquote()?;
                }
                self.release(queue);
                Ok(())
            }
        }
    }

    fn take_word(&mut self) -> Result<String, Malformed> {
        let word = std::mem::take(&mut self.word);
        serde_json::from_str(&word).map_err(|_| Malformed)
    }

    fn name(&mut self, name: &str, tools: &Tools, queue: &mut Queue) -> Result<(), Malformed> {
        let tool = tools.resolve(name).filter(|_| !self.named).ok_or(Malformed)?;
        self.named = true;
        queue.start(&tool.name);
        self.release(queue);
        Ok(())
    }

    /// Turns arguments that were written as a string into the JSON that the string holds.
    fn unquote(&mut self) -> Result<(), Malformed> {
        let text: String = serde_json::from_str(&self.waiting).map_err(|_| Malformed)?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| Malformed)?;
        self.waiting = value.is_object().then(|| value.to_string()).ok_or(Malformed)?;
        self.quoted = false;
        Ok(())
    }

    /// Hands on the arguments that may be shown.
    fn release(&mut self, queue: &mut Queue) {
        if self.named && !self.quoted && !self.waiting.is_empty() {
            queue.arguments(&self.waiting);
            self.waiting.clear();
        }
    }

    fn complete(&mut self, queue: &mut Queue) -> Result<(), Malformed> {
        if !self.named {
            return Err(Malformed);
        }
        if !self.has_arguments {
            queue.arguments("{}");
        }
        queue.end();
        Ok(())
    }
}
