//! The rules of a plan. A plan is valid where
//!
//! - **limits**: every limit, the vocabulary and the width of a row of the result are positive, `outputs` ≤ `tokens`, and `ctx` is a multiple of
//!   [`KV_BLOCK`];
//! - **kernels**: each obeys the rules of [`crate::kernel::verify`], and no two have the same name;
//! - **buffers**: each starts at a multiple of 64, has at least a byte, and ends within the arena;
//! - **sections**: panels are matrices `[rows, k]` that have a packed form, vectors are `[n]`, of a type that can be
//!   decoded; an order other than the natural one has groups that divide the rows, and an even number of rows to work
//!   on in each;
//! - **ropes**: `dims` is even and positive, and every number is finite;
//! - **KV**: a layer that a call names exists, with heads, elements, and a size that fits;
//! - **calls**: every id exists; a call has one argument a buffer and one scalar an index parameter of its kernel; units
//!   and scalars fit in an i64 at the symbols' bounds; a split has positive `of` and `most`; the cost is positive;
//! - **access**: only buffers and KV are written. What a call of a step writes is named by nothing else in that step:
//!   by no other call, and not twice by the call itself;
//! - **time**: a buffer lives from the first step that writes it to the last that names it; the result lives on. It is
//!   read in no step before or at the one that writes it first. Buffers that live in one step have no byte in common;
//! - **output**: there is a buffer for the result, some step writes it, and it holds `outputs · width` f32, or `tokens · width`
//!   of hidden states;
//! - **hidden states**: a row of those that steps take has elements, and they are named only where steps take any.

use super::*;
use crate::graph::RowOrder;
use crate::id::Id;
use crate::kernel::Access;
use crate::layout::{ALIGN, PackedLayout};
use crate::quant;
use std::collections::{HashMap, HashSet};

/// A broken rule: where in the plan, and what.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}: {what}")]
pub struct PlanError {
    /// The declaration, or the step, call and argument.
    pub at: String,
    /// The rule.
    pub what: String,
}

/// Checks a plan.
///
/// # Errors
/// Every broken rule, in order.
pub fn verify(plan: &Plan) -> Result<(), Vec<PlanError>> {
    let mut v = Verifier {
        plan,
        lives: vec![None; plan.buffers.len()],
        errors: Vec::new(),
    };
    v.limits();
    v.kernels();
    v.buffers();
    v.sections();
    v.ropes();
    for (number, step) in plan.steps.iter().enumerate() {
        v.step(number, step);
    }
    v.output();
    v.overlaps();
    if v.errors.is_empty() {
        Ok(())
    } else {
        Err(v.errors)
    }
}

/// The first step that writes a buffer and the last that names it.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

struct Verifier<'p> {
    plan: &'p Plan,
    lives: Vec<Option<Life>>,
    errors: Vec<PlanError>,
}

impl<'p> Verifier<'p> {
    fn error(&mut self, at: impl ToString, what: impl Into<String>) {
        self.errors.push(PlanError {
            at: at.to_string(),
            what: what.into(),
        });
    }

    fn limits(&mut self) {
        let Limits {
            tokens,
            outputs,
            seqs,
            ctx,
        } = self.plan.limits;
        let (vocab, width) = (self.plan.vocab, self.plan.width());
        for (name, n) in [
            ("tokens", tokens),
            ("outputs", outputs),
            ("seqs", seqs),
            ("ctx", ctx),
            ("vocab", vocab),
            ("width", width),
            ("takes", self.plan.takes.unwrap_or(1)),
        ] {
            if n == 0 {
                self.error("limits", format!("{name} is 0"));
            }
        }
        if outputs > tokens {
            self.error(
                "limits",
                format!("{outputs} outputs are more than {tokens} tokens"),
            );
        }
        if !ctx.is_multiple_of(KV_BLOCK) {
            self.error("limits", format!("ctx {ctx} is no multiple of {KV_BLOCK}"));
        }
    }

    fn kernels(&mut self) {
        let mut names = HashSet::new();
        for (id, kernel) in self.plan.kernels.iter() {
            let at = format!("kernel {id} (@{})", kernel.name);
            if !names.insert(kernel.name.as_str()) {
                self.error(&at, "another kernel has the same name");
            }
            for e in crate::kernel::verify::verify(kernel).err().into_iter().flatten() {
                self.error(&at, e.to_string());
            }
        }
    }

