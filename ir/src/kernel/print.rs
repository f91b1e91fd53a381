//! The text form of a kernel, read back by [`parse`](mod@super::parse):
//!
//! ```text
//! kernel @scale.f32 (unit %0, $x: in, $y: out, #rows = %1) scratch 64 {
//!   %2 = shl %0, 6 : i64
//!   %3 = fconst 0.0 : f32x16
//!   %4 = iconst 0 : i64
//!   %8 = for %5 in %4..%1 step 1 carry (%6 = %3) {
//!     %7 = load.f16 $x[%2 + 32] : f32x16
//!     yield %7
//!   }
//!   if lt %0, %1 {
//!     store.f32 $y[%2], %8
//!   }
//! }
//! ```
//!
//! Values are numbered in order of definition: the unit, the scalars, then instruction by instruction; a loop defines
//! its index, the carried values, what is in its body, and its results. `$scratch` is the scratch memory. A `for` that
//! carries nothing has no `carry`, an `if` whose second arm is empty has no `else`. Names with other characters than
//! letters, digits and `._-+/` stand in quotes. Floats have the fewest digits that read back. `;` starts a comment that
//! ends with its line.

use super::*;
use crate::id::Id;
use std::fmt::{self, Display, Formatter};

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let numbers = definition_order(self);
        let mut numbered = vec![None; self.values.len()];
        for (number, value) in numbers.into_iter().enumerate() {
            if let Some(slot) = numbered.get_mut(value.index()) {
                slot.get_or_insert(number);
            }
        }
        Printer {
            kernel: self,
            numbers: numbered,
            f,
        }
        .kernel()
    }
}

impl Kernel {
    /// The same kernel with values numbered as its text numbers them, and without values that nothing defines.
    ///
    /// # Panics
    /// Where a value is used that is not defined: the kernel must be valid.
    #[must_use]
    pub fn compact(&self) -> Kernel {
        let order = definition_order(self);
        let mut renamed = vec![None; self.values.len()];
        for (number, value) in order.iter().enumerate() {
            renamed[value.index()] = Some(Val::new(number));
        }
        let rename = |v: &mut Val| *v = renamed[v.index()].expect("a valid kernel uses defined values");
        let mut kernel = self.clone();
        kernel.values = order.iter().map(|v| self.values[*v]).collect();
        kernel.unit.iter_mut().for_each(rename);
        for id in self.scalars.ids() {
            rename(&mut kernel.scalars[id].value);
        }
        rename_region(&mut kernel.body, &rename);
        kernel
    }
}

fn rename_region(region: &mut Region, rename: &impl Fn(&mut Val)) {
    region
        .params
        .iter_mut()
        .chain(&mut region.yields)
        .for_each(rename);
    for inst in &mut region.insts {
        inst.args.iter_mut().chain(&mut inst.results).for_each(rename);
        for inner in &mut inst.regions {
            rename_region(inner, rename);
        }
    }
}

/// Every value in order of definition.
fn definition_order(kernel: &Kernel) -> Vec<Val> {
    fn region(r: &Region, order: &mut Vec<Val>) {
        order.extend(&r.params);
        for inst in &r.insts {
            inst.regions.iter().for_each(|inner| region(inner, order));
            order.extend(&inst.results);
        }
    }
    let mut order: Vec<Val> = kernel.unit.into_iter().collect();
    order.extend(kernel.scalars.values().map(|s| s.value));
    region(&kernel.body, &mut order);
    order
}

/// Whether a name with this character may stand without quotes.
pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+/".contains(c)
}

struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = !self.0.is_empty() && self.0.chars().all(is_name);
        if plain {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

impl Access {
    /// Every access.
    pub const ALL: [Access; 3] = [Access::In, Access::Out, Access::InOut];

    /// The name in the text form.
    pub fn keyword(self) -> &'static str {
        match self {
            Access::In => "in",
            Access::Out => "out",
            Access::InOut => "inout",
        }
    }
}

struct Printer<'k, 'f, 'g> {
    kernel: &'k Kernel,
    /// The number of each value in the text, where it is defined.
    numbers: Vec<Option<usize>>,
    f: &'f mut Formatter<'g>,
}

