//! The text form of a plan, read back by [`super::parse`]. One declaration or call a line:
//!
//! ```text
//! plan "smollm2" {
//!   limits tokens=64 outputs=1 seqs=1 ctx=2048
//!   vocab 49152
//!   kv 0: heads=3 dim=64 k=f16 v=q8_0
//!   section s0: panels @blk.0.attn_q [576, 576]q4_1 rope_half(heads=9, dims=64)
//!   section s1: vector @blk.0.attn_norm [576]f32
//!   rope r0: half dims=64 base=100000.0 freq_scale=1.0 magnitude=1.0 factors=@rope_freqs
//!   arena 147456
//!   buffer b0 "embed": 147456 at 0
//!   output b0
//!   step 0 "linear @blk.0.attn_q" {
//!     linear.q4_1.576x576(s0, b2, in.positions, kv.k.0) [tokens] units=36 cost=9216
//!   }
//! }
//!
//! kernel @linear.q4_1.576x576 …
//! ```
//!
//! The brackets hold the scalars; a count is a number, a symbol, or `symbol*number`, and each of them may be
//! multiplied by `pieces(of=256, most=8, rows=16)` or `merges(…)`: see [`Split`]. Declarations of a kind are numbered
//! from 0. After the vocabulary, a plan for embeddings has their width: `embedding 576`; then a part of a model has that of
//! the hidden states that it takes, `in.hidden`, and of those that it gives: `takes 576`, `leaves 576`. Calls name kernels
//! as the kernels that follow do, in order of their ids. Names of weights and kernels with
//! other characters than letters, digits and `._-+/` stand in quotes. Floats have the fewest digits that read back.

use super::names::{Quoted, Word};
use super::*;
use std::fmt::{self, Display, Formatter, Write};

/// The text of a plan with its kernels.
pub fn plan(plan: &Plan) -> String {
    plan.to_string()
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} {{", Quoted(&self.name))?;
        let Limits {
            tokens,
            outputs,
            seqs,
            ctx,
        } = self.limits;
        writeln!(
            f,
            "  limits tokens={tokens} outputs={outputs} seqs={seqs} ctx={ctx}"
        )?;
        writeln!(f, "  vocab {}", self.vocab)?;
        if let Some(width) = self.embedding {
            writeln!(f, "  embedding {width}")?;
        }
        if let Some(width) = self.takes {
            writeln!(f, "  takes {width}")?;
        }
        if let Some(width) = self.leaves {
            writeln!(f, "  leaves {width}")?;
        }
        for (
            layer,
            KvLayer {
                kv_heads,
                head_dim,
                types: KvTypes { k, v },
                window,
            },
        ) in self.kv_layers.iter().enumerate()
        {
            write!(f, "  kv {layer}: heads={kv_heads} dim={head_dim} k={k} v={v}")?;
            if *window > 0 {
                write!(f, " window={window}")?;
            }
            writeln!(f)?;
        }
        for (id, decl) in self.sections.iter() {
            writeln!(f, "  section {id}: {decl}")?;
        }
        for (id, decl) in self.ropes.iter() {
            writeln!(f, "  rope {id}: {decl}")?;
        }
        writeln!(f, "  arena {}", self.arena_bytes)?;
        for (id, BufferDecl { name, offset, bytes }) in self.buffers.iter() {
            writeln!(f, "  buffer {id} {}: {bytes} at {offset}", Quoted(name))?;
        }
        if let Some(output) = self.output {
            writeln!(f, "  output {output}")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  step {number} {} {{", Quoted(&step.label))?;
            for call in &step.calls {
                self.write_call(f, call)?;
            }
            writeln!(f, "  }}")?;
        }
        writeln!(f, "}}")?;
        for kernel in self.kernels.values() {
            let text = kernel.to_string();
            write!(f, "\n{}\n", text.trim_end_matches('\n'))?;
        }
        Ok(())
    }
}

impl Plan {
    fn write_call(&self, f: &mut Formatter<'_>, call: &Call) -> fmt::Result {
        // A plan that was not verified may name a kernel that does not exist: its id is printed, and does not parse.
        match self.kernels.get(call.kernel) {
            Some(kernel) => write!(f, "    {}(", Word(&kernel.name))?,
            None => write!(f, "    <{}>(", call.kernel)?,
        }
        for (i, a) in call.args.iter().enumerate() {
            write!(f, "{}{a}", if i > 0 { ", " } else { "" })?;
        }
        f.write_char(')')?;
        if !call.scalars.is_empty() {
            let scalars: Vec<String> = call.scalars.iter().map(Count::to_string).collect();
            write!(f, " [{}]", scalars.join(", "))?;
        }
        writeln!(f, " units={} cost={}", call.units, call.cost)
    }
}
