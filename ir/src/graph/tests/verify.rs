//! Rules that no single op breaks.

use super::{graph, with_lines};
use crate::graph::verify::verify;
use crate::graph::{Def, Graph, Node, Op, Value, Weight};
use crate::id::Id;

/// The broken rules of a graph, in text.
fn errors(graph: &Graph) -> Vec<String> {
    verify(graph)
        .expect_err("a rule is broken")
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn two_scales() -> Graph {
    with_lines(
        "%0 = scale %x {by = 2.0} : [tokens, 64]f32\n %1 = scale %0 {by = 3.0} : [tokens, 64]f32\n return %1",
    )
}

#[test]
fn nodes_are_made_before_they_are_read() {
    let mut graph = two_scales();
    graph.order.swap(0, 1);
    assert_eq!(
        errors(&graph),
        ["%0 = scale: it reads %1, which is not made before"]
    );
    graph.order.remove(1);
    assert_eq!(
        errors(&graph),
        ["%0 = scale: it reads value %7, which no live node makes"]
    );
    graph.order.clear();
    assert_eq!(errors(&graph), ["return: value %8 is made by no live node"]);
}

#[test]
fn ids_are_in_their_arenas() {
    let mut graph = two_scales();
    graph.order.push(Node::new(9));
    graph.order.push(graph.order[0]);
    graph.outputs.push(Value::new(99));
    graph.nodes[Node::new(0)].weights.push(Weight::new(50));
    graph.nodes[Node::new(1)].operands[0] = Value::new(98);
    assert_eq!(
        errors(&graph),
        [
            "n0: there is no weight @50",
            "n1: there is no value %98",
            "n9: there is no such node",
            "n0: the node stands in the order twice",
            "n0: there is no weight @50",
            "parameters and outputs: there is no value %99",
        ]
    );
}

#[test]
fn definitions_agree_with_values() {
    let mut graph = two_scales();
    graph.values[Value::new(7)].def = Def::Result(Node::new(1), 0);
    graph.values[Value::new(0)].def = Def::Param(3);
    graph.values[Value::new(1)].name = None;
    graph.values[Value::new(8)].name = Some("x".to_owned());
    graph.values[Value::new(2)].name = Some("7up".to_owned());
    assert_eq!(
        errors(&graph),
        [
            "%tok: it is not defined as parameter 0",
            "parameter 1: it has no name",
            "%7up: a name begins with a letter and has letters, digits, `_` and `.`",
            "%0 = scale: result 0 is not defined as such",
            "%x: two values have this name",
        ]
    );
}

#[test]
fn weights_have_types_of_model_files() {
    let text = |ty: &str| format!("graph @t () {{\n weight @w : {ty}\n return\n}}");
    let shape =
        |ty: &str| format!("weight @w: its type {ty} does not have one or two constant dims above zero");
    for ty in [
        "[]f32",
        "[tokens, 32]f32",
        "[2, 3, 4]f32",
        "[0]f32",
        "[4294967296, 4294967296]f32",
        "kv",
    ] {
        assert_eq!(errors(&graph(&text(ty))), [shape(ty)]);
    }
    for ty in ["[2, 33]q8_0", "[2, 32]q8a"] {
        let expected =
            format!("weight @w: rows of type {ty} are not made of whole blocks of a type of model files");
        assert_eq!(errors(&graph(&text(ty))), [expected]);
    }
    let mut graph = graph(&text("[2, 32]q8_0"));
    assert_eq!(verify(&graph), Ok(()));
    let copy = graph.weights[Weight::new(0)].clone();
    graph.weights.push(copy);
    assert_eq!(errors(&graph), ["weight @w: two weights have this name"]);
}

#[test]
fn values_are_not_empty() {
    let graph = graph("graph @t (%x: [2, 0]f32) {\n return %x\n}");
    assert_eq!(errors(&graph), ["%x: its type [2, 0]f32 has a dim of 0"]);
}

#[test]
fn the_parts_of_linear_name_its_operands_and_weights() {
    let mut graph = with_lines("%0 = linear %x [@w {add(%x)} -> f32] : [tokens, 64]f32\n return %0");
    assert_eq!(verify(&graph), Ok(()));
    let node = graph.order[0];
    let good = graph.nodes[node].clone();
    graph.nodes[node].operands.pop();
    let expected = "%0 = linear: its operands are not the input and the values that its parts name";
    assert_eq!(errors(&graph), [expected]);
    graph.nodes[node] = good;
    graph.nodes[node].weights.reverse();
    graph.nodes[node].weights.push(Weight::new(0));
    assert_eq!(
        errors(&graph),
        ["%0 = linear: its weights are not those that its parts name"]
    );
}

#[test]
fn a_token_is_stored_to_once_and_not_read_after() {
    let append =
        |layer: u32, from: &str| format!("kv_append {from}, %h, %h, %pos, %seq {{layer = {layer}}} : kv");
    let good = format!("%a = {}\n %b = {}\n return %b", append(0, "%kv"), append(1, "%a"));
    assert_eq!(verify(&with_lines(&good)), Ok(()));
    let twice = format!("%a = {}\n %b = {}\n return", append(0, "%kv"), append(1, "%kv"));
    let expected = "%b = kv_append: it reads the token %kv after `%a = kv_append` has stored to it";
    assert_eq!(errors(&with_lines(&twice)), [expected]);
    let late = format!(
        "%a = {}\n %s = attn_scores %h, %kv, %seq {{layer = 0, kv_heads = 4}} : [tokens, 4, ctx]f32\n return %s",
        append(0, "%kv")
    );
    let expected = "%s = attn_scores: it reads the token %kv after `%a = kv_append` has stored to it";
    assert_eq!(errors(&with_lines(&late)), [expected]);
}

#[test]
fn one_linear_stores_to_one_token() {
    let graph = graph(
        "graph @t (%pos: [tokens]i32, %kv: kv, %x: [tokens, 8]f32) {
           weight @w : [8, 8]f32
           %a = linear %x [@w {heads(2)} -> kv.k(0, %kv, %pos, %pos)] : kv
           %b = linear %x [@w {heads(2)} -> kv.k(1, %kv, %pos, %pos), @w {heads(2)} -> kv.v(1, %a, %pos, %pos)] : kv
           return
         }",
    );
    assert_eq!(
        errors(&graph),
        ["%b = linear: its parts store to different kv tokens"]
    );
}

#[test]
fn a_layer_has_one_width_and_one_store() {
    let lines = "%a = kv_append %kv, %h, %h, %pos, %seq {layer = 3} : kv
         %b = kv_append %a, %h, %h, %pos, %seq {layer = 3} : kv
         %s = attn_scores %h, %b, %seq {layer = 3, kv_heads = 2} : [tokens, 4, ctx]f32
         return %s";
    assert_eq!(
        errors(&with_lines(lines)),
        [
            "%b = kv_append: layer 3 is stored to twice",
            "%b = kv_append: layer 3 is stored to twice",
            "%s = attn_scores: layer 3 is 32 elements wide here, but 64 for `%a = kv_append`",
        ]
    );
    let graph = graph("graph @t (%a: kv, %b: kv) {\n return\n}");
    assert_eq!(
        errors(&graph),
        ["parameters: there is more than one kv parameter"]
    );
}

#[test]
fn floats_are_finite() {
    let mut graph = two_scales();
    graph.nodes[Node::new(0)].op = Op::Scale { by: f32::NAN };
    assert_eq!(errors(&graph), ["%0 = scale: `by` is NaN, but must be finite"]);
}
