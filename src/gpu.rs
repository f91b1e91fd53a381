//! Models on GPUs: plans cut to a GPU and to its memory, the memory that they take, and executables of them.

use crate::build::{BuildError, BuildOptions, kv_blocks, limits, optimize_for};
use crate::plans::Stages;
use lathe_codegen_cuda as cuda;
use lathe_codegen_cuda::arch::Arch;
use lathe_codegen_cuda::code::CodeStore;
use lathe_codegen_cuda::device::{Device as _, Needs, RESERVE, Target};
use lathe_codegen_cuda::driver::Gpu;
use lathe_codegen_cuda::exec::{CudaExecutable, Setup};
use lathe_codegen_cuda::plan::CudaPlan;
use lathe_frontend::model::Model;
use lathe_ir::backend::Executable;
use lathe_ir::graph::Graph;
use lathe_ir::plan::{KV_BLOCK, ModelOutput};
use lathe_passes::Backend;
use serde_json::{Value, json};
use std::time::Instant;

/// A GPU that plans are made for, at hand or not.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuModel {
    /// Its name, for people.
    pub name: String,
    /// Its architecture.
    pub arch: Arch,
    /// What plans are cut to.
    pub target: Target,
    /// Bytes of memory that may be taken, where that is known.
    pub free: Option<u64>,
}

impl GpuModel {
    /// The GPU that stands for an architecture.
    ///
    /// # Errors
    /// Where none does.
    pub fn of(arch: Arch) -> Result<GpuModel, cuda::Error> {
        match (arch.target(), arch.example()) {
            (Some(target), Some(name)) => Ok(GpuModel {
                name: name.to_owned(),
                arch,
                target,
                free: None,
            }),
            // Reading its name says which are known.
            _ => arch.to_string().parse().and_then(GpuModel::of),
        }
    }

    /// The first GPU of this machine.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn here() -> Result<GpuModel, cuda::Error> {
        GpuModel::of_open(&Gpu::open()?)
    }

    fn of_open(gpu: &Gpu) -> Result<GpuModel, cuda::Error> {
        Ok(GpuModel {
            name: gpu.name().to_owned(),
            arch: gpu.arch(),
            target: gpu.target(),
            free: Some(gpu.free_bytes()?),
        })
    }
}

/// A plan, and what it takes of a GPU's memory.
pub struct Planned {
    /// The plan.
    pub plan: CudaPlan,
    /// Its memory.
    pub needs: Needs,
}

/// Optimizes a model for GPUs and lowers it for one. Where there is no room for weights as products with many rows want
/// them, they are laid out anew before each such product.
///
/// # Errors
/// Where an op can't be lowered, or the memory of the GPU, where that is known, is too little: in numbers.
pub fn plan(model: &Model, gpu: &GpuModel, options: &BuildOptions) -> Result<Planned, BuildError> {
    plan_part(model, &model.graph, model.output(), gpu, options)
}

/// The same of a part of the model.
fn plan_part(
    model: &Model,
    graph: &Graph,
    output: ModelOutput,
    gpu: &GpuModel,
    options: &BuildOptions,
) -> Result<Planned, BuildError> {
    let graph = optimize_for(graph, Backend::Cuda, options.verify)?;
    let limits = limits(model, options)?;
    let lowered = |panels| -> Result<Planned, BuildError> {
        let plan = cuda::lower(
            &graph,
            cuda::LowerOptions {
                limits,
                output,
                kv_types: options.kv_types.unwrap_or_default(),
                target: gpu.target,
                panels: Some(panels),
            },
        )?;
        let needs = cuda::exec::needs(&plan, kv_blocks(&limits, options));
        Ok(Planned { plan, needs })
    };
    let fits = |planned: &Planned| gpu.free.map_or(Ok(()), |free| planned.needs.check(free));
    let planned = lowered(cuda::PanelsIn::Memory)?;
    if fits(&planned).is_ok() {
        return Ok(planned);
    }
    let planned = lowered(cuda::PanelsIn::Arena)?;
    fits(&planned)?;
    Ok(planned)
}

