//! The text of a plan, for people and for tests.

use super::{Arg, Call, CudaPlan, Extent, Form, SectionDecl};
use crate::kernels::text::Lines;
use lathe_ir::graph::RowOrder;
use lathe_ir::plan::{Input, RopeDecl};
use lathe_ir::types::Sym;
use std::fmt;

/// The whole plan, without the text of its kernels.
pub fn print(plan: &CudaPlan) -> String {
    let mut text = Lines::new();
    let l = plan.limits;
    text.line(format_args!("cuda plan {:?} {{", plan.name));
    text.line(format_args!(
        "  limits tokens={} outputs={} seqs={} ctx={}",
        l.tokens, l.outputs, l.seqs, l.ctx
    ));
    text.line(format_args!("  vocab {}", plan.vocab));
    if let Some(width) = plan.leaves {
        text.line(format_args!("  leaves {width}"));
    }
    if let Some(width) = plan.embedding {
        text.line(format_args!("  embedding {width}"));
    }
    for (i, kv) in plan.kv_layers.iter().enumerate() {
        text.line(format_args!(
            "  kv {i}: heads={} dim={} k={} v={}",
            kv.kv_heads, kv.head_dim, kv.types.k, kv.types.v
        ));
    }
    if plan.tile_rows > 0 {
        text.line(format_args!("  tiles of {} rows", plan.tile_rows));
    }
    for (id, decl) in plan.sections.iter() {
        text.line(format_args!("  section {id}: {decl}"));
    }
    for (id, decl) in plan.ropes.iter() {
        text.line(format_args!("  rope {id}: {}", rope(decl)));
    }
    text.line(format_args!("  arena {}", plan.arena_bytes));
    for (id, b) in plan.buffers.iter() {
        text.line(format_args!(
            "  buffer {id} {:?}: {} at {}",
            b.name, b.bytes, b.offset
        ));
    }
    if let Some(logits) = plan.logits {
        text.line(format_args!("  logits {logits}"));
    }
    for call in &plan.unpacks {
        text.line(format_args!("  once {}", line(plan, call, Sym::Tokens)));
    }
    let number = |i: usize| format!("launch {i}");
    let largest = plan.largest.iter().map(|launch| ("largest".to_owned(), launch));
    let launches = plan.launches.iter().enumerate().map(|(i, l)| (number(i), l));
    for (what, launch) in launches.chain(largest) {
        text.line(format_args!(
            "  {what} {:?} over {} {{",
            launch.label,
            launch.rows.keyword()
        ));
        for call in &launch.calls {
            text.line(format_args!("    {}", line(plan, call, launch.rows)));
        }
        text.line("  }");
    }
    text.line("}");
    text.finish()
}

fn line(plan: &CudaPlan, call: &Call, rows: Sym) -> String {
    let kernel = &plan.kernels[call.kernel];
    let args: Vec<String> = call.args.iter().map(Arg::to_string).collect();
    let grid: Vec<String> = call.grid.iter().map(|e| extent(*e, rows)).collect();
    let range = match (call.least, call.most) {
        (1, u32::MAX) => String::new(),
        (least, u32::MAX) => format!("{least}..: "),
        (least, most) if least == most => format!("{least}: "),
        (least, most) => format!("{least}..{most}: "),
    };
    let shared = match kernel.dynamic_shared() {
        0 => String::new(),
        bytes => format!(" shared={bytes}"),
    };
    format!(
        "{range}{}({}) grid={} threads={}{shared}",
        kernel.name(),
        args.join(", "),
        grid.join("x"),
        kernel.threads()
    )
}

fn extent(extent: Extent, rows: Sym) -> String {
    match extent {
        Extent::Const(n) => n.to_string(),
        Extent::Rows(1) => rows.keyword().to_owned(),
        Extent::Rows(per) => format!("{}/{per}", rows.keyword()),
        Extent::Segments => "segments".to_owned(),
        Extent::Splits(most) => format!("splits<={most}"),
        Extent::Tiles => "tiles".to_owned(),
    }
}

fn rope(decl: &RopeDecl) -> String {
    let s = &decl.spec;
    let factors = decl
        .factors
        .as_ref()
        .map_or(String::new(), |w| format!(" factors=@{w}"));
    format!(
        "{} dims={} base={:?} freq_scale={:?} magnitude={:?}{factors}",
        s.pairs.keyword(),
        s.dims,
        s.base,
        s.freq_scale,
        s.magnitude
    )
}

impl fmt::Display for SectionDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Matrix => "matrix",
            Form::Panels { paired: false } => "panels",
            Form::Panels { paired: true } => "paired panels",
            Form::Vector => "vector",
        };
        write!(f, "{form} @{} {}", self.weight, self.ty)?;
        match self.order {
            RowOrder::Natural => Ok(()),
            RowOrder::RopeHalf => write!(f, " rope_half(heads={}, dims={})", self.heads, self.dims),
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Buffer(id) => write!(f, "{id}"),
            Arg::Section(id) => write!(f, "{id}"),
            Arg::Angles(id) => write!(f, "{id}"),
            Arg::Kv(part, layer) => write!(f, "kv.{}.{layer}", part.keyword()),
            Arg::Tiles => f.write_str("tiles"),
            Arg::Keys => f.write_str("keys"),
            Arg::Input(input) => {
                let name = Input::ALL.iter().find(|(i, _)| i == input).map_or("", |(_, n)| n);
                write!(f, "in.{name}")
            }
        }
    }
}
