//! The rules of the kernel IR. A kernel is valid where
//!
//! - every value is defined once (unit, scalar, region parameter or result) and before its uses, in its region or one
//!   around it;
//! - every op has the numbers of operands, results and regions that the table says, with the types that its
//!   documentation says; lanes are 1, 4, 8, 16, 32 or 64, and i64 values are scalars;
//! - a `for` has a positive step, and its region takes an index and values of the carried types and yields as many;
//!   arms of an `if` and the body take and yield nothing;
//! - buffers have names of their own, none of them `scratch`; buffers exist where they are used; loads and prefetches
//!   are from `in` and `inout` buffers or scratch, stores to `out` and `inout` buffers or scratch;
//! - scratch memory has at most [`MAX_SCRATCH`] bytes, and accesses to it at a constant address lie in it;
//! - shifts stay below the width of a lane, and a byte field within its byte.
//!
//! What depends on values the interpreter checks: bounds of memory, the ranges of operands that [`KOp`] names.

use super::*;
use crate::id::Id;
use std::collections::{HashMap, HashSet};

/// The most bytes of scratch memory that a kernel may ask for.
pub const MAX_SCRATCH: u32 = 64 << 20;

/// A broken rule: where, and what.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}: {what}")]
pub struct VerifyError {
    /// The instruction.
    pub at: String,
    /// The rule.
    pub what: String,
}

/// Checks a kernel.
///
/// # Errors
/// Every broken rule, in order.
pub fn verify(kernel: &Kernel) -> Result<(), Vec<VerifyError>> {
    let count = kernel.values.len();
    let mut v = Verifier {
        kernel,
        visible: vec![false; count],
        defined: vec![false; count],
        constants: HashMap::new(),
        errors: Vec::new(),
    };
    v.declarations();
    v.region(&kernel.body);
    let closed = kernel.body.params.is_empty() && kernel.body.yields.is_empty();
    v.expect("kernel", closed, "the body takes or yields values");
    if v.errors.is_empty() {
        Ok(())
    } else {
        Err(v.errors)
    }
}

