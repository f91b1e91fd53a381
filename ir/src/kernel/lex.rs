//! Cuts the text of a kernel into tokens.

use super::parse::ParseError;
use super::print::is_name;

/// A piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// `load.u8`: letters, digits, `_` and `.`.
    Word(String),
    /// `-1.5e-5`, `-inf`: as written.
    Number(String),
    /// `%7`.
    Value(u32),
    /// A name after its sigil `@`, `$` or `#`, without quotes.
    Name(char, String),
    /// A character that stands for itself.
    Mark(char),
    /// `..`
    To,
    /// The end of the text.
    End,
}

impl Token {
    /// The token as an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(text) | Token::Number(text) => format!("`{text}`"),
            Token::Value(n) => format!("`%{n}`"),
            Token::Name(sigil, name) => format!("`{sigil}{}`", name.escape_debug()),
            Token::Mark(c) => format!("`{c}`"),
            Token::To => "`..`".to_owned(),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    pub(super) fn error(self, what: impl Into<String>) -> ParseError {
        ParseError {
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }
}

/// Reads tokens from the start of a text.
pub(super) struct Lexer<'t> {
    rest: &'t str,
    place: Place,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Lexer {
            rest: text,
            place: Place { line: 1, column: 1 },
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.place = match c {
            '\n' => Place {
                line: self.place.line.saturating_add(1),
                column: 1,
            },
            _ => Place {
                column: self.place.column.saturating_add(1),
                ..self.place
            },
        };
        Some(c)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|&c| holds(c)) {
            taken.push(c);
            self.advance();
        }
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if self.peek() != Some(';') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, Place), ParseError> {
        self.skip_blanks();
        let place = self.place;
        let Some(first) = self.peek() else {
            return Ok((Token::End, place));
        };
        let second = self.rest[first.len_utf8()..].chars().next();
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                Token::Word(self.take_while(|c| c.is_ascii_alphanumeric() || "_.".contains(c)))
            }
            '0'..='9' => self.number(),
            '-' if second.is_some_and(|c| c.is_ascii_alphanumeric()) => self.number(),
            '%' => self.value(place)?,
            '@' | '$' | '#' => self.name(first, place)?,
            '.' if second == Some('.') => {
                self.advance();
                self.advance();
                Token::To
            }
            _ if "(){}[],:=+-".contains(first) => {
                self.advance();
                Token::Mark(first)
            }
            _ => return Err(place.error(format!("{first:?} begins nothing"))),
        };
        Ok((token, place))
    }

    /// A sign, digits, letters and points; an exponent may have a sign.
    fn number(&mut self) -> Token {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            let signed = "+-".contains(c) && (text.is_empty() || text.ends_with(['e', 'E']));
            if !(signed || c.is_ascii_alphanumeric() || c == '.') {
                break;
            }
            text.push(c);
            self.advance();
        }
        Token::Number(text)
    }

    fn value(&mut self, place: Place) -> Result<Token, ParseError> {
        self.advance();
        let digits = self.take_while(|c| c.is_ascii_digit());
        match digits.parse() {
            Ok(number) => Ok(Token::Value(number)),
            Err(_) => Err(place.error(format!("`%{digits}`: expected a number below 2^32 after `%`"))),
        }
    }

    fn name(&mut self, sigil: char, place: Place) -> Result<Token, ParseError> {
        self.advance();
        let name = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            self.plain_name(sigil, place)?
        };
        Ok(Token::Name(sigil, name))
    }

    fn plain_name(&mut self, sigil: char, place: Place) -> Result<String, ParseError> {
        let name = self.take_while(is_name);
        if name.is_empty() {
            Err(place.error(format!("expected a name after `{sigil}`")))
        } else {
            Ok(name)
        }
    }

    /// A string in quotes, with the escapes of Rust's string literals.
    fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.place;
        self.advance();
        let mut text = String::new();
        loop {
            match self.advance() {
                None | Some('\n') => return Err(start.error("a quote is not closed on its line")),
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, ParseError> {
        let place = self.place;
        match self.advance() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('0') => Ok('\0'),
            Some(c @ ('"' | '\\' | '\'')) => Ok(c),
            Some('u') => {
                let text = self.take_while(|c| c == '{' || c.is_ascii_hexdigit());
                let digits = text.strip_prefix('{').filter(|_| self.advance() == Some('}'));
                let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
                code.and_then(char::from_u32)
                    .ok_or_else(|| place.error("`\\u{…}` names no character"))
            }
            _ => Err(place.error("an unknown escape")),
        }
    }
}
