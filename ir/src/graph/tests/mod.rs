//! Tests of graphs: text, rules, edits. What ops mean is tested in [`super::interp`].

mod edit;
mod infer;
mod text;
mod verify;

use super::Graph;
use super::parse::parse;

/// A graph from its text.
pub(super) fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|e| panic!("{e} in\n{text}"))
}

/// A graph of a few lines with the usual parameters and weights.
pub(super) fn with_lines(lines: &str) -> Graph {
    graph(&format!(
        "graph @t (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %kv: kv, %x: [tokens, 64]f32, \
         %h: [tokens, 4, 16]f32, %y: [tokens, 32]f32) {{
           weight @table : [8, 64]q8_0
           weight @w : [64, 64]q8_0
           weight @f : [64, 64]f16
           weight @narrow : [16, 64]f32
           weight @norm : [64]f32
           weight @head : [16]f32
           weight @pairs : [8]f32
           {lines}
         }}"
    ))
}