impl Printer<'_, '_, '_> {
    /// A value. One that is never defined, so that the kernel is invalid, shows as `%?` with its id.
    fn value(&self, v: Val) -> String {
        match self.numbers.get(v.index()).copied().flatten() {
            Some(number) => format!("%{number}"),
            None => format!("%?{}", v.index()),
        }
    }

    fn values(&self, vs: &[Val]) -> String {
        vs.iter().map(|&v| self.value(v)).collect::<Vec<_>>().join(", ")
    }

    fn ty(&self, v: Val) -> String {
        self.kernel
            .values
            .get(v)
            .map_or("?".to_owned(), ToString::to_string)
    }

    fn kernel(&mut self) -> fmt::Result {
        let kernel = self.kernel;
        let unit = kernel.unit.map(|u| format!("unit {}", self.value(u)));
        let bufs = kernel
            .bufs
            .values()
            .map(|b| format!("${}: {}", Name(&b.name), b.access.keyword()));
        let scalars = kernel
            .scalars
            .values()
            .map(|s| format!("#{} = {}", Name(&s.name), self.value(s.value)));
        let params: Vec<String> = unit.into_iter().chain(bufs).chain(scalars).collect();
        write!(self.f, "kernel @{} ({})", Name(&kernel.name), params.join(", "))?;
        if kernel.scratch > 0 {
            write!(self.f, " scratch {}", kernel.scratch)?;
        }
        self.region(&kernel.body, 0)?;
        writeln!(self.f)
    }

    /// ` {`, the instructions, `}`.
    fn region(&mut self, region: &Region, depth: usize) -> fmt::Result {
        writeln!(self.f, " {{")?;
        for inst in &region.insts {
            write!(self.f, "{:1$}", "", 2 * depth + 2)?;
            self.inst(inst, depth + 1)?;
            writeln!(self.f)?;
        }
        if !region.yields.is_empty() {
            writeln!(
                self.f,
                "{:2$}yield {}",
                "",
                self.values(&region.yields),
                2 * depth + 2
            )?;
        }
        write!(self.f, "{:1$}}}", "", 2 * depth)
    }

    fn inst(&mut self, inst: &Inst, depth: usize) -> fmt::Result {
        if !inst.results.is_empty() {
            write!(self.f, "{} = ", self.values(&inst.results))?;
        }
        match inst.op {
            KOp::For { step } => return self.for_loop(inst, step, depth),
            KOp::If(cmp) => return self.if_else(inst, cmp, depth),
            op => self.operation(op, &inst.args)?,
        }
        match inst.results.first() {
            Some(&r) => write!(self.f, " : {}", self.ty(r)),
            None => Ok(()),
        }
    }

    /// Keyword, operands and attributes of an op without regions.
    fn operation(&mut self, op: KOp, args: &[Val]) -> fmt::Result {
        let keyword = op.info().keyword;
        let operands = self.values(args);
        match op {
            KOp::IConst(n) => write!(self.f, "{keyword} {n}"),
            KOp::FConst(x) => write!(self.f, "{keyword} {x:?}"),
            KOp::Cmp(cmp) => write!(self.f, "{keyword}.{} {operands}", cmp.keyword()),
            KOp::DivConst(n) | KOp::RemConst(n) => write!(self.f, "{keyword} {operands}, {n}"),
            KOp::Shl(n) | KOp::Sar(n) | KOp::Shr(n) | KOp::BShl(n) | KOp::Extract(n) => {
                write!(self.f, "{keyword} {operands}, {n}")
            }
            KOp::Bits { shift, width } => {
                write!(self.f, "{keyword} {operands} {{shift {shift}, width {width}}}")
            }
            KOp::Lut(table) => {
                let entries: Vec<String> = table.iter().map(ToString::to_string).collect();
                write!(self.f, "{keyword} {operands} {{{}}}", entries.join(", "))
            }
            KOp::Dot4 { bits } => write!(self.f, "{keyword} {operands} {{bits {bits}}}"),
            KOp::Load { mem, buf, disp } | KOp::LoadSplat { mem, buf, disp } => {
                write!(
                    self.f,
                    "{keyword}.{} {}",
                    mem.keyword(),
                    self.address(buf, args, disp)
                )
            }
            KOp::Store { mem, buf, disp } => {
                let (at, stored) = args.split_at(args.len().min(1));
                let address = self.address(buf, at, disp);
                write!(
                    self.f,
                    "{keyword}.{} {address}, {}",
                    mem.keyword(),
                    self.values(stored)
                )
            }
            KOp::Prefetch { buf, disp } => write!(self.f, "{keyword} {}", self.address(buf, args, disp)),
            KOp::TileDot(t) => {
                let places = [t.out, t.a, t.w].into_iter().enumerate();
                let places: Vec<String> = places
                    .map(|(i, (buf, disp))| self.address(buf, args.get(i..=i).unwrap_or(&[]), disp))
                    .collect();
                let places = places.join(", ");
                let (rows, k, stride) = (t.rows, t.k, t.stride);
                write!(
                    self.f,
                    "{keyword} {places} {{rows {rows}, k {k}, stride {stride}}}"
                )
            }
            _ if args.is_empty() => write!(self.f, "{keyword}"),
            _ => write!(self.f, "{keyword} {operands}"),
        }
    }

    fn address(&self, buf: Buf, index: &[Val], disp: i32) -> String {
        let name = match self.kernel.bufs.get(buf) {
            Some(decl) => Name(&decl.name).to_string(),
            None if buf == self.kernel.scratch_buf() => "scratch".to_owned(),
            None => format!("?{}", buf.index()),
        };
        let index = self.values(index);
        match disp {
            0 => format!("${name}[{index}]"),
            1.. => format!("${name}[{index} + {disp}]"),
            _ => format!("${name}[{index} - {}]", disp.unsigned_abs()),
        }
    }

    fn for_loop(&mut self, inst: &Inst, step: i64, depth: usize) -> fmt::Result {
        let (bounds, carried) = inst.args.split_at(inst.args.len().min(2));
        let bounds: Vec<String> = bounds.iter().map(|&v| self.value(v)).collect();
        let empty = Region::default();
        let region = inst.regions.first().unwrap_or(&empty);
        let (index, params) = region.params.split_at(region.params.len().min(1));
        write!(
            self.f,
            "for {} in {} step {step}",
            self.values(index),
            bounds.join("..")
        )?;
        if !carried.is_empty() {
            let pairs = params.iter().zip(carried);
            let pairs: Vec<String> = pairs
                .map(|(&p, &c)| format!("{} = {}", self.value(p), self.value(c)))
                .collect();
            write!(self.f, " carry ({})", pairs.join(", "))?;
        }
        self.region(region, depth)
    }

    fn if_else(&mut self, inst: &Inst, cmp: Cmp, depth: usize) -> fmt::Result {
        write!(self.f, "if {} {}", cmp.keyword(), self.values(&inst.args))?;
        for (i, region) in inst.regions.iter().enumerate() {
            if i == 0 {
                self.region(region, depth)?;
            } else if *region != Region::default() {
                write!(self.f, " else")?;
                self.region(region, depth)?;
            }
        }
        Ok(())
    }
}
