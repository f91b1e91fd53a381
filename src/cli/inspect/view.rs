//! A graph as boxes and edges, for drawing: a box a node, and one for each value that comes from outside.

use lathe_ir::graph::print::{NodeText, nodes, value_names};
use lathe_ir::graph::{Graph, Op, Value};
use lathe_ir::id::Id;
use std::collections::HashMap;

/// Weights that a box names; a node may have many.
const WEIGHTS: usize = 4;

/// What to draw.
pub struct View {
    /// The graph's name.
    pub name: String,
    /// Boxes; each comes after those that it reads.
    pub boxes: Vec<Box>,
    /// From the box that makes a value to a box that reads it, each pair once.
    pub edges: Vec<(usize, usize)>,
}

/// A node, or a value from outside.
pub struct Box {
    /// What stands in it.
    pub lines: Vec<String>,
    /// The layer of a node.
    pub layer: Option<u32>,
    /// What it is.
    pub kind: Kind,
}

/// What a box stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A value from outside.
    Input,
    /// An op.
    Op,
    /// An op that stands for several.
    Fused,
}

impl View {
    /// The whole graph, or one layer of it.
    pub fn new(graph: &Graph, layer: Option<u32>) -> View {
        let mut view = View {
            name: graph.name.clone(),
            boxes: Vec::new(),
            edges: Vec::new(),
        };
        let names = value_names(graph);
        let mut made: HashMap<Value, usize> = HashMap::new();
        let shown = nodes(graph).into_iter();
        for node in shown.filter(|n| layer.is_none() || n.layer == layer) {
            let data = &graph.nodes[node.node];
            let mut sources: Vec<usize> = Vec::new();
            for &value in &data.operands {
                let source = *made
                    .entry(value)
                    .or_insert_with(|| view.input(graph, &names, value));
                if !sources.contains(&source) {
                    sources.push(source);
                }
            }
            let at = view.boxes.len();
            view.edges.extend(sources.into_iter().map(|source| (source, at)));
            made.extend(data.results.iter().map(|&value| (value, at)));
            view.boxes.push(node_box(graph, &names, &node));
        }
        view
    }

    fn input(&mut self, graph: &Graph, names: &[String], value: Value) -> usize {
        self.boxes.push(Box {
            lines: vec![named(graph, names, value)],
            layer: None,
            kind: Kind::Input,
        });
        self.boxes.len() - 1
    }
}

/// A value as the text form has it, with its type.
fn named(graph: &Graph, names: &[String], value: Value) -> String {
    format!("{}: {}", names[value.index()], graph.ty(value))
}

/// The op, its weights or parts, and the values that it makes.
fn node_box(graph: &Graph, names: &[String], node: &NodeText) -> Box {
    let data = &graph.nodes[node.node];
    let mut lines = vec![data.op.info().keyword.to_owned()];
    match &data.op {
        // Each part has a line of its own in the text, between the brackets.
        Op::Linear(linear) => {
            let parts = node.text.lines().skip(1).take(linear.parts.len());
            lines.extend(parts.map(|l| l.trim().trim_end_matches(',').to_owned()));
        }
        _ => {
            let names = data.weights.iter().take(WEIGHTS);
            lines.extend(names.map(|&w| format!("@{}", graph.weights[w].name)));
        }
    }
    lines.extend(data.results.iter().map(|&v| named(graph, names, v)));
    Box {
        lines,
        layer: node.layer,
        kind: kind(&data.op),
    }
}

/// Ops that only passes make are fused.
fn kind(op: &Op) -> Kind {
    match op {
        Op::Linear(_) => Kind::Fused,
        op if op.info().keyword.contains("_quant") || op.info().keyword.contains("paged") => Kind::Fused,
        _ => Kind::Op,
    }
}
