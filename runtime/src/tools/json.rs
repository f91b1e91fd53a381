//! Incremental JSON: a checker that takes one character at a time, and the writing of strings. Nothing here keeps text.

/// The text is no JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Deepest nesting of values; as deep as `serde_json` reads.
pub(super) const MAX_DEPTH: usize = 120;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Colon,
    After,
    /// In a string, or in a key.
    Text {
        key: bool,
        escape: Escape,
    },
    Number(Digits),
    /// In `true`, `false` or `null`: what is left of it.
    Word(&'static str),
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Escape {
    None,
    Backslash,
    /// Behind `\u`, or behind that of the second half of a pair: how many digits are to come, and what they say so far.
    Hex {
        left: u8,
        code: u16,
        second: bool,
    },
    /// Behind the first half of a surrogate pair.
    Half,
    HalfBackslash,
}

impl Escape {
    const fn digits(second: bool) -> Escape {
        Escape::Hex {
            left: 4,
            code: 0,
            second,
        }
    }

    /// What follows `c` within an escape.
    fn next(self, c: char) -> Option<Escape> {
        match (self, c) {
            (Escape::Backslash, 'u') => Some(Escape::digits(false)),
            (Escape::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Some(Escape::None),
            (Escape::Half, '\\') => Some(Escape::HalfBackslash),
            (Escape::HalfBackslash, 'u') => Some(Escape::digits(true)),
            (Escape::Hex { left, code, second }, c) => {
                let code = code << 4 | u16::try_from(c.to_digit(16)?).ok()?;
                match (left - 1, second, code) {
                    (0, true, 0xdc00..=0xdfff) => Some(Escape::None),
                    (0, true, _) | (0, false, 0xdc00..=0xdfff) => None,
                    (0, false, 0xd800..=0xdbff) => Some(Escape::Half),
                    (0, false, _) => Some(Escape::None),
                    (left, ..) => Some(Escape::Hex { left, code, second }),
                }
            }
            _ => None,
        }
    }
}

/// Where in a number the last character stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Digits {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    Power,
}

impl Digits {
    fn next(self, c: char) -> Option<Digits> {
        use Digits::*;
        match (self, c) {
            (Minus, '0') => Some(Zero),
            (Minus, '1'..='9') | (Integer, '0'..='9') => Some(Integer),
            (Zero | Integer, '.') => Some(Point),
            (Point | Fraction, '0'..='9') => Some(Fraction),
            (Zero | Integer | Fraction, 'e' | 'E') => Some(Exponent),
            (Exponent, '+' | '-') => Some(ExponentSign),
            (Exponent | ExponentSign | Power, '0'..='9') => Some(Power),
            _ => None,
        }
    }

    fn complete(self) -> bool {
        use Digits::*;
        matches!(self, Zero | Integer | Fraction | Power)
    }
}

/// Checks one JSON value that arrives by the character. Raw control characters in strings are let through, since
/// models write them; [`Json::in_string`] says where they have to be escaped.
#[derive(Clone, Debug)]
pub(super) struct Json {
    /// The open objects (true) and arrays (false).
    open: Vec<bool>,
    state: State,
}

impl Json {
    pub(super) fn new() -> Json {
        Json {
            open: Vec::new(),
            state: State::Value,
        }
    }

    /// Whether the value is complete. A number at the top never is: it ends with what follows it.
    pub(super) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// How many objects and arrays are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the next character belongs to a string.
    pub(super) fn in_string(&self) -> bool {
        matches!(self.state, State::Text { .. })
    }

    /// Whether that string is a key.
    pub(super) fn in_key(&self) -> bool {
        matches!(self.state, State::Text { key: true, .. })
    }

    /// Whether a value is to begin.
    pub(super) fn at_value(&self) -> bool {
        self.state == State::Value
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Result<(), Malformed> {
        match self.state {
            State::Text { key, escape } => self.text(key, escape, c),
            State::Number(digits) => self.number(digits, c),
            State::Word(rest) => self.word(rest, c),
            _ if is_space(c) => Ok(()),
            State::Value => self.value(c),
            State::FirstItem if c == ']' => self.close(false),
            State::FirstItem => self.value(c),
            State::FirstKey if c == '}' => self.close(true),
            State::FirstKey | State::Key if c == '"' => self.begin_text(true),
            State::Colon if c == ':' => self.go(State::Value),
            State::After => self.after(c),
            _ => Err(Malformed),
        }
    }

    fn go(&mut self, state: State) -> Result<(), Malformed> {
        self.state = state;
        Ok(())
    }

    fn begin_text(&mut self, key: bool) -> Result<(), Malformed> {
        self.go(State::Text {
            key,
            escape: Escape::None,
        })
    }

    fn value(&mut self, c: char) -> Result<(), Malformed> {
        match c {
            '"' => self.begin_text(false),
            '{' => self.nest(true, State::FirstKey),
            '[' => self.nest(false, State::FirstItem),
            '-' => self.go(State::Number(Digits::Minus)),
            '0' => self.go(State::Number(Digits::Zero)),
            '1'..='9' => self.go(State::Number(Digits::Integer)),
            't' => self.go(State::Word("rue")),
            'f' => self.go(State::Word("alse")),
            'n' => self.go(State::Word("ull")),
            _ => Err(Malformed),
        }
    }

    fn nest(&mut self, object: bool, state: State) -> Result<(), Malformed> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Malformed);
        }
        self.open.push(object);
        self.go(state)
    }

    fn close(&mut self, object: bool) -> Result<(), Malformed> {
        if self.open.pop() != Some(object) {
            return Err(Malformed);
        }
        self.end_value()
    }

    fn end_value(&mut self) -> Result<(), Malformed> {
        self.go(match self.open.is_empty() {
            true => State::Done,
            false => State::After,
        })
    }

    fn after(&mut self, c: char) -> Result<(), Malformed> {
        match (c, self.open.last()) {
            (',', Some(true)) => self.go(State::Key),
            (',', Some(false)) => self.go(State::Value),
            ('}', _) => self.close(true),
            (']', _) => self.close(false),
            _ => Err(Malformed),
        }
    }

    fn text(&mut self, key: bool, escape: Escape, c: char) -> Result<(), Malformed> {
        let escape = match (escape, c) {
            (Escape::None, '"') if key => return self.go(State::Colon),
            (Escape::None, '"') => return self.end_value(),
            (Escape::None, '\\') => Escape::Backslash,
            (Escape::None, _) => Escape::None,
            _ => escape.next(c).ok_or(Malformed)?,
        };
        self.go(State::Text { key, escape })
    }

    fn number(&mut self, digits: Digits, c: char) -> Result<(), Malformed> {
        match digits.next(c) {
            Some(next) => self.go(State::Number(next)),
            None if digits.complete() => {
                self.end_value()?;
                self.push(c)
            }
            None => Err(Malformed),
        }
    }

    fn word(&mut self, rest: &'static str, c: char) -> Result<(), Malformed> {
        match rest.strip_prefix(c) {
            Some("") => self.end_value(),
            Some(rest) => self.go(State::Word(rest)),
            None => Err(Malformed),
        }
    }
}

/// JSON's white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Writes a character as it stands within a JSON string.
pub(super) fn escape(c: char, to: &mut String) {
    match c {
        '"' => to.push_str("\\\""),
        '\\' => to.push_str("\\\\"),
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        c if c < ' ' => to.push_str(&format!("\\u{:04x}", c as u32)),
        c => to.push(c),
    }
}

/// A text as a JSON string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|c| escape(c, &mut quoted));
    quoted.push('"');
    quoted
}
