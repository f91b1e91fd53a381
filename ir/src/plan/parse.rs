//! Reads the text form of a plan back; the form is described at [`print`](mod@super::print).
//!
//! What is read is the plan that was printed, valid or not, but for the numbers of its kernels' values, which are given
//! anew: [`crate::kernel::parse`]. Rules are not checked: [`super::verify`] comes after.

use super::lex::{Lexer, Place, Token};
use super::*;
use crate::dtype::DType;
use crate::graph::op::AttrType;
use crate::id::Id;
use crate::layout::KvType;
use crate::types::Dim;
use std::collections::HashMap;
use std::str::FromStr;

/// The text is no plan: where, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// Reads a plan and its kernels.
///
/// # Errors
/// The first place where the text is not what [`print`](mod@super::print) writes.
pub fn parse(text: &str) -> Result<Plan, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.plan()?;
    let (rest, place) = parser.after;
    let Parser {
        mut plan,
        kernel_names,
        ..
    } = parser;
    plan.kernels = kernels(rest, place)?;
    resolve(&mut plan, &kernel_names)?;
    Ok(plan)
}

/// Gives every call the kernel of its name.
fn resolve(plan: &mut Plan, names: &[(String, Place)]) -> Result<(), ParseError> {
    let mut known: HashMap<&str, KernelId> = HashMap::new();
    for (id, kernel) in plan.kernels.iter() {
        known.entry(&kernel.name).or_insert(id);
    }
    let calls = plan.steps.iter_mut().flat_map(|s| &mut s.calls);
    for (call, (name, place)) in calls.zip(names) {
        call.kernel = *known
            .get(name.as_str())
            .ok_or_else(|| place.error(format!("no kernel @{name} follows")))?;
    }
    Ok(())
}

/// Reads the kernels after the plan, each from a line that starts with `kernel` to the next such line.
fn kernels(text: &str, place: Place) -> Result<Arena<KernelId, Kernel>, ParseError> {
    let mut kernels = Arena::new();
    let mut open: Option<(usize, String)> = None;
    // The rest of the line of the closing brace is line 0 here.
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number > 0 && line.starts_with("kernel ") {
            if let Some((first, text)) = open.take() {
                kernels.push(kernel(&text, first)?);
            }
            open = Some((place.line + number, String::new()));
        }
        match &mut open {
            Some((_, text)) => text.push_str(line),
            None => {
                let code = line.split(';').next().unwrap_or("");
                if !code.trim().is_empty() {
                    let column = if number == 0 { place.column } else { 1 };
                    let place = Place {
                        line: place.line + number,
                        column,
                    };
                    return Err(place.error("only kernels follow a plan, each on lines of its own"));
                }
            }
        }
    }
    if let Some((first, text)) = open {
        kernels.push(kernel(&text, first)?);
    }
    Ok(kernels)
}

