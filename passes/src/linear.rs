//! Fusions around matrix products: decoding, epilogues, KV stores, gates, and launches that share an input.

use crate::pipeline::PassError;
use crate::rewrite::{Rewriter, apply, extended, single};
use lathe_ir::DType;
use lathe_ir::graph::{
    Epilogue, Graph, KvPart, Linear, Node, Op, Output, Part, RopePairs, RopeSpec, RowOrder, Value, Weight,
};

/// `fuse-matmul`.
pub fn fuse_matmul(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[matmul])
}

/// `fuse-epilogue`: bias, heads, head norm, RoPE, activation and soft cap.
pub fn fuse_epilogue(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[bias, pointwise, heads, head_norm, rope])
}

/// `fuse-kv-store`.
pub fn fuse_kv_store(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[kv_store])
}

/// `fuse-glu`.
pub fn fuse_glu(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[glu])
}

/// `fuse-residual`.
pub fn fuse_residual(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[residual])
}

/// `merge-linears`.
pub fn merge_linears(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[merge])
}

/// The weight of a `dequant` in natural order.
fn decoded(r: &Rewriter, value: Value) -> Option<Weight> {
    let node = r.made_by(value, |op| {
        matches!(
            op,
            Op::Dequant {
                order: RowOrder::Natural,
                ..
            }
        )
    })?;
    Some(r.data(node).weights[0])
}

/// `matmul x, (dequant @w)` → `linear x [@w]`, where @w is a matrix whose type has a packed form.
fn matmul(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Matmul {}) {
        return Ok(false);
    }
    let (x, w) = (r.data(node).operands[0], r.data(node).operands[1]);
    let Some(weight) = decoded(r, w) else {
        return Ok(false);
    };
    let dtype = r.graph.weights[weight].ty.dtype;
    if !lathe_ir::quant::is_supported(dtype) {
        return Ok(false);
    }
    r.replace_with_linear(node, x, single(Part::new(weight)))?;
    Ok(true)
}

/// Replaces `node` by the open linear that makes `value`, with one more step.
fn extend(r: &mut Rewriter, node: Node, value: Value, step: Epilogue) -> Result<bool, PassError> {
    let Some((linear, part)) = r.open_linear(value) else {
        return Ok(false);
    };
    let Some(part) = extended(part, step) else {
        return Ok(false);
    };
    let input = r.data(linear).operands[0];
    r.replace_with_linear(node, input, single(part))?;
    Ok(true)
}

/// `add (linear x […]), (dequant @b)` → a bias, where @b is a vector.
fn bias(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Add {}) {
        return Ok(false);
    }
    let (x, b) = (r.data(node).operands[0], r.data(node).operands[1]);
    match decoded(r, b).filter(|&w| r.graph.weights[w].ty.rank() == 1) {
        Some(weight) => extend(r, node, x, Epilogue::Bias(weight)),
        None => Ok(false),
    }
}

/// `act`, `softcap` and `scale` of an open linear.
fn pointwise(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let step = match r.data(node).op {
        Op::Act { func } => Epilogue::Act(func),
        Op::Softcap { cap } => Epilogue::Softcap(cap),
        Op::Scale { by } => Epilogue::Scale(by),
        _ => return Ok(false),
    };
    let x = r.data(node).operands[0];
    extend(r, node, x, step)
}

/// `split_heads` of an open linear.
fn heads(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::SplitHeads { heads } = r.data(node).op else {
        return Ok(false);
    };
    let x = r.data(node).operands[0];
    extend(r, node, x, Epilogue::Heads(heads))
}

/// `rms_norm` of an open linear that is split into heads: each head is normed.
fn head_norm(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::RmsNorm { eps } = r.data(node).op else {
        return Ok(false);
    };
    let (x, weight) = (r.data(node).operands[0], r.data(node).weights[0]);
    match r.open_linear(x) {
        Some((_, part)) if part.heads().is_some() => extend(r, node, x, Epilogue::HeadNorm { weight, eps }),
        _ => Ok(false),
    }
}

