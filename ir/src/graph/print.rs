//! The text form of graphs, which [`super::parse`] reads.
//!
//! ```text
//! graph @tiny (%tok: [tokens]i32, %pos: [tokens]i32) {
//!   weight @token_embd : [96, 64]q8_0
//!   weight @blk.0.attn_norm : [64]f32
//!   %0 = embed @token_embd, %tok : [tokens, 64]f32
//!   ; layer 0
//!   %1 = rms_norm @blk.0.attn_norm, %0 {eps = 1e-5} : [tokens, 64]f32
//!   return %1
//! }
//! ```
//!
//! One node a line: results, keyword, weights, operands, attributes, types. `linear` has its parts on lines of their
//! own. Results are numbered in order, so that the text depends on the live graph alone; weights that no live node reads
//! are left out. The result is that `parse(print(g)) == g.compact()`. The comment `; layer N` stands before the first
//! node that reads a weight of block N.

use super::{Epilogue, Graph, Linear, Node, Op, Output, Part, RopeSpec, RowOrder, Value, Weight};
use crate::id::Id;
use std::fmt::{self, Write};

/// The text of a graph. A graph that does not verify prints too; values that nothing live makes print as `%?`.
pub fn print(graph: &Graph) -> String {
    let mut printer = Printer {
        graph,
        names: Names::new(graph),
        out: String::new(),
    };
    printer.graph().expect("writing to a string does not fail");
    printer.out
}

/// The names that values have in the text, with their `%`, indexed by value; `%?` for those that nothing live makes.
pub fn value_names(graph: &Graph) -> Vec<String> {
    let names = Names::new(graph);
    graph.values.ids().map(|v| names.of(v).to_owned()).collect()
}

/// A live node as it stands in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeText {
    /// The node.
    pub node: Node,
    /// The layer under whose comment it stands.
    pub layer: Option<u32>,
    /// Its text, without indentation of the first line and without a line end.
    pub text: String,
}

/// The live nodes in order, each with its layer and its text.
pub fn nodes(graph: &Graph) -> Vec<NodeText> {
    let mut printer = Printer {
        graph,
        names: Names::new(graph),
        out: String::new(),
    };
    let mut layer = None;
    let mut text = |&node: &Node| {
        layer = printer.layer(node, layer);
        printer.out.clear();
        printer.node(node).expect("writing to a string does not fail");
        NodeText {
            node,
            layer,
            text: printer.out.trim().to_owned(),
        }
    };
    graph.order.iter().map(&mut text).collect()
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

/// The names that values have in the text.
pub(super) struct Names(Vec<Option<String>>);

impl Names {
    /// Names parameters and the results of live nodes.
    pub(super) fn new(graph: &Graph) -> Names {
        let mut names = vec![None; graph.values.len()];
        for &value in &graph.params {
            let name = graph.values.get(value).and_then(|v| v.name.as_deref());
            if let Some(entry) = names.get_mut(value.index()) {
                *entry = Some(format!("%{}", name.unwrap_or("?")));
            }
        }
        let nodes = graph.order.iter().filter_map(|&n| graph.nodes.get(n));
        for (number, &value) in nodes.flat_map(|n| &n.results).enumerate() {
            if let (Some(entry), Some(data)) = (names.get_mut(value.index()), graph.values.get(value)) {
                *entry = Some(match &data.name {
                    Some(name) => format!("%{name}"),
                    None => format!("%{number}"),
                });
            }
        }
        Names(names)
    }

    /// The name of a value, with its `%`.
    pub(super) fn of(&self, value: Value) -> &str {
        self.0
            .get(value.index())
            .and_then(|n| n.as_deref())
            .unwrap_or("%?")
    }
}

/// Whether a value may have this name: a letter or `_`, then letters, digits, `_` and `.`.
pub(super) fn is_value_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '.')
}

/// Whether a weight or graph name stands in the text as it is, without quotes.
fn is_bare(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !name.is_empty() && name.chars().all(plain) && !name.ends_with('-')
}

/// A name after its `@`, quoted where it must be.
struct AtName<'a>(&'a str);

impl fmt::Display for AtName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_bare(self.0) {
            return write!(f, "@{}", self.0);
        }
        f.write_str("@\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_str("\"")
    }
}

/// The block of a weight `blk.N.…`.
fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

struct Printer<'a> {
    graph: &'a Graph,
    names: Names,
    out: String,
}