/// A part of a model on this machine's GPU; stages and their time are added to `stages`.
///
/// # Errors
/// As [`plan`], and where the GPU or a kernel is at fault.
pub(crate) fn executable(
    model: &Model,
    graph: &Graph,
    output: ModelOutput,
    options: &BuildOptions,
    code: &dyn CodeStore,
    stages: &mut Stages,
) -> Result<Box<dyn Executable>, BuildError> {
    let start = Instant::now();
    let gpu = Gpu::open()?;
    let here = GpuModel::of_open(&gpu)?;
    stages.push(("open GPU".to_owned(), start.elapsed()));
    let start = Instant::now();
    let Planned { plan, needs } = plan_part(model, graph, output, &here, options)?;
    stages.push(("plan".to_owned(), start.elapsed()));
    let setup = Setup {
        kv_blocks: needs.kv_blocks,
        threads: options.threads,
        code,
    };
    Ok(Box::new(CudaExecutable::build(plan, &model.weights, gpu, setup)?))
}

/// What a plan takes of a GPU's memory, for people and programs.
pub struct MemoryPlan<'p> {
    /// The plan.
    pub planned: &'p Planned,
    /// The GPU.
    pub gpu: &'p GpuModel,
}

impl MemoryPlan<'_> {
    /// What memory is for, and bytes of it.
    fn parts(&self) -> [(&'static str, u64, String); 5] {
        let Planned { plan, needs } = self.planned;
        let sections = |panels: bool| {
            let of_kind = plan.sections.values().filter(|s| s.panels().is_some() == panels);
            of_kind.count()
        };
        let panels = match sections(true) {
            0 => "laid out in the arena, for steps of many rows".to_owned(),
            n => format!("{n} of them once more, for steps of many rows"),
        };
        let positions = u64::from(needs.kv_blocks) * u64::from(KV_BLOCK);
        let kv = format!("{positions} positions of {} layers", plan.kv_layers.len());
        let arena = format!("an arena of {} bytes, and tables of the step", plan.arena_bytes);
        [
            ("weights", needs.weights, format!("{} tensors", sections(false))),
            ("panels", needs.panels, panels),
            ("kv", needs.kv, kv),
            ("buffers", needs.rest, arena),
            ("reserve", RESERVE, "left to the driver".to_owned()),
        ]
    }

    /// A line for each part, the sum, and what is free where that is known.
    pub fn text(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let GpuModel { name, arch, .. } = self.gpu;
        let mut text = format!("memory of {}, {arch} ({name}):\n", self.planned.plan.name);
        let mut line = |what: &str, bytes: u64, more: &str| {
            text += format!("{what:>10} {:10.1} MiB  {more}", mib(bytes)).trim_end();
            text.push('\n');
        };
        for (what, bytes, more) in self.parts() {
            line(what, bytes, &more);
        }
        let needs = &self.planned.needs;
        line("total", needs.total(), "");
        if let Some(free) = self.gpu.free {
            let most = format!(
                "room for a KV cache of {} positions at most",
                needs.most_positions(free)
            );
            line("free", free, &most);
        }
        text
    }

    /// `{gpu, arch, weights_bytes, panels_bytes, kv_bytes, buffers_bytes, reserve_bytes, total_bytes, kv_positions,
    /// free_bytes, most_positions}`; the last two are null where it is not known what is free.
    pub fn json(&self) -> Value {
        let needs = &self.planned.needs;
        let mut object = json!({
            "gpu": self.gpu.name,
            "arch": self.gpu.arch.to_string(),
            "total_bytes": needs.total(),
            "kv_positions": u64::from(needs.kv_blocks) * u64::from(KV_BLOCK),
            "free_bytes": self.gpu.free,
            "most_positions": self.gpu.free.map(|free| needs.most_positions(free)),
        });
        for (what, bytes, _) in self.parts() {
            object[format!("{what}_bytes")] = bytes.into();
        }
        object
    }
}
