//! Graphs in the DOT language of Graphviz, with a cluster a layer.

use super::view::{Kind, View};
use std::fmt::Write;

/// The view as a digraph.
pub fn dot(view: &View) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&view.name));
    out.push_str("  node [shape=box, fontname=\"monospace\", fontsize=10];\n");
    let mut layers: Vec<Option<u32>> = view.boxes.iter().map(|b| b.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    for layer in layers {
        let indent = if layer.is_some() { "    " } else { "  " };
        if let Some(layer) = layer {
            let _ = writeln!(out, "  subgraph cluster_{layer} {{\n    label=\"layer {layer}\";");
        }
        for (i, node) in view.boxes.iter().enumerate().filter(|(_, b)| b.layer == layer) {
            let style = match node.kind {
                Kind::Input => ", style=dashed",
                Kind::Fused => ", style=filled, fillcolor=\"#dbe9f6\"",
                Kind::Op => "",
            };
            let _ = writeln!(
                out,
                "{indent}n{i} [label={}{style}];",
                quoted(&node.lines.join("\n"))
            );
        }
        if layer.is_some() {
            out.push_str("  }\n");
        }
    }
    for (from, to) in &view.edges {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}

/// A string of the language: quotes and backslashes are escaped, and lines end with `\n`.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\r', ""))
}
