//! What comes after the graph: kernels with their tiles and predicted costs, the plan, and code.

use super::{Format, pretty};
use crate::cli::error::CliError;
use lathe_codegen_cpu::{CpuFeatures, OptLevel, kernel_text};
use lathe_ir::kernel::Kernel;
use lathe_ir::plan::Plan;
use lathe_passes::lower::{LoweredProduct, MANY_ROWS, Source};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// What stands for the Cranelift IR of kernels that are assembled without it.
const NO_CLIF: &str =
    "; no Cranelift IR: the kernel has wide vectors, which are assembled directly; see --stage asm";

/// The kernels whose name contains `name`.
fn chosen<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<&'p Kernel>, CliError> {
    let wanted = |k: &&Kernel| name.is_none_or(|name| k.name.contains(name));
    let kernels: Vec<&Kernel> = plan.kernels.values().filter(wanted).collect();
    match (name, kernels.is_empty()) {
        (Some(name), true) => {
            let known: Vec<&str> = plan.kernels.values().map(|k| k.name.as_str()).collect();
            Err(CliError::input(format!(
                "no kernel's name contains `{name}`; there are {}",
                known.join(", ")
            )))
        }
        _ => Ok(kernels),
    }
}

/// The kernels. JSON: `[{name, tile?: {rows, vectors, expand, prefetch, columns, source, cycles_one, cycles_many}, text}]`.
/// Tiles are those of `products`, which a plan that was compiled before does not have.
pub fn kernels(
    plan: &Plan,
    products: &[LoweredProduct],
    name: Option<&str>,
    format: Format,
) -> Result<String, CliError> {
    let (mut text, mut list) = (String::new(), Vec::new());
    for kernel in chosen(plan, name)? {
        let product = product_of(plan, products, kernel);
        let mut entry = json!({"name": kernel.name, "text": kernel.to_string()});
        if let Some(product) = product {
            text += &format!("{}\n", shape_comment(product));
            entry["tile"] = tile(product);
        }
        text += &format!("{kernel}\n");
        list.push(entry);
    }
    Ok(match format {
        Format::Json => pretty(&list.into()),
        _ => text,
    })
}

/// Code of the kernels, or its Cranelift IR. JSON: `[{name, bytes, text}]`; text is null where there is no Cranelift IR.
pub fn code(
    plan: &Plan,
    name: Option<&str>,
    features: &CpuFeatures,
    clif: bool,
    format: Format,
) -> Result<String, CliError> {
    let (mut text, mut list) = (String::new(), Vec::new());
    for kernel in chosen(plan, name)? {
        let forms = kernel_text(kernel, features, OptLevel::default()).map_err(CliError::failed)?;
        let form = match clif {
            true => (!forms.clif.is_empty()).then_some(forms.clif),
            false => Some(forms.assembly),
        };
        let _ = writeln!(text, "; @{} ({} bytes)", kernel.name, forms.bytes);
        let _ = writeln!(text, "{}", form.as_deref().unwrap_or(NO_CLIF));
        list.push(json!({"name": kernel.name, "bytes": forms.bytes, "text": form}));
    }
    Ok(match format {
        Format::Json => pretty(&list.into()),
        _ => text,
    })
}

/// `{name, limits: {tokens, outputs, seqs, ctx}, vocab, embedding, takes, leaves, arena_bytes, output, kv: [{layer, kv_heads,
/// head_dim, k, v}], sections, ropes, buffers: [{id, name, bytes, offset}], steps: [{label, calls: [{kernel, args, scalars, units,
/// cost}]}]}`; sections, ropes, arguments and counts are as the text form writes them. Kernels are a stage of their own.
pub fn plan_json(plan: &Plan) -> Json {
    let limits = plan.limits;
    let kv = plan.kv_layers.iter().enumerate().map(|(layer, kv)| {
        json!({"layer": layer, "kv_heads": kv.kv_heads, "head_dim": kv.head_dim, "k": kv.types.k.to_string(), "v": kv.types.v.to_string()})
    });
    let buffers = plan
        .buffers
        .iter()
        .map(|(id, b)| json!({"id": id.to_string(), "name": b.name, "bytes": b.bytes, "offset": b.offset}));
    let steps = plan.steps.iter().map(|step| {
        let calls = step.calls.iter().map(|call| {
            json!({
                "kernel": plan.kernels[call.kernel].name,
                "args": strings(&call.args),
                "scalars": strings(&call.scalars),
                "units": call.units.to_string(),
                "cost": call.cost,
            })
        });
        json!({"label": step.label, "calls": calls.collect::<Vec<_>>()})
    });
    json!({
        "name": plan.name,
        "limits": {"tokens": limits.tokens, "outputs": limits.outputs, "seqs": limits.seqs, "ctx": limits.ctx},
        "vocab": plan.vocab,
        "embedding": plan.embedding,
        "takes": plan.takes,
        "leaves": plan.leaves,
        "arena_bytes": plan.arena_bytes,
        "output": plan.output.map(|b| b.to_string()),
        "kv": kv.collect::<Vec<_>>(),
        "sections": strings(plan.sections.values()),
        "ropes": strings(plan.ropes.values()),
        "buffers": buffers.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
    })
}

fn strings<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// The first product that a kernel computes, if it computes one.
fn product_of<'l>(
    plan: &Plan,
    products: &'l [LoweredProduct],
    kernel: &Kernel,
) -> Option<&'l LoweredProduct> {
    products.iter().find(|product| {
        let call = &plan.steps[product.step].calls[product.call];
        std::ptr::eq(&plan.kernels[call.kernel], kernel)
    })
}

fn source(product: &LoweredProduct) -> &'static str {
    match product.source {
        Source::Given => "given",
        Source::Tuned => "tuned",
        Source::Model => "by the cost model",
    }
}

fn tile(product: &LoweredProduct) -> Json {
    let tile = product.shape.tile;
    json!({
        "rows": tile.rows,
        "vectors": tile.groups,
        "expand": tile.expand,
        "prefetch": tile.prefetch,
        "columns": product.columns,
        "source": source(product),
        "cycles_one": product.prediction.one,
        "cycles_many": product.prediction.many,
    })
}

/// A product's shape, where it came from, and what the cost model says of it.
fn shape_comment(product: &LoweredProduct) -> String {
    let tile = product.shape.tile;
    let source = source(product);
    let (one, many) = (product.prediction.one, product.prediction.many);
    format!(
        "; tile {} rows x {} vectors, expand {}, prefetch {}, {} columns a unit ({source}); predicted {one:.0} cycles \
         for 1 row, {many:.0} a row for {MANY_ROWS}",
        tile.rows, tile.groups, tile.expand, tile.prefetch, product.columns
    )
}
