//! `lathe inspect`: a model's intermediate representations, from the file to machine code.
//!
//! A file a concern: [`gguf`] the file; [`graphs`] the graph between passes, with [`diff`] and the drawings [`dot`] and
//! [`svg`] of a [`view`]; [`plans`] kernels, plan and code; [`memory`] the memory map;
//! [`cuda`] plans for GPUs.

mod cuda;
mod diff;
mod dot;
mod gguf;
mod graphs;
mod memory;
mod plans;
mod svg;
mod view;

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use super::gpu::GpuArgs;
use crate::build::{BuildError, BuildOptions, Device, cpu_features, plan, plan_with_products};
use crate::plans::Source;
use clap::{Args, ValueEnum};
use lathe_codegen_cpu::CpuFeatures;
use lathe_frontend::gguf::GgufFile;
use lathe_frontend::model::Model;
use lathe_ir::plan::Plan;
use std::io::Write;
use std::path::Path;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lathe inspect smollm2-135m --stage graph --layer 0\n  \
    lathe inspect smollm2-135m --after fuse-glu --layer 0\n  \
    lathe inspect smollm2-135m --diff fuse-matmul..fuse-glu --layer 0\n  \
    lathe inspect smollm2-135m --stage optimized --layer 0 --format svg > layer.svg\n  \
    lathe inspect smollm2-135m --stage memory\n  \
    lathe inspect smollm2-135m --stage asm --kernel linear.q4_1\n  \
    lathe inspect smollm2-135m --stage cuda --gpu-arch sm_90 --kernel embed"
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
    /// Print what differs between two points of the pipeline: graph, a pass, or optimized
    #[arg(long, value_name = "A..B", conflicts_with_all = ["stage", "after"])]
    diff: Option<String>,
    /// Of the model as it is compiled for embeddings
    #[arg(long)]
    embeddings: bool,
    /// Only this layer of a graph
    #[arg(long)]
    layer: Option<u32>,
    /// Only kernels whose name contains this
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// How to print it; dot and svg are drawings of graphs
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    gpu: GpuArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Metadata and tensors of the file
    Gguf,
    /// The graph as the frontend builds it
    Graph,
    /// The pipeline: each pass, why it is there, and what it leaves
    Passes,
    /// The graph after all passes
    Optimized,
    /// The kernels, with tiles and predicted costs of products
    Kernels,
    /// Steps, buffers and sections
    Plan,
    /// The memory map: the arena over time, the KV cache, the weights
    Memory,
    /// Cranelift IR of the kernels
    Clif,
    /// Machine code of the kernels
    Asm,
    /// CUDA C++ of the kernels for a GPU; needs none (without one, for sm_90)
    Cuda,
    /// What NVRTC makes of them: PTX; needs no GPU
    Ptx,
}

/// The form of what is printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// The text form, or a table
    Text,
    /// One JSON value
    Json,
    /// A digraph for Graphviz
    Dot,
    /// A drawing
    Svg,
}

/// JSON with a line end.
fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

