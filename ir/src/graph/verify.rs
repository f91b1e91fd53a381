//! The rules of a graph. One that keeps them has a meaning: [`super::interp`] and lowering rely on nothing else.
//!
//! 1. **Ids.** Every node in the order, every value and every weight that live nodes, parameters and outputs name is in
//!    its arena. A node stands in the order once.
//! 2. **Definitions.** Parameter `i` is a value defined as parameter `i`; result `i` of a live node is a value defined so.
//!    No dim of a value is the constant 0. Parameters have names; names of values are unique, begin with a letter, and go on with letters, digits, `_`, `.`.
//! 3. **Dominance.** A node reads parameters and results of nodes that stand before it; outputs are parameters or results
//!    of live nodes.
//! 4. **Weights.** Names are unique and not empty. A weight has one or two constant dims, none of them zero, and an element
//!    type of model files whose blocks its rows fill.
//! 5. **Types.** Arity, attributes, types and shapes of each live node are those of [`super::infer`], and so are the
//!    types of its results: among others, f32 is what ops compute in; q8a has rows of whole blocks of 32; parts of a
//!    `linear` name exactly its weights and operands, and keep the order of epilogue steps.
//! 6. **The cache.** There is at most one `kv` parameter. A token is stored to by at most one node (which makes the next
//!    token), and read by no node after that one: reads see the cache as it is when they run. Each half of a layer is
//!    stored once. All nodes that name a layer agree on its width, `kv_heads · head_dim`.

use super::infer::infer;
use super::print::{Names, is_value_name};
use super::{Def, Graph, KvPart, Node, NodeData, Op, Output, Value};
use crate::dtype::DType;
use crate::id::Id;
use crate::types::{Dim, TensorType};
use std::collections::{HashMap, HashSet};

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct VerifyError {
    /// The node (as its results and keyword print), value, weight or list at fault.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// Checks every rule and returns all that are broken, in order of the graph.
///
/// # Errors
/// The list of broken rules, where there are any. It stops after the first group of rules that leaves the rest without
/// meaning.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier {
        graph,
        names: Names::new(graph),
        errors: Vec::new(),
    };
    v.ids();
    v.stop()?;
    v.definitions();
    v.dominance();
    v.weights();
    v.types();
    v.stop()?;
    v.tokens();
    v.layers();
    v.stop()
}

