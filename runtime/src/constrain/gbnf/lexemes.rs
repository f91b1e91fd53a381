//! Which parts of a grammar are lexemes: the largest regular ones with which a lexer that takes the longest goes right.

use super::ast::{Expr, Grammar};
use super::automaton::{Bytes, conflicts, first};
use super::regular::Regular;
use std::collections::{HashMap, HashSet};

/// Most rounds of taking lexemes apart before all are.
const MOST_ROUNDS: usize = 40;

/// A grammar over lexemes.
pub(super) enum Node {
    Lexeme(usize),
    Rule(usize),
    Seq(Vec<Node>),
    Alt(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

/// A grammar cut into lexemes.
pub(super) struct Cut {
    pub(super) lexemes: Vec<Expr>,
    /// What rules say; `None` for rules that only lexemes name.
    pub(super) rules: Vec<Option<Node>>,
}

/// Cuts a grammar.
pub(super) fn cut(grammar: &Grammar, regular: &Regular) -> Cut {
    let mut apart = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let cut = Cutter::new(grammar, regular, &apart, false).cut();
        let lexemes: Vec<&Expr> = cut.lexemes.iter().collect();
        let Some(wrong) = conflicts(&lexemes, &follow(&cut, regular), regular) else {
            break;
        };
        let wrong = wrong.into_iter().map(|lexeme| &cut.lexemes[lexeme]);
        let wrong: Vec<&Expr> = wrong.filter(|expr| !matches!(expr, Expr::Chars(_))).collect();
        if wrong.is_empty() {
            return cut;
        }
        apart.extend(wrong.into_iter().cloned());
    }
    // Single characters are always right.
    Cutter::new(grammar, regular, &apart, true).cut()
}

struct Cutter<'g> {
    grammar: &'g Grammar,
    regular: &'g Regular<'g>,
    apart: &'g HashSet<Expr>,
    characters: bool,
    ids: HashMap<Expr, usize>,
    cut: Cut,
    open: Vec<usize>,
}

impl<'g> Cutter<'g> {
    fn new(
        grammar: &'g Grammar,
        regular: &'g Regular,
        apart: &'g HashSet<Expr>,
        characters: bool,
    ) -> Cutter<'g> {
        let cut = Cut {
            lexemes: Vec::new(),
            rules: grammar.rules.iter().map(|_| None).collect(),
        };
        Cutter {
            grammar,
            regular,
            apart,
            characters,
            ids: HashMap::new(),
            cut,
            open: vec![grammar.root],
        }
    }

    fn cut(mut self) -> Cut {
        let mut seen = HashSet::new();
        while let Some(rule) = self.open.pop() {
            if seen.insert(rule) {
                self.cut.rules[rule] = Some(self.node(&self.grammar.rules[rule]));
            }
        }
        self.cut
    }

    fn node(&mut self, expr: &Expr) -> Node {
        if !self.characters && !self.apart.contains(expr) && self.regular.is_lexeme(expr) {
            return self.whole(expr);
        }
        match expr {
            Expr::Chars(_) => Node::Lexeme(self.lexeme(expr)),
            Expr::Rule(rule) => {
                self.open.push(*rule);
                Node::Rule(*rule)
            }
            Expr::Seq(parts) => Node::Seq(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Alt(parts) => Node::Alt(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Repeat(part, low, high) => Node::Repeat(Box::new(self.node(part)), *low, *high),
        }
    }

    /// A regular expression as one lexeme, which is never empty.
    fn whole(&mut self, expr: &Expr) -> Node {
        if self.regular.is_empty(expr) {
            return Node::Seq(Vec::new());
        }
        let lexeme = Node::Lexeme(self.lexeme(expr));
        match self.regular.is_nullable(expr) {
            true => Node::Repeat(Box::new(lexeme), 0, Some(1)),
            false => lexeme,
        }
    }

    fn lexeme(&mut self, expr: &Expr) -> usize {
        let next = self.cut.lexemes.len();
        let id = *self.ids.entry(expr.clone()).or_insert(next);
        if id == next {
            self.cut.lexemes.push(expr.clone());
        }
        id
    }
}

/// First bytes of what may follow each lexeme.
fn follow(cut: &Cut, regular: &Regular) -> Vec<Bytes> {
    let mut sets = Sets {
        first: cut.lexemes.iter().map(|lexeme| first(lexeme, regular)).collect(),
        rules: vec![(Bytes::default(), false); cut.rules.len()],
        after: vec![Bytes::default(); cut.rules.len()],
        follow: vec![Bytes::default(); cut.lexemes.len()],
    };
    while cut
        .rules
        .iter()
        .enumerate()
        .any(|(rule, node)| node.as_ref().is_some_and(|node| sets.learn(rule, node)))
    {}
    loop {
        let mut changed = false;
        for (rule, node) in cut.rules.iter().enumerate() {
            if let Some(node) = node {
                changed |= sets.spread(node, sets.after[rule]);
            }
        }
        if !changed {
            return sets.follow;
        }
    }
}

/// First bytes and what follows, as far as it is known.
struct Sets {
    /// Of lexemes.
    first: Vec<Bytes>,
    /// Of rules, and whether they can be empty.
    rules: Vec<(Bytes, bool)>,
    /// What follows rules.
    after: Vec<Bytes>,
    /// What follows lexemes.
    follow: Vec<Bytes>,
}

impl Sets {
    /// First bytes of a node, and whether it can be empty.
    fn start(&self, node: &Node) -> (Bytes, bool) {
        match node {
            Node::Lexeme(lexeme) => (self.first[*lexeme], false),
            Node::Rule(rule) => self.rules[*rule],
            Node::Seq(parts) => {
                let mut bytes = Bytes::default();
                for part in parts {
                    let (first, empty) = self.start(part);
                    bytes.add(first);
                    if !empty {
                        return (bytes, false);
                    }
                }
                (bytes, true)
            }
            Node::Alt(parts) => parts
                .iter()
                .fold((Bytes::default(), false), |(mut bytes, empty), part| {
                    let (first, also) = self.start(part);
                    bytes.add(first);
                    (bytes, empty | also)
                }),
            Node::Repeat(_, _, Some(0)) => (Bytes::default(), true),
            Node::Repeat(part, low, _) => {
                let (first, empty) = self.start(part);
                (first, empty | (*low == 0))
            }
        }
    }

    /// Takes what a rule starts with; returns whether that is new.
    fn learn(&mut self, rule: usize, node: &Node) -> bool {
        let (first, empty) = self.start(node);
        let new = empty && !self.rules[rule].1;
        self.rules[rule].1 |= empty;
        self.rules[rule].0.add(first) | new
    }

    /// Tells a node's parts what follows them; returns whether that is new to any.
    fn spread(&mut self, node: &Node, after: Bytes) -> bool {
        match node {
            Node::Lexeme(lexeme) => self.follow[*lexeme].add(after),
            Node::Rule(rule) => self.after[*rule].add(after),
            Node::Seq(parts) => {
                let (mut after, mut changed) = (after, false);
                for part in parts.iter().rev() {
                    changed |= self.spread(part, after);
                    let (first, empty) = self.start(part);
                    after = match empty {
                        true => {
                            after.add(first);
                            after
                        }
                        false => first,
                    };
                }
                changed
            }
            Node::Alt(parts) => parts
                .iter()
                .fold(false, |changed, part| self.spread(part, after) | changed),
            Node::Repeat(part, _, high) => {
                let mut after = after;
                if high.is_none_or(|high| high > 1) {
                    after.add(self.start(part).0);
                }
                self.spread(part, after)
            }
        }
    }
}