/// Reads a kernel that starts on line `first` of the whole text.
fn kernel(text: &str, first: usize) -> Result<Kernel, ParseError> {
    crate::kernel::parse::parse(text).map_err(|e| {
        let line = first + (e.line as usize).saturating_sub(1);
        ParseError {
            line,
            column: e.column as usize,
            what: e.what,
        }
    })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    place: Place,
    plan: Plan,
    /// The kernel's name of every call in order, and where it stands.
    kernel_names: Vec<(String, Place)>,
    /// What follows the current token.
    after: (&'t str, Place),
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, ParseError> {
        let mut lexer = Lexer::new(text);
        let (token, place) = lexer.next()?;
        let after = lexer.rest();
        Ok(Parser {
            lexer,
            token,
            place,
            plan: Plan::default(),
            kernel_names: Vec::new(),
            after,
        })
    }

    /// Takes the current token.
    fn take(&mut self) -> Result<Token, ParseError> {
        let (token, place) = self.lexer.next()?;
        self.place = place;
        self.after = self.lexer.rest();
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn expected<T>(&self, what: &str) -> Result<T, ParseError> {
        Err(self
            .place
            .error(format!("expected {what}, found {}", self.token.describe())))
    }

    fn at_mark(&self, mark: char) -> bool {
        self.token == Token::Mark(mark)
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(w) if w == word)
    }

    fn mark(&mut self, mark: char) -> Result<(), ParseError> {
        if !self.at_mark(mark) {
            return self.expected(&format!("`{mark}`"));
        }
        self.take().map(|_| ())
    }

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if !self.at_word(word) {
            return self.expected(&format!("`{word}`"));
        }
        self.take().map(|_| ())
    }

    /// Takes the current word if `read` makes something of it.
    fn word<T>(&mut self, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, ParseError> {
        let value = match &self.token {
            Token::Word(w) => read(w),
            _ => None,
        };
        match value {
            Some(value) => self.take().map(|_| value),
            None => self.expected(what),
        }
    }

    fn number<T: FromStr>(&mut self) -> Result<T, ParseError> {
        // A sign is no part of the numbers of a plan, but `FromStr` takes it.
        self.word("a number", |w| {
            w.parse()
                .ok()
                .filter(|_| w.starts_with(|c: char| c.is_ascii_digit()))
        })
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        match &self.token {
            Token::Quoted(_) => self.name(),
            _ => self.expected("a string in quotes"),
        }
    }

    /// A word, or anything in quotes.
    fn name(&mut self) -> Result<String, ParseError> {
        match &mut self.token {
            Token::Word(s) | Token::Quoted(s) => {
                let name = std::mem::take(s);
                self.take().map(|_| name)
            }
            _ => self.expected("a name"),
        }
    }

    /// `key=number`.
    fn field<T: FromStr>(&mut self, key: &str) -> Result<T, ParseError> {
        self.keyword(key)?;
        self.mark('=')?;
        self.number()
    }

    /// `key=` and a type of cached keys or values.
    fn kv_type(&mut self, key: &str) -> Result<KvType, ParseError> {
        self.keyword(key)?;
        self.mark('=')?;
        self.word("a type of cached keys or values", |w| w.parse().ok())
    }

    /// `key=float`.
    fn float(&mut self, key: &str) -> Result<f32, ParseError> {
        self.keyword(key)?;
        self.mark('=')?;
        self.word("a finite number", f32::from_text)
    }

    /// `@name`.
    fn weight(&mut self) -> Result<String, ParseError> {
        self.mark('@')?;
        self.name()
    }

    /// The id of the next declaration.
    fn next_id(&mut self, id: impl ToString) -> Result<(), ParseError> {
        self.keyword(&id.to_string())
    }

    fn plan(&mut self) -> Result<(), ParseError> {
        self.keyword("plan")?;
        self.plan.name = self.quoted()?;
        self.mark('{')?;
        self.keyword("limits")?;
        let (tokens, outputs) = (self.field("tokens")?, self.field("outputs")?);
        self.plan.limits = Limits {
            tokens,
            outputs,
            seqs: self.field("seqs")?,
            ctx: self.field("ctx")?,
        };
        self.keyword("vocab")?;
        self.plan.vocab = self.number()?;
        self.plan.embedding = self.width("embedding")?;
        self.plan.takes = self.width("takes")?;
        self.plan.leaves = self.width("leaves")?;
        self.declarations()?;
        while self.at_word("step") {
            let step = self.step()?;
            self.plan.steps.push(step);
        }
        // The brace is not taken: kernels are read by their own parser, from the line after it.
        if self.at_mark('}') {
            Ok(())
        } else {
            self.expected("`step` or `}`")
        }
    }

    /// A number that stands after its keyword, where it does.
    fn width(&mut self, keyword: &str) -> Result<Option<u32>, ParseError> {
        if !self.at_word(keyword) {
            return Ok(None);
        }
        self.take()?;
        self.number().map(Some)
    }

    fn declarations(&mut self) -> Result<(), ParseError> {
        while self.at_word("kv") {
            self.take()?;
            self.next_id(self.plan.kv_layers.len())?;
            self.mark(':')?;
            let layer = KvLayer {
                kv_heads: self.field("heads")?,
                head_dim: self.field("dim")?,
                types: KvTypes {
                    k: self.kv_type("k")?,
                    v: self.kv_type("v")?,
                },
                window: if self.at_word("window") {
                    self.field("window")?
                } else {
                    0
                },
            };
            self.plan.kv_layers.push(layer);
        }
        while self.at_word("section") {
            self.take()?;
            self.next_id(self.plan.sections.next_id())?;
            self.mark(':')?;
            let decl = self.section()?;
            self.plan.sections.push(decl);
        }
        while self.at_word("rope") {
            self.take()?;
            self.next_id(self.plan.ropes.next_id())?;
            self.mark(':')?;
            let decl = self.rope()?;
            self.plan.ropes.push(decl);
        }
        self.keyword("arena")?;
        self.plan.arena_bytes = self.number()?;
        while self.at_word("buffer") {
            self.take()?;
            self.next_id(self.plan.buffers.next_id())?;
            let name = self.quoted()?;
            self.mark(':')?;
            let bytes = self.number()?;
            self.keyword("at")?;
            let offset = self.number()?;
            self.plan.buffers.push(BufferDecl { name, offset, bytes });
        }
        if self.at_word("output") {
            self.take()?;
            self.plan.output = Some(self.word("a buffer", |w| id(w, "b"))?);
        }
        Ok(())
    }

    fn section(&mut self) -> Result<SectionDecl, ParseError> {
        let form = |w: &str| SectionForm::ALL.into_iter().find(|f| f.keyword() == w);
        let form = self.word("`panels` or `vector`", form)?;
        let weight = self.weight()?;
        let ty = self.ty()?;
        let mut decl = SectionDecl {
            weight,
            ty,
            form,
            order: RowOrder::Natural,
            heads: 0,
            dims: 0,
        };
        if let Token::Word(w) = &self.token
            && let Some(order) = RowOrder::from_text(w)
        {
            self.take()?;
            decl.order = order;
            self.mark('(')?;
            decl.heads = self.field("heads")?;
            self.mark(',')?;
            decl.dims = self.field("dims")?;
            self.mark(')')?;
        }
        Ok(decl)
    }

    fn ty(&mut self) -> Result<TensorType, ParseError> {
        if self.at_word("kv") {
            self.take()?;
            return Ok(TensorType::kv());
        }
        let dims = self.list('[', ']', |p| p.word("a dimension", dim))?;
        let dtype = self.word("an element type", |w| DType::from_str(w).ok())?;
        Ok(TensorType { dims, dtype })
    }

    fn rope(&mut self) -> Result<RopeDecl, ParseError> {
        let spec = RopeSpec {
            pairs: self.word("`adjacent` or `half`", AttrType::from_text)?,
            dims: self.field("dims")?,
            base: self.float("base")?,
            freq_scale: self.float("freq_scale")?,
            magnitude: self.float("magnitude")?,
        };
        let mut decl = RopeDecl { spec, factors: None };
        if self.at_word("factors") {
            self.take()?;
            self.mark('=')?;
            decl.factors = Some(self.weight()?);
        }
        Ok(decl)
    }

    fn step(&mut self) -> Result<Step, ParseError> {
        self.take()?;
        self.next_id(self.plan.steps.len())?;
        let label = self.quoted()?;
        self.mark('{')?;
        let mut calls = Vec::new();
        while !self.at_mark('}') {
            calls.push(self.call()?);
        }
        self.take()?;
        Ok(Step { label, calls })
    }

    fn call(&mut self) -> Result<Call, ParseError> {
        let place = self.place;
        let name = self.name()?;
        self.kernel_names.push((name, place));
        let args = self.list('(', ')', |p| p.word("an argument", arg))?;
        let scalars = if self.at_mark('[') {
            self.list('[', ']', Self::count)?
        } else {
            Vec::new()
        };
        self.keyword("units")?;
        self.mark('=')?;
        let units = self.count()?;
        let cost = self.field("cost")?;
        // The kernel is found by its name once the kernels are read.
        Ok(Call {
            kernel: KernelId::new(0),
            args,
            scalars,
            units,
            cost,
        })
    }

    fn count(&mut self) -> Result<Count, ParseError> {
        let Token::Word(w) = &self.token else {
            return self.expected("a count");
        };
        let mut count = Count::constant(1);
        match Sym::ALL.into_iter().find(|s| s.keyword() == w) {
            Some(sym) => {
                self.take()?;
                count.sym = Some(sym);
            }
            None => count.times = self.number()?,
        }
        let mut has_number = count.sym.is_none();
        while count.split.is_none() && self.at_mark('*') {
            self.take()?;
            count.split = self.split()?;
            match (count.split, has_number) {
                (Some(_), _) => {}
                (None, true) => return self.expected("`pieces` or `merges`"),
                (None, false) => {
                    count.times = self.number()?;
                    has_number = true;
                }
            }
        }
        Ok(count)
    }

    /// `pieces(…)` or `merges(…)`, where the current word is one of them.
    fn split(&mut self) -> Result<Option<Split>, ParseError> {
        let Some(what) = SplitCount::ALL.into_iter().find(|s| self.at_word(s.keyword())) else {
            return Ok(None);
        };
        self.take()?;
        self.mark('(')?;
        let of = self.field("of")?;
        self.mark(',')?;
        let most = self.field("most")?;
        self.mark(',')?;
        let rows = self.field("rows")?;
        self.mark(')')?;
        Ok(Some(Split { what, of, most, rows }))
    }

    /// Items between two marks, with commas.
    fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.mark(open)?;
        let mut items = Vec::new();
        while !self.at_mark(close) {
            if !items.is_empty() {
                self.mark(',')?;
            }
            items.push(item(self)?);
        }
        self.take()?;
        Ok(items)
    }
}

