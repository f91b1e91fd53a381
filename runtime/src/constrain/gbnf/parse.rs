//! Reads GBNF, the grammar notation of llama.cpp.

use super::ast::{CharSet, Expr, Grammar};
use crate::constrain::error::ConstraintError;
use std::collections::HashMap;

/// Deepest nesting of parentheses.
const DEEPEST: usize = 64;
/// Largest repetition count.
const MOST_REPEATS: u32 = 10_000;

/// Reads a text.
pub(super) fn parse(source: &str) -> Result<Grammar, ConstraintError> {
    let mut parser = Parser {
        text: source.chars().collect(),
        at: 0,
        ids: HashMap::new(),
        rules: Vec::new(),
    };
    parser.grammar()
}

/// A rule: where it was first named, and what it says once that is known.
struct Rule {
    name: String,
    named_at: usize,
    body: Option<Expr>,
}

struct Parser {
    text: Vec<char>,
    at: usize,
    ids: HashMap<String, usize>,
    rules: Vec<Rule>,
}

impl Parser {
    fn grammar(&mut self) -> Result<Grammar, ConstraintError> {
        self.space();
        while self.at < self.text.len() {
            let place = self.at;
            let id = self.rule()?;
            if !self.eat("::=") {
                return Err(self.error(self.at, "`::=` is expected after the rule's name"));
            }
            let body = self.alternatives(0)?;
            if self.rules[id].body.replace(body).is_some() {
                let message = format!("the rule `{}` is defined twice", self.rules[id].name);
                return Err(self.error(place, &message));
            }
        }
        let Some(&root) = self.ids.get("root") else {
            return Err(self.error(0, "there is no rule `root`"));
        };
        let rules = std::mem::take(&mut self.rules);
        let bodies = rules.into_iter().map(|rule| {
            rule.body
                .ok_or_else(|| self.error(rule.named_at, &format!("the rule `{}` is not defined", rule.name)))
        });
        let rules = bodies.collect::<Result<_, _>>()?;
        Ok(Grammar { rules, root })
    }

