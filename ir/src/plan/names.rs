//! The text of the parts of a plan: arguments, counts, declarations, names.

use super::*;
use std::fmt::{self, Display, Formatter, Write};

/// `b0`, `s1`, `r0`, `kv.k.3`, `in.positions`.
impl Display for Arg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Buffer(b) => b.fmt(f),
            Arg::Section(s) => s.fmt(f),
            Arg::Rope(r) => r.fmt(f),
            Arg::Hidden => f.write_str("in.hidden"),
            Arg::Kv(part, layer) => write!(f, "kv.{}.{layer}", part.keyword()),
            Arg::Input(input) => write!(f, "in.{}", input.keyword()),
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.sym, self.times) {
            (None, n) => write!(f, "{n}")?,
            (Some(sym), 1) => f.write_str(sym.keyword())?,
            (Some(sym), n) => write!(f, "{}*{n}", sym.keyword())?,
        }
        match self.split {
            Some(split) => write!(f, "*{split}"),
            None => Ok(()),
        }
    }
}

impl Display for Split {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Split { what, of, most, rows } = self;
        write!(f, "{}(of={of}, most={most}, rows={rows})", what.keyword())
    }
}

impl SplitCount {
    /// Every kind.
    pub const ALL: [SplitCount; 2] = [SplitCount::Pieces, SplitCount::Merges];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            SplitCount::Pieces => "pieces",
            SplitCount::Merges => "merges",
        }
    }
}

impl Display for SectionDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let SectionDecl {
            weight,
            ty,
            form,
            order,
            heads,
            dims,
        } = self;
        write!(f, "{} @{} {ty}", form.keyword(), Word(weight))?;
        // Natural order has no parameters, so they are left out where they are 0.
        if *order == RowOrder::Natural && *heads == 0 && *dims == 0 {
            return Ok(());
        }
        write!(f, " {}(heads={heads}, dims={dims})", order.keyword())
    }
}

impl Display for RopeDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let RopeSpec {
            pairs,
            dims,
            base,
            freq_scale,
            magnitude,
        } = self.spec;
        let pairs = pairs.keyword();
        write!(
            f,
            "{pairs} dims={dims} base={base:?} freq_scale={freq_scale:?} magnitude={magnitude:?}"
        )?;
        match &self.factors {
            Some(weight) => write!(f, " factors=@{}", Word(weight)),
            None => Ok(()),
        }
    }
}

impl SectionForm {
    /// Every form.
    pub const ALL: [SectionForm; 2] = [SectionForm::Panels, SectionForm::Vector];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            SectionForm::Panels => "panels",
            SectionForm::Vector => "vector",
        }
    }
}

impl Input {
    /// The name in the text form, after `in.`.
    pub fn keyword(self) -> &'static str {
        match self {
            Input::Tokens => "tokens",
            Input::Positions => "positions",
            Input::Seqs => "seqs",
            Input::Outputs => "outputs",
            Input::BlockTables => "block_tables",
            Input::WindowTables => "window_tables",
        }
    }
}

/// Whether a name may stand without quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+/".contains(c)
}

/// A name, in quotes only where it needs them.
pub(super) struct Word<'a>(pub(super) &'a str);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = !self.0.is_empty() && self.0.chars().all(is_word);
        if plain {
            f.write_str(self.0)
        } else {
            Quoted(self.0).fmt(f)
        }
    }
}

/// A string in quotes, with `\"`, `\\`, `\n` and, for other control characters, `\u{…}`.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
