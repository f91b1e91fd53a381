//! Graphs between the passes, and their forms: text, JSON, drawings, and the difference of two.

use super::view::View;
use super::{Format, diff, dot, svg};
use crate::cli::error::CliError;
use lathe_ir::graph::print::nodes;
use lathe_ir::graph::{Graph, Op, print};
use lathe_ir::id::Id;
use lathe_passes::{Pass, PipelineOptions, pipeline, run_pipeline};
use serde_json::{Value as Json, json};

/// The point before all passes, and the one after them.
const FIRST: &str = "graph";
const LAST: &str = "optimized";

/// The graph at a point of the pipeline: `graph`, `optimized`, or after the last run of the pass with this name.
pub fn at(graph: &Graph, point: &str, verify: bool) -> Result<Graph, CliError> {
    if point != FIRST && point != LAST && !pipeline().iter().any(|p| p.name == point) {
        let names: Vec<&str> = pipeline().iter().map(|p| p.name).collect();
        return Err(CliError::input(format!(
            "no pass is named `{point}`; there are {}",
            names.join(", ")
        )));
    }
    let mut found = graph.clone();
    if point == FIRST {
        return Ok(found);
    }
    let mut hook = |pass: &Pass, graph: &Graph| {
        if pass.name == point || point == LAST {
            found = graph.clone();
        }
    };
    let options = PipelineOptions {
        verify,
        after_each: Some(&mut hook),
        ..PipelineOptions::default()
    };
    run_pipeline(&mut graph.clone(), options).map_err(CliError::failed)?;
    Ok(found)
}

/// A graph in a format, whole or one layer of it.
pub fn formatted(graph: &Graph, layer: Option<u32>, format: Format) -> Result<String, CliError> {
    if let Some(layer) = layer.filter(|&l| !nodes(graph).iter().any(|n| n.layer == Some(l))) {
        return Err(CliError::input(format!("the graph has no layer {layer}")));
    }
    Ok(match format {
        Format::Text => text(graph, layer),
        Format::Json => super::pretty(&json(graph, layer)),
        Format::Dot => dot::dot(&View::new(graph, layer)),
        Format::Svg => svg::svg(&View::new(graph, layer)).ok_or_else(|| {
            CliError::input(format!(
                "a drawing of more than {} boxes is not legible; --layer N draws one layer",
                svg::BOXES
            ))
        })?,
    })
}

/// The graph, or the lines of one layer.
fn text(graph: &Graph, layer: Option<u32>) -> String {
    let text = print::print(graph);
    let Some(layer) = layer else { return text };
    let marker = format!("; layer {layer}");
    let lines = text.lines().skip_while(|l| l.trim() != marker);
    let lines = lines.take_while(|l| l.trim() == marker || !l.trim().starts_with("; layer "));
    lines.map(|l| format!("{l}\n")).collect()
}

/// The effect of the pipeline, pass by pass.
pub fn passes(graph: &Graph, format: Format) -> Result<String, CliError> {
    let (mut text, mut list) = (String::new(), Vec::new());
    let mut before = graph.order.len();
    let mut hook = |pass: &Pass, graph: &Graph| {
        let after = graph.order.len();
        text += &format!(
            "{:28} {before:5} -> {after:5} nodes\n    {}\n",
            pass.name, pass.explain
        );
        list.push(json!({"name": pass.name, "explain": pass.explain, "before": before, "after": after}));
        before = after;
    };
    let options = PipelineOptions {
        after_each: Some(&mut hook),
        ..PipelineOptions::default()
    };
    run_pipeline(&mut graph.clone(), options).map_err(CliError::failed)?;
    Ok(match format {
        Format::Json => super::pretty(&list.into()),
        _ => text,
    })
}

/// The unified diff of the graph at two points `A..B`.
pub fn difference(
    graph: &Graph,
    range: &str,
    layer: Option<u32>,
    verify: bool,
    format: Format,
) -> Result<String, CliError> {
    let (from, to) = range
        .split_once("..")
        .ok_or_else(|| CliError::input(format!("`{range}` is not A..B, as in graph..fuse-matmul")))?;
    let lasting = |point| Ok::<_, CliError>(text(&with_lasting_names(at(graph, point, verify)?), layer));
    // A layer is shown without the line that declares the parameters.
    let params = graph.params.iter();
    let params: Vec<&str> = params.filter_map(|&v| graph.values[v].name.as_deref()).collect();
    let text = diff::unified((from, &lasting(from)?), (to, &lasting(to)?), &params)
        .ok_or_else(|| CliError::input("the graphs are too long to compare; --layer N compares one layer"))?;
    Ok(match format {
        Format::Json => super::pretty(&json!({"from": from, "to": to, "diff": text})),
        _ => text,
    })
}

/// Passes number values anew; in a diff each keeps one name, `%vN`, from the pass that makes it to the end.
fn with_lasting_names(mut graph: Graph) -> Graph {
    let ids: Vec<_> = graph.values.ids().collect();
    for value in ids.into_iter().filter(|v| !graph.params.contains(v)) {
        graph.values[value].name = Some(format!("v{}", value.index()));
    }
    graph
}

/// `{name, params: [{name, type}], weights: [{name, type}], nodes: [{op, layer, results, operands, weights, types,
/// attributes, parts?, text}], outputs}`. `parts` are those of a `linear`, as the text form writes them.
fn json(graph: &Graph, layer: Option<u32>) -> Json {
    let names = print::value_names(graph);
    let name = |v: &lathe_ir::graph::Value| names[v.index()].clone();
    let params = graph.params.iter();
    let params = params.map(|v| json!({"name": name(v), "type": graph.ty(*v).to_string()}));
    let weights = graph.weights.values();
    let weights = weights.map(|w| json!({"name": w.name, "type": w.ty.to_string()}));
    let shown = nodes(graph).into_iter();
    let shown = shown.filter(|n| layer.is_none() || n.layer == layer).map(|node| {
        let data = &graph.nodes[node.node];
        let attrs = data.op.attrs().into_iter();
        let attrs: serde_json::Map<String, Json> = attrs
            .map(|(key, value)| (key.to_owned(), value.to_string().into()))
            .collect();
        let mut entry = json!({
            "op": data.op.info().keyword,
            "layer": node.layer,
            "results": data.results.iter().map(name).collect::<Vec<_>>(),
            "operands": data.operands.iter().map(name).collect::<Vec<_>>(),
            "weights": data.weights.iter().map(|&w| &graph.weights[w].name).collect::<Vec<_>>(),
            "types": data.results.iter().map(|&v| graph.ty(v).to_string()).collect::<Vec<_>>(),
            "attributes": attrs,
            "text": node.text,
        });
        if let Op::Linear(linear) = &data.op {
            let parts = node.text.lines().skip(1).take(linear.parts.len());
            entry["parts"] = parts.map(|l| l.trim().trim_end_matches(',')).collect();
        }
        entry
    });
    json!({
        "name": graph.name,
        "params": params.collect::<Vec<_>>(),
        "weights": weights.collect::<Vec<_>>(),
        "nodes": shown.collect::<Vec<_>>(),
        "outputs": graph.outputs.iter().map(name).collect::<Vec<_>>(),
    })
}
