//! The rules of the kernel IR. A kernel is valid where
//!
//! - every value is defined once (unit, scalar, region parameter or result) and before its uses, in its region or one
//!   around it;
//! - every op has the numbers of operands, results and regions that the table says, with the types its documentation
//!   says; lanes are 1, 4, 8, 16, 32 or 64, and i64 values are scalars;
//! - a `for` has a positive step, and its region yields values of the carried types; arms of an `if` yield nothing;
//! - buffers exist; loads are from `in` and `inout` buffers or scratch, stores to `out` and `inout` buffers or scratch;
//! - shifts stay below the width of a lane, and a byte field within its byte.

use super::*;
use std::collections::HashSet;

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
    let mut v = Verifier { kernel, scope: Vec::new(), defined: HashSet::new(), errors: Vec::new() };
    let first: Vec<Val> = kernel.unit.into_iter().chain(kernel.scalars.values().map(|s| s.value)).collect();
    for value in first {
        v.define(value, "kernel");
        v.expect("kernel", v.ty(value) == Some(Ty::INDEX), "units and scalars are i64");
    }
    v.region(&kernel.body);
    v.expect("kernel", kernel.body.params.is_empty() && kernel.body.yields.is_empty(), "the body takes and yields nothing");
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

struct Verifier<'k> {
    kernel: &'k Kernel,
    scope: Vec<Val>,
    defined: HashSet<Val>,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn expect(&mut self, at: &str, holds: bool, what: &str) {
        if !holds {
            self.errors.push(VerifyError { at: at.to_owned(), what: what.to_owned() });
        }
    }

    fn ty(&self, v: Val) -> Option<Ty> {
        self.kernel.values.get(v).copied()
    }

    fn define(&mut self, v: Val, at: &str) {
        let ty = self.ty(v);
        self.expect(at, ty.is_some(), "a value without a type");
        let lanes = ty.is_some_and(|t| {
            [1, 4, 8, 16, 32, 64].contains(&t.lanes) && (t.elem != Elem::I64 || t.lanes == 1)
        });
        self.expect(at, lanes, "a value with a wrong number of lanes");
        let new = self.defined.insert(v);
        self.expect(at, new, "a value is defined twice");
        self.scope.push(v);
    }

    fn region(&mut self, region: &Region) {
        let mark = self.scope.len();
        for &p in &region.params {
            self.define(p, "region");
        }
        for inst in &region.insts {
            self.inst(inst);
        }
        for &y in &region.yields {
            self.visible("yield", y);
        }
        self.scope.truncate(mark);
    }

    fn visible(&mut self, at: &str, v: Val) {
        let known = self.scope.contains(&v);
        self.expect(at, known, "a value is used where it is not defined");
    }

    fn inst(&mut self, inst: &Inst) {
        let info = inst.op.info();
        let at = match inst.results.first() {
            Some(r) => format!("{r} = {}", info.keyword),
            None => info.keyword.to_owned(),
        };
        for &a in &inst.args {
            self.visible(&at, a);
        }
        let is_for = matches!(inst.op, KOp::For { .. });
        let counts = if is_for {
            inst.args.len() >= 2 && inst.results.len() == inst.args.len() - 2 && inst.regions.len() == 1
        } else {
            (inst.args.len(), inst.results.len(), inst.regions.len()) == (info.args, info.results, info.regions)
        };
        self.expect(&at, counts, "wrong number of operands, results or regions");
        if counts {
            let args: Option<Vec<Ty>> = inst.args.iter().map(|&a| self.ty(a)).collect();
            let results: Option<Vec<Ty>> = inst.results.iter().map(|&r| self.ty(r)).collect();
            if let (Some(args), Some(results)) = (args, results) {
                let ok = self.types(inst, &args, &results);
                let shown: Vec<String> = args.iter().chain(&results).map(ToString::to_string).collect();
                self.expect(&at, ok, &format!("wrong types or attributes ({})", shown.join(", ")));
            }
        }
        for region in &inst.regions {
            self.region(region);
        }
        for &r in &inst.results {
            self.define(r, &at);
        }
    }

    fn types(&mut self, inst: &Inst, a: &[Ty], r: &[Ty]) -> bool {
        use Elem::*;
        let same = |n: usize| r.len() == 1 && a.iter().take(n).all(|t| *t == r[0]);
        let is = |t: Ty, elems: &[Elem]| elems.contains(&t.elem);
        match inst.op {
            KOp::IConst(n) => is(r[0], &[I32, I64]) && (r[0].elem == I64 || i32::try_from(n).is_ok()),
            KOp::FConst(x) => is(r[0], &[F32]) && !x.is_nan(),
            KOp::Iota => is(r[0], &[I32]),
            KOp::Add | KOp::Sub | KOp::Mul => same(2) && is(r[0], &[I32, I64, F32]),
            KOp::Min | KOp::Max => same(2) && is(r[0], &[I32, I64, F32]),
            KOp::Div => same(2) && is(r[0], &[F32]),
            KOp::DivConst(n) | KOp::RemConst(n) => same(1) && r[0] == Ty::INDEX && n > 0,
            KOp::And => same(2) && is(r[0], &[I32, I64]),
            KOp::Or => same(2) && is(r[0], &[I32, I64, U8]),
            KOp::Shl(n) | KOp::Sar(n) => {
                same(1) && (r[0].elem == I32 && n < 32 || r[0].elem == I64 && n < 64)
            }
            KOp::Shr(n) => same(1) && is(r[0], &[I32]) && n < 32,
            KOp::Bits { shift, width } => same(1) && is(r[0], &[U8]) && width > 0 && shift + width <= 8,
            KOp::BShl(n) => same(1) && is(r[0], &[U8]) && n < 8,
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
            KOp::Bitcast => {
                a[0].lanes == r[0].lanes && matches!((a[0].elem, r[0].elem), (I32, F32) | (F32, I32))
            }
            KOp::Splat => a[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32]),
            KOp::Extract(lane) => {
                lane < a[0].lanes && r[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32])
            }
            KOp::ReduceAdd | KOp::ReduceMax => {
                r[0].lanes == 1 && a[0].elem == r[0].elem && is(r[0], &[I32, F32])
            }
            KOp::Cmp(_) => a[0] == a[1] && is(a[0], &[I32, F32]) && r[0] == Ty::i32(a[0].lanes),
            KOp::Select => a[0] == Ty::i32(r[0].lanes) && a[1] == r[0] && a[2] == r[0] && is(r[0], &[I32, F32]),
            KOp::Load { mem, buf, .. } => a[0] == Ty::INDEX && loads(mem, r[0]) && self.access(buf, false),
            KOp::LoadSplat { mem, buf, .. } => {
                let direct = loads(mem, r[0]) && is(r[0], &[I32, F32]) || is(r[0], &[I8, U8]) && loads(mem, r[0]) && r[0].lanes >= 4;
                a[0] == Ty::INDEX && direct && self.access(buf, false)
            }
            KOp::Store { mem, buf, .. } => a[0] == Ty::INDEX && stores(mem, a[1]) && self.access(buf, true),
            KOp::Prefetch { buf, .. } => a[0] == Ty::INDEX && self.access(buf, false),
            KOp::For { step } => {
                let region = &inst.regions[0];
                let types = |vs: &[Val]| vs.iter().map(|&v| self.ty(v)).collect::<Vec<_>>();
                let carried: Vec<Option<Ty>> = a[2..].iter().map(|t| Some(*t)).collect();
                let params = types(&region.params);
                a[0] == Ty::INDEX
                    && a[1] == Ty::INDEX
                    && step > 0
                    && params.first() == Some(&Some(Ty::INDEX))
                    && params[1..] == carried
                    && types(&region.yields) == carried
                    && types(&inst.results) == carried
            }
            KOp::If(_) => {
                a[0] == Ty::INDEX
                    && a[1] == Ty::INDEX
                    && inst.regions.iter().all(|r| r.params.is_empty() && r.yields.is_empty())
            }
        }
    }

    fn access(&self, buf: Buf, write: bool) -> bool {
        if buf == self.kernel.scratch_buf() {
            return self.kernel.scratch > 0;
        }
        match self.kernel.bufs.get(buf).map(|b| b.access) {
            None => false,
            Some(Access::InOut) => true,
            Some(Access::In) => !write,
            Some(Access::Out) => write,
        }
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
        Mem::F32 | Mem::F16 => ty.elem == Elem::F32,
        Mem::Bf16 => false,
    }
}
