//! The memory map of a plan: when which bytes of the arena are in use, the KV cache, and the packed weights.

use lathe_ir::graph::KvPart;
use lathe_ir::layout::PackedLayout;
use lathe_ir::plan::{Arg, Plan, SectionDecl, SectionForm};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Columns of the chart of the arena, at most.
const COLUMNS: usize = 64;

/// A buffer of the arena with the steps in which it is alive, both included.
struct Live<'p> {
    id: String,
    name: &'p str,
    offset: u64,
    bytes: u64,
    first: usize,
    last: usize,
}

/// Sizes in bytes; `None` is a size that does not fit or that the form does not have.
pub struct MemoryMap<'p> {
    plan: &'p Plan,
    buffers: Vec<Live<'p>>,
    kv: Vec<Option<u64>>,
    sections: Vec<Option<u64>>,
}

impl<'p> MemoryMap<'p> {
    /// The map of a plan; buffers are sorted by offset, then by the start of their lives.
    pub fn new(plan: &'p Plan) -> MemoryMap<'p> {
        // A pool of one context, which sequences share.
        let blocks = u64::from(plan.limits.blocks_per_seq());
        let kv = plan.kv_layers.iter();
        MemoryMap {
            plan,
            buffers: lives(plan),
            kv: kv
                .map(|l| total(&[KvPart::K, KvPart::V].map(|part| l.layout(part).part_bytes(blocks))))
                .collect(),
            sections: plan.sections.values().map(section_bytes).collect(),
        }
    }

    /// Bytes of buffers that are alive in a step.
    fn alive(&self, step: usize) -> u64 {
        let alive = self.buffers.iter().filter(|b| (b.first..=b.last).contains(&step));
        alive.map(|b| b.bytes).sum()
    }

    /// The step with the most bytes alive, and those bytes.
    fn peak(&self) -> (usize, u64) {
        let steps = (0..self.plan.steps.len()).map(|s| (s, self.alive(s)));
        steps
            .max_by_key(|&(s, bytes)| (bytes, std::cmp::Reverse(s)))
            .unwrap_or((0, 0))
    }

    fn unshared(&self) -> u64 {
        self.buffers.iter().map(|b| b.bytes).sum()
    }

    /// `{steps, arena_bytes, unshared_bytes, peak: {step, bytes}, buffers: [{id, name, offset, bytes, first, last}],
    /// kv: [{layer, bytes}], kv_bytes, sections: [{weight, type, form, bytes}], section_bytes}`.
    pub fn json(&self) -> Json {
        let buffers = self.buffers.iter().map(|b| {
            json!({"id": b.id, "name": b.name, "offset": b.offset, "bytes": b.bytes, "first": b.first, "last": b.last})
        });
        let kv = self.kv.iter().enumerate();
        let kv = kv.map(|(layer, bytes)| json!({"layer": layer, "bytes": bytes}));
        let sections = self.plan.sections.values().zip(&self.sections).map(|(decl, bytes)| {
            json!({"weight": decl.weight, "type": decl.ty.to_string(), "form": form(decl), "bytes": bytes})
        });
        let (step, bytes) = self.peak();
        json!({
            "steps": self.plan.steps.len(),
            "arena_bytes": self.plan.arena_bytes,
            "unshared_bytes": self.unshared(),
            "peak": {"step": step, "bytes": bytes},
            "buffers": buffers.collect::<Vec<_>>(),
            "kv": kv.collect::<Vec<_>>(),
            "kv_bytes": total(&self.kv),
            "sections": sections.collect::<Vec<_>>(),
            "section_bytes": total(&self.sections),
        })
    }

    /// The map for people; in the chart of the arena, time goes to the right.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let (step, peak) = self.peak();
        let _ = writeln!(
            out,
            "arena: {} for {} buffers over {} steps; {peak} bytes in use at most, in step {step}; {} without sharing",
            self.plan.arena_bytes,
            self.buffers.len(),
            self.plan.steps.len(),
            self.unshared()
        );
        let _ = writeln!(out, "  {:>10} {:>10} {:>11}  in use", "offset", "bytes", "steps");
        for b in &self.buffers {
            let steps = format!("{}-{}", b.first, b.last);
            let chart = self.chart(b);
            let _ = writeln!(
                out,
                "  {:>10} {:>10} {steps:>11}  |{chart}| {} {}",
                b.offset, b.bytes, b.id, b.name
            );
        }
        let limits = &self.plan.limits;
        let _ = writeln!(
            out,
            "kv: {} for {} layers of {} positions, which up to {} sequences share",
            size(total(&self.kv)),
            self.kv.len(),
            limits.ctx,
            limits.seqs
        );
        for (layer, bytes) in self.kv.iter().enumerate() {
            let decl = &self.plan.kv_layers[layer];
            let _ = writeln!(
                out,
                "  {:>10}  layer {layer}: {} heads of {}, {}",
                size(*bytes),
                decl.kv_heads,
                decl.head_dim,
                decl.types
            );
        }
        let _ = writeln!(
            out,
            "weights: {} in {} sections",
            size(total(&self.sections)),
            self.sections.len()
        );
        for ((id, decl), bytes) in self.plan.sections.iter().zip(&self.sections) {
            let _ = writeln!(
                out,
                "  {:>10}  {id} @{} {} {}",
                size(*bytes),
                decl.weight.escape_debug(),
                decl.ty,
                form(decl)
            );
        }
        let _ = writeln!(out, "total: {} bytes", size(self.total()));
        out
    }

