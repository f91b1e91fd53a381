//! GBNF, the grammar notation of llama.cpp, translated to Lark as llguidance reads it.
//!
//! GBNF knows characters alone; llguidance cuts a text into lexemes first, always the longest, which may lose texts: after
//! `"a" "b" | "ab" "c"`, the text `ab` would be one lexeme, and never the end. So a part of a grammar is made a lexeme only
//! where the longest is provably the right one ([`automaton`]); what is left is characters, which are slower and right. A
//! grammar that never comes back to itself is one lexeme as a whole.

mod ast;
mod automaton;
mod lexemes;
mod parse;
mod regular;
#[cfg(test)]
mod tests;

use super::error::ConstraintError;
use ast::CharSet;
use lexemes::{Cut, Node};
use regular::{Regular, regex_of_set};
use std::fmt::Write;

/// Translates a grammar, whose first symbol is `root`, to Lark, whose first symbol is `start`.
///
/// # Errors
/// The first fault of the text, with its line and column.
pub fn to_lark(source: &str) -> Result<String, ConstraintError> {
    let grammar = parse::parse(source)?;
    let regular = Regular::new(&grammar);
    let cut = lexemes::cut(&grammar, &regular);
    Ok(write(&cut, grammar.root, &regular))
}

/// Whether a line of a grammar is a rule as GBNF writes it.
pub(super) fn is_rule(line: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let rest = line.trim_start().trim_start_matches(name);
    rest.len() < line.trim_start().len() && rest.trim_start().starts_with("::=")
}

/// A regular expression for one text.
pub(super) fn escape_regex(text: &str) -> String {
    let mut regex = String::new();
    text.chars()
        .for_each(|c| regex_of_set(&CharSet::one(c), &mut regex));
    regex
}

fn write(cut: &Cut, root: usize, regular: &Regular) -> String {
    let mut lark = format!("start: r{root}\n");
    for (number, lexeme) in cut.lexemes.iter().enumerate() {
        let mut regex = String::new();
        regular.regex(lexeme, &mut regex);
        // A lexeme is never empty.
        let some = if regular.is_nullable(lexeme) {
            " & /(?s:.+)/"
        } else {
            ""
        };
        let _ = writeln!(lark, "T{number}: /{regex}/{some}");
    }
    for (number, node) in cut.rules.iter().enumerate() {
        if let Some(node) = node {
            let _ = write!(lark, "r{number}: ");
            write_node(node, &mut lark);
            lark.push('\n');
        }
    }
    lark
}

fn write_node(node: &Node, out: &mut String) {
    match node {
        Node::Lexeme(lexeme) => {
            let _ = write!(out, "T{lexeme}");
        }
        Node::Rule(rule) => {
            let _ = write!(out, "r{rule}");
        }
        Node::Seq(parts) if parts.is_empty() => out.push_str("\"\""),
        Node::Repeat(_, _, Some(0)) => out.push_str("\"\""),
        Node::Seq(parts) => write_list(parts, " ", out),
        Node::Alt(parts) => write_list(parts, " | ", out),
        Node::Repeat(part, low, high) => {
            out.push('(');
            write_node(part, out);
            match (low, high) {
                (0, None) => out.push_str(")*"),
                (1, None) => out.push_str(")+"),
                (0, Some(1)) => out.push_str(")?"),
                (low, high) => {
                    let high = high.map(|high| high.to_string()).unwrap_or_default();
                    let _ = write!(out, "){{{low},{high}}}");
                }
            }
        }
    }
}

fn write_list(parts: &[Node], between: &str, out: &mut String) {
    out.push('(');
    for (i, part) in parts.iter().enumerate() {
        out.push_str(if i > 0 { between } else { "" });
        write_node(part, out);
    }
    out.push(')');
}
