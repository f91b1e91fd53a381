//! `gather-early`: what comes after the last attention is computed for the rows that are wanted, not for all.

use crate::cleanup::cse;
use crate::pipeline::PassError;
use crate::rewrite::{Rewriter, apply};
use lathe_ir::graph::{Epilogue, Graph, Linear, Node, Op, Output, Value};

/// Moves gathers up through row-wise nodes until none moves. Merging equal gathers between rounds makes a value that is
/// read by two of them read by one.
pub fn early(graph: &mut Graph) -> Result<(), PassError> {
    let mut moved = true;
    while moved {
        let before = graph.nodes.len();
        apply(graph, &[rule])?;
        moved = graph.nodes.len() != before;
        cse(graph)?;
    }
    Ok(())
}

/// `gather_rows (f x y …), rows` → `f (gather_rows x), (gather_rows y) …`, where f works row by row without positions and
/// its result is read by this gather alone.
fn rule(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::GatherRows {}) {
        return Ok(false);
    }
    let [value, rows] = r.data(node).operands[..] else {
        return Ok(false);
    };
    let Some(maker) = r.graph.def(value).filter(|_| r.single_use(value)) else {
        return Ok(false);
    };
    let data = r.data(maker).clone();
    let gathered = match &data.op {
        Op::Linear(l) => movable(l),
        Op::RmsNorm { .. } | Op::NormAdd { .. } | Op::Act { .. } | Op::Scale { .. } | Op::Softcap { .. } => {
            true
        }
        Op::Add {} | Op::Mul {} => r.graph.ty(data.operands[0]) == r.graph.ty(data.operands[1]),
        _ => false,
    };
    if !gathered || data.operands.iter().any(|v| r.graph.ty(*v).rank() != 2) {
        return Ok(false);
    }
    let mut inputs = Vec::new();
    for &x in &data.operands {
        let (gather, results) = r.graph.make_node(Op::GatherRows {}, &[], &[x, rows])?;
        r.graph.insert_before(gather, node);
        inputs.push((x, results[0]));
    }
    let map = |v: Value| {
        inputs
            .iter()
            .find(|(old, _)| *old == v)
            .map_or(v, |(_, new)| *new)
    };
    match data.op {
        Op::Linear(mut l) => {
            l.map_values(&mut |v| map(v));
            r.replace_with_linear(node, map(data.operands[0]), *l)?;
        }
        op => {
            let operands: Vec<Value> = data.operands.iter().map(|&v| map(v)).collect();
            r.replace(node, op, &data.weights, &operands)?;
        }
    }
    Ok(true)
}

/// One f32 part without positions and heads.
fn movable(l: &Linear) -> bool {
    let [part] = &l.parts[..] else { return false };
    part.output == Output::F32
        && part
            .epilogue
            .iter()
            .all(|e| !matches!(e, Epilogue::Heads(_) | Epilogue::Rope { .. }))
}
