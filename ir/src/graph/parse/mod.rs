//! Reads the text form of graphs: see [`super::print`] for how it looks.
//!
//! The parser knows the grammar, not the rules: types are read as they are written, and [`super::verify`] says whether
//! they fit. What can't be represented is an error here: unknown words, names used before they are made, a number of
//! types that is not the number of results. Comments run from `;` to the end of the line.

mod lexer;
mod linear;

use super::print::is_value_name;
use super::{Def, Graph, Op, Value, ValueData, Weight};
use crate::dtype::DType;
use crate::types::{Dim, Sym, TensorType};
use lexer::{Kind, Token};
use std::collections::HashMap;

/// A text that is not a graph: where, and what was expected there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// Reads a graph, which is the whole text.
///
/// # Errors
/// At the first place where the text is not that of a graph.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        graph: Graph::default(),
        values: HashMap::new(),
        weights: HashMap::new(),
    };
    parser.graph()?;
    Ok(parser.graph)
}

struct Parser<'t> {
    /// Ends with [`Kind::End`].
    tokens: &'t [Token<'t>],
    at: usize,
    graph: Graph,
    values: HashMap<&'t str, Value>,
    weights: HashMap<String, Weight>,
}

/// A result that a node announces: its name and where it stands.
type Announced<'t> = (&'t str, usize);

impl<'t> Parser<'t> {
    fn peek(&self) -> &'t Token<'t> {
        // `next` never moves past the last token.
        &self.tokens[self.at]
    }

    fn next(&mut self) -> &'t Token<'t> {
        let token = self.peek();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    /// An error at the token with this index.
    fn error_at<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        let Token { line, column, .. } = self.tokens[at];
        Err(ParseError {
            line,
            column,
            message: message.into(),
        })
    }

    /// An error at the next token, of which `what` was expected.
    fn expected<T>(&self, what: &str) -> Result<T, ParseError> {
        self.error_at(
            self.at,
            format!("expected {what}, found {}", self.peek().describe()),
        )
    }

    /// Takes the next token where it is this mark.
    fn eat(&mut self, mark: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Mark && token.text == mark;
        if found {
            self.next();
        }
        found
    }

    fn mark(&mut self, mark: &str) -> Result<(), ParseError> {
        if self.eat(mark) {
            Ok(())
        } else {
            self.expected(&format!("`{mark}`"))
        }
    }

    /// Takes the next token where it is this word.
    fn eat_word(&mut self, word: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Word && token.text == word;
        if found {
            self.next();
        }
        found
    }