    fn alternatives(&mut self, depth: usize) -> Result<Expr, ConstraintError> {
        let mut all = vec![self.sequence(depth)?];
        while self.eat("|") {
            all.push(self.sequence(depth)?);
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Expr::Alt(all)
        })
    }

    fn sequence(&mut self, depth: usize) -> Result<Expr, ConstraintError> {
        let mut parts = Vec::new();
        self.space();
        while let Some(c) = self.peek() {
            let part = match c {
                '|' | ')' => break,
                '"' => self.string()?,
                '[' => Expr::Chars(self.class()?),
                '.' => {
                    self.at += 1;
                    Expr::Chars(CharSet::any())
                }
                '(' => self.group(depth)?,
                _ if self.starts_rule() => break,
                _ => Expr::Rule(self.rule()?),
            };
            let part = self.repeated(part)?;
            parts.push(part);
            self.space();
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::Seq(parts)
        })
    }

    fn group(&mut self, depth: usize) -> Result<Expr, ConstraintError> {
        let open = self.at;
        if depth >= DEEPEST {
            return Err(self.error(open, "parentheses are nested too deeply"));
        }
        self.at += 1;
        let body = self.alternatives(depth + 1)?;
        if !self.eat(")") {
            return Err(self.error(open, "`(` is not closed"));
        }
        Ok(body)
    }

    fn repeated(&mut self, part: Expr) -> Result<Expr, ConstraintError> {
        let (low, high) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(part),
            _ => return Ok(part),
        };
        self.at += 1;
        Ok(Expr::Repeat(Box::new(part), low, high))
    }

    fn counted(&mut self, part: Expr) -> Result<Expr, ConstraintError> {
        let open = self.at;
        self.at += 1;
        let low = self.count()?;
        let high = if self.eat(",") { self.count()? } else { low };
        let bad = low.is_none() || high.is_some_and(|high| Some(high) < low);
        if bad || !self.eat("}") {
            return Err(self.error(open, "`{n}`, `{n,}` or `{n,m}` with n at most m is expected"));
        }
        Ok(Expr::Repeat(Box::new(part), low.unwrap_or(0), high))
    }

    fn count(&mut self) -> Result<Option<u32>, ConstraintError> {
        self.blank();
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.text[start..self.at].iter().collect();
        self.blank();
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse() {
            Ok(count) if count <= MOST_REPEATS => Ok(Some(count)),
            _ => Err(self.error(start, &format!("a count is at most {MOST_REPEATS}"))),
        }
    }

    fn string(&mut self) -> Result<Expr, ConstraintError> {
        let open = self.at;
        self.at += 1;
        let mut parts = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(self.error(open, "`\"` is not closed")),
                Some('"') => break,
                Some(_) => parts.push(Expr::Chars(CharSet::one(self.character()?))),
            }
        }
        self.at += 1;
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::Seq(parts)
        })
    }

    fn class(&mut self) -> Result<CharSet, ConstraintError> {
        let open = self.at;
        self.at += 1;
        let negated = self.eat_char('^');
        let mut ranges = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(self.error(open, "`[` is not closed")),
                Some(']') => break,
                Some(_) => ranges.push(self.range()?),
            }
        }
        self.at += 1;
        let set = CharSet::of_ranges(ranges);
        let set = if negated { set.complement() } else { set };
        match set.is_empty() {
            true => Err(self.error(open, "no character is in this set")),
            false => Ok(set),
        }
    }

    fn range(&mut self) -> Result<(u32, u32), ConstraintError> {
        let place = self.at;
        let low = self.character()?;
        // A `-` at the end of a set is itself.
        if self.peek() != Some('-') || self.text.get(self.at + 1) == Some(&']') {
            return Ok((low.into(), low.into()));
        }
        self.at += 1;
        if self.peek().is_none() {
            return Err(self.error(place, "the range is not closed"));
        }
        let high = self.character()?;
        if high < low {
            return Err(self.error(place, "the range ends before it begins"));
        }
        Ok((low.into(), high.into()))
    }

    /// One character of a string or set, which may be escaped.
    fn character(&mut self) -> Result<char, ConstraintError> {
        let place = self.at;
        let c = self.text[self.at];
        self.at += 1;
        if c != '\\' {
            return Ok(c);
        }
        let escaped = self.peek();
        self.at += 1;
        match escaped {
            Some('x') => self.hex(place, 2),
            Some('u') => self.hex(place, 4),
            Some('U') => self.hex(place, 8),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(c @ ('\\' | '"' | '[' | ']' | '-' | '^')) => Ok(c),
            _ => Err(self.error(place, "this is no escape sequence")),
        }
    }

    fn hex(&mut self, place: usize, digits: usize) -> Result<char, ConstraintError> {
        let end = (self.at + digits).min(self.text.len());
        let text: String = self.text[self.at..end].iter().collect();
        self.at = end;
        let all = text.len() == digits && text.chars().all(|c| c.is_ascii_hexdigit());
        let number = u32::from_str_radix(&text, 16).ok().filter(|_| all);
        let c = number.and_then(char::from_u32);
        c.ok_or_else(|| {
            self.error(
                place,
                &format!("{digits} hexadecimal digits of a character are expected"),
            )
        })
    }

    /// The number of a rule that is named here.
    fn rule(&mut self) -> Result<usize, ConstraintError> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            self.at += 1;
        }
        if start == self.at {
            return Err(self.error(start, "a rule's name is expected"));
        }
        let name: String = self.text[start..self.at].iter().collect();
        self.space_before_definition();
        let next = self.rules.len();
        let id = *self.ids.entry(name.clone()).or_insert(next);
        if id == next {
            self.rules.push(Rule {
                name,
                named_at: start,
                body: None,
            });
        }
        Ok(id)
    }

    /// Whether a name and `::=` come next: the rule before ends here.
    fn starts_rule(&self) -> bool {
        let rest = &self.text[self.at..];
        let name = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '-' || **c == '_')
            .count();
        let blank = rest[name..]
            .iter()
            .take_while(|c| **c == ' ' || **c == '\t')
            .count();
        name > 0 && rest[name + blank..].starts_with(&[':', ':', '='])
    }

    fn space_before_definition(&mut self) {
        let before = self.at;
        self.blank();
        if !self.text[self.at..].starts_with(&[':', ':', '=']) {
            self.at = before;
        }
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\n' | '\r') => self.at += 1,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => break,
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn eat_char(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn eat(&mut self, word: &str) -> bool {
        self.space();
        let found = word
            .chars()
            .zip(self.at..)
            .all(|(c, at)| self.text.get(at) == Some(&c));
        if found {
            self.at += word.len();
        }
        found
    }

    fn error(&self, at: usize, message: &str) -> ConstraintError {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        ConstraintError::at(format!("line {line}, column {column}"), message)
    }
}
