//! The rewrite matcher: what rules ask of a graph, and the driver that applies them.

use crate::pipeline::PassError;
use lathe_ir::graph::{Epilogue, Graph, Linear, Node, NodeData, Op, Output, Part, Value};
use lathe_ir::id::Id;

/// A rule looks at one node and either rewrites the graph and says so, or leaves it alone.
pub type Rule = fn(&mut Rewriter, Node) -> Result<bool, PassError>;

/// A graph being rewritten, with the number of reads of every value.
pub struct Rewriter<'g> {
    /// The graph.
    pub graph: &'g mut Graph,
    uses: Vec<u32>,
}

/// Applies rules to every node, in order, until none fires.
///
/// # Errors
/// Where a rule makes an ill-typed node, or the rules do not come to an end.
pub fn apply(graph: &mut Graph, rules: &[Rule]) -> Result<(), PassError> {
    let budget = 64 + 16 * graph.order.len();
    let mut rewriter = Rewriter {
        uses: graph.use_counts(),
        graph,
    };
    let mut fired = 0;
    loop {
        let before = fired;
        let mut at = 0;
        while at < rewriter.graph.order.len() {
            let node = rewriter.graph.order[at];
            if !fire(&mut rewriter, rules, node)? {
                at += 1;
                continue;
            }
            fired += 1;
            if fired > budget {
                return Err(PassError::Endless { fired });
            }
            rewriter.sweep();
        }
        // Removing nodes shifts the rest, so only a walk in which nothing fires has seen every node.
        if fired == before {
            return Ok(());
        }
    }
}

/// Tries the rules on a node, in order; says whether one fired.
fn fire(rewriter: &mut Rewriter, rules: &[Rule], node: Node) -> Result<bool, PassError> {
    for rule in rules {
        if rule(rewriter, node)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Rewriter<'_> {
    /// The node's data.
    pub fn data(&self, node: Node) -> &NodeData {
        &self.graph.nodes[node]
    }

    /// How often a value is read.
    pub fn uses(&self, value: Value) -> u32 {
        self.uses[value.index()]
    }

    /// Whether a value is read once.
    pub fn single_use(&self, value: Value) -> bool {
        self.uses(value) == 1
    }

    /// The node that makes `value`, if it is alive and its op passes `test`.
    pub fn made_by(&self, value: Value, test: impl Fn(&Op) -> bool) -> Option<Node> {
        self.graph.def(value).filter(|&n| test(&self.graph.nodes[n].op))
    }

    /// The nodes that read `value`.
    pub fn readers(&self, value: Value) -> Vec<Node> {
        let reads = |n: &Node| self.graph.nodes[*n].operands.contains(&value);
        self.graph.order.iter().copied().filter(reads).collect()
    }

    /// A `linear` of one part with an f32 result that is read once: its node and part.
    pub fn open_linear(&self, value: Value) -> Option<(Node, &Part)> {
        let node = self.graph.def(value)?;
        match &self.graph.nodes[node].op {
            Op::Linear(l)
                if l.parts.len() == 1 && l.parts[0].output == Output::F32 && self.single_use(value) =>
            {
                Some((node, &l.parts[0]))
            }
            _ => None,
        }
    }

    /// Puts a new node before `at`, with results instead of those of `at`, whose results nobody reads any more.
    pub fn replace(
        &mut self,
        at: Node,
        op: Op,
        weights: &[lathe_ir::graph::Weight],
        operands: &[Value],
    ) -> Result<Node, PassError> {
        let (node, results) = self.graph.make_node(op, weights, operands)?;
        self.put(at, node, &results);
        Ok(node)
    }

    /// As [`Rewriter::replace`], with a `linear`.
    pub fn replace_with_linear(&mut self, at: Node, input: Value, linear: Linear) -> Result<Node, PassError> {
        let (node, results) = self.graph.make_linear(input, linear)?;
        self.put(at, node, &results);
        Ok(node)
    }

    fn put(&mut self, at: Node, node: Node, results: &[Value]) {
        self.graph.insert_before(node, at);
        let old = self.graph.nodes[at].results.clone();
        for (old, &new) in old.iter().zip(results) {
            self.graph.replace_uses(*old, new);
        }
        self.graph.remove(at);
    }

    /// Removes pure nodes that nobody reads and counts uses anew.
    fn sweep(&mut self) {
        crate::cleanup::remove_dead(self.graph);
        self.uses = self.graph.use_counts();
    }
}

/// The part with `step` at the end of its epilogue, if that is where the step may stand.
pub fn extended(part: &Part, step: Epilogue) -> Option<Part> {
    let fits = part.epilogue.last().is_none_or(|last| last.rank() < step.rank());
    fits.then(|| {
        let mut part = part.clone();
        part.epilogue.push(step);
        part
    })
}

/// A `linear` of one part.
pub fn single(part: Part) -> Linear {
    Linear { parts: vec![part] }
}