/// The id that prints as `text`.
fn id<I: Id>(text: &str, prefix: &str) -> Option<I> {
    let digits = text.strip_prefix(prefix)?;
    let index: u32 = digits.parse().ok()?;
    Some(I::new(index as usize)).filter(|id| id.to_string() == text)
}

fn dim(text: &str) -> Option<Dim> {
    let sym = Sym::ALL.into_iter().find(|s| s.keyword() == text).map(Dim::Sym);
    sym.or_else(|| {
        text.parse()
            .ok()
            .filter(|_| !text.starts_with('+'))
            .map(Dim::Const)
    })
}

fn arg(text: &str) -> Option<Arg> {
    if text == "in.hidden" {
        return Some(Arg::Hidden);
    }
    if let Some(name) = text.strip_prefix("in.") {
        return Input::ALL
            .iter()
            .find(|(_, keyword)| *keyword == name)
            .map(|(input, _)| Arg::Input(*input));
    }
    if let Some((part, layer)) = text.strip_prefix("kv.").and_then(|rest| rest.split_once('.')) {
        let layer: u32 = layer.parse().ok().filter(|_| !layer.starts_with('+'))?;
        return KvPart::from_text(part).map(|part| Arg::Kv(part, layer));
    }
    let buffer = id(text, "b").map(Arg::Buffer);
    let section = || id(text, "s").map(Arg::Section);
    buffer.or_else(section).or_else(|| id(text, "r").map(Arg::Rope))
}