    /// The text of the next token, which must be of this kind.
    fn text(&mut self, kind: Kind, what: &str) -> Result<&'t str, ParseError> {
        if self.peek().kind != kind {
            return self.expected(what);
        }
        Ok(self.next().text)
    }

    /// A number that fits `T`.
    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, ParseError> {
        let at = self.at;
        let text = self.text(Kind::Number, what)?;
        text.parse()
            .or_else(|_| self.error_at(at, format!("expected {what}, found `{text}`")))
    }

    /// Items with commas between, up to the mark `end`, which is taken.
    fn list(
        &mut self,
        end: &str,
        mut item: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        if self.eat(end) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.eat(end) {
                return Ok(());
            }
            if !self.eat(",") {
                return self.expected(&format!("`,` or `{end}`"));
            }
        }
    }

    fn graph(&mut self) -> Result<(), ParseError> {
        if !self.eat_word("graph") {
            return self.expected("`graph`");
        }
        self.graph.name = self.at_name("the graph's name, such as `@tiny`")?;
        self.mark("(")?;
        self.list(")", |p| p.param())?;
        self.mark("{")?;
        while self.eat_word("weight") {
            self.weight_decl()?;
        }
        while !self.eat_word("return") {
            self.node()?;
        }
        while self.peek().kind == Kind::Value {
            let value = self.value()?;
            self.graph.outputs.push(value);
            if !self.eat(",") {
                break;
            }
        }
        self.mark("}")?;
        if self.peek().kind != Kind::End {
            return self.expected("the end");
        }
        Ok(())
    }

    fn param(&mut self) -> Result<(), ParseError> {
        let at = self.at;
        let name = self.text(Kind::Value, "a parameter, such as `%tok`")?;
        if !is_value_name(name) {
            return self.error_at(
                at,
                format!("`%{name}`: the name of a parameter must begin with a letter"),
            );
        }
        self.mark(":")?;
        let ty = self.ty()?;
        let def = Def::Param(self.graph.params.len());
        let value = self.graph.values.push(ValueData {
            ty,
            def,
            name: Some(name.to_owned()),
        });
        self.graph.params.push(value);
        self.define(name, value, at)
    }

    /// Gives a value its name in the text.
    fn define(&mut self, name: &'t str, value: Value, at: usize) -> Result<(), ParseError> {
        match self.values.insert(name, value) {
            None => Ok(()),
            Some(_) => self.error_at(at, format!("`%{name}` is made twice")),
        }
    }

    fn weight_decl(&mut self) -> Result<(), ParseError> {
        let at = self.at;
        let name = self.at_name("a weight, such as `@token_embd`")?;
        self.mark(":")?;
        let ty = self.ty()?;
        let weight = self.graph.weights.push(super::WeightDecl {
            name: name.clone(),
            ty,
        });
        match self.weights.insert(name.clone(), weight) {
            None => Ok(()),
            Some(_) => self.error_at(at, format!("weight `@{name}` is declared twice")),
        }
    }

    /// `[tokens, 576]f32` or `kv`.
    fn ty(&mut self) -> Result<TensorType, ParseError> {
        if self.eat_word("kv") {
            return Ok(TensorType::kv());
        }
        if !self.eat("[") {
            return self.expected("a type, such as `[tokens, 576]f32` or `kv`");
        }
        let mut dims = Vec::new();
        self.list("]", |p| {
            dims.push(p.dim()?);
            Ok(())
        })?;
        let at = self.at;
        let word = self.text(Kind::Word, "an element type, such as `f32`")?;
        match word.parse() {
            Ok(DType::Kv) => self.error_at(at, "a kv token has no dims"),
            Ok(dtype) => Ok(TensorType { dims, dtype }),
            Err(_) => self.error_at(at, format!("unknown element type `{word}`")),
        }
    }

    fn dim(&mut self) -> Result<Dim, ParseError> {
        let what = "a dim: a number, `tokens`, `outputs` or `ctx`";
        if self.peek().kind == Kind::Number {
            return Ok(Dim::Const(self.number(what)?));
        }
        let word = self.peek().text;
        match Sym::ALL
            .into_iter()
            .find(|s| s.keyword() == word && self.peek().kind == Kind::Word)
        {
            Some(sym) => {
                self.next();
                Ok(Dim::Sym(sym))
            }
            None => self.expected(what),
        }
    }

    /// A value made before.
    fn value(&mut self) -> Result<Value, ParseError> {
        let at = self.at;
        let name = self.text(Kind::Value, "a value, such as `%0`")?;
        match self.values.get(name) {
            Some(&value) => Ok(value),
            None => self.error_at(at, format!("`%{name}` is not made before")),
        }
    }

    /// A weight declared before.
    fn weight(&mut self) -> Result<Weight, ParseError> {
        let at = self.at;
        let name = self.at_name("a weight, such as `@token_embd`")?;
        match self.weights.get(&name) {
            Some(&weight) => Ok(weight),
            None => self.error_at(at, format!("weight `@{name}` is not declared")),
        }
    }

    /// The name after an `@`, without quotes.
    fn at_name(&mut self, what: &str) -> Result<String, ParseError> {
        let at = self.at;
        let text = self.text(Kind::At, what)?;
        match lexer::unquote(text) {
            Some(name) => Ok(name),
            None => self.error_at(
                at,
                format!("`@{text}` has an escape other than \\\", \\\\, \\n and \\u{{…}}"),
            ),
        }
    }

    /// `%a, %b = op … : types`.
    fn node(&mut self) -> Result<(), ParseError> {
        let mut results: Vec<Announced<'t>> = Vec::new();
        loop {
            let at = self.at;
            results.push((
                self.text(Kind::Value, "a node, such as `%0 = …`, or `return`")?,
                at,
            ));
            if !self.eat(",") {
                break;
            }
        }
        self.mark("=")?;
        let at = self.at;
        let keyword = self.text(Kind::Word, "an op")?;
        if !Op::KEYWORDS.contains(&keyword) {
            return self.error_at(at, format!("unknown op `{keyword}`"));
        }
        let (op, weights, operands) = match keyword {
            "linear" => self.linear()?,
            _ => self.plain(keyword, at)?,
        };
        self.mark(":")?;
        let mut types = vec![self.ty()?];
        while self.eat(",") {
            types.push(self.ty()?);
        }
        if types.len() != results.len() {
            let message = format!("{} results, but {} types", results.len(), types.len());
            return self.error_at(results[0].1, message);
        }
        let (node, values) = self.graph.push_node(op, weights, operands, types);
        self.graph.order.push(node);
        for ((name, at), value) in results.into_iter().zip(values) {
            if is_value_name(name) {
                self.graph.values[value].name = Some(name.to_owned());
            } else if !name.bytes().all(|b| b.is_ascii_digit()) {
                return self.error_at(
                    at,
                    format!("`%{name}` is neither a number nor a name that begins with a letter"),
                );
            }
            self.define(name, value, at)?;
        }
        Ok(())
    }

    /// Weights, operands and attributes of an op of the table, whose keyword stands at `at`.
    fn plain(&mut self, keyword: &str, at: usize) -> Result<(Op, Vec<Weight>, Vec<Value>), ParseError> {
        let (mut weights, mut operands) = (Vec::new(), Vec::new());
        if matches!(self.peek().kind, Kind::Value | Kind::At) {
            loop {
                match self.peek().kind {
                    Kind::At if operands.is_empty() => weights.push(self.weight()?),
                    Kind::At => return self.error_at(self.at, "weights stand before operands"),
                    _ => operands.push(self.value()?),
                }
                if !self.eat(",") {
                    break;
                }
            }
        }
        let attrs = self.attrs()?;
        let get = |name: &str| {
            attrs
                .iter()
                .find(|(n, _, _)| *n == name)
                .map(|(_, text, _)| (*text).to_owned())
        };
        let op = Op::from_attrs(keyword, &get).or_else(|message| self.error_at(at, message))?;
        let known = op.attrs();
        for &(name, _, at) in &attrs {
            if !known.iter().any(|(n, _)| *n == name) {
                return self.error_at(at, format!("`{keyword}` has no attribute `{name}`"));
            }
        }
        Ok((op, weights, operands))
    }

    /// `{name = value, …}`, if there is one: names, texts of values, places.
    fn attrs(&mut self) -> Result<Vec<(&'t str, &'t str, usize)>, ParseError> {
        let mut attrs: Vec<(&str, &str, usize)> = Vec::new();
        if !self.eat("{") {
            return Ok(attrs);
        }
        self.list("}", |p| {
            let at = p.at;
            let name = p.text(Kind::Word, "the name of an attribute")?;
            if attrs.iter().any(|(n, _, _)| *n == name) {
                return p.error_at(at, format!("attribute `{name}` is given twice"));
            }
            p.mark("=")?;
            attrs.push((name, p.attr_text()?, at));
            Ok(())
        })?;
        Ok(attrs)
    }

    /// A number or a word.
    fn attr_text(&mut self) -> Result<&'t str, ParseError> {
        match self.peek().kind {
            Kind::Number | Kind::Word => Ok(self.next().text),
            _ => self.expected("a number or a word"),
        }
    }
}
