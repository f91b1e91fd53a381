//! Edits: uses, order, and the dense copy.

use super::with_lines;
use crate::graph::testing::random_graph;
use crate::graph::verify::verify;
use crate::graph::{Op, Value};
use proptest::prelude::*;

/// The value of this name.
fn named(graph: &crate::graph::Graph, name: &str) -> Value {
    let found = graph.values.iter().find(|(_, v)| v.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no value %{name}")).0
}

#[test]
fn replacing_a_use_keeps_linear_consistent() {
    let mut graph = with_lines(
        "%a = scale %x {by = 2.0} : [tokens, 64]f32
         %b = scale %x {by = 3.0} : [tokens, 64]f32
         %c, %d = linear %a [@w {add(%a)} -> f32, @f {add(%b)} -> f32] : [tokens, 64]f32, [tokens, 64]f32
         return %c, %b",
    );
    verify(&graph).unwrap();
    let (a, b, x) = (named(&graph, "a"), named(&graph, "b"), named(&graph, "x"));
    graph.replace_uses(b, a);
    verify(&graph).unwrap();
    let linear = graph.def(named(&graph, "c")).unwrap();
    assert_eq!(
        graph.nodes[linear].operands,
        [a, a],
        "the input, and one value that two parts add"
    );
    assert_eq!(graph.outputs, [named(&graph, "c"), a]);
    graph.replace_uses(a, x);
    verify(&graph).unwrap();
    assert_eq!(graph.users(x).len(), 3, "two scales and the linear");
    for name in ["a", "b"] {
        graph.remove(graph.def(named(&graph, name)).unwrap());
    }
    verify(&graph).unwrap();
    assert_eq!(graph.order, [linear]);
}

#[test]
fn nodes_go_where_they_are_put() {
    let mut graph = with_lines("%a = scale %x {by = 2.0} : [tokens, 64]f32\n return %a");
    let (a, x) = (named(&graph, "a"), named(&graph, "x"));
    let first = graph.def(a).unwrap();
    let (before, made) = graph.make_node(Op::Softmax {}, &[], &[x]).unwrap();
    graph.insert_before(before, first);
    let (after, _) = graph.make_node(Op::Add {}, &[], &[a, made[0]]).unwrap();
    graph.insert_after(after, first);
    assert_eq!(graph.order, [before, first, after]);
    assert_eq!(graph.positions(), [1, 0, 2]);
    verify(&graph).unwrap();
    graph.remove(before);
    let errors = verify(&graph).unwrap_err();
    assert!(
        errors[0].to_string().contains("which no live node makes"),
        "{errors:?}"
    );
}

#[test]
fn a_node_that_does_not_fit_is_not_made() {
    let mut graph = with_lines("return %x");
    let (x, y, nodes) = (named(&graph, "x"), named(&graph, "y"), graph.nodes.len());
    let error = graph.make_node(Op::Add {}, &[], &[x, y]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "add: [tokens, 64]f32 and [tokens, 32]f32 do not match"
    );
    assert_eq!(graph.nodes.len(), nodes);
}

proptest! {
    #[test]
    fn compact_drops_the_dead_and_keeps_the_rest(seed: u64) {
        let graph = random_graph(seed);
        let dense = graph.compact();
        prop_assert_eq!(dense.nodes.len(), graph.order.len());
        prop_assert_eq!(dense.order.len(), graph.order.len());
        prop_assert!(dense.weights.values().all(|w| w.name != "never read"));
        prop_assert_eq!(&dense.compact(), &dense);
        prop_assert_eq!(verify(&dense), Ok(()));
    }
}
