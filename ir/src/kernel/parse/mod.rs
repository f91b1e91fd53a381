//! Reads the text form of a kernel back; the form is described at [`print`](mod@super::print).
//!
//! What is read is the kernel that was printed, valid or not: [`verify`] comes after. Two things that
//! the text cannot say are errors here: a value that is used before any definition, and two definitions of one number.

mod ops;

use super::lex::{Lexer, Place, Token};
use super::*;
use std::collections::HashMap;
use std::str::FromStr;

/// How deep regions may nest.
pub const MAX_DEPTH: u32 = 64;

/// The text is no kernel: where, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Character of the line, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
}

/// Reads one kernel; nothing may follow it.
///
/// # Errors
/// The first place where the text is not what [`print`](mod@super::print) writes, or where regions nest deeper than
/// [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    let mut lexer = Lexer::new(text);
    let (token, place) = lexer.next()?;
    let kernel = Kernel::default();
    let mut parser = Parser {
        lexer,
        token,
        place,
        kernel,
        values: HashMap::new(),
        depth: 0,
    };
    parser.header()?;
    parser.kernel.body = parser.region()?;
    match parser.token {
        Token::End => Ok(parser.kernel),
        _ => parser.expected("the end of the kernel"),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    place: Place,
    kernel: Kernel,
    /// Values by their number in the text.
    values: HashMap<u32, Val>,
    depth: u32,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    /// Takes the current token.
    fn take(&mut self) -> Parsed<Token> {
        let (token, place) = self.lexer.next()?;
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        Err(self
            .place
            .error(format!("expected {what}, found {}", self.token.describe())))
    }

    /// Takes the token where it is this one.
    fn accept(&mut self, token: &Token) -> Parsed<bool> {
        let found = self.token == *token;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn mark(&mut self, c: char) -> Parsed<()> {
        if self.accept(&Token::Mark(c))? {
            Ok(())
        } else {
            self.expected(&format!("`{c}`"))
        }
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(w) if w == word)
    }

    fn accept_word(&mut self, word: &str) -> Parsed<bool> {
        let found = self.at_word(word);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn word(&mut self, word: &str) -> Parsed<()> {
        if self.accept_word(word)? {
            Ok(())
        } else {
            self.expected(&format!("`{word}`"))
        }
    }

    /// A word that names one of `all`.
    fn keyword<T: Copy>(&mut self, all: &[T], name: fn(T) -> &'static str, what: &str) -> Parsed<T> {
        let found = match &self.token {
            Token::Word(w) => all.iter().copied().find(|&x| name(x) == w),
            _ => None,
        };
        let Some(found) = found else {
            return self.expected(what);
        };
        self.take()?;
        Ok(found)
    }

    fn name(&mut self, sigil: char) -> Parsed<String> {
        match &self.token {
            Token::Name(s, name) if *s == sigil => {
                let name = name.clone();
                self.take()?;
                Ok(name)
            }
            _ => self.expected(&format!("a name after `{sigil}`")),
        }
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        let number = match &self.token {
            Token::Number(text) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return self.expected(what);
        };
        self.take()?;
        Ok(number)
    }

    /// A float; infinities are words.
    fn float(&mut self) -> Parsed<f32> {
        if self.accept_word("inf")? {
            return Ok(f32::INFINITY);
        }
        let place = self.place;
        let x: f32 = self.number("a float")?;
        if x.is_nan() {
            Err(place.error("a constant is not NaN"))
        } else {
            Ok(x)
        }
    }

    /// The number of a value.
    fn value_number(&mut self) -> Parsed<(u32, Place)> {
        let Token::Value(number) = self.token else {
            return self.expected("a value");
        };
        let place = self.place;
        self.take()?;
        Ok((number, place))
    }

    /// A value that was defined before.
    fn value(&mut self) -> Parsed<Val> {
        let (number, place) = self.value_number()?;
        let known = self.values.get(&number).copied();
        known.ok_or_else(|| place.error(format!("%{number} is not defined")))
    }

    fn define(&mut self, (number, place): (u32, Place), ty: Ty) -> Parsed<Val> {
        let value = self.kernel.values.push(ty);
        match self.values.insert(number, value) {
            None => Ok(value),
            Some(_) => Err(place.error(format!("%{number} is defined twice"))),
        }
    }

    /// Things between commas, at least one.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept(&Token::Mark(','))? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn header(&mut self) -> Parsed<()> {
        self.word("kernel")?;
        self.kernel.name = self.name('@')?;
        self.mark('(')?;
        if self.token != Token::Mark(')') {
            self.list(Self::param)?;
        }
        self.mark(')')?;
        if self.accept_word("scratch")? {
            self.kernel.scratch = self.number("a number of bytes below 2^32")?;
        }
        Ok(())
    }

    fn param(&mut self) -> Parsed<()> {
        match &self.token {
            Token::Word(w) if w == "unit" && self.values.is_empty() => {
                self.take()?;
                let number = self.value_number()?;
                self.kernel.unit = Some(self.define(number, Ty::INDEX)?);
            }
            Token::Name('$', _) if self.kernel.scalars.is_empty() => {
                let place = self.place;
                let name = self.name('$')?;
                if self.buffer(&name).is_some() {
                    return Err(place.error(format!("another buffer is named ${name}")));
                }
                self.mark(':')?;
                let access = self.keyword(&Access::ALL, Access::keyword, "`in`, `out` or `inout`")?;
                self.kernel.bufs.push(BufDecl { name, access });
            }
            Token::Name('#', _) => {
                let name = self.name('#')?;
                self.mark('=')?;
                let number = self.value_number()?;
                let value = self.define(number, Ty::INDEX)?;
                self.kernel.scalars.push(ScalarDecl { name, value });
            }
            _ => return self.expected("the unit, then buffers, then scalars"),
        }
        Ok(())
    }

    fn buffer(&self, name: &str) -> Option<Buf> {
        let declared = self
            .kernel
            .bufs
            .iter()
            .find(|(_, b)| b.name == name)
            .map(|(id, _)| id);
        declared.or_else(|| (name == "scratch").then(|| self.kernel.scratch_buf()))
    }

    /// `{`, instructions, perhaps `yield`, `}`; without parameters.
    fn region(&mut self) -> Parsed<Region> {
        if self.depth == MAX_DEPTH {
            return Err(self.place.error(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        self.mark('{')?;
        let mut region = Region::default();
        loop {
            if self.accept(&Token::Mark('}'))? {
                break;
            }
            if self.accept_word("yield")? {
                region.yields = self.list(Self::value)?;
                self.mark('}')?;
                break;
            }
            region.insts.push(self.inst()?);
        }
        self.depth -= 1;
        Ok(region)
    }

    fn inst(&mut self) -> Parsed<Inst> {
        let mut results = Vec::new();
        if matches!(self.token, Token::Value(_)) {
            results = self.list(Self::value_number)?;
            self.mark('=')?;
        }
        let place = self.place;
        match &self.token {
            Token::Word(w) if w == "for" => return self.for_loop(&results),
            Token::Word(w) if w == "if" && results.is_empty() => return self.if_else(),
            _ => {}
        }
        let (op, args) = self.operation()?;
        if results.len() != op.info().results {
            let what = format!(
                "`{}` has {} results, not {}",
                op.info().keyword,
                op.info().results,
                results.len()
            );
            return Err(place.error(what));
        }
        let mut defined = Vec::new();
        for number in results {
            self.mark(':')?;
            let ty = self.ty()?;
            defined.push(self.define(number, ty)?);
        }
        Ok(Inst {
            op,
            args,
            results: defined,
            regions: Vec::new(),
        })
    }

    fn for_loop(&mut self, results: &[(u32, Place)]) -> Parsed<Inst> {
        let start = self.place;
        self.word("for")?;
        let index = self.value_number()?;
        self.word("in")?;
        let lo = self.value()?;
        if !self.accept(&Token::To)? {
            return self.expected("`..`");
        }
        let hi = self.value()?;
        self.word("step")?;
        let step = self.number("an integer below 2^63")?;
        let mut carried = Vec::new();
        if self.accept_word("carry")? {
            self.mark('(')?;
            carried = self.list(Self::carried)?;
            self.mark(')')?;
        }
        if carried.len() != results.len() {
            let what = format!(
                "the loop carries {} values but has {} results",
                carried.len(),
                results.len()
            );
            return Err(start.error(what));
        }
        let mut params = vec![self.define(index, Ty::INDEX)?];
        for &(number, value) in &carried {
            params.push(self.define(number, self.kernel.values[value])?);
        }
        let region = Region {
            params,
            ..self.region()?
        };
        let mut defined = Vec::new();
        for (&number, &(_, value)) in results.iter().zip(&carried) {
            defined.push(self.define(number, self.kernel.values[value])?);
        }
        let args = [lo, hi].into_iter().chain(carried.iter().map(|c| c.1)).collect();
        Ok(Inst {
            op: KOp::For { step },
            args,
            results: defined,
            regions: vec![region],
        })
    }

    /// `%7 = %1`.
    fn carried(&mut self) -> Parsed<((u32, Place), Val)> {
        let number = self.value_number()?;
        self.mark('=')?;
        Ok((number, self.value()?))
    }

    fn if_else(&mut self) -> Parsed<Inst> {
        self.word("if")?;
        let cmp = self.keyword(&Cmp::ALL, Cmp::keyword, "`eq`, `ne`, `lt` or `le`")?;
        let args = self.operands(2)?;
        let mut regions = vec![self.region()?];
        regions.push(if self.accept_word("else")? {
            self.region()?
        } else {
            Region::default()
        });
        Ok(Inst {
            op: KOp::If(cmp),
            args,
            results: Vec::new(),
            regions,
        })
    }
}
