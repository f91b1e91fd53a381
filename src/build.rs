//! From a model file to an executable: load, build the graph, run the passes, lower, compile, pack.

mod parts;

use crate::tune::file::{self, FileError};
use lathe_codegen_cpu::limits::Caches;
use lathe_codegen_cpu::{CpuFeatures, CpuOptions, OptLevel};
use lathe_codegen_cuda as cuda;
use lathe_codegen_cuda::code::{CodeStore, NoStore};
use lathe_frontend::model::Model;
use lathe_frontend::pooling::Pooling;
use lathe_frontend::text::TextModel;
use lathe_ir::backend::Executable;
use lathe_ir::graph::Graph;
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::{KV_BLOCK, Limits, ModelOutput, Plan};
use lathe_passes::lower::{LowerOptions, Lowered, MachineModel, lower_with_products};
use lathe_passes::{Backend, CutError, PipelineOptions};
use lathe_runtime::PartsError;
use lathe_runtime::cache::CacheError;
use lathe_runtime::session::Identity;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Positions of the context where the caller names none and the model allows more.
pub const DEFAULT_CONTEXT: u32 = 8192;
/// Sequences of a step, and rows whose result is wanted, where the caller names no number: plans for one user and for several are the
/// same.
pub const DEFAULT_SEQS: u32 = 16;

/// Where steps run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl Device {
    /// Prompt tokens of a step that suit it.
    pub fn chunk(self) -> u32 {
        match self {
            Device::Cpu => 512,
            Device::Cuda => 2048,
        }
    }
}

/// A model's first layers run elsewhere than the rest of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// How many they are.
    pub layers: u32,
    /// Where they run.
    pub device: Device,
}

/// What to build.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildOptions {
    /// Where steps run.
    pub device: Device,
    /// Which layers run elsewhere; `None` for none.
    pub cut: Option<Cut>,
    /// Threads that run steps.
    pub threads: usize,
    /// Whether each thread stays on a processor of its own.
    pub pin: bool,
    /// Positions of the context; `None` for the model's, at most [`DEFAULT_CONTEXT`].
    pub context: Option<u32>,
    /// Most rows of a step.
    pub chunk: u32,
    /// What steps give.
    pub output: ModelOutput,
    /// Most rows of a step whose result is wanted.
    pub outputs: u32,
    /// Most sequences of a step.
    pub seqs: u32,
    /// Positions that the KV pool holds, of all sequences together; `None` for one sequence's context.
    pub kv_positions: Option<u32>,
    /// CPU features to use: `all`, or names separated by commas.
    pub cpu_features: String,
    /// Whether to verify the IR after every pass.
    pub verify: bool,
    /// Whether to use shapes that were tuned for this machine, where there are any.
    pub tuning: bool,
    /// How keys and values are stored; `None` for f16, or what a compiled plan that is named has.
    pub kv_types: Option<KvTypes>,
    /// Blocks of layers with a sliding window.
    pub windows: Windows,
}

/// How many blocks there are for layers with a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Windows {
    /// As many as sequences need, where that is fewer than other layers have.
    #[default]
    Needed,
    /// So many, but as many as one sequence needs at least.
    Blocks(u32),
    /// As many as other layers have: nothing leaves a window for good. A draft model must have them, since it goes back at
    /// will.
    All,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions {
            device: Device::Cpu,
            cut: None,
            threads: 1,
            pin: false,
            context: None,
            chunk: Device::Cpu.chunk(),
            output: ModelOutput::Logits,
            outputs: DEFAULT_SEQS,
            seqs: DEFAULT_SEQS,
            kv_positions: None,
            cpu_features: "all".into(),
            verify: cfg!(debug_assertions),
            tuning: false,
            kv_types: None,
            windows: Windows::Needed,
        }
    }
}

impl BuildOptions {
    /// Whether the whole model runs on the processor, in one plan.
    pub fn on_cpu(&self) -> bool {
        self.device == Device::Cpu && self.cut.is_none()
    }

    /// The same for embeddings: each row of a step may be wanted.
    pub fn for_embeddings(self) -> BuildOptions {
        BuildOptions {
            output: ModelOutput::Embeddings,
            outputs: self.chunk,
            ..self
        }
    }
}

/// A model that is ready to run.
pub struct Built {
    /// The model's tokenizer and chat template.
    pub text: TextModel,
    /// How embeddings are pooled where nobody says; `None` where steps give logits.
    pub pooling: Option<Pooling>,
    /// The compiled step.
    pub executable: Box<dyn Executable>,
    /// What keys and values depend on, where the plan is kept or was written to a folder.
    pub identity: Option<Identity>,
    /// Stages and their time, in order.
    pub stages: Vec<(String, Duration)>,
}

