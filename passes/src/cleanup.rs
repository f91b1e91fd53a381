//! Constant folding, common subexpressions, dead code.

use crate::pipeline::PassError;
use crate::rewrite::{Rewriter, Rule, apply};
use lathe_ir::graph::{Graph, Node, Op};
use lathe_ir::id::Id;
use std::collections::HashMap;

/// Folds numbers: products with scalars become `scale`, chains of `scale` one, and `scale` by 1 nothing.
pub fn fold_constants(graph: &mut Graph) -> Result<(), PassError> {
    const RULES: &[Rule] = &[mul_by_scalar, chain_of_scales, scale_by_one];
    apply(graph, RULES)
}

/// `mul x, (scalar c)` → `scale x {c}`.
fn mul_by_scalar(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let data = r.data(node);
    if data.op != (Op::Mul {}) {
        return Ok(false);
    }
    let (x, c) = (data.operands[0], data.operands[1]);
    let Some(scalar) = r.made_by(c, |op| matches!(op, Op::Scalar { .. })) else {
        return Ok(false);
    };
    let Op::Scalar { value } = r.data(scalar).op else {
        return Ok(false);
    };
    r.replace(node, Op::Scale { by: value }, &[], &[x])?;
    Ok(true)
}

/// `scale (scale x {a}) {b}` → `scale x {a·b}`, where the inner one is read once.
fn chain_of_scales(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::Scale { by: outer } = r.data(node).op else {
        return Ok(false);
    };
    let x = r.data(node).operands[0];
    let inner = r
        .made_by(x, |op| matches!(op, Op::Scale { .. }))
        .filter(|_| r.single_use(x));
    let Some(inner) = inner else { return Ok(false) };
    let Op::Scale { by } = r.data(inner).op else {
        return Ok(false);
    };
    let x = r.data(inner).operands[0];
    r.replace(node, Op::Scale { by: by * outer }, &[], &[x])?;
    Ok(true)
}

/// `scale x {1}` → `x`.
fn scale_by_one(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Scale { by: 1.0 }) {
        return Ok(false);
    }
    let (x, y) = (r.data(node).operands[0], r.data(node).results[0]);
    r.graph.replace_uses(y, x);
    r.graph.remove(node);
    Ok(true)
}

/// Merges pure nodes with equal ops, weights and operands into the first of them.
pub fn cse(graph: &mut Graph) -> Result<(), PassError> {
    let mut seen: HashMap<String, Node> = HashMap::new();
    for node in graph.order.clone() {
        let data = &graph.nodes[node];
        if !data.op.info().pure {
            continue;
        }
        let key = format!("{:?} {:?} {:?}", data.op, data.weights, data.operands);
        match seen.get(&key) {
            None => {
                seen.insert(key, node);
            }
            Some(&first) => {
                let (old, new) = (data.results.clone(), graph.nodes[first].results.clone());
                for (old, new) in old.into_iter().zip(new) {
                    graph.replace_uses(old, new);
                }
                graph.remove(node);
            }
        }
    }
    Ok(())
}

/// Removes pure nodes that nobody reads.
pub fn dce(graph: &mut Graph) -> Result<(), PassError> {
    remove_dead(graph);
    Ok(())
}

/// Removes pure nodes that no output depends on, in one walk backwards.
pub fn remove_dead(graph: &mut Graph) {
    let mut read = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|v| read[v.index()] = true);
    let mut kept = Vec::with_capacity(graph.order.len());
    for &node in graph.order.iter().rev() {
        let data = &graph.nodes[node];
        if data.op.info().pure && data.results.iter().all(|v| !read[v.index()]) {
            continue;
        }
        data.operands.iter().for_each(|v| read[v.index()] = true);
        kept.push(node);
    }
    kept.reverse();
    graph.order = kept;
}
