//! Values in the way of Python or of Gemma, written again as JSON while they arrive.

use super::json::{MAX_DEPTH, Malformed, escape, is_space, quote};

/// Whose values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// Strings in either kind of quotes with backslash escapes; `True`, `False`, `None`, or JSON's words for them.
    Python,
    /// Strings between `<|"|>` marks without escapes; keys may stand bare.
    Gemma,
}

/// What Gemma's strings stand between.
pub(super) const MARK: &str = "<|\"|>";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Value,
    /// A value, or the end of the list.
    Item,
    /// A key, or the end of the object.
    Key,
    Colon,
    After,
    Text {
        end: End,
        key: bool,
    },
    /// A number or a word, kept in `word` until it ends.
    Word,
    /// A key without quotes.
    BareKey,
    /// The mark before a string.
    Opening {
        key: bool,
    },
    Done,
}

/// What ends a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Quote(char),
    Mark,
}

/// Reads one value.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    dialect: Dialect,
    /// The open objects (true) and lists (false).
    open: Vec<bool>,
    state: State,
    /// A word, a bare key, a mark or an escape, as far as it has come.
    word: String,
    begun: bool,
}

/// Longest number, word, or bare key.
const LONGEST_WORD: usize = 512;

impl Literal {
    pub(super) fn new(dialect: Dialect) -> Literal {
        Literal {
            dialect,
            open: Vec::new(),
            state: State::Value,
            word: String::new(),
            begun: false,
        }
    }

    /// A value that is an object, behind its opening brace.
    pub(super) fn object(dialect: Dialect) -> Literal {
        Literal {
            open: vec![true],
            state: State::Key,
            ..Literal::new(dialect)
        }
    }

    /// Whether the value is complete.
    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether a character was taken.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Takes the next character and writes JSON. False if the value ended before it; the character is not taken then.
    pub(super) fn push(&mut self, c: char, json: &mut String) -> Result<bool, Malformed> {
        self.begun = true;
        match self.state {
            State::Done => return Ok(false),
            State::Text { end, key } => self.text(c, end, key, json)?,
            State::Opening { key } => self.opening(c, key, json)?,
            State::BareKey => self.bare_key(c, json)?,
            State::Word => return self.word(c, json),
            _ if is_space(c) => {}
            State::Item if c == ']' => self.close(c, json)?,
            State::Value | State::Item => self.value(c, json)?,
            State::Key if c == '}' => self.close(c, json)?,
            State::Key => self.key(c, json)?,
            State::Colon if c == ':' => {
                json.push_str(": ");
                self.state = State::Value;
            }
            State::Colon => return Err(Malformed),
            State::After => self.after(c, json)?,
        }
        Ok(true)
    }