/// `rope` of an open linear that is split into heads.
fn rope(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::Rope {
        pairs,
        dims,
        base,
        freq_scale,
        magnitude,
    } = r.data(node).op
    else {
        return Ok(false);
    };
    let (x, pos) = (r.data(node).operands[0], r.data(node).operands[1]);
    let factors = r.data(node).weights.first().copied();
    let spec = RopeSpec {
        pairs,
        dims,
        base,
        freq_scale,
        magnitude,
    };
    match r.open_linear(x) {
        Some((_, part)) if part.heads().is_some() => {
            extend(r, node, x, Epilogue::Rope { pos, spec, factors })
        }
        _ => Ok(false),
    }
}

/// `kv_append kv, (linear x [k]), (linear x [v])` → one linear that stores both, where both are open and split into
/// heads and have the same input.
fn kv_store(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::KvAppend { layer } = r.data(node).op else {
        return Ok(false);
    };
    let [kv, k, v, pos, seq] = r.data(node).operands[..] else {
        return Ok(false);
    };
    let (Some((k_node, k_part)), Some((v_node, v_part))) = (r.open_linear(k), r.open_linear(v)) else {
        return Ok(false);
    };
    let input = r.data(k_node).operands[0];
    if input != r.data(v_node).operands[0] || k_part.heads().is_none() || v_part.heads().is_none() {
        return Ok(false);
    }
    let store = |part: &Part, which| Part {
        output: Output::Kv {
            part: which,
            layer,
            kv,
            pos,
            seq,
        },
        ..part.clone()
    };
    let parts = vec![store(k_part, KvPart::K), store(v_part, KvPart::V)];
    r.replace_with_linear(node, input, Linear { parts })?;
    Ok(true)
}

/// `mul (linear x [gate … act]), (linear x [up])` → one part of two weights, where both are open, have the same input,
/// weights of one type and shape, and no other steps.
fn glu(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Mul {}) {
        return Ok(false);
    }
    let (a, b) = (r.data(node).operands[0], r.data(node).operands[1]);
    let fused = glu_part(r, a, b).or_else(|| glu_part(r, b, a));
    let Some((input, part)) = fused else {
        return Ok(false);
    };
    r.replace_with_linear(node, input, single(part))?;
    Ok(true)
}

fn glu_part(r: &Rewriter, gate: Value, up: Value) -> Option<(Value, Part)> {
    let ((gate_node, gate), (up_node, up)) = (r.open_linear(gate)?, r.open_linear(up)?);
    let [Epilogue::Act(func)] = gate.epilogue[..] else {
        return None;
    };
    let input = r.data(gate_node).operands[0];
    let ty = |w: Weight| &r.graph.weights[w].ty;
    let alike =
        input == r.data(up_node).operands[0] && ty(gate.weight) == ty(up.weight) && up.epilogue.is_empty();
    let part = Part {
        gate_up: Some(up.weight),
        epilogue: vec![Epilogue::Glu(func)],
        ..gate.clone()
    };
    alike.then_some((input, part))
}

/// `add (linear x […]), y` → a residual, where the linear is open and not split into heads, and y has its shape.
fn residual(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Add {}) {
        return Ok(false);
    }
    let (a, b) = (r.data(node).operands[0], r.data(node).operands[1]);
    if r.graph.ty(a) != r.graph.ty(b) || a == b {
        return Ok(false);
    }
    let open = |v: Value| r.open_linear(v).is_some_and(|(_, p)| p.heads().is_none());
    let (product, other) = if open(a) { (a, b) } else { (b, a) };
    if !open(product) {
        return Ok(false);
    }
    extend(r, node, product, Epilogue::Add(other))
}

/// Two linears with the same input → one, at the place of the later, where nothing between reads the earlier one's
/// results and both take their input as int8 or both as f32.
fn merge(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::Linear(later) = &r.data(node).op else {
        return Ok(false);
    };
    let input = r.data(node).operands[0];
    let place = |n: Node| r.graph.order.iter().position(|&o| o == n);
    let here = place(node);
    let coded = |l: &Linear| {
        l.parts
            .iter()
            .all(|p| r.graph.weights[p.weight].ty.dtype.is_block_quantized())
    };
    let float = |l: &Linear| {
        l.parts
            .iter()
            .all(|p| r.graph.weights[p.weight].ty.dtype.is_float())
    };
    let earlier = r.readers(input).into_iter().find_map(|n| match &r.data(n).op {
        Op::Linear(l) if place(n) < here && r.data(n).operands[0] == input && !l.stores_kv() => {
            let alike = coded(l) && coded(later) || float(l) && float(later);
            let results = &r.data(n).results;
            let free = results
                .iter()
                .all(|v| r.readers(*v).into_iter().all(|reader| place(reader) > here));
            (alike && free).then_some((n, l))
        }
        _ => None,
    });
    let Some((earlier, first)) = earlier else {
        return Ok(false);
    };
    let parts: Vec<Part> = first.parts.iter().chain(&later.parts).cloned().collect();
    let old: Vec<Value> = r
        .data(earlier)
        .results
        .iter()
        .chain(&r.data(node).results)
        .copied()
        .collect();
    let (merged, results) = r.graph.make_linear(input, Linear { parts })?;
    r.graph.insert_before(merged, node);
    for (old, new) in old.into_iter().zip(results) {
        r.graph.replace_uses(old, new);
    }
    r.graph.remove(earlier);
    r.graph.remove(node);
    Ok(true)
}