impl Printer<'_> {
    fn graph(&mut self) -> fmt::Result {
        let graph = self.graph;
        write!(self.out, "graph {} (", AtName(&graph.name))?;
        for (i, &param) in graph.params.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(self.out, "{comma}{}: {}", self.names.of(param), graph.ty(param))?;
        }
        writeln!(self.out, ") {{")?;
        let live = graph.live_weights();
        for (_, decl) in graph.weights.iter().filter(|(id, _)| live[id.index()]) {
            writeln!(self.out, "  weight {} : {}", AtName(&decl.name), decl.ty)?;
        }
        let mut layer = None;
        for &node in &graph.order {
            self.layer_comment(node, &mut layer)?;
            self.node(node)?;
        }
        self.out.push_str("  return");
        self.list(
            graph
                .outputs
                .iter()
                .map(|&v| self.names.of(v).to_owned())
                .collect(),
        )?;
        self.out.push_str("\n}\n");
        Ok(())
    }

    /// The layer that a node stands in: that of its weights, where it is a later one than those before.
    fn layer(&self, node: Node, last: Option<u32>) -> Option<u32> {
        let weights = &self.graph.nodes[node].weights;
        let layers = weights
            .iter()
            .filter_map(|&w| layer_of(&self.graph.weights[w].name));
        layers.chain(last).max()
    }

    /// Announces the layer of a node where it is not that of the node before.
    fn layer_comment(&mut self, node: Node, last: &mut Option<u32>) -> fmt::Result {
        let layer = self.layer(node, *last);
        match layer {
            Some(number) if layer != *last => {
                *last = layer;
                writeln!(self.out, "  ; layer {number}")
            }
            _ => Ok(()),
        }
    }

    /// Writes a space and the items with commas between, or nothing where there is none.
    fn list(&mut self, items: Vec<String>) -> fmt::Result {
        match items.is_empty() {
            true => Ok(()),
            false => write!(self.out, " {}", items.join(", ")),
        }
    }

    fn node(&mut self, node: Node) -> fmt::Result {
        let graph = self.graph;
        let data = &graph.nodes[node];
        let results: Vec<&str> = data.results.iter().map(|&v| self.names.of(v)).collect();
        write!(self.out, "  {} = {}", results.join(", "), data.op.info().keyword)?;
        match &data.op {
            Op::Linear(linear) => self.linear(data.operands.first().copied(), linear)?,
            _ => self.plain(node)?,
        }
        let types: Vec<String> = data.results.iter().map(|&v| graph.ty(v).to_string()).collect();
        writeln!(self.out, " : {}", types.join(", "))
    }

    /// Weights, operands and attributes of an op of the table.
    fn plain(&mut self, node: Node) -> fmt::Result {
        let data = &self.graph.nodes[node];
        let weights = data.weights.iter().map(|&w| self.weight(w));
        let operands = data.operands.iter().map(|&v| self.names.of(v).to_owned());
        let items = weights.chain(operands).collect();
        self.list(items)?;
        let attrs: Vec<String> = data
            .op
            .attrs()
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        match attrs.is_empty() {
            true => Ok(()),
            false => write!(self.out, " {{{}}}", attrs.join(", ")),
        }
    }

    fn weight(&self, weight: Weight) -> String {
        AtName(&self.graph.weights[weight].name).to_string()
    }

    fn linear(&mut self, input: Option<Value>, linear: &Linear) -> fmt::Result {
        let input = input.map_or("%?", |v| self.names.of(v)).to_owned();
        write!(self.out, " {input} [")?;
        for (i, part) in linear.parts.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let text = self.part(part);
            write!(self.out, "{comma}\n      {text}")?;
        }
        self.out.push_str("\n    ]");
        Ok(())
    }

    fn part(&self, part: &Part) -> String {
        let mut text = self.weight(part.weight);
        if let Some(second) = part.gate_up {
            text.push_str(" >< ");
            text.push_str(&self.weight(second));
        }
        if part.order != RowOrder::Natural {
            text.push(' ');
            text.push_str(part.order.keyword());
        }
        if !part.epilogue.is_empty() {
            let steps: Vec<String> = part.epilogue.iter().map(|step| self.step(step)).collect();
            text.push_str(&format!(" {{{}}}", steps.join(", ")));
        }
        text.push_str(" -> ");
        match part.output {
            Output::F32 => text.push_str("f32"),
            Output::Q8A => text.push_str("q8a"),
            Output::Kv {
                part,
                layer,
                kv,
                pos,
                seq,
            } => {
                let values = [kv, pos, seq].map(|v| self.names.of(v)).join(", ");
                text.push_str(&format!("kv.{}({layer}, {values})", part.keyword()));
            }
        }
        text
    }

    fn step(&self, step: &Epilogue) -> String {
        match step {
            Epilogue::Bias(w) => format!("bias({})", self.weight(*w)),
            Epilogue::Heads(n) => format!("heads({n})"),
            Epilogue::HeadNorm { weight, eps } => format!("head_norm({}, {eps:?})", self.weight(*weight)),
            Epilogue::Rope { pos, spec, factors } => {
                let RopeSpec {
                    pairs,
                    dims,
                    base,
                    freq_scale,
                    magnitude,
                } = spec;
                let factors = factors.map_or(String::new(), |w| format!(", {}", self.weight(w)));
                let (pos, pairs) = (self.names.of(*pos), pairs.keyword());
                format!("rope({pos}, {pairs}, {dims}, {base:?}, {freq_scale:?}, {magnitude:?}{factors})")
            }
            Epilogue::Scale(by) => format!("scale({by:?})"),
            Epilogue::Glu(func) => format!("glu({})", func.keyword()),
            Epilogue::Act(func) => format!("act({})", func.keyword()),
            Epilogue::Softcap(cap) => format!("softcap({cap:?})"),
            Epilogue::Add(value) => format!("add({})", self.names.of(*value)),
        }
    }
}
