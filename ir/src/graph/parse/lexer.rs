//! Cuts the text of a graph into tokens.

use super::ParseError;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `matmul`, `attention.paged`.
    Word,
    /// `64`, `-1.5e-5`, as written.
    Number,
    /// `%0`, `%tok`; the text is without the `%`.
    Value,
    /// `@token_embd`, `@"a name"`; the text is without the `@`, but with quotes.
    At,
    /// One of the marks.
    Mark,
    /// The end of the text.
    End,
}

/// A token and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Token<'_> {
    /// The token as error messages name it.
    pub(super) fn describe(&self) -> String {
        match self.kind {
            Kind::End => "the end".to_owned(),
            Kind::Value => format!("`%{}`", self.text),
            Kind::At => format!("`@{}`", self.text),
            _ => format!("`{}`", self.text),
        }
    }
}

/// Marks; longer ones before those that they begin with.
const MARKS: &[&str] = &["->", "><", "(", ")", "{", "}", "[", "]", ",", ":", "="];

/// The tokens of a text, the last of which is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let token = lexer.token()?;
        tokens.push(token);
        if token.kind == Kind::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    line: u32,
    column: u32,
}

impl<'t> Lexer<'t> {
    /// Takes the next `bytes` bytes.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                (self.line, self.column) = (self.line.saturating_add(1), 1);
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with(';') {
                return;
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn token(&mut self) -> Result<Token<'t>, ParseError> {
        let (line, column) = (self.line, self.column);
        let (kind, text) = self.kind_and_text()?;
        Ok(Token {
            kind,
            text,
            line,
            column,
        })
    }

    fn kind_and_text(&mut self) -> Result<(Kind, &'t str), ParseError> {
        let Some(first) = self.rest.chars().next() else {
            return Ok((Kind::End, ""));
        };
        match first {
            '%' => Ok((Kind::Value, self.name()?)),
            '@' if self.rest[1..].starts_with('"') => Ok((Kind::At, self.quoted()?)),
            '@' => Ok((Kind::At, self.name()?)),
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
                Ok((Kind::Word, self.take(end)))
            }
            '0'..='9' => Ok((Kind::Number, self.number(0))),
            '-' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                Ok((Kind::Number, self.number(1)))
            }
            _ => match MARKS.iter().find(|m| self.rest.starts_with(**m)) {
                Some(mark) => Ok((Kind::Mark, self.take(mark.len()))),
                None => self.error(format!("{first:?} begins nothing")),
            },
        }
    }

    fn error<T>(&self, message: String) -> Result<T, ParseError> {
        Err(ParseError {
            line: self.line,
            column: self.column,
            message,
        })
    }

    /// The name after the sigil at hand. A `-` belongs to it where it does not end it, so that `@w->` is `@w` and an
    /// arrow.
    fn name(&mut self) -> Result<&'t str, ParseError> {
        let body = &self.rest[1..];
        let end = body.find(|c: char| !is_word(c) && c != '-').unwrap_or(body.len());
        let len = body[..end].trim_end_matches('-').len();
        if len == 0 {
            return self.error(format!("expected a name after `{}`", &self.rest[..1]));
        }
        Ok(&self.take(1 + len)[1..])
    }

    /// The quoted name after the `@` at hand, with its quotes.
    fn quoted(&mut self) -> Result<&'t str, ParseError> {
        let mut escaped = false;
        for (i, c) in self.rest.char_indices().skip(2) {
            match c {
                '\n' => break,
                '"' if !escaped => return Ok(&self.take(i + 1)[1..]),
                _ => escaped = c == '\\' && !escaped,
            }
        }
        self.error("the quoted name does not end on its line".to_owned())
    }

    /// A number, whose digits begin at byte `digits`. Signs belong to it after an `e`.
    fn number(&mut self, digits: usize) -> &'t str {
        let bytes = self.rest.as_bytes();
        let mut end = digits;
        while let Some(&b) = bytes.get(end) {
            let sign = matches!(b, b'+' | b'-') && matches!(bytes[end - 1], b'e' | b'E');
            if !(b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || sign) {
                break;
            }
            end += 1;
        }
        self.take(end)
    }
}

/// Whether words and names go on with this character.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// The name that the text of a [`Kind::At`] stands for; `None` where it has an unknown escape.
pub(super) fn unquote(text: &str) -> Option<String> {
    let Some(body) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return Some(text.to_owned());
    };
    let mut name = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            name.push(c);
            continue;
        }
        match chars.next()? {
            'n' => name.push('\n'),
            c @ ('"' | '\\') => name.push(c),
            'u' => {
                let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                name.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                chars = rest.chars();
            }
            _ => return None,
        }
    }
    Some(name)
}
