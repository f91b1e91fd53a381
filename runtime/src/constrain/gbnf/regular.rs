//! Expressions that a regular expression can say, and that expression.

use super::ast::{CharSet, Expr, Grammar};
use std::fmt::Write;

/// Most characters' worth of an expression that may be one lexeme.
const LARGEST: usize = 2000;
/// Deepest nesting of rules in a lexeme.
const HIGHEST: usize = 50;

/// What is known of a rule that does not come back to itself.
#[derive(Clone, Copy)]
struct Facts {
    /// Characters and empty texts, repetitions unrolled.
    size: usize,
    /// Nesting of rules.
    height: usize,
}

/// Which rules are regular and small enough.
pub(super) struct Regular<'g> {
    grammar: &'g Grammar,
    facts: Vec<Option<Facts>>,
}

impl<'g> Regular<'g> {
    pub(super) fn new(grammar: &'g Grammar) -> Regular<'g> {
        let count = grammar.rules.len();
        let mut named_by = vec![Vec::new(); count];
        let mut open = vec![0usize; count];
        for (rule, body) in grammar.rules.iter().enumerate() {
            body.each_rule(&mut |named| {
                named_by[named].push(rule);
                open[rule] += 1;
            });
        }
        let mut regular = Regular {
            grammar,
            facts: vec![None; count],
        };
        // Rules whose rules are all known become known; those in circles never do.
        let mut ready: Vec<usize> = (0..count).filter(|&rule| open[rule] == 0).collect();
        while let Some(rule) = ready.pop() {
            let facts = regular.facts_of(&grammar.rules[rule]);
            let small = facts.filter(|f| f.size <= LARGEST && f.height < HIGHEST);
            regular.facts[rule] = small.map(|f| Facts {
                height: f.height + 1,
                ..f
            });
            for &by in &named_by[rule] {
                open[by] -= 1;
                if open[by] == 0 {
                    ready.push(by);
                }
            }
        }
        regular
    }

    fn facts_of(&self, expr: &Expr) -> Option<Facts> {
        let one = Facts { size: 1, height: 0 };
        let all = |parts: &[Expr]| {
            parts.iter().try_fold(one, |sum, part| {
                let part = self.facts_of(part)?;
                Some(Facts {
                    size: sum.size.saturating_add(part.size),
                    height: sum.height.max(part.height),
                })
            })
        };
        match expr {
            Expr::Chars(_) => Some(one),
            Expr::Rule(rule) => self.facts[*rule],
            Expr::Seq(parts) | Expr::Alt(parts) => all(parts),
            Expr::Repeat(part, low, high) => {
                let part = self.facts_of(part)?;
                let times = high.unwrap_or(*low).max(1) as usize;
                Some(Facts {
                    size: part.size.saturating_mul(times),
                    ..part
                })
            }
        }
    }

    /// Whether an expression may be a lexeme.
    pub(super) fn is_lexeme(&self, expr: &Expr) -> bool {
        self.facts_of(expr).is_some_and(|f| f.size <= LARGEST)
    }

    /// What a rule says.
    pub(super) fn rule(&self, rule: usize) -> &'g Expr {
        &self.grammar.rules[rule]
    }

    /// Whether a regular expression matches the empty text.
    pub(super) fn is_nullable(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Chars(_) => false,
            Expr::Rule(rule) => self.is_nullable(self.rule(*rule)),
            Expr::Seq(parts) => parts.iter().all(|part| self.is_nullable(part)),
            Expr::Alt(parts) => parts.iter().any(|part| self.is_nullable(part)),
            Expr::Repeat(part, low, _) => *low == 0 || self.is_nullable(part),
        }
    }

    /// Whether it matches nothing but the empty text.
    pub(super) fn is_empty(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Chars(_) => false,
            Expr::Rule(rule) => self.is_empty(self.rule(*rule)),
            Expr::Seq(parts) | Expr::Alt(parts) => parts.iter().all(|part| self.is_empty(part)),
            Expr::Repeat(part, _, high) => *high == Some(0) || self.is_empty(part),
        }
    }

    /// The regular expression.
    pub(super) fn regex(&self, expr: &Expr, out: &mut String) {
        match expr {
            Expr::Chars(set) => regex_of_set(set, out),
            Expr::Rule(rule) => self.regex(self.rule(*rule), out),
            Expr::Seq(parts) => parts.iter().for_each(|part| self.regex(part, out)),
            Expr::Alt(parts) => {
                out.push_str("(?:");
                for (i, part) in parts.iter().enumerate() {
                    out.push_str(if i > 0 { "|" } else { "" });
                    self.regex(part, out);
                }
                out.push(')');
            }
            Expr::Repeat(part, low, high) => {
                out.push_str("(?:");
                self.regex(part, out);
                let high = high.map(|high| high.to_string()).unwrap_or_default();
                let _ = write!(out, "){{{low},{high}}}");
            }
        }
    }
}

/// A set of characters as a regular expression writes it.
pub(super) fn regex_of_set(set: &CharSet, out: &mut String) {
    let bounds = |low: u32, high: u32| {
        // Surrogates are no characters.
        let low = if (0xD800..0xE000).contains(&low) {
            0xE000
        } else {
            low
        };
        let high = if (0xD800..0xE000).contains(&high) {
            0xD7FF
        } else {
            high
        };
        (low <= high).then_some((low, high))
    };
    out.push('[');
    for (low, high) in set.ranges().iter().filter_map(|&(low, high)| bounds(low, high)) {
        let _ = write!(out, "\\u{{{low:x}}}");
        if high > low {
            let _ = write!(out, "-\\u{{{high:x}}}");
        }
    }
    out.push(']');
}
