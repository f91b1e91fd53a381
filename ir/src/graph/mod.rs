//! The tensor graph: typed SSA values made by nodes, in one straight-line order.
//!
//! A [`Graph`] is data: nodes, values and weights in arenas, an order, outputs. The frontend builds it with
//! [`builder::GraphBuilder`], passes rewrite it ([`edit`]), the text form is [`print`](mod@print) and [`parse`], the rules are
//! the header of [`verify`], and [`interp`] says what every op means.

pub mod builder;
pub mod edit;
pub mod infer;
pub mod interp;
pub mod linear;
pub mod op;
pub mod parse;
pub mod print;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod verify;

pub use builder::GraphBuilder;
pub use linear::{Epilogue, Linear, Output, Part};
pub use op::{Activation, KvPart, Op, OpInfo, RopePairs, RopeSpec, RowOrder};

use crate::id::{Arena, define_id};
use crate::types::TensorType;

define_id!(
    /// A node of a graph.
    Node, "n"
);
define_id!(
    /// An SSA value: a parameter of the graph or a result of a node.
    Value, "%"
);
define_id!(
    /// A weight that a graph names.
    Weight, "@"
);

/// A whole model step: from the tokens of a ragged batch to logits.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// The model's name, as printed after `graph @`.
    pub name: String,
    /// Parameters, in order; each has [`Def::Param`].
    pub params: Vec<Value>,
    /// The named constants.
    pub weights: Arena<Weight, WeightDecl>,
    /// Every node ever made; only those in `order` are alive.
    pub nodes: Arena<Node, NodeData>,
    /// Every value ever made.
    pub values: Arena<Value, ValueData>,
    /// Live nodes; operands come before their uses.
    pub order: Vec<Node>,
    /// The results of the graph.
    pub outputs: Vec<Value>,
}

/// A named constant tensor of the model file.
#[derive(Clone, PartialEq, Debug)]
pub struct WeightDecl {
    /// The tensor's name in the model file, without a trailing `.weight`; printed after `@`.
    pub name: String,
    /// Type as stored: `[rows, columns]` with the row contiguous, or `[columns]`.
    pub ty: TensorType,
}

/// An application of an op.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeData {
    /// What it does, with its attributes.
    pub op: Op,
    /// Weights it reads, in the order of the op table.
    pub weights: Vec<Weight>,
    /// Values it reads, in the order of the op table.
    pub operands: Vec<Value>,
    /// Values it makes.
    pub results: Vec<Value>,
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueData {
    /// Its type.
    pub ty: TensorType,
    /// What makes it.
    pub def: Def,
    /// A name for printing; parameters have one.
    pub name: Option<String>,
}

/// What makes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// The parameter with this index.
    Param(usize),
    /// This result of this node.
    Result(Node, usize),
}

impl Graph {
    /// The node that makes `value`, or `None` for a parameter.
    pub fn def(&self, value: Value) -> Option<Node> {
        match self.values[value].def {
            Def::Param(_) => None,
            Def::Result(node, _) => Some(node),
        }
    }

    /// Rows of the table that token ids choose from; `None` where the graph embeds no tokens.
    pub fn tokens(&self) -> Option<u32> {
        let mut nodes = self.order.iter().map(|&node| &self.nodes[node]);
        let embed = nodes.find(|node| matches!(node.op, Op::Embed {}))?;
        let rows = self.weights[embed.weights[0]].ty.dims.first()?.constant()?;
        u32::try_from(rows).ok()
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value].ty
    }

    /// How often each value is read by live nodes and outputs, indexed by value.
    pub fn use_counts(&self) -> Vec<u32> {
        use crate::id::Id;
        let mut counts = vec![0; self.values.len()];
        let reads = self.order.iter().flat_map(|&n| &self.nodes[n].operands);
        for value in reads.chain(&self.outputs) {
            counts[value.index()] += 1;
        }
        counts
    }
}