    fn total(&self) -> Option<u64> {
        total(&self.kv)?
            .checked_add(total(&self.sections)?)?
            .checked_add(self.plan.arena_bytes)
    }

    /// `#` for the columns in whose steps the buffer is alive; a column is one or several steps.
    fn chart(&self, buffer: &Live) -> String {
        let steps = self.plan.steps.len().max(1);
        let wide = steps.div_ceil(COLUMNS);
        let alive = |c: usize| buffer.first < (c + 1) * wide && c * wide <= buffer.last;
        (0..steps.div_ceil(wide))
            .map(|c| if alive(c) { '#' } else { '.' })
            .collect()
    }
}

/// Buffers that a call names, from the first step that does to the last; that of the logits to the end.
fn lives(plan: &Plan) -> Vec<Live<'_>> {
    let steps = |wanted| {
        let names = move |(_, step): &(usize, &lathe_ir::plan::Step)| {
            step.calls.iter().any(|c| c.args.contains(&Arg::Buffer(wanted)))
        };
        plan.steps.iter().enumerate().filter(names).map(|(s, _)| s)
    };
    let end = plan.steps.len().saturating_sub(1);
    let live = |(id, decl): (lathe_ir::plan::Buffer, &'_ lathe_ir::plan::BufferDecl)| {
        let first = steps(id).next()?;
        let last = steps(id).next_back()?;
        Some((
            id,
            first,
            if plan.output == Some(id) { end } else { last },
            decl.offset,
        ))
    };
    let mut found: Vec<_> = plan.buffers.iter().filter_map(live).collect();
    found.sort_by_key(|&(_, first, _, offset)| (offset, first));
    let entry = |(id, first, last, offset): (lathe_ir::plan::Buffer, usize, usize, u64)| Live {
        id: id.to_string(),
        name: &plan.buffers[id].name,
        offset,
        bytes: plan.buffers[id].bytes,
        first,
        last,
    };
    found.into_iter().map(entry).collect()
}

fn section_bytes(decl: &SectionDecl) -> Option<u64> {
    match decl.form {
        SectionForm::Vector => decl.ty.elements()?.checked_mul(4),
        SectionForm::Panels => {
            let rows = decl.ty.dims.first()?.constant()?;
            let layout = PackedLayout::of(decl.ty.dtype, rows, decl.ty.columns()?).ok()?;
            Some(layout.bytes())
        }
    }
}

fn form(decl: &SectionDecl) -> &'static str {
    match decl.form {
        SectionForm::Panels => "panels",
        SectionForm::Vector => "vector",
    }
}

fn total(sizes: &[Option<u64>]) -> Option<u64> {
    sizes.iter().try_fold(0u64, |sum, &n| sum.checked_add(n?))
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_owned(), |n| n.to_string())
}
