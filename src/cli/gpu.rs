//! Which GPU a plan is made for, where it is not run; and `lathe compile --device cuda`, which needs none.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use super::plans::{notice, parse_size};
use crate::build::BuildError;
use crate::build::BuildOptions;
use crate::gpu::{GpuModel, MemoryPlan};
use crate::plans::Kernels;
use clap::Args;
use lathe_codegen_cuda::arch::Arch;
use lathe_codegen_cuda::code;
use lathe_codegen_cuda::device::Loaded;
use lathe_frontend::model::Model;
use serde_json::json;
use std::time::Instant;

/// A GPU, at hand or not.
#[derive(Args, Clone, Debug)]
pub struct GpuArgs {
    /// For a GPU of this architecture, such as sm_90, rather than for that of this machine
    #[arg(long, env = "LATHE_GPU_ARCH", value_name = "ARCH")]
    gpu_arch: Option<Arch>,
    /// Memory of the GPU that may be taken, such as 24G [default: what is free]
    #[arg(long, env = "LATHE_GPU_MEMORY", value_name = "SIZE", value_parser = parse_size)]
    gpu_memory: Option<u64>,
}

impl GpuArgs {
    /// The GPU that is named, else this machine's.
    pub fn gpu(&self) -> Result<GpuModel, CliError> {
        let gpu = match self.gpu_arch {
            Some(arch) => GpuModel::of(arch),
            None => GpuModel::here(),
        };
        self.with_memory(gpu)
    }

    /// The GPU that is named, else this machine's, else a usual one.
    pub fn any(&self) -> Result<GpuModel, CliError> {
        let gpu = match self.gpu_arch {
            Some(arch) => GpuModel::of(arch),
            None => GpuModel::here().or_else(|_| GpuModel::of(Arch::USUAL)),
        };
        self.with_memory(gpu)
    }

    fn with_memory(&self, gpu: Result<GpuModel, lathe_codegen_cuda::Error>) -> Result<GpuModel, CliError> {
        let gpu = gpu.map_err(BuildError::from)?;
        Ok(GpuModel {
            free: self.gpu_memory.or(gpu.free),
            ..gpu
        })
    }
}

/// Says what a model's plan takes of a GPU's memory, and compiles its kernels into the cache.
pub fn compile(
    model: &ModelArg,
    run: &RunArgs,
    gpu: &GpuArgs,
    options: &BuildOptions,
    json: bool,
) -> Result<(), CliError> {
    let gpu = gpu.gpu()?;
    let cache = run.cache.require(options.threads)?;
    let model = Model::load_for(model.path()?, options.output)?;
    let planned = crate::gpu::plan(&model, &gpu, options)?;
    let memory = MemoryPlan {
        planned: &planned,
        gpu: &gpu,
    };
    if !json {
        // Before compiling, which may fail where NVRTC is missing.
        outln!("{}", memory.text().trim_end());
    }
    let start = Instant::now();
    let kernels: Vec<_> = planned.plan.kernels.values().collect();
    let store = Kernels::new(&cache, &notice);
    let code =
        code::load(&kernels, gpu.arch, options.threads, &store, &|_| Ok(())).map_err(BuildError::from)?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = code.bytes();
    if json {
        outln!(
            "{}",
            json!({"model": model.config.name, "memory": memory.json(), "kernels": kernels.len(),
                "compiled": code.compiled, "code_bytes": bytes, "seconds": seconds})
        );
        return Ok(());
    }
    let loaded = Loaded {
        compiled: code.compiled,
        bytes,
    };
    outln!(
        "{}: {seconds:.2} s, {:.1} kB of code for {}",
        loaded.stage(kernels.len()),
        bytes as f64 / 1e3,
        gpu.arch
    );
    Ok(())
}