struct Verifier<'k> {
    kernel: &'k Kernel,
    /// Values that the current instruction may use.
    visible: Vec<bool>,
    /// Values defined so far, visible or not.
    defined: Vec<bool>,
    /// The visible values that are index constants.
    constants: HashMap<Val, i64>,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn expect(&mut self, at: &str, holds: bool, what: &str) {
        if !holds {
            self.errors.push(VerifyError {
                at: at.to_owned(),
                what: what.to_owned(),
            });
        }
    }

    fn ty(&self, v: Val) -> Option<Ty> {
        self.kernel.values.get(v).copied()
    }

    fn declarations(&mut self) {
        let kernel = self.kernel;
        let mut names = HashSet::from(["scratch"]);
        for decl in kernel.bufs.values() {
            let new = names.insert(&decl.name);
            self.expect(&format!("${}", decl.name), new, "another buffer has this name");
        }
        self.expect(
            "kernel",
            kernel.scratch <= MAX_SCRATCH,
            "more scratch memory than a kernel may have",
        );
        for value in kernel
            .unit
            .into_iter()
            .chain(kernel.scalars.values().map(|s| s.value))
        {
            self.define(value, "kernel");
            self.expect(
                "kernel",
                self.ty(value) == Some(Ty::INDEX),
                "the unit and scalars are i64",
            );
        }
    }

    fn define(&mut self, v: Val, at: &str) {
        let Some(ty) = self.ty(v) else {
            return self.expect(at, false, &format!("{v} has no type"));
        };
        let lanes = [1, 4, 8, 16, 32, 64].contains(&ty.lanes) && (ty.elem != Elem::I64 || ty.lanes == 1);
        self.expect(at, lanes, &format!("{v} cannot have the type {ty}"));
        let twice = std::mem::replace(&mut self.defined[v.index()], true);
        self.expect(at, !twice, &format!("{v} is defined twice"));
        self.visible[v.index()] = true;
    }

    /// Checks a region; what it defines is not visible after it.
    fn region(&mut self, region: &Region) {
        for &p in &region.params {
            self.define(p, "region");
        }
        for inst in &region.insts {
            self.inst(inst);
        }
        for &y in &region.yields {
            self.used("yield", y);
        }
        let results = region.insts.iter().flat_map(|i| &i.results);
        for v in region.params.iter().chain(results) {
            if let Some(visible) = self.visible.get_mut(v.index()) {
                *visible = false;
            }
            self.constants.remove(v);
        }
    }

    fn used(&mut self, at: &str, v: Val) {
        let known = self.visible.get(v.index()).copied().unwrap_or(false);
        self.expect(at, known, &format!("{v} is used where it is not defined"));
    }

    fn inst(&mut self, inst: &Inst) {
        let keyword = inst.op.info().keyword;
        let at = match inst.results.first() {
            Some(r) => format!("{r} = {keyword}"),
            None => keyword.to_owned(),
        };
        for &a in &inst.args {
            self.used(&at, a);
        }
        let counts = counts(inst);
        self.expect(&at, counts, "wrong number of operands, results or regions");
        if counts {
            self.operation(inst, &at);
        }
        for region in &inst.regions {
            self.region(region);
        }
        for &r in &inst.results {
            self.define(r, &at);
        }
        if let (KOp::IConst(n), [r]) = (inst.op, &inst.results[..]) {
            self.constants.insert(*r, n);
        }
    }

    /// Types, attributes and memory of an instruction with the right numbers of operands, results and regions.
    fn operation(&mut self, inst: &Inst, at: &str) {
        let args: Option<Vec<Ty>> = inst.args.iter().map(|&a| self.ty(a)).collect();
        let results: Option<Vec<Ty>> = inst.results.iter().map(|&r| self.ty(r)).collect();
        // A value without a type is reported where it is used or defined.
        let (Some(args), Some(results)) = (args, results) else {
            return;
        };
        let fits = match inst.op {
            KOp::For { step } => step > 0 && self.for_types(inst, &args, &results),
            KOp::If(_) => args == [Ty::INDEX; 2] && inst.regions.iter().all(is_arm),
            op => types(op, &args, &results),
        };
        let shown: Vec<String> = args.iter().chain(&results).map(ToString::to_string).collect();
        self.expect(
            at,
            fits,
            &format!("wrong types or attributes ({})", shown.join(", ")),
        );
        match inst.op {
            KOp::Load { mem, buf, disp } => {
                self.memory(inst, at, (buf, disp), false, mem.bytes() * lanes(&results))
            }
            KOp::LoadSplat { mem, buf, disp } => {
                let bytes = if results[0].elem.is_byte() { 4 } else { mem.bytes() };
                self.memory(inst, at, (buf, disp), false, bytes);
            }
            KOp::Store { mem, buf, disp } => {
                self.memory(inst, at, (buf, disp), true, mem.bytes() * lanes(&args[1..]));
            }
            KOp::TileDot(t) => {
                let [a, w, out] = t.spans();
                for (i, (place, write, bytes)) in [(t.out, true, out), (t.a, false, a), (t.w, false, w)]
                    .into_iter()
                    .enumerate()
                {
                    self.memory_at(inst.args[i], at, place, write, bytes);
                }
            }
            KOp::Prefetch { buf, disp } => self.memory(inst, at, (buf, disp), false, 0),
            _ => {}
        }
    }

    fn for_types(&self, inst: &Inst, args: &[Ty], results: &[Ty]) -> bool {
        let region = &inst.regions[0];
        let types = |vs: &[Val]| vs.iter().map(|&v| self.ty(v)).collect::<Option<Vec<Ty>>>();
        let (bounds, carried) = args.split_at(2);
        let params: Vec<Ty> = [Ty::INDEX].iter().chain(carried).copied().collect();
        bounds == [Ty::INDEX; 2]
            && types(&region.params) == Some(params)
            && types(&region.yields).as_deref() == Some(carried)
            && results == carried
    }

    /// An access of so many bytes; a prefetch, which may lie outside, has none.
    fn memory(&mut self, inst: &Inst, at: &str, place: (Buf, i32), write: bool, bytes: u32) {
        self.memory_at(inst.args[0], at, place, write, bytes);
    }

    fn memory_at(&mut self, index: Val, at: &str, (buf, disp): (Buf, i32), write: bool, bytes: u32) {
        let kernel = self.kernel;
        if buf != kernel.scratch_buf() {
            let Some(decl) = kernel.bufs.get(buf) else {
                return self.expect(at, false, &format!("there is no buffer {buf}"));
            };
            let allowed = decl.access == Access::InOut || (decl.access == Access::Out) == write;
            let what = format!("${} is `{}`", decl.name, decl.access.keyword());
            return self.expect(at, allowed, &what);
        }
        self.expect(at, kernel.scratch > 0, "the kernel has no scratch memory");
        if let Some(start) = self.constants.get(&index).map(|n| n.saturating_add(disp.into())) {
            let inside = start >= 0 && start.saturating_add(bytes.into()) <= kernel.scratch.into();
            let what = format!(
                "{bytes} bytes at {start} of scratch, which has {}",
                kernel.scratch
            );
            self.expect(at, inside || bytes == 0, &what);
        }
    }
}

fn lanes(types: &[Ty]) -> u32 {
    types.first().map_or(0, |t| t.lanes.into())
}

fn is_arm(region: &Region) -> bool {
    region.params.is_empty() && region.yields.is_empty()
}

/// Whether an instruction has as many operands, results and regions as the table says.
fn counts(inst: &Inst) -> bool {
    let info = inst.op.info();
    match inst.op {
        KOp::For { .. } => {
            inst.args.len() >= 2 && inst.results.len() == inst.args.len() - 2 && inst.regions.len() == 1
        }
        _ => {
            (inst.args.len(), inst.results.len(), inst.regions.len())
                == (info.args, info.results, info.regions)
        }
    }
}

