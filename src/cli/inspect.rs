//! `lathe inspect`: a model's intermediate representations, from the graph to machine code.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use crate::build::{optimize, plan, plan_with_products};
use clap::{Args, ValueEnum};
use lathe_codegen_cpu::{OptLevel, kernel_text};
use lathe_frontend::model::Model;
use lathe_ir::graph::Graph;
use lathe_ir::kernel::Kernel;
use lathe_ir::plan::Plan;
use lathe_passes::lower::{Lowered, LoweredProduct, MANY_ROWS, Source};
use lathe_passes::{PipelineOptions, run_pipeline};
use std::io::Write;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lathe inspect smollm2-135m --stage graph --layer 0\n  \
    lathe inspect smollm2-135m --after fuse-glu --layer 0\n  \
    lathe inspect smollm2-135m --stage asm --kernel linear.q4_1"
)]
pub struct Inspect {
    #[command(flatten)]
    model: ModelArg,
    /// What to print
    #[arg(long, value_enum, default_value = "graph")]
    stage: Stage,
    /// Print the graph as it is after this pass
    #[arg(long, value_name = "PASS", conflicts_with = "stage")]
    after: Option<String>,
    /// Only this layer
    #[arg(long)]
    layer: Option<u32>,
    /// Only kernels whose name contains this
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The graph as the frontend builds it
    Graph,
    /// The pipeline: each pass, why it is there, and what it leaves
    Passes,
    /// The graph after all passes
    Optimized,
    /// The kernels
    Kernels,
    /// Steps, buffers and sections
    Plan,
    /// Cranelift IR of the kernels
    Clif,
    /// Machine code of the kernels
    Asm,
}

/// What stands for the Cranelift IR of kernels that are assembled without it.
const NO_CLIF: &str =
    "; no Cranelift IR: the kernel has wide vectors, which are assembled directly; see --stage asm";

/// The model that the command line names.
pub fn load(model: &ModelArg) -> Result<Model, CliError> {
    Ok(Model::load(model.path()?)?)
}

impl Inspect {
    pub fn run(&self) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        let options = self.run.build_options()?;
        let model = load(&self.model)?;
        if let Some(pass) = &self.after {
            let graph = after(&model.graph, pass)?;
            return Ok(write!(out, "{}", self.graph_text(&graph))?);
        }
        match self.stage {
            Stage::Graph => write!(out, "{}", self.graph_text(&model.graph))?,
            Stage::Optimized => {
                let graph = optimize(&model.graph, options.verify)?;
                write!(out, "{}", self.graph_text(&graph))?;
            }
            Stage::Passes => self.passes(&model.graph, &mut out)?,
            Stage::Plan => {
                let plan = plan(&model, &options)?;
                write!(out, "{plan}")?;
            }
            Stage::Kernels => {
                let lowered = plan_with_products(&model, &options)?;
                for kernel in self.kernels(&lowered.plan)? {
                    if let Some(product) = product_of(&lowered, kernel) {
                        writeln!(out, "{}", shape_comment(product))?;
                    }
                    writeln!(out, "{kernel}")?;
                }
            }
            Stage::Clif | Stage::Asm => {
                let plan = plan(&model, &options)?;
                let features = crate::build::cpu_features(&options.cpu_features).map_err(CliError::input)?;
                for kernel in self.kernels(&plan)? {
                    let text =
                        kernel_text(kernel, &features, OptLevel::default()).map_err(CliError::failed)?;
                    writeln!(out, "; @{} ({} bytes)", kernel.name, text.bytes)?;
                    writeln!(
                        out,
                        "{}",
                        match self.stage {
                            Stage::Clif if text.clif.is_empty() => NO_CLIF.to_owned(),
                            Stage::Clif => text.clif,
                            _ => text.assembly,
                        }
                    )?;
                }
            }
        }
        Ok(())
    }

    fn kernels<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p Kernel>, CliError> {
        let wanted = |k: &&Kernel| {
            self.kernel
                .as_ref()
                .is_none_or(|name| k.name.contains(name.as_str()))
        };
        let kernels: Vec<&Kernel> = plan.kernels.values().filter(wanted).collect();
        match (&self.kernel, kernels.is_empty()) {
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

    /// The pipeline with its effect: nodes before and after each pass.
    fn passes(&self, graph: &Graph, out: &mut impl Write) -> Result<(), CliError> {
        let mut lines = Vec::new();
        let mut before = graph.order.len();
        let mut hook = |pass: &lathe_passes::Pass, graph: &Graph| {
            let after = graph.order.len();
            lines.push(format!(
                "{:28} {before:5} -> {after:5} nodes\n    {}\n",
                pass.name, pass.explain
            ));
            before = after;
        };
        let mut graph = graph.clone();
        let options = PipelineOptions {
            after_each: Some(&mut hook),
            ..PipelineOptions::default()
        };
        run_pipeline(&mut graph, options).map_err(CliError::failed)?;
        lines.iter().try_for_each(|line| write!(out, "{line}"))?;
        Ok(())
    }

    /// The graph, or the lines of one layer.
    fn graph_text(&self, graph: &Graph) -> String {
        let text = lathe_ir::graph::print::print(graph);
        let Some(layer) = self.layer else { return text };
        let marker = format!("; layer {layer}");
        let lines = text.lines().skip_while(|l| l.trim() != marker);
        let lines = lines.take_while(|l| l.trim() == marker || !l.trim().starts_with("; layer "));
        lines.map(|l| format!("{l}\n")).collect()
    }
}

/// The first product that a kernel computes, if it computes one.
fn product_of<'l>(lowered: &'l Lowered, kernel: &Kernel) -> Option<&'l LoweredProduct> {
    let plan = &lowered.plan;
    lowered.products.iter().find(|product| {
        let call = &plan.steps[product.step].calls[product.call];
        std::ptr::eq(&plan.kernels[call.kernel], kernel)
    })
}

/// A product's shape, where it came from, and what the cost model says of it.
fn shape_comment(product: &LoweredProduct) -> String {
    let tile = product.shape.tile;
    let source = match product.source {
        Source::Given => "given",
        Source::Tuned => "tuned",
        Source::Model => "by the cost model",
    };
    let (one, many) = (product.prediction.one, product.prediction.many);
    format!(
        "; tile {} rows x {} vectors, expand {}, prefetch {}, {} columns a unit ({source}); predicted {one:.0} cycles \
         for 1 row, {many:.0} a row for {MANY_ROWS}",
        tile.rows, tile.groups, tile.expand, tile.prefetch, product.columns
    )
}

/// The graph as it is after the last run of the pass `name`.
fn after(graph: &Graph, name: &str) -> Result<Graph, CliError> {
    let mut found = None;
    let mut hook = |pass: &lathe_passes::Pass, graph: &Graph| {
        if pass.name == name {
            found = Some(graph.clone());
        }
    };
    let mut graph = graph.clone();
    let options = PipelineOptions {
        after_each: Some(&mut hook),
        ..PipelineOptions::default()
    };
    run_pipeline(&mut graph, options).map_err(CliError::failed)?;
    found.ok_or_else(|| {
        let names: Vec<&str> = lathe_passes::pipeline().iter().map(|p| p.name).collect();
        CliError::input(format!(
            "no pass is named `{name}`; there are {}",
            names.join(", ")
        ))
    })
}
