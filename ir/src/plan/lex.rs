//! Words, strings and punctuation of a plan's text, with their places.

use super::names::is_word;
use super::parse::ParseError;

/// A piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A name or a number.
    Word(String),
    /// What stands in quotes.
    Quoted(String),
    /// A character that stands for itself.
    Mark(char),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Quoted(s) => format!("{s:?}"),
            Token::Mark(c) => format!("`{c}`"),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
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

/// Reads tokens from the start of a text. `;` starts a comment that ends with its line.
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

    /// What was not read, and where it starts.
    pub(super) fn rest(&self) -> (&'t str, Place) {
        (self.rest, self.place)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.place = match c {
            '\n' => Place {
                line: self.place.line + 1,
                column: 1,
            },
            _ => Place {
                column: self.place.column + 1,
                ..self.place
            },
        };
        Some(c)
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            if c == ';' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.advance();
                }
            } else if c.is_whitespace() {
                self.advance();
            } else {
                return;
            }
        }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, Place), ParseError> {
        self.skip_blanks();
        let place = self.place;
        let token = match self.peek() {
            None => Token::End,
            Some('"') => Token::Quoted(self.quoted()?),
            Some(c) if is_word(c) => {
                let mut word = String::new();
                while let Some(c) = self.peek().filter(|&c| is_word(c)) {
                    word.push(c);
                    self.advance();
                }
                Token::Word(word)
            }
            Some(c) if "{}()[]:,=@*".contains(c) => {
                self.advance();
                Token::Mark(c)
            }
            Some(c) => return Err(place.error(format!("unexpected character {c:?}"))),
        };
        Ok((token, place))
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.place;
        self.advance();
        let mut text = String::new();
        loop {
            let place = self.place;
            match self.advance() {
                None | Some('\n') => return Err(start.error("a string has no closing quote")),
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape().ok_or_else(|| place.error("unknown escape"))?),
                Some(c) => text.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        match self.advance()? {
            'n' => Some('\n'),
            'u' => {
                let (digits, _) = self.rest.strip_prefix('{')?.split_once('}')?;
                let code = u32::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| digits.len() <= 6)?;
                for _ in 0..digits.len() + 2 {
                    self.advance();
                }
                char::from_u32(code)
            }
            c @ ('"' | '\\') => Some(c),
            _ => None,
        }
    }
}