struct Verifier<'g> {
    graph: &'g Graph,
    names: Names,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn error(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.errors.push(VerifyError {
            place: place.into(),
            what: what.into(),
        });
    }

    /// Returns what was found so far, if anything.
    fn stop(&mut self) -> Result<(), Vec<VerifyError>> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(std::mem::take(&mut self.errors))
        }
    }

    /// `%3 = matmul`.
    fn place(&self, node: Node) -> String {
        let data = &self.graph.nodes[node];
        let results: Vec<&str> = data.results.iter().map(|&v| self.names.of(v)).collect();
        format!("{} = {}", results.join(", "), data.op.info().keyword)
    }

    /// Live nodes and their data.
    fn nodes(&self) -> impl Iterator<Item = (Node, &NodeData)> {
        self.graph.order.iter().map(|&n| (n, &self.graph.nodes[n]))
    }

    /// Rule 1.
    fn ids(&mut self) {
        let graph = self.graph;
        let known = |v: &Value| graph.values.get(*v).is_some();
        let mut seen = HashSet::new();
        for &node in &graph.order {
            let Some(data) = graph.nodes.get(node) else {
                self.error(format!("{node:?}"), "there is no such node");
                continue;
            };
            if !seen.insert(node) {
                self.error(format!("{node:?}"), "the node stands in the order twice");
            }
            let (mut op_values, mut op_weights) = (Vec::new(), Vec::new());
            if let Op::Linear(linear) = &data.op {
                (op_values, op_weights) = (linear.values(), linear.weights());
            }
            for &value in data
                .operands
                .iter()
                .chain(&data.results)
                .chain(&op_values)
                .filter(|v| !known(v))
            {
                self.error(format!("{node:?}"), format!("there is no value {value}"));
            }
            for &weight in data
                .weights
                .iter()
                .chain(&op_weights)
                .filter(|w| graph.weights.get(**w).is_none())
            {
                self.error(format!("{node:?}"), format!("there is no weight {weight}"));
            }
        }
        for &value in graph.params.iter().chain(&graph.outputs).filter(|v| !known(v)) {
            self.error("parameters and outputs", format!("there is no value {value}"));
        }
    }

    /// Rule 2.
    fn definitions(&mut self) {
        let graph = self.graph;
        let mut names = HashSet::new();
        for (i, &value) in graph.params.iter().enumerate() {
            let data = &graph.values[value];
            if data.def != Def::Param(i) {
                self.error(
                    self.names.of(value).to_owned(),
                    format!("it is not defined as parameter {i}"),
                );
            }
            self.not_empty(value);
            match &data.name {
                None => self.error(format!("parameter {i}"), "it has no name"),
                Some(name) => self.name(name, &mut names),
            }
        }
        for &node in &graph.order {
            for (i, &value) in graph.nodes[node].results.iter().enumerate() {
                let data = &graph.values[value];
                if data.def != Def::Result(node, i) {
                    self.error(self.place(node), format!("result {i} is not defined as such"));
                }
                self.not_empty(value);
                if let Some(name) = &data.name {
                    self.name(name, &mut names);
                }
            }
        }
    }

    /// A value's constant dims are above zero.
    fn not_empty(&mut self, value: Value) {
        let ty = self.graph.ty(value);
        if ty.dims.contains(&Dim::Const(0)) {
            self.error(
                self.names.of(value).to_owned(),
                format!("its type {ty} has a dim of 0"),
            );
        }
    }

    /// A value's name is well-formed and new.
    fn name<'n>(&mut self, name: &'n str, names: &mut HashSet<&'n str>) {
        if !is_value_name(name) {
            self.error(
                format!("%{name}"),
                "a name begins with a letter and has letters, digits, `_` and `.`",
            );
        }
        if !names.insert(name) {
            self.error(format!("%{name}"), "two values have this name");
        }
    }

    /// Rule 3.
    fn dominance(&mut self) {
        let graph = self.graph;
        let mut made = vec![false; graph.values.len()];
        graph.params.iter().for_each(|v| made[v.index()] = true);
        for &node in &graph.order {
            let data = &graph.nodes[node];
            for &value in data.operands.iter().filter(|v| !made[v.index()]) {
                let what = match self.names.of(value) {
                    "%?" => format!("it reads value {value:?}, which no live node makes"),
                    name => format!("it reads {name}, which is not made before"),
                };
                self.error(self.place(node), what);
            }
            data.results.iter().for_each(|v| made[v.index()] = true);
        }
        for &value in graph.outputs.iter().filter(|v| !made[v.index()]) {
            self.error("return", format!("value {value:?} is made by no live node"));
        }
    }

    /// Rule 4.
    fn weights(&mut self) {
        let mut names = HashSet::new();
        for (id, decl) in self.graph.weights.iter() {
            let place = format!("weight @{}", decl.name);
            if decl.name.is_empty() {
                self.error(format!("weight {id:?}"), "it has no name");
            } else if !names.insert(&decl.name) {
                self.error(place.clone(), "two weights have this name");
            }
            let ty = &decl.ty;
            if !(1..=2).contains(&ty.rank()) || ty.elements().is_none_or(|n| n == 0) {
                self.error(
                    place,
                    format!("its type {ty} does not have one or two constant dims above zero"),
                );
            } else if ty.columns().and_then(|k| ty.dtype.row_bytes(k)).is_none() {
                self.error(
                    place,
                    format!("rows of type {ty} are not made of whole blocks of a type of model files"),
                );
            }
        }
    }

    /// Rule 5.
    fn types(&mut self) {
        let graph = self.graph;
        for &node in &graph.order {
            let data = &graph.nodes[node];
            let made: Vec<_> = data.results.iter().map(|&v| graph.ty(v).clone()).collect();
            match infer(graph, &data.op, &data.weights, &data.operands) {
                Err(error) => self.error(self.place(node), error.what),
                Ok(types) if types != made => {
                    let text = |types: &[TensorType]| {
                        types
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(", ")
                    };
                    let what = format!(
                        "its type is {}, but it is declared as {}",
                        text(&types),
                        text(&made)
                    );
                    self.error(self.place(node), what);
                }
                Ok(_) => {}
            }
        }
    }

    /// Rule 6: tokens.
    fn tokens(&mut self) {
        let graph = self.graph;
        let is_token = |v: &&Value| graph.ty(**v).dtype == DType::Kv;
        if graph.params.iter().filter(is_token).count() > 1 {
            self.error("parameters", "there is more than one kv parameter");
        }
        let mut stored: HashMap<Value, Node> = HashMap::new();
        for &node in &graph.order {
            let data = &graph.nodes[node];
            for &token in data.operands.iter().filter(is_token) {
                if let Some(&first) = stored.get(&token) {
                    let (name, first) = (self.names.of(token), self.place(first));
                    self.error(
                        self.place(node),
                        format!("it reads the token {name} after `{first}` has stored to it"),
                    );
                } else if stores(&data.op) {
                    stored.insert(token, node);
                }
            }
        }
    }

    /// Rule 6: layers.
    fn layers(&mut self) {
        let mut widths: HashMap<u32, (u64, Node)> = HashMap::new();
        let mut halves = HashSet::new();
        let mut errors = Vec::new();
        for (node, data) in self.nodes() {
            for (layer, half, width) in self.cache_uses(data) {
                let &mut (first, by) = widths.entry(layer).or_insert((width, node));
                if first != width {
                    let by = self.place(by);
                    errors.push((
                        node,
                        format!("layer {layer} is {width} elements wide here, but {first} for `{by}`"),
                    ));
                }
                if half.is_some_and(|half| !halves.insert((layer, half))) {
                    errors.push((node, format!("layer {layer} is stored to twice")));
                }
            }
        }
        for (node, what) in errors {
            self.error(self.place(node), what);
        }
    }

    /// Layers that a node names: which half it stores, if any, and how many elements a position has.
    fn cache_uses(&self, data: &NodeData) -> Vec<(u32, Option<KvPart>, u64)> {
        let graph = self.graph;
        let head = |i: usize| graph.ty(data.operands[i]).columns().unwrap_or(0);
        match &data.op {
            Op::KvAppend { layer } => {
                let heads = graph.ty(data.operands[1]).dims[1].constant().unwrap_or(0);
                [KvPart::K, KvPart::V]
                    .map(|half| (*layer, Some(half), heads.saturating_mul(head(1))))
                    .to_vec()
            }
            Op::AttnScores { layer, kv_heads } | Op::AttentionPaged { layer, kv_heads, .. } => {
                vec![(*layer, None, u64::from(*kv_heads).saturating_mul(head(0)))]
            }
            Op::AttnMix {
                layer,
                kv_heads,
                head_dim,
            } => {
                vec![(*layer, None, u64::from(*kv_heads) * u64::from(*head_dim))]
            }
            Op::Linear(linear) => {
                let stores = linear.parts.iter().filter_map(|part| match part.output {
                    Output::Kv {
                        part: half, layer, ..
                    } => {
                        let n = graph.weights[part.weight].ty.dims[0].constant().unwrap_or(0);
                        Some((layer, Some(half), n))
                    }
                    _ => None,
                });
                stores.collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether an op stores to the cache, and so makes the next token.
fn stores(op: &Op) -> bool {
    match op {
        Op::KvAppend { .. } => true,
        Op::Linear(linear) => linear.stores_kv(),
        _ => false,
    }
}
