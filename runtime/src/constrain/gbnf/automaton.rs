//! Where a lexer that takes the longest lexeme would go wrong.
//!
//! The lexer follows all lexemes side by side for as long as one of them goes on. That is right where a lexeme that is
//! complete can't be followed by what another would go on with. All lexemes are followed here as if they were allowed
//! everywhere, and first bytes of characters stand for characters; so what is found right is right.

use super::ast::{CharSet, Expr};
use super::regular::Regular;
use std::collections::{BTreeSet, HashSet};

/// Most states and steps before the question is given up.
const MOST_STATES: usize = 4000;
const MOST_STEPS: usize = 2_000_000;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    /// First bytes of the characters of a set in UTF-8.
    pub(super) fn first_of(set: &CharSet) -> Bytes {
        let mut bytes = Bytes::default();
        for &(low, high) in set.ranges() {
            (first_byte(low)..=first_byte(high))
                .for_each(|byte| bytes.0[byte as usize / 64] |= 1 << (byte % 64));
        }
        bytes
    }

    pub(super) fn add(&mut self, other: Bytes) -> bool {
        let before = *self;
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
        *self != before
    }

    fn meets(self, other: Bytes) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }
}

fn first_byte(code: u32) -> u8 {
    match code {
        0..0x80 => code as u8,
        0x80..0x800 => 0xC0 | (code >> 6) as u8,
        0x800..0x10000 => 0xE0 | (code >> 12) as u8,
        _ => 0xF0 | (code >> 18) as u8,
    }
}

/// A state of all lexemes' automata: where it goes without a character, and with one.
#[derive(Default)]
struct Node {
    free: Vec<usize>,
    on: Option<(CharSet, usize)>,
    lexeme: usize,
    accepts: bool,
}

/// The lexemes' automata side by side (Thompson's construction).
struct Machine {
    nodes: Vec<Node>,
}

impl Machine {
    fn new(lexemes: &[&Expr], regular: &Regular) -> (Machine, Vec<usize>) {
        let mut machine = Machine { nodes: Vec::new() };
        let start = |(lexeme, expr): (usize, &&Expr)| {
            let start = machine.node(lexeme);
            let end = machine.build(expr, start, regular);
            machine.nodes[end].accepts = true;
            start
        };
        let starts = lexemes.iter().enumerate().map(start).collect();
        (machine, starts)
    }

    fn node(&mut self, lexeme: usize) -> usize {
        self.nodes.push(Node {
            lexeme,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    /// Adds what leads from `start` through an expression; returns its end.
    fn build(&mut self, expr: &Expr, start: usize, regular: &Regular) -> usize {
        let lexeme = self.nodes[start].lexeme;
        match expr {
            Expr::Chars(set) => {
                let (from, end) = (self.node(lexeme), self.node(lexeme));
                self.nodes[start].free.push(from);
                self.nodes[from].on = Some((set.clone(), end));
                end
            }
            Expr::Rule(rule) => self.build(regular.rule(*rule), start, regular),
            Expr::Seq(parts) => parts.iter().fold(start, |at, part| self.build(part, at, regular)),
            Expr::Alt(parts) => {
                let end = self.node(lexeme);
                for part in parts {
                    let from = self.node(lexeme);
                    self.nodes[start].free.push(from);
                    let to = self.build(part, from, regular);
                    self.nodes[to].free.push(end);
                }
                end
            }
            Expr::Repeat(part, low, high) => self.repeat(part, (*low, *high), start, regular),
        }
    }

    fn repeat(
        &mut self,
        part: &Expr,
        (low, high): (u32, Option<u32>),
        start: usize,
        regular: &Regular,
    ) -> usize {
        let lexeme = self.nodes[start].lexeme;
        let mut at = (0..low).fold(start, |at, _| self.build(part, at, regular));
        let end = self.node(lexeme);
        match high {
            Some(high) => {
                for _ in low..high {
                    self.nodes[at].free.push(end);
                    at = self.build(part, at, regular);
                }
            }
            None => {
                let again = self.node(lexeme);
                self.nodes[at].free.push(again);
                let to = self.build(part, again, regular);
                self.nodes[to].free.push(again);
                at = again;
            }
        }
        self.nodes[at].free.push(end);
        end
    }

    /// All states that are reached without a character.
    fn close(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut open: Vec<usize> = from.into_iter().collect();
        let mut closed = BTreeSet::new();
        while let Some(node) = open.pop() {
            if closed.insert(node) {
                open.extend(&self.nodes[node].free);
            }
        }
        closed
    }
}

/// First bytes of a lexeme.
pub(super) fn first(expr: &Expr, regular: &Regular) -> Bytes {
    let (machine, starts) = Machine::new(&[expr], regular);
    let mut bytes = Bytes::default();
    for node in machine.close(starts) {
        if let Some((set, _)) = &machine.nodes[node].on {
            bytes.add(Bytes::first_of(set));
        }
    }
    bytes
}

/// The lexemes that can't be lexemes: they go on where another ends and is followed by the same. `follow` has the first bytes
/// of what may follow each. `None` where there are too many states to tell.
pub(super) fn conflicts(lexemes: &[&Expr], follow: &[Bytes], regular: &Regular) -> Option<BTreeSet<usize>> {
    let (machine, starts) = Machine::new(lexemes, regular);
    let mut known: HashSet<BTreeSet<usize>> = HashSet::new();
    // The start is apart: no lexeme is empty.
    let mut open = vec![machine.close(starts)];
    let (mut wrong, mut steps, mut at_start) = (BTreeSet::new(), 0, true);
    while let Some(state) = open.pop() {
        let moves = state
            .iter()
            .filter_map(|&node| machine.nodes[node].on.as_ref().map(|(set, to)| (node, set, *to)));
        let moves: Vec<_> = moves.collect();
        if !at_start {
            for ended in state
                .iter()
                .map(|&node| &machine.nodes[node])
                .filter(|node| node.accepts)
            {
                let goes_on = moves
                    .iter()
                    .filter(|(_, set, _)| Bytes::first_of(set).meets(follow[ended.lexeme]));
                let goes_on: Vec<usize> = goes_on.map(|&(node, ..)| machine.nodes[node].lexeme).collect();
                if !goes_on.is_empty() {
                    wrong.extend(goes_on);
                    wrong.insert(ended.lexeme);
                }
            }
        }
        at_start = false;
        for next in successors(&moves) {
            steps += moves.len();
            let next = machine.close(next);
            steps += next.len();
            if known.insert(next.clone()) {
                open.push(next);
            }
        }
        if known.len() > MOST_STATES || steps > MOST_STEPS {
            return None;
        }
    }
    Some(wrong)
}

/// Where characters lead: one list of states for each range of characters that go the same way.
fn successors(moves: &[(usize, &CharSet, usize)]) -> BTreeSet<Vec<usize>> {
    let ends = moves.iter().flat_map(|(_, set, _)| set.ranges());
    let cuts: BTreeSet<u32> = ends.flat_map(|&(low, high)| [low, high + 1]).collect();
    let holds = |set: &CharSet, c: u32| {
        let at = set.ranges().partition_point(|&(_, high)| high < c);
        set.ranges().get(at).is_some_and(|&(low, _)| low <= c)
    };
    let lists = cuts.iter().map(|&c| {
        moves
            .iter()
            .filter(|(_, set, _)| holds(set, c))
            .map(|&(.., to)| to)
            .collect()
    });
    lists.filter(|list: &Vec<usize>| !list.is_empty()).collect()
}
