//! Int8 activations: where they are made, and what makes them.

use crate::pipeline::PassError;
use crate::rewrite::{Rewriter, apply, single};
use lathe_ir::DType;
use lathe_ir::graph::{Graph, Node, Op, Output, Part};

/// `quantize-activations`.
pub fn activations(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[input])
}

/// `fuse-norm-quant`.
pub fn fuse_norm(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[norm])
}

/// `fuse-quantize-output`.
pub fn fuse_output(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[output])
}

/// `fuse-norm-add`.
pub fn fuse_norm_add(graph: &mut Graph) -> Result<(), PassError> {
    apply(graph, &[norm_add])
}

/// `linear x` over block-quantized weights → `linear (quantize x)`.
fn input(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    let Op::Linear(linear) = &r.data(node).op else {
        return Ok(false);
    };
    let x = r.data(node).operands[0];
    let coded = linear
        .parts
        .iter()
        .all(|p| r.graph.weights[p.weight].ty.dtype.is_block_quantized());
    if !coded || r.graph.ty(x).dtype != DType::F32 {
        return Ok(false);
    }
    let linear = (**linear).clone();
    let (quantize, results) = r.graph.make_node(Op::Quantize {}, &[], &[x])?;
    r.graph.insert_before(quantize, node);
    r.replace_with_linear(node, results[0], linear)?;
    Ok(true)
}

/// `quantize (rms_norm @w, x)` → `norm_quant @w, x`, where nothing else reads the normed rows.
fn norm(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Quantize {}) {
        return Ok(false);
    }
    let x = r.data(node).operands[0];
    let made = r
        .made_by(x, |op| matches!(op, Op::RmsNorm { .. }))
        .filter(|_| r.single_use(x));
    let Some(made) = made else { return Ok(false) };
    let Op::RmsNorm { eps } = r.data(made).op else {
        return Ok(false);
    };
    let (weights, operands) = (r.data(made).weights.clone(), r.data(made).operands.clone());
    r.replace(node, Op::NormQuant { eps }, &weights, &operands)?;
    Ok(true)
}

/// `quantize (linear x [… → f32])` → `linear x [… → q8a]`, where the linear is open and not split into heads.
fn output(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Quantize {}) {
        return Ok(false);
    }
    let x = r.data(node).operands[0];
    let Some((linear, part)) = r.open_linear(x).filter(|(_, p)| p.heads().is_none()) else {
        return Ok(false);
    };
    let part = Part {
        output: Output::Q8A,
        ..part.clone()
    };
    let input = r.data(linear).operands[0];
    r.replace_with_linear(node, input, single(part))?;
    Ok(true)
}

/// `add (rms_norm @w, x), y` → `norm_add @w, x, y`, where nothing else reads the normed rows and shapes are equal.
fn norm_add(r: &mut Rewriter, node: Node) -> Result<bool, PassError> {
    if r.data(node).op != (Op::Add {}) {
        return Ok(false);
    }
    let (a, b) = (r.data(node).operands[0], r.data(node).operands[1]);
    if r.graph.ty(a) != r.graph.ty(b) || r.graph.ty(a).rank() != 2 {
        return Ok(false);
    }
    let norm = |v| {
        r.made_by(v, |op| matches!(op, Op::RmsNorm { .. }))
            .filter(|_| r.single_use(v))
    };
    let (made, other) = match (norm(a), norm(b)) {
        (Some(made), _) => (made, b),
        (None, Some(made)) => (made, a),
        (None, None) => return Ok(false),
    };
    let Op::RmsNorm { eps } = r.data(made).op else {
        return Ok(false);
    };
    let (weights, x) = (r.data(made).weights.clone(), r.data(made).operands[0]);
    r.replace(node, Op::NormAdd { eps }, &weights, &[x, other])?;
    Ok(true)
}