impl Inspect {
    pub fn run(&self) -> Result<(), CliError> {
        self.check()?;
        let options = self.options()?;
        if options.cut.is_some() {
            return Err(BuildError::Uncut.into());
        }
        let cache = self.run.cache.open(options.threads)?;
        let source = self.model.source(cache.as_ref())?;
        let text = match &source {
            Source::File(path) if options.device == Device::Cuda => self.of_gpu(path, &options)?,
            Source::File(path) => self.text(path, &options)?,
            Source::Folder(_) | Source::Cached(_) => {
                let (plan, features) = source.plan(cache.as_ref())?;
                self.compiled(&plan, &features)?
            }
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    /// Options of the build. Stages that only GPUs have are of a GPU, whatever the device.
    fn options(&self) -> Result<BuildOptions, CliError> {
        let mut run = self.run.clone();
        if self.is_of_gpu() {
            run.device = "cuda".to_owned();
        }
        let options = run.build_options()?;
        Ok(match self.embeddings {
            true => options.for_embeddings(),
            false => options,
        })
    }

    /// Whether the stage is one that only GPUs have.
    fn is_of_gpu(&self) -> bool {
        matches!(self.stage, Stage::Cuda | Stage::Ptx)
    }

    /// Stages of a plan for a GPU.
    fn of_gpu(&self, path: &Path, options: &BuildOptions) -> Result<String, CliError> {
        if !self.is_of_gpu() && !matches!(self.stage, Stage::Plan | Stage::Memory) {
            return Err(CliError::input(
                "with --device cuda there are the stages plan, memory, cuda and ptx",
            ));
        }
        let gpu = self.gpu.any()?;
        let model = Model::load_for(path, options.output)?;
        let wanted = cuda::Wanted {
            stage: self.stage,
            kernel: self.kernel.as_deref(),
            format: self.format,
            threads: options.threads,
        };
        cuda::text(&crate::gpu::plan(&model, &gpu, options)?, &gpu, &wanted)
    }

    /// Options that the stage has no use for are refused.
    fn check(&self) -> Result<(), CliError> {
        let graph = matches!(self.stage, Stage::Graph | Stage::Optimized);
        let kernels = matches!(self.stage, Stage::Kernels | Stage::Clif | Stage::Asm) || self.is_of_gpu();
        let drawing = matches!(self.format, Format::Dot | Format::Svg);
        let wrong = match () {
            () if drawing && (!graph || self.diff.is_some()) => "--format dot and svg draw graphs only",
            () if self.layer.is_some() && !graph => "--layer is for graphs only",
            () if self.kernel.is_some() && !kernels => {
                "--kernel is for the stages kernels, clif, asm, cuda and ptx only"
            }
            () => return Ok(()),
        };
        Err(CliError::input(wrong))
    }

    /// The file as it is, whether a model can be made of it or not.
    fn gguf(&self, path: &Path) -> Result<String, CliError> {
        let file = GgufFile::open(path)?;
        Ok(match self.format {
            Format::Json => pretty(&gguf::json(&file)),
            _ => gguf::text(&file),
        })
    }

    /// Stages of a model's file, which is read as far as they need.
    fn text(&self, path: &Path, options: &BuildOptions) -> Result<String, CliError> {
        let (format, layer, name) = (self.format, self.layer, self.kernel.as_deref());
        let model = || Model::load_for(path, options.output);
        if let Some(range) = &self.diff {
            return graphs::difference(&model()?.graph, range, layer, options.verify, format);
        }
        let graph_at = |point| {
            graphs::formatted(
                &graphs::at(&model()?.graph, point, options.verify)?,
                layer,
                format,
            )
        };
        match self.stage {
            Stage::Gguf => self.gguf(path),
            Stage::Graph => graph_at(self.after.as_deref().unwrap_or("graph")),
            Stage::Optimized => graph_at("optimized"),
            Stage::Passes => graphs::passes(&model()?.graph, format),
            Stage::Kernels => {
                let lowered = plan_with_products(&model()?, options)?;
                plans::kernels(&lowered.plan, &lowered.products, name, format)
            }
            Stage::Plan | Stage::Memory | Stage::Clif | Stage::Asm => {
                let features = cpu_features(&options.cpu_features).map_err(CliError::input)?;
                self.of_plan(&plan(&model()?, options)?, &features)
            }
            Stage::Cuda | Stage::Ptx => self.of_gpu(path, options),
        }
    }

    /// Stages of a plan that was compiled before: those after the graph.
    fn compiled(&self, plan: &Plan, features: &CpuFeatures) -> Result<String, CliError> {
        match self.stage {
            Stage::Kernels => plans::kernels(plan, &[], self.kernel.as_deref(), self.format),
            Stage::Plan | Stage::Memory | Stage::Clif | Stage::Asm => self.of_plan(plan, features),
            Stage::Cuda | Stage::Ptx => Err(BuildError::CpuOnly("compiled plans").into()),
            Stage::Gguf | Stage::Graph | Stage::Passes | Stage::Optimized => Err(CliError::input(
                "a compiled plan has no graph any more; it has the stages kernels, plan, memory, clif and asm",
            )),
        }
    }

    fn of_plan(&self, plan: &Plan, features: &CpuFeatures) -> Result<String, CliError> {
        let json = self.format == Format::Json;
        Ok(match self.stage {
            Stage::Memory if json => pretty(&memory::MemoryMap::new(plan).json()),
            Stage::Memory => memory::MemoryMap::new(plan).text(),
            Stage::Clif | Stage::Asm => {
                let clif = self.stage == Stage::Clif;
                plans::code(plan, self.kernel.as_deref(), features, clif, self.format)?
            }
            _ if json => pretty(&plans::plan_json(plan)),
            _ => plan.to_string(),
        })
    }
}