/// Whether operands and results have the types that the documentation of the op says, and its attributes fit them.
fn types(op: KOp, a: &[Ty], r: &[Ty]) -> bool {
    use Elem::*;
    let same = |n: usize| r.len() == 1 && a.iter().take(n).all(|t| *t == r[0]);
    let is = |t: Ty, elems: &[Elem]| elems.contains(&t.elem);
    match op {
        KOp::IConst(n) => is(r[0], &[I32, I64]) && (r[0].elem == I64 || i32::try_from(n).is_ok()),
        KOp::FConst(x) => is(r[0], &[F32]) && !x.is_nan(),
        KOp::Iota => is(r[0], &[I32]),
        KOp::Add | KOp::Sub | KOp::Mul => same(2) && is(r[0], &[I32, I64, F32]),
        KOp::Min | KOp::Max => same(2) && is(r[0], &[I32, I64, F32]),
        KOp::Div => same(2) && is(r[0], &[I64, F32]),
        KOp::DivConst(n) | KOp::RemConst(n) => same(1) && r[0] == Ty::INDEX && n > 0,
        KOp::And => same(2) && is(r[0], &[I32, I64]),
        KOp::Or => same(2) && is(r[0], &[I32, I64, U8]),
        KOp::Shl(n) | KOp::Sar(n) => same(1) && (r[0].elem == I32 && n < 32 || r[0].elem == I64 && n < 64),
        KOp::Shr(n) => same(1) && is(r[0], &[I32]) && n < 32,
        KOp::Bits { shift, width } => {
            same(1) && is(r[0], &[U8]) && width > 0 && u16::from(shift) + u16::from(width) <= 8
        }
        KOp::BShl(n) => same(1) && is(r[0], &[U8]) && n < 8,
        KOp::Lut(_) => same(1) && is(r[0], &[U8]),
        KOp::Neg => same(1) && is(r[0], &[F32, I32]),
        KOp::Abs | KOp::Sqrt | KOp::Round => same(1) && is(r[0], &[F32]),
        KOp::Fma | KOp::Fnma => same(3) && is(r[0], &[F32]),
        KOp::Dot4 { bits } => {
            let four = u16::from(r[0].lanes) * 4;
            same(1)
                && is(r[0], &[I32])
                && (a[1].elem, u16::from(a[1].lanes)) == (U8, four)
                && (a[2].elem, u16::from(a[2].lanes)) == (I8, four)
                && (1..=8).contains(&bits)
        }
        KOp::CvtF32 => a[0].lanes == r[0].lanes && (a[0].elem, r[0].elem) == (I32, F32),
        KOp::CvtI32 => a[0].lanes == r[0].lanes && (a[0].elem, r[0].elem) == (F32, I32),
        KOp::ToIndex => a[0] == Ty::I32 && r[0] == Ty::INDEX,
        KOp::ToI32 => a[0] == Ty::INDEX && r[0] == Ty::I32,
        KOp::Bitcast => a[0].lanes == r[0].lanes && matches!((a[0].elem, r[0].elem), (I32, F32) | (F32, I32)),
        KOp::Splat => a[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32]),
        KOp::Extract(lane) => {
            lane < a[0].lanes && r[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32])
        }
        KOp::ReduceAdd | KOp::ReduceMax => r[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32]),
        KOp::Cmp(_) => a[0] == a[1] && is(a[0], &[I32, F32]) && r[0] == Ty::i32(a[0].lanes),
        KOp::Select => a[0] == Ty::i32(r[0].lanes) && a[1] == r[0] && a[2] == r[0] && is(r[0], &[I32, F32]),
        KOp::Load { mem, .. } => a[0] == Ty::INDEX && loads(mem, r[0]),
        KOp::LoadSplat { mem, .. } => {
            let fits = if r[0].elem.is_byte() {
                r[0].lanes >= 4
            } else {
                is(r[0], &[I32, F32])
            };
            a[0] == Ty::INDEX && loads(mem, r[0]) && fits
        }
        KOp::Store { mem, .. } => a[0] == Ty::INDEX && stores(mem, a[1]),
        KOp::Prefetch { .. } => a[0] == Ty::INDEX,
        KOp::TileDot(t) => {
            a == [Ty::INDEX; 3]
                && (1..=16).contains(&t.rows)
                && (4..=64).contains(&t.k)
                && t.k.is_multiple_of(4)
        }
        KOp::For { .. } | KOp::If(_) => unreachable!("checked with their regions"),
    }
}

/// Whether memory of type `mem` loads as `ty`.
fn loads(mem: Mem, ty: Ty) -> bool {
    match mem {
        Mem::I8 => matches!(ty.elem, Elem::I8 | Elem::I32),
        Mem::U8 => matches!(ty.elem, Elem::U8 | Elem::I32),
        Mem::I32 => ty.elem == Elem::I32 || ty == Ty::INDEX,
        Mem::F32 | Mem::F16 | Mem::Bf16 => ty.elem == Elem::F32,
    }
}

/// Whether a value of type `ty` is stored as `mem`.
fn stores(mem: Mem, ty: Ty) -> bool {
    match mem {
        Mem::I8 | Mem::I32 => ty.elem == Elem::I32,
        Mem::U8 => ty.elem == Elem::U8,
        Mem::F32 | Mem::F16 | Mem::Bf16 => ty.elem == Elem::F32,
    }
}
