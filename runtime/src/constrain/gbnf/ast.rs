//! What a GBNF text says.

/// A set of characters: ranges of code points in order, apart from each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct CharSet(Vec<(u32, u32)>);

/// The last code point.
const LAST: u32 = 0x10FFFF;

impl CharSet {
    pub(super) fn one(c: char) -> CharSet {
        CharSet(vec![(c.into(), c.into())])
    }

    pub(super) fn any() -> CharSet {
        CharSet(vec![(0, LAST)])
    }

    pub(super) fn of_ranges(mut ranges: Vec<(u32, u32)>) -> CharSet {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        CharSet(merged)
    }

    pub(super) fn complement(&self) -> CharSet {
        let mut ranges = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for &(low, high) in &self.0 {
            if low > next {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        CharSet(ranges)
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An expression. A string is a sequence of characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Expr {
    /// One character of a set.
    Chars(CharSet),
    /// What a rule says.
    Rule(usize),
    /// One after another; the empty text where there is none.
    Seq(Vec<Expr>),
    /// One of several.
    Alt(Vec<Expr>),
    /// So many times, from the first number to the second.
    Repeat(Box<Expr>, u32, Option<u32>),
}

impl Expr {
    pub(super) fn parts(&self) -> &[Expr] {
        match self {
            Expr::Chars(_) | Expr::Rule(_) => &[],
            Expr::Seq(parts) | Expr::Alt(parts) => parts,
            Expr::Repeat(part, ..) => std::slice::from_ref(part),
        }
    }

    /// Hands the rules that it names to `see`.
    pub(super) fn each_rule(&self, see: &mut dyn FnMut(usize)) {
        if let Expr::Rule(rule) = self {
            see(*rule);
        }
        self.parts().iter().for_each(|part| part.each_rule(see));
    }
}

/// Rules by number.
pub(super) struct Grammar {
    pub(super) rules: Vec<Expr>,
    pub(super) root: usize,
}
