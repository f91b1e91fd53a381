//! Edits that passes make: new nodes, their place in the order, uses, and a dense copy without the dead.
//!
//! An edit keeps operands, weights and the parts of a `linear` consistent with each other; whether the order still
//! holds is for [`super::verify`] to say.

use super::infer::{TypeError, infer};
use super::{Def, Graph, Linear, Node, NodeData, Op, Value, ValueData, Weight, WeightDecl};
use crate::id::{Arena, Id};
use crate::types::TensorType;

impl Graph {
    /// The weight with this name, declared if it is new; the type of a known one is kept.
    pub fn weight(&mut self, name: &str, ty: TensorType) -> Weight {
        let known = self
            .weights
            .iter()
            .find(|(_, w)| w.name == name)
            .map(|(id, _)| id);
        known.unwrap_or_else(|| {
            self.weights.push(WeightDecl {
                name: name.to_owned(),
                ty,
            })
        })
    }

    /// Makes a node and its results. It is in no order yet, so not alive.
    ///
    /// # Errors
    /// Where the op can't take these weights and operands.
    pub fn make_node(
        &mut self,
        op: Op,
        weights: &[Weight],
        operands: &[Value],
    ) -> Result<(Node, Vec<Value>), TypeError> {
        let types = infer(self, &op, weights, operands)?;
        Ok(self.push_node(op, weights.to_vec(), operands.to_vec(), types))
    }

    /// Makes a `linear` with the operands and weights that its parts name; it is in no order yet.
    ///
    /// # Errors
    /// As [`Graph::make_node`].
    pub fn make_linear(&mut self, input: Value, linear: Linear) -> Result<(Node, Vec<Value>), TypeError> {
        let weights = linear.weights();
        let operands: Vec<Value> = std::iter::once(input).chain(linear.values()).collect();
        self.make_node(Op::Linear(Box::new(linear)), &weights, &operands)
    }

    /// Makes a node whose results have these types, whether they fit or not.
    pub(super) fn push_node(
        &mut self,
        op: Op,
        weights: Vec<Weight>,
        operands: Vec<Value>,
        types: Vec<TensorType>,
    ) -> (Node, Vec<Value>) {
        let node = self.nodes.next_id();
        let value = |(i, ty)| ValueData {
            ty,
            def: Def::Result(node, i),
            name: None,
        };
        let results: Vec<Value> = types
            .into_iter()
            .enumerate()
            .map(|result| self.values.push(value(result)))
            .collect();
        self.nodes.push(NodeData {
            op,
            weights,
            operands,
            results: results.clone(),
        });
        (node, results)
    }

    /// Reads `new` wherever live nodes and outputs read `old`.
    pub fn replace_uses(&mut self, old: Value, new: Value) {
        let swap = |v: Value| if v == old { new } else { v };
        for &node in &self.order {
            let node = &mut self.nodes[node];
            if !node.operands.contains(&old) {
                continue;
            }
            match &mut node.op {
                // Values that parts name are operands once each, so that two that become one must be one operand.
                Op::Linear(linear) => {
                    linear.map_values(&mut |v| swap(v));
                    let input = swap(node.operands[0]);
                    node.operands = std::iter::once(input).chain(linear.values()).collect();
                }
                _ => node.operands.iter_mut().for_each(|v| *v = swap(*v)),
            }
        }
        self.outputs.iter_mut().for_each(|v| *v = swap(*v));
    }

    /// Puts a node into the order just before the live node `at`, or at the end where `at` is not alive.
    pub fn insert_before(&mut self, new: Node, at: Node) {
        let i = self
            .order
            .iter()
            .position(|&n| n == at)
            .unwrap_or(self.order.len());
        self.order.insert(i, new);
    }

    /// Puts a node into the order just after the live node `at`, or at the end where `at` is not alive.
    pub fn insert_after(&mut self, new: Node, at: Node) {
        let i = self
            .order
            .iter()
            .position(|&n| n == at)
            .map_or(self.order.len(), |i| i + 1);
        self.order.insert(i, new);
    }

    /// Takes a node out of the order; its results must have no uses left.
    pub fn remove(&mut self, node: Node) {
        self.order.retain(|&n| n != node);
    }

    /// Live nodes that read `value`, in order.
    pub fn users(&self, value: Value) -> Vec<Node> {
        self.order
            .iter()
            .copied()
            .filter(|&n| self.nodes[n].operands.contains(&value))
            .collect()
    }

    /// The place of every live node in the order, indexed by node; `usize::MAX` for the others.
    pub fn positions(&self) -> Vec<usize> {
        let mut at = vec![usize::MAX; self.nodes.len()];
        for (i, n) in self.order.iter().enumerate() {
            at[n.index()] = i;
        }
        at
    }

    /// The same graph with nothing dead: values are the parameters, then the results of live nodes in order; weights
    /// are those that live nodes read, as they were ordered.
    ///
    /// # Panics
    /// Where a live node or an output reads a value that no live node has made before; [`super::verify`] finds those.
    pub fn compact(&self) -> Graph {
        let mut out = Graph {
            name: self.name.clone(),
            ..Graph::default()
        };
        let weights = self.compact_weights(&mut out.weights);
        let mut values = vec![None; self.values.len()];
        for (i, &param) in self.params.iter().enumerate() {
            let value = out.values.push(ValueData {
                def: Def::Param(i),
                ..self.values[param].clone()
            });
            values[param.index()] = Some(value);
            out.params.push(value);
        }
        for &id in &self.order {
            let NodeData {
                op,
                weights: w,
                operands,
                results,
            } = &self.nodes[id];
            let map = |v: Value| values[v.index()].expect("values are made before they are read");
            let mut op = op.clone();
            if let Op::Linear(linear) = &mut op {
                linear.map_values(&mut |v| map(v));
                linear.map_weights(&mut |w| weights[w.index()].expect("its node reads it"));
            }
            let w = w.iter().filter_map(|w| weights[w.index()]).collect();
            let operands = operands.iter().map(|&v| map(v)).collect();
            let types = results.iter().map(|&v| self.ty(v).clone()).collect();
            let (node, made) = out.push_node(op, w, operands, types);
            for (&old, new) in results.iter().zip(made) {
                out.values[new].name = self.values[old].name.clone();
                values[old.index()] = Some(new);
            }
            out.order.push(node);
        }
        out.outputs = self
            .outputs
            .iter()
            .map(|&v| values[v.index()].expect("outputs are made"))
            .collect();
        out
    }

    /// Copies the weights that live nodes read; returns the new id of each, indexed by the old one.
    fn compact_weights(&self, into: &mut Arena<Weight, WeightDecl>) -> Vec<Option<Weight>> {
        let live = self.live_weights();
        self.weights
            .iter()
            .map(|(id, decl)| live[id.index()].then(|| into.push(decl.clone())))
            .collect()
    }

    /// Whether live nodes read each weight, indexed by weight.
    pub(super) fn live_weights(&self) -> Vec<bool> {
        let mut live = vec![false; self.weights.len()];
        for weight in self.order.iter().flat_map(|&n| &self.nodes[n].weights) {
            if let Some(live) = live.get_mut(weight.index()) {
                *live = true;
            }
        }
        live
    }
}