    fn value(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        match c {
            '[' | '{' if self.open.len() >= MAX_DEPTH => return Err(Malformed),
            '[' => {
                self.open.push(false);
                self.state = State::Item;
                json.push(c);
            }
            '{' => {
                self.open.push(true);
                self.state = State::Key;
                json.push(c);
            }
            _ if self.begins_text(c, false, json) => {}
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.') => {
                self.word.push(c);
                self.state = State::Word;
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn begins_text(&mut self, c: char, key: bool, json: &mut String) -> bool {
        match (self.dialect, c) {
            (Dialect::Python, '"' | '\'') => {
                json.push('"');
                let end = End::Quote(c);
                self.state = State::Text { end, key };
            }
            (Dialect::Gemma, '<') => {
                self.word.push(c);
                self.state = State::Opening { key };
            }
            _ => return false,
        }
        true
    }

    fn opening(&mut self, c: char, key: bool, json: &mut String) -> Result<(), Malformed> {
        self.word.push(c);
        if self.word == MARK {
            self.word.clear();
            json.push('"');
            self.state = State::Text { end: End::Mark, key };
        } else if !MARK.starts_with(&self.word) {
            return Err(Malformed);
        }
        Ok(())
    }

    fn key(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        if self.begins_text(c, true, json) {
            return Ok(());
        }
        if self.dialect == Dialect::Python || matches!(c, ',' | ':') {
            return Err(Malformed);
        }
        self.word.push(c);
        self.state = State::BareKey;
        Ok(())
    }

    fn bare_key(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        if c == ':' {
            json.push_str(&quote(self.word.trim_end()));
            json.push_str(": ");
            self.word.clear();
            self.state = State::Value;
            return Ok(());
        }
        self.word.push(c);
        let wrong = self.word.len() > LONGEST_WORD || matches!(c, ',' | '{' | '}' | '\n');
        if wrong { Err(Malformed) } else { Ok(()) }
    }

    fn word(&mut self, c: char, json: &mut String) -> Result<bool, Malformed> {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_') {
            self.word.push(c);
            return match self.word.len() > LONGEST_WORD {
                true => Err(Malformed),
                false => Ok(true),
            };
        }
        json.push_str(&plain(&std::mem::take(&mut self.word))?);
        self.end_value();
        match self.done() {
            true => Ok(false),
            false => self.push(c, json),
        }
    }

    fn end_value(&mut self) {
        self.state = match self.open.is_empty() {
            true => State::Done,
            false => State::After,
        };
    }

    fn close(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        if self.open.pop() != Some(c == '}') {
            return Err(Malformed);
        }
        json.push(c);
        self.end_value();
        Ok(())
    }

    fn after(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        match c {
            ']' | '}' => self.close(c, json),
            ',' => {
                json.push_str(", ");
                self.state = match self.open.last() {
                    Some(true) => State::Key,
                    _ => State::Value,
                };
                Ok(())
            }
            _ => Err(Malformed),
        }
    }

    fn end_text(&mut self, key: bool, json: &mut String) {
        json.push('"');
        match key {
            true => self.state = State::Colon,
            false => self.end_value(),
        }
    }

    fn text(&mut self, c: char, end: End, key: bool, json: &mut String) -> Result<(), Malformed> {
        match end {
            End::Mark => self.marked_text(c, key, json),
            End::Quote(_) if !self.word.is_empty() => return self.escaped(c, json),
            End::Quote(_) if c == '\\' => self.word.push(c),
            End::Quote(quote) if c == quote => self.end_text(key, json),
            End::Quote(_) => escape(c, json),
        }
        Ok(())
    }

    /// Text up to the mark; the mark's first character occurs in it only once.
    fn marked_text(&mut self, c: char, key: bool, json: &mut String) {
        self.word.push(c);
        if self.word == MARK {
            self.word.clear();
            return self.end_text(key, json);
        }
        if !MARK.starts_with(&self.word) {
            self.word.pop();
            let no_mark = std::mem::take(&mut self.word);
            no_mark.chars().for_each(|c| escape(c, json));
            match c {
                '<' => self.word.push(c),
                _ => escape(c, json),
            }
        }
    }

    /// Goes on with an escape, as Python reads it; what is no escape stands for itself.
    fn escaped(&mut self, c: char, json: &mut String) -> Result<(), Malformed> {
        self.word.push(c);
        let kind = self.word.chars().nth(1).unwrap_or('\\');
        let half = self.word.get(2..4).is_some_and(is_first_half);
        let more = match kind {
            'x' => 2,
            'u' if half => 10,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if self.word.chars().count() < 2 + more {
            return Ok(());
        }
        let word = std::mem::take(&mut self.word);
        match kind {
            'n' => json.push_str("\\n"),
            't' => json.push_str("\\t"),
            'r' => json.push_str("\\r"),
            'b' => json.push_str("\\b"),
            'f' => json.push_str("\\f"),
            '\\' | '\'' | '"' => escape(kind, json),
            '/' => json.push('/'),
            '\n' => {}
            // What is right here is right in JSON.
            'u' => {
                let text: String = serde_json::from_str(&format!("\"{word}\"")).map_err(|_| Malformed)?;
                text.chars().for_each(|c| escape(c, json));
            }
            'x' | 'U' => {
                let code = u32::from_str_radix(&word[2..], 16).map_err(|_| Malformed)?;
                escape(char::from_u32(code).ok_or(Malformed)?, json);
            }
            _ => word.chars().for_each(|c| escape(c, json)),
        }
        Ok(())
    }
}

/// Whether hexadecimal digits begin the first half of a surrogate pair.
fn is_first_half(digits: &str) -> bool {
    u8::from_str_radix(digits, 16).is_ok_and(|high| (0xd8..=0xdb).contains(&high))
}

/// A number or a word as JSON.
fn plain(word: &str) -> Result<String, Malformed> {
    let json = match word {
        "True" | "true" => "true",
        "False" | "false" => "false",
        "None" | "null" => "null",
        _ => return number(word),
    };
    Ok(json.to_owned())
}

/// A number; the ways to write one that JSON does not have are written anew.
fn number(word: &str) -> Result<String, Malformed> {
    if serde_json::from_str::<serde_json::Number>(word).is_ok() {
        return Ok(word.to_owned());
    }
    let begins = word
        .trim_start_matches(['-', '+'])
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = word.replace('_', "").parse().map_err(|_| Malformed)?;
    match begins && value.is_finite() {
        true => serde_json::to_string(&value).map_err(|_| Malformed),
        false => Err(Malformed),
    }
}
