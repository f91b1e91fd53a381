//! `fuse-attention`: scores, scale, cap, mask, softmax and weighted sum become one pass over the paged cache.

use crate::pipeline::PassError;
use crate::rewrite::{Rewriter, apply};
use lathe_ir::graph::{Graph, Node, NodeData, Op, Value};

/// Runs the rule over the graph.
pub fn fuse(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[rule])
}

/// The chain under a `merge_heads`, from the sum up to the scores.
struct Chain {
    q: Value,
    kv: Value,
    pos: Value,
    seq: Value,
    op: Op,
}

/// `merge_heads (attn_mix (softmax (causal_mask [softcap] [scale] attn_scores)))` → `attention.paged`, where every value
/// between is read once, and scores and sum read the same layer, state and sequences.
fn rule(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::MergeHeads {}) {
        return Ok(false);
    }
    let Some(chain) = match_chain(r, r.data(node).operands[0]) else {
        return Ok(false);
    };
    r.replace(node, chain.op, &[], &[chain.q, chain.kv, chain.pos, chain.seq])?;
    Ok(true)
}

/// The maker of a value that is read once.
fn step<'r>(r: &'r Rewriter, value: Value) -> Option<&'r NodeData> {
    let node = r.graph.def(value).filter(|_| r.single_use(value))?;
    Some(r.data(node))
}

fn match_chain(r: &Rewriter, mixed: Value) -> Option<Chain> {
    let mix = step(r, mixed)?;
    let Op::AttnMix { layer, kv_heads, .. } = mix.op else {
        return None;
    };
    let [weights, kv, seq] = mix.operands[..] else {
        return None;
    };
    let softmax = step(r, weights).filter(|n| n.op == Op::Softmax {})?;
    let mask = step(r, softmax.operands[0])?;
    let Op::CausalMask { window } = mask.op else {
        return None;
    };
    let pos = mask.operands[1];
    let mut below = step(r, mask.operands[0])?;
    let (mut cap, mut scale) = (0.0, 1.0);
    if let Op::Softcap { cap: c } = below.op {
        cap = c;
        below = step(r, below.operands[0])?;
    }
    if let Op::Scale { by } = below.op {
        scale = by;
        below = step(r, below.operands[0])?;
    }
    let same_layer = below.op == Op::AttnScores { layer, kv_heads };
    let [q, scores_kv, scores_seq] = below.operands[..] else {
        return None;
    };
    if !same_layer || (scores_kv, scores_seq) != (kv, seq) {
        return None;
    }
    Some(Chain {
        q,
        kv,
        pos,
        seq,
        op: Op::AttentionPaged {
            layer,
            kv_heads,
            scale,
            cap,
            window,
        },
    })
}