    fn buffers(&mut self) {
        let arena = self.plan.arena_bytes;
        for (id, decl) in self.plan.buffers.iter() {
            let at = format!("buffer {id} ({})", decl.name);
            if !decl.offset.is_multiple_of(ALIGN) {
                self.error(&at, format!("offset {} is no multiple of {ALIGN}", decl.offset));
            }
            if decl.bytes == 0 {
                self.error(&at, "it has no bytes");
            }
            if decl.offset.checked_add(decl.bytes).is_none_or(|end| end > arena) {
                let BufferDecl { offset, bytes, .. } = decl;
                self.error(
                    &at,
                    format!("{bytes} bytes at {offset} end after the arena of {arena}"),
                );
            }
        }
    }

    fn sections(&mut self) {
        for (id, decl) in self.plan.sections.iter() {
            let at = format!("section {id} (@{})", decl.weight);
            for what in section_errors(decl) {
                self.error(&at, what);
            }
        }
    }

    fn ropes(&mut self) {
        for (id, decl) in self.plan.ropes.iter() {
            let spec = &decl.spec;
            if spec.dims == 0 || !spec.dims.is_multiple_of(2) {
                self.error(
                    format!("rope {id}"),
                    format!("{} dims do not make pairs", spec.dims),
                );
            }
            if ![spec.base, spec.freq_scale, spec.magnitude]
                .iter()
                .all(|x| x.is_finite())
            {
                self.error(format!("rope {id}"), "a number is not finite");
            }
        }
    }

    fn step(&mut self, number: usize, step: &'p Step) {
        let at = format!("step {number} ({})", step.label);
        let mut uses: Vec<(usize, &Arg, Access)> = Vec::new();
        for (index, call) in step.calls.iter().enumerate() {
            let at = format!("{at}, call {index}");
            if call.cost == 0 {
                self.error(&at, "the cost is 0");
            }
            self.count(&at, "units", call.units);
            for scalar in &call.scalars {
                self.count(&at, "a scalar", *scalar);
            }
            let Some(kernel) = self.plan.kernels.get(call.kernel) else {
                self.error(&at, format!("kernel {} does not exist", call.kernel));
                continue;
            };
            let (args, scalars) = (kernel.bufs.len(), kernel.scalars.len());
            if call.args.len() != args {
                self.error(
                    &at,
                    format!("@{} takes {args} arguments, not {}", kernel.name, call.args.len()),
                );
            }
            if call.scalars.len() != scalars {
                self.error(
                    &at,
                    format!(
                        "@{} takes {scalars} scalars, not {}",
                        kernel.name,
                        call.scalars.len()
                    ),
                );
            }
            for (position, (arg, buf)) in call.args.iter().zip(kernel.bufs.values()).enumerate() {
                let at = format!("{at}, arg {position} (${})", buf.name);
                if self.arg(&at, arg, buf.access) {
                    uses.push((index, arg, buf.access));
                }
            }
        }
        self.conflicts(&at, &uses);
        self.times(&at, number, &uses);
    }

    fn count(&mut self, at: &str, what: &str, count: Count) {
        let bound = count.sym.map_or(1, |sym| u64::from(self.plan.limits.bound(sym)));
        let pieces = count.split.map_or(1, |split| u64::from(split.most));
        let most = count.times.checked_mul(bound).and_then(|n| n.checked_mul(pieces));
        if most.is_none_or(|n| i64::try_from(n).is_err()) {
            let bound = bound.saturating_mul(pieces);
            self.error(at, format!("{what}: {} times {bound} overflows", count.times));
        }
        if count.split.is_some_and(|s| s.of == 0 || s.most == 0) {
            self.error(at, format!("{what}: pieces of no positions, or none at most"));
        }
    }

    /// Checks an argument by itself. Returns whether what it names exists.
    fn arg(&mut self, at: &str, arg: &Arg, access: Access) -> bool {
        let plan = self.plan;
        let missing = match *arg {
            Arg::Buffer(b) => plan.buffers.get(b).is_none().then(|| format!("buffer {b}")),
            Arg::Section(s) => plan.sections.get(s).is_none().then(|| format!("section {s}")),
            Arg::Rope(r) => plan.ropes.get(r).is_none().then(|| format!("rope {r}")),
            Arg::Input(_) => None,
            Arg::Hidden => plan
                .takes
                .is_none()
                .then(|| "the input of hidden states".to_owned()),
            Arg::Kv(part, layer) => match plan.kv_layers.get(layer as usize) {
                None => Some(format!("KV layer {layer}")),
                Some(
                    layer_decl @ &KvLayer {
                        kv_heads, head_dim, ..
                    },
                ) => {
                    let bytes = layer_decl.layout(part).block_bytes();
                    if kv_heads == 0 || head_dim == 0 || bytes.is_none() {
                        self.error(at, format!("KV layer {layer} has {kv_heads} heads of {head_dim}"));
                    }
                    None
                }
            },
        };
        if let Some(what) = missing {
            self.error(at, format!("{what} does not exist"));
            return false;
        }
        if access != Access::In && !matches!(arg, Arg::Buffer(_) | Arg::Kv(..)) {
            self.error(at, "only buffers and KV can be written");
        }
        true
    }

