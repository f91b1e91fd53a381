//! Cuts a model's graph between two layers, so that each part can be compiled for a device of its own.
//!
//! The cut goes where a single value leads on: the residual stream, `[tokens, width]f32`. Values that need nothing but
//! weights are made in both parts, and parameters belong to both. It is made before the pipeline, which then fuses each
//! part for its device; since no pass works across the residual stream, the parts one after the other do the arithmetic of
//! the whole.

use crate::cleanup::remove_dead;
use lathe_ir::graph::{Def, Graph, Node, Op, Output, Value, ValueData};
use lathe_ir::plan::HIDDEN;
use lathe_ir::types::{Dim, Sym, TensorType};
use lathe_ir::{DType, Id};

/// Why a graph can't be cut.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CutError {
    /// There is no such place between two layers.
    #[error("a model of {layers} layers can't be cut after layer {after}")]
    Layers {
        /// Layers of the first part.
        after: u32,
        /// Layers of the graph.
        layers: u32,
    },
    /// More than the residual stream leads on.
    #[error("the graph can't be cut after layer {after}: no single [tokens, width]f32 leads on from there")]
    Crossing {
        /// Layers of the first part.
        after: u32,
    },
    /// The graph begins with hidden states.
    #[error("the graph is a part of a model already")]
    Part,
}

/// Cuts `graph` after its first `layers` layers: a part that gives the hidden state of every row, and one that takes it as
/// its parameter `%hidden` and numbers its layers from 0.
///
/// # Errors
/// Where no layer is left on either side, or more than the residual stream leads from one to the other.
pub fn cut(graph: &Graph, layers: u32) -> Result<[Graph; 2], CutError> {
    if graph.values.values().any(|v| v.name.as_deref() == Some(HIDDEN)) {
        return Err(CutError::Part);
    }
    let places = || graph.order.iter().map(|&n| layer(&graph.nodes[n].op));
    let all = places().flatten().max().map_or(0, |last| last + 1);
    if layers == 0 || layers >= all {
        return Err(CutError::Layers {
            after: layers,
            layers: all,
        });
    }
    // Before the first node of a layer that is cut off, and after the last of those that stay.
    let end = places().position(|l| l.is_some_and(|l| l >= layers)).unwrap_or(0);
    let mut own = places()
        .enumerate()
        .filter(|(_, l)| l.is_some_and(|l| l < layers));
    let start = own.next_back().map_or(0, |(at, _)| at + 1);
    let found = (start..=end)
        .rev()
        .find_map(|at| crossing(graph, at).map(|value| (at, value)));
    let (at, value) = found.ok_or(CutError::Crossing { after: layers })?;
    Ok([before(graph, at, value), after(graph, at, value, layers)])
}

/// The layer that an op names.
fn layer(op: &Op) -> Option<u32> {
    match op {
        Op::KvAppend { layer }
        | Op::AttnScores { layer, .. }
        | Op::AttnMix { layer, .. }
        | Op::AttentionPaged { layer, .. } => Some(*layer),
        Op::Linear(linear) => linear.parts.iter().find_map(|part| match part.output {
            Output::Kv { layer, .. } => Some(layer),
            _ => None,
        }),
        _ => None,
    }
}

/// Numbers the layers of an op from `by` less.
fn renumber(op: &mut Op, by: u32) {
    match op {
        Op::KvAppend { layer }
        | Op::AttnScores { layer, .. }
        | Op::AttnMix { layer, .. }
        | Op::AttentionPaged { layer, .. } => *layer -= by,
        Op::Linear(linear) => {
            for part in &mut linear.parts {
                if let Output::Kv { layer, .. } = &mut part.output {
                    *layer -= by;
                }
            }
        }
        _ => {}
    }
}

/// Whether a node may stand in both parts: it reads nothing but weights.
fn is_free(graph: &Graph, node: Node) -> bool {
    graph.nodes[node].operands.is_empty()
}

/// The value that alone leads from the nodes before place `at` of the order to those from it on, if it is one of rows.
fn crossing(graph: &Graph, at: usize) -> Option<Value> {
    let (head, tail) = graph.order.split_at(at);
    let mut made = vec![false; graph.values.len()];
    for &node in head.iter().filter(|&&n| !is_free(graph, n)) {
        let results = graph.nodes[node].results.iter();
        for value in results.filter(|v| graph.ty(**v).dtype != DType::Kv) {
            made[value.index()] = true;
        }
    }
    let reads = tail.iter().flat_map(|&n| &graph.nodes[n].operands);
    let mut crossing = reads.chain(&graph.outputs).filter(|v| made[v.index()]);
    let first = *crossing.next()?;
    let rows =
        |ty: &TensorType| ty.dtype == DType::F32 && ty.rank() == 2 && ty.dims[0] == Dim::Sym(Sym::Tokens);
    (crossing.all(|&v| v == first) && rows(graph.ty(first))).then_some(first)
}

/// The nodes before `at`, up to `value`.
fn before(graph: &Graph, at: usize, value: Value) -> Graph {
    let mut part = graph.clone();
    part.order.truncate(at);
    part.outputs = vec![value];
    remove_dead(&mut part);
    part.compact()
}

/// The nodes from `at` on, with a parameter for `value`.
fn after(graph: &Graph, at: usize, value: Value, layers: u32) -> Graph {
    let mut part = graph.clone();
    let tail = part.order.split_off(at);
    let (free, gone): (Vec<_>, Vec<_>) = part.order.drain(..).partition(|&n| is_free(graph, n));
    part.order = [free, tail].concat();
    let hidden = part.values.push(ValueData {
        ty: graph.ty(value).clone(),
        def: Def::Param(part.params.len()),
        name: Some(HIDDEN.to_owned()),
    });
    part.params.push(hidden);
    part.replace_uses(value, hidden);
    // The cache as the step found it: what it holds of other layers is of no matter.
    let is_token = |v: &Value| graph.ty(*v).dtype == DType::Kv;
    if let Some(token) = graph.params.iter().copied().find(is_token) {
        let results = gone.iter().flat_map(|&n| &graph.nodes[n].results).copied();
        results
            .filter(is_token)
            .for_each(|stored| part.replace_uses(stored, token));
    }
    for node in part.order.clone() {
        renumber(&mut part.nodes[node].op, layers);
    }
    remove_dead(&mut part);
    part.compact()
}
