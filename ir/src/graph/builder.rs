//! Builds graphs from the first node to the last, as frontends and tests do. Passes edit: see [`super::edit`].

use super::infer::TypeError;
use super::{Def, Graph, Linear, Op, Value, ValueData, Weight};
use crate::types::TensorType;

/// A graph under construction: nodes are appended in order.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> GraphBuilder {
        GraphBuilder {
            graph: Graph {
                name: name.to_owned(),
                ..Graph::default()
            },
        }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// Declares a parameter.
    pub fn param(&mut self, name: &str, ty: TensorType) -> Value {
        let def = Def::Param(self.graph.params.len());
        let value = self.graph.values.push(ValueData {
            ty,
            def,
            name: Some(name.to_owned()),
        });
        self.graph.params.push(value);
        value
    }

    /// Declares a weight, or finds the one with this name, whose type is kept.
    pub fn weight(&mut self, name: &str, ty: TensorType) -> Weight {
        self.graph.weight(name, ty)
    }

    /// Appends a node.
    ///
    /// # Errors
    /// Where the op can't take these operands.
    pub fn node(&mut self, op: Op, weights: &[Weight], operands: &[Value]) -> Result<Vec<Value>, TypeError> {
        let (node, results) = self.graph.make_node(op, weights, operands)?;
        self.graph.order.push(node);
        Ok(results)
    }

    /// Appends a node with one result.
    ///
    /// # Errors
    /// As [`GraphBuilder::node`].
    pub fn value(&mut self, op: Op, weights: &[Weight], operands: &[Value]) -> Result<Value, TypeError> {
        Ok(self.node(op, weights, operands)?[0])
    }

    /// Appends a `linear` with the operands and weights that its parts name.
    ///
    /// # Errors
    /// As [`GraphBuilder::node`].
    pub fn linear(&mut self, input: Value, linear: Linear) -> Result<Vec<Value>, TypeError> {
        let (node, results) = self.graph.make_linear(input, linear)?;
        self.graph.order.push(node);
        Ok(results)
    }

    /// Closes the graph with its outputs.
    pub fn finish(mut self, outputs: &[Value]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }
}