    /// What is written is named once in the step.
    fn conflicts(&mut self, at: &str, uses: &[(usize, &Arg, Access)]) {
        let mut counts: HashMap<&Arg, usize> = HashMap::new();
        for (_, arg, _) in uses {
            *counts.entry(arg).or_default() += 1;
        }
        for (call, arg, access) in uses {
            if *access != Access::In && counts[arg] > 1 {
                self.error(
                    at,
                    format!(
                        "call {call} writes {arg}, which the step names {} times",
                        counts[arg]
                    ),
                );
            }
        }
    }

    /// Records lives and checks that what is read was written.
    fn times(&mut self, at: &str, number: usize, uses: &[(usize, &Arg, Access)]) {
        for (call, arg, access) in uses {
            let Arg::Buffer(buffer) = arg else { continue };
            let life = self.lives[buffer.index()];
            let written = life.is_some_and(|l| l.first < number);
            if *access != Access::Out && !written {
                self.error(
                    at,
                    format!("call {call} reads buffer {buffer}, which no step before wrote"),
                );
            }
            let first = life.map_or(number, |l| l.first);
            if *access != Access::In || life.is_some() {
                self.lives[buffer.index()] = Some(Life { first, last: number });
            }
        }
    }

    fn output(&mut self) {
        let plan = self.plan;
        let Some(output) = plan.output else {
            return self.error("output", "the plan has none");
        };
        let Some(decl) = plan.buffers.get(output) else {
            return self.error("output", format!("buffer {output} does not exist"));
        };
        let needed = u128::from(plan.limits.bound(plan.result_rows())) * u128::from(plan.width()) * 4;
        if u128::from(decl.bytes) < needed {
            self.error(
                "output",
                format!("buffer {output} has {} bytes, {needed} are needed", decl.bytes),
            );
        }
        match &mut self.lives[output.index()] {
            Some(life) => life.last = plan.steps.len(),
            None => self.error("output", format!("no step writes buffer {output}")),
        }
    }

    fn overlaps(&mut self) {
        let end = |b: &BufferDecl| b.offset.saturating_add(b.bytes);
        let plan = self.plan;
        let mut live: Vec<(Buffer, &BufferDecl, Life)> = plan
            .buffers
            .iter()
            .filter_map(|(id, decl)| Some((id, decl, self.lives[id.index()]?)))
            .collect();
        live.sort_by_key(|(id, decl, _)| (decl.offset, *id));
        for (i, (a, decl_a, life_a)) in live.iter().enumerate() {
            let near = live[i + 1..]
                .iter()
                .take_while(|(_, decl, _)| decl.offset < end(decl_a));
            for (b, decl_b, life_b) in near {
                let step = life_a.first.max(life_b.first);
                if step <= life_a.last.min(life_b.last) {
                    let (a_name, b_name) = (&decl_a.name, &decl_b.name);
                    let what =
                        format!("shares bytes with buffer {b} ({b_name}) while both live, in step {step}");
                    self.error(format!("buffer {a} ({a_name})"), what);
                }
            }
        }
    }
}

/// The rules that a section breaks.
fn section_errors(decl: &SectionDecl) -> Vec<String> {
    let ty = &decl.ty;
    let dims: Option<Vec<u64>> = ty.dims.iter().map(|d| d.constant()).collect();
    let rows = match (decl.form, dims.as_deref()) {
        (SectionForm::Panels, Some(&[rows, k])) => match PackedLayout::of(ty.dtype, rows, k) {
            Ok(_) => rows,
            Err(e) => return vec![e.to_string()],
        },
        (SectionForm::Vector, Some(&[n])) if n > 0 && quant::is_supported(ty.dtype) => n,
        (form, _) => return vec![format!("{} cannot be of type {ty}", form.keyword())],
    };
    let (heads, pairs) = (u64::from(decl.heads), u64::from(decl.dims));
    let fits = match decl.order {
        RowOrder::Natural => heads == 0 && pairs == 0,
        RowOrder::RopeHalf => {
            heads > 0 && rows.is_multiple_of(heads) && pairs <= rows / heads && pairs.is_multiple_of(2)
        }
    };
    let what = || {
        format!(
            "{rows} rows in order {} over {heads} heads, {pairs} rows of each",
            decl.order.keyword()
        )
    };
    if fits { Vec::new() } else { vec![what()] }
}
