//! A call in the way of Python: `name(key=value, …)`.

use super::fields::Fields;
use super::json::{Malformed, is_space};
use super::list::Tools;
use super::literal::{Dialect, Literal};
use super::queue::Queue;

#[derive(Clone, Debug)]
enum State {
    Name,
    /// An argument, or the end.
    Argument,
    /// A word that may be the argument's name.
    Word,
    /// A value.
    Value(Literal),
    /// A comma, or the end.
    After,
    /// The end of `print(…)`.
    Wrapped,
}

/// Reads one call. Arguments without a name get that of the schema's property at their place. `print(…)` around the
/// call is passed over.
#[derive(Clone, Debug)]
pub(super) struct PythonCall {
    state: State,
    text: String,
    fields: Option<Fields>,
    wrapped: bool,
    place: usize,
}

impl PythonCall {
    pub(super) fn new() -> PythonCall {
        PythonCall {
            state: State::Name,
            text: String::new(),
            fields: None,
            wrapped: false,
            place: 0,
        }
    }

    /// Takes the next character; true when the call is complete and has ended.
    pub(super) fn push(&mut self, c: char, tools: &Tools, queue: &mut Queue) -> Result<bool, Malformed> {
        match &mut self.state {
            State::Name => self.name(c, tools, queue),
            State::Word => self.word(c, queue),
            State::Value(_) => self.value(c, queue),
            _ if is_space(c) => Ok(false),
            State::Argument if c == ')' => self.end(queue),
            State::Argument if c.is_ascii_alphabetic() || c == '_' => {
                self.text.push(c);
                self.state = State::Word;
                Ok(false)
            }
            State::Argument => {
                self.positional(queue)?;
                self.value(c, queue)
            }
            State::After if c == ')' => self.end(queue),
            State::After if c == ',' => {
                self.state = State::Argument;
                Ok(false)
            }
            State::Wrapped if c == ')' => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn name(&mut self, c: char, tools: &Tools, queue: &mut Queue) -> Result<bool, Malformed> {
        if self.text.is_empty() && is_space(c) {
            return Ok(false);
        }
        if c != '(' {
            self.text.push(c);
            let prints = !self.wrapped && "print".starts_with(&self.text);
            return match prints || tools.may_begin(&self.text, &[("(", 0)]) {
                true => Ok(false),
                false => Err(Malformed),
            };
        }
        let name = std::mem::take(&mut self.text);
        match tools.resolve(&name) {
            Some(tool) => {
                queue.start(&tool.name);
                self.fields = Some(Fields::new(tool.clone()));
                self.state = State::Argument;
            }
            None if name == "print" && !self.wrapped => self.wrapped = true,
            None => return Err(Malformed),
        }
        Ok(false)
    }

    fn word(&mut self, c: char, queue: &mut Queue) -> Result<bool, Malformed> {
        if c.is_ascii_alphanumeric() || c == '_' {
            self.text.push(c);
            return match self.text.len() > 512 {
                true => Err(Malformed),
                false => Ok(false),
            };
        }
        if c == '=' {
            let key = std::mem::take(&mut self.text);
            self.fields.as_mut().ok_or(Malformed)?.key(&key, queue);
            self.state = State::Value(Literal::new(Dialect::Python));
            return Ok(false);
        }
        if is_space(c) {
            self.text.push(c);
            return Ok(false);
        }
        let text = std::mem::take(&mut self.text);
        self.positional(queue)?;
        for c in text.trim_end_matches(is_space).chars() {
            self.value(c, queue)?;
        }
        self.value(c, queue)
    }

    /// Begins a value without a name.
    fn positional(&mut self, queue: &mut Queue) -> Result<(), Malformed> {
        let fields = self.fields.as_mut().ok_or(Malformed)?;
        let key = fields.nth(self.place).ok_or(Malformed)?;
        fields.key(&key, queue);
        self.place += 1;
        self.state = State::Value(Literal::new(Dialect::Python));
        Ok(())
    }

    fn value(&mut self, c: char, queue: &mut Queue) -> Result<bool, Malformed> {
        let State::Value(literal) = &mut self.state else {
            return Err(Malformed);
        };
        let mut json = String::new();
        let taken = literal.push(c, &mut json)?;
        let done = literal.done();
        queue.arguments(&json);
        if done {
            self.state = State::After;
        }
        match (taken, c) {
            (true, _) => Ok(false),
            (false, ')') => self.end(queue),
            (false, ',') => {
                self.state = State::Argument;
                Ok(false)
            }
            (false, c) if is_space(c) => Ok(false),
            _ => Err(Malformed),
        }
    }

    fn end(&mut self, queue: &mut Queue) -> Result<bool, Malformed> {
        self.fields.take().ok_or(Malformed)?.end(queue);
        self.state = State::Wrapped;
        Ok(!self.wrapped)
    }
}