/// `rope-half`: turns RoPE on adjacent pairs into RoPE on halves by reading the rows of the projection in another order.
/// Scores do not change when queries and keys are reordered alike, so all ropes of the graph turn or none does: each must
/// be the last step of a part without head norm, whose result is a query of attention or a stored key.
pub fn rope_half(graph: &mut Graph) -> Result<(), PassError> {
    let Some(turned) = turnable(graph) else {
        return Ok(());
    };
    for node in turned {
        let Op::Linear(l) = &mut graph.nodes[node].op else {
            continue;
        };
        for part in l.parts.iter_mut().filter(|p| rope_of(p).is_some()) {
            part.order = RowOrder::RopeHalf;
            for step in &mut part.epilogue {
                if let Epilogue::Rope { spec, .. } = step {
                    spec.pairs = RopePairs::Half;
                }
            }
        }
    }
    Ok(())
}

/// The rotation of a part.
fn rope_of(part: &Part) -> Option<&RopeSpec> {
    part.epilogue.iter().find_map(|e| match e {
        Epilogue::Rope { spec, .. } => Some(spec),
        _ => None,
    })
}

/// The linears with RoPE, where all RoPE of the graph may turn: every key that is stored and every query of attention
/// comes from such a part, all on adjacent pairs, with equal `dims`.
fn turnable(graph: &Graph) -> Option<Vec<Node>> {
    let (mut turned, mut dims) = (Vec::new(), None);
    for &node in &graph.order {
        let data = &graph.nodes[node];
        match &data.op {
            Op::Rope { .. } | Op::KvAppend { .. } | Op::AttnScores { .. } => return None,
            Op::AttentionPaged { .. } => {
                let maker = graph.def(data.operands[0])?;
                let Op::Linear(l) = &graph.nodes[maker].op else {
                    return None;
                };
                let which = graph.nodes[maker]
                    .results
                    .iter()
                    .position(|v| *v == data.operands[0])?;
                rope_of(l.value_parts().nth(which)?)?;
            }
            Op::Linear(l) => {
                for part in &l.parts {
                    let key = matches!(part.output, Output::Kv { part: KvPart::K, .. });
                    match rope_of(part) {
                        None if key => return None,
                        None => {}
                        Some(spec) => {
                            let same = *dims.get_or_insert(spec.dims) == spec.dims;
                            if spec.pairs != RopePairs::Adjacent || !same || !may_turn(graph, node, part) {
                                return None;
                            }
                        }
                    }
                }
                if l.parts.iter().any(|p| rope_of(p).is_some()) {
                    turned.push(node);
                }
            }
            _ => {}
        }
    }
    Some(turned)
}

fn may_turn(graph: &Graph, node: Node, part: &Part) -> bool {
    let plain = part.order == RowOrder::Natural
        && part
            .epilogue
            .iter()
            .all(|e| matches!(e, Epilogue::Bias(_) | Epilogue::Heads(_) | Epilogue::Rope { .. }));
    let stored = matches!(part.output, Output::Kv { part: KvPart::K, .. });
    let data = &graph.nodes[node];
    let is_query = |value: &Value| {
        !graph.outputs.contains(value)
            && graph
                .order
                .iter()
                .map(|&n| &graph.nodes[n])
                .filter(|n| n.operands.contains(value))
                .all(|n| matches!(n.op, Op::AttentionPaged { .. }) && n.operands[0] == *value)
    };
    plain
        && (stored
            || data
                .results
                .iter()
                .filter(|v| graph.ty(**v).dtype != DType::Kv)
                .all(is_query))
}