/// Why a model can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file or its contents.
    #[error(transparent)]
    Model(#[from] lathe_frontend::Error),
    /// A pass.
    #[error("{0}")]
    Pass(#[from] lathe_passes::PassError),
    /// Lowering.
    #[error("{0}")]
    Lower(#[from] lathe_passes::lower::LowerError),
    /// Code generation or packing.
    #[error("{0}")]
    Codegen(#[from] lathe_codegen_cpu::Error),
    /// The CUDA backend.
    #[error("{0}")]
    Cuda(#[from] cuda::Error),
    /// The model can't be cut between two layers.
    #[error("{0}")]
    Cut(#[from] CutError),
    /// Its parts do not fit together.
    #[error("{0}")]
    Parts(#[from] PartsError),
    /// More layers were to run elsewhere than there are.
    #[error("{asked} layers on the GPU are more than the model's {model}")]
    Layers {
        /// Layers asked for.
        asked: u32,
        /// Layers of the model.
        model: u32,
    },
    /// Something that is done with whole models only.
    #[error("parts of models are built when they are run; leave out --gpu-layers")]
    Uncut,
    /// Embeddings of a model in parts.
    #[error("embeddings are made by whole models; leave out --gpu-layers")]
    CutEmbeddings,
    /// Something that only the CPU backend does.
    #[error("{0} are for the CPU alone; leave out --device cuda")]
    CpuOnly(&'static str),
    /// The file of tuned shapes.
    #[error("{0}")]
    Tuning(#[from] FileError),
    /// The cache of compiled plans.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no plan of this id.
    #[error("there is no plan {0} in the cache")]
    NoPlan(String),
    /// A plan was compiled for something else.
    #[error("{plan}: the plan was compiled for {message}; compile the model again")]
    OtherPlan {
        /// The plan's folder.
        plan: PathBuf,
        /// What it was compiled for, and what was asked for.
        message: String,
    },
    /// The model's files changed while they were compiled.
    #[error("{0}: it changed while it was compiled")]
    Changed(PathBuf),
    /// The context asked for exceeds the model's.
    #[error("the context of {asked} positions is more than the model's {model}")]
    Context {
        /// Positions asked for.
        asked: u32,
        /// Positions the model was trained for.
        model: u32,
    },
}

/// Runs the pipeline over a model's graph, as a CPU wants it.
///
/// # Errors
/// Where a pass fails or leaves an invalid graph.
pub fn optimize(graph: &Graph, verify: bool) -> Result<Graph, BuildError> {
    optimize_for(graph, Backend::Cpu, verify)
}

/// The same for a device whose products take such activations.
pub(crate) fn optimize_for(graph: &Graph, backend: Backend, verify: bool) -> Result<Graph, BuildError> {
    let mut graph = graph.clone();
    let options = PipelineOptions {
        backend,
        verify,
        after_each: None,
    };
    lathe_passes::run_pipeline(&mut graph, options)?;
    Ok(graph)
}

/// The bounds of a plan for these options.
///
/// # Errors
/// Where the context asked for exceeds the model's.
pub fn limits(model: &Model, options: &BuildOptions) -> Result<Limits, BuildError> {
    let trained = model.config.context_length;
    let context = match options.context {
        Some(asked) if asked > trained => {
            return Err(BuildError::Context {
                asked,
                model: trained,
            });
        }
        Some(asked) => asked,
        None => trained.min(DEFAULT_CONTEXT),
    };
    let ctx = context.max(1).next_multiple_of(KV_BLOCK);
    Ok(Limits {
        tokens: options.chunk.min(ctx),
        outputs: options.outputs.min(options.chunk).min(ctx),
        seqs: options.seqs,
        ctx,
    })
}

/// What `threads` threads on a processor with `features` and this machine's caches want of a plan.
pub fn lower_options(limits: Limits, features: &CpuFeatures, threads: usize) -> LowerOptions {
    let lanes = features.vector_lanes();
    let caches = Caches::host();
    let machine = MachineModel::for_width(lanes)
        .with_caches(caches.l1, caches.l2)
        .with_threads(threads);
    let machine = if features.has_dot4() {
        machine
    } else {
        machine.without_dot4()
    };
    LowerOptions::for_width(limits, lanes)
        .with_matrix_unit(features.has_matrix_unit())
        .with_machine(machine)
}

/// The same with what was tuned for this machine, where it is wanted.
pub(crate) fn tuned_options(
    limits: Limits,
    options: &BuildOptions,
) -> Result<(CpuFeatures, LowerOptions), BuildError> {
    let features = cpu_features(&options.cpu_features)?;
    let path = options
        .tuning
        .then(|| file::path(&features, options.threads))
        .flatten();
    let tuning = path.map(|path| file::load(&path)).transpose()?.flatten();
    let lowering = lower_options(limits, &features, options.threads)
        .with_output(options.output)
        .with_tuning(tuning.map(Arc::new))
        .with_kv_types(options.kv_types.unwrap_or_default());
    Ok((features, lowering))
}

/// Optimizes and lowers a model.
///
/// # Errors
/// As [`optimize`] and [`limits`], and where an op can't be lowered.
pub fn plan(model: &Model, options: &BuildOptions) -> Result<Plan, BuildError> {
    Ok(plan_with_products(model, options)?.plan)
}

/// As [`plan`], with how products came to their shapes.
///
/// # Errors
/// As [`plan`].
pub fn plan_with_products(model: &Model, options: &BuildOptions) -> Result<Lowered, BuildError> {
    let graph = optimize(&model.graph, options.verify)?;
    let (_, lowering) = tuned_options(limits(model, options)?, options)?;
    Ok(lower_with_products(
        &graph,
        &lowering.with_output(model.output()),
    )?)
}

/// Builds the model in the file at `path`.
///
/// # Errors
/// Names the file, the thing and the bound.
pub fn build(path: &Path, options: &BuildOptions) -> Result<Built, BuildError> {
    build_keeping(path, options, &NoStore)
}

/// The same; `code` keeps code for GPUs.
///
/// # Errors
/// As [`build`].
pub fn build_keeping(path: &Path, options: &BuildOptions, code: &dyn CodeStore) -> Result<Built, BuildError> {
    let start = Instant::now();
    let model = Model::load_for(path, options.output)?;
    build_model(model, ("load".to_owned(), start.elapsed()), options, code)
}

/// Builds a model, which gives what it was loaded for; `made` is the stage that made it, `code` keeps code for GPUs.
///
/// # Errors
/// As [`build`].
pub fn build_model(
    model: Model,
    made: (String, Duration),
    options: &BuildOptions,
    code: &dyn CodeStore,
) -> Result<Built, BuildError> {
    let mut clock = Clock { stages: vec![made] };
    let executable = parts::executable(&model, options, code, &mut clock)?;
    clock.stages.extend(executable.report().stages.iter().cloned());
    Ok(Built {
        text: model.text,
        pooling: model.pooling,
        executable,
        identity: None,
        stages: clock.stages,
    })
}

/// How the executable of a plan is built and run.
pub(crate) fn cpu_options(plan: &Plan, features: CpuFeatures, options: &BuildOptions) -> CpuOptions {
    CpuOptions {
        threads: options.threads,
        pin: options.pin,
        features,
        kv_blocks: kv_blocks(&plan.limits, options),
        window_blocks: window_blocks(plan, options),
        opt_level: OptLevel::default(),
    }
}

/// Blocks of the KV pool: no more than all sequences can use, and no less than one can.
pub(crate) fn kv_blocks(limits: &Limits, options: &BuildOptions) -> u32 {
    let one = limits.blocks_per_seq();
    let all = one.saturating_mul(limits.seqs);
    let asked = options.kv_positions.map_or(one, |n| n.div_ceil(KV_BLOCK));
    asked.clamp(one, all)
}

/// Blocks of the pool of layers with a sliding window, where they have one of their own. A sequence needs what its rows see
/// and write; room for two more lets the ends of prefixes be found. Without `kv_positions` there is room for one context,
/// and so for one sequence.
fn window_blocks(plan: &Plan, options: &BuildOptions) -> Option<u32> {
    let window = plan.window()?;
    let one = window.div_ceil(KV_BLOCK) + 2;
    let written = plan.limits.tokens.div_ceil(KV_BLOCK);
    let seqs = options.kv_positions.map_or(1, |_| plan.limits.seqs);
    let needed = (seqs + 2) * (one + 1) + written;
    match options.windows {
        Windows::All => None,
        Windows::Blocks(blocks) => Some(blocks.max(one + written)),
        Windows::Needed => Some(needed).filter(|&needed| needed < kv_blocks(&plan.limits, options)),
    }
}

/// The features of this machine that `list` leaves: `all`, or names separated by commas.
///
/// # Errors
/// Names a feature that is unknown or not there.
pub fn cpu_features(list: &str) -> Result<CpuFeatures, lathe_codegen_cpu::Error> {
    let host = CpuFeatures::host()?;
    if list == "all" {
        Ok(host)
    } else {
        host.narrowed(list)
    }
}

struct Clock {
    stages: Vec<(String, Duration)>,
}

impl Clock {
    fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.stages.push((stage.to_owned(), start.elapsed()));
        result
    }
}
