//! Plans for GPUs: launches, memory, the CUDA C++ text of kernels, and PTX.

use super::{Format, Stage, pretty};
use crate::build::BuildError;
use crate::cli::error::CliError;
use crate::gpu::{GpuModel, MemoryPlan, Planned};
use lathe_codegen_cuda::code;
use lathe_codegen_cuda::kernels::{Kernel, prelude};
use lathe_codegen_cuda::plan::{Call, CudaPlan, print};
use lathe_ir::id::Id;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// What is printed of a plan.
pub struct Wanted<'a> {
    /// What to print: cuda, ptx, plan or memory.
    pub stage: Stage,
    /// Only kernels whose name contains this.
    pub kernel: Option<&'a str>,
    /// How.
    pub format: Format,
    /// Threads that compile.
    pub threads: usize,
}

/// A stage of a plan.
pub fn text(planned: &Planned, gpu: &GpuModel, wanted: &Wanted) -> Result<String, CliError> {
    let json = wanted.format == Format::Json;
    match wanted.stage {
        Stage::Memory if json => Ok(pretty(&MemoryPlan { planned, gpu }.json())),
        Stage::Memory => Ok(MemoryPlan { planned, gpu }.text()),
        Stage::Plan if json => Err(CliError::input(
            "--format json is not for the plan of a GPU; its text form is",
        )),
        Stage::Plan => Ok(print::print(&planned.plan)),
        Stage::Cuda => kernels(&planned.plan, gpu, wanted, Kernel::source),
        _ => {
            let chosen = chosen(&planned.plan, wanted.kernel)?;
            let kernels: Vec<&Kernel> = chosen.iter().map(|(_, kernel)| *kernel).collect();
            let texts = code::ptx(&kernels, gpu.arch, wanted.threads).map_err(BuildError::from)?;
            let mut texts = texts.into_iter();
            self::kernels(&planned.plan, gpu, wanted, |_| texts.next().unwrap_or_default())
        }
    }
}

/// The kernels whose name contains `name`, with their numbers.
fn chosen<'p>(plan: &'p CudaPlan, name: Option<&str>) -> Result<Vec<(usize, &'p Kernel)>, CliError> {
    let all = || plan.kernels.iter().map(|(id, kernel)| (id.index(), kernel));
    let chosen: Vec<_> = all()
        .filter(|(_, k)| name.is_none_or(|name| k.name().contains(name)))
        .collect();
    match (name, chosen.is_empty()) {
        (Some(name), true) => {
            let known: Vec<String> = all().map(|(_, k)| k.name()).collect();
            Err(CliError::input(format!(
                "no kernel's name contains `{name}`; there are {}",
                known.join(", ")
            )))
        }
        _ => Ok(chosen),
    }
}

/// Labels of what launches a kernel: those that run once, then each launch.
fn launches(plan: &CudaPlan, kernel: usize) -> Vec<String> {
    let is_its = |call: &Call| call.kernel.index() == kernel;
    let once = plan.unpacks.iter().filter(|call| is_its(call)).count();
    let launches = plan.launches.iter().enumerate();
    let largest = plan
        .largest
        .iter()
        .filter(|launch| launch.calls.iter().any(is_its));
    (0..once.min(1))
        .map(|_| format!("once, for {once} weights"))
        .chain(
            launches
                .filter(|(_, launch)| launch.calls.iter().any(is_its))
                .map(|(number, launch)| format!("{number} {}", launch.label)),
        )
        .chain(largest.map(|launch| format!("after all, where they are wanted: {}", launch.label)))
        .collect()
}

/// Kernels one after another with what launches them. With CUDA C++ of all of them comes what stands before them, so that
/// it compiles as it is. JSON: `[{name, threads, shared_bytes, launches, text}]`.
fn kernels(
    plan: &CudaPlan,
    gpu: &GpuModel,
    wanted: &Wanted,
    mut text_of: impl FnMut(&Kernel) -> String,
) -> Result<String, CliError> {
    let mut text = format!(
        "// {}, {} ({}): {} multiprocessors, {} KiB of shared memory a block\n",
        plan.name,
        gpu.arch,
        gpu.name,
        gpu.target.processors,
        gpu.target.shared_bytes >> 10
    );
    if wanted.stage == Stage::Cuda && wanted.kernel.is_none() {
        text += prelude();
    }
    let mut list: Vec<Json> = Vec::new();
    for (number, kernel) in chosen(plan, wanted.kernel)? {
        let (source, launches) = (text_of(kernel), launches(plan, number));
        let (name, threads, shared) = (kernel.name(), kernel.threads(), kernel.dynamic_shared());
        let _ = writeln!(
            text,
            "\n// {name}: {threads} threads, {shared} bytes of shared memory asked for"
        );
        for launch in &launches {
            let _ = writeln!(text, "//   {launch}");
        }
        text += &source;
        list.push(
            json!({"name": name, "threads": threads, "shared_bytes": shared, "launches": launches,
            "text": source}),
        );
    }
    Ok(match wanted.format {
        Format::Json => pretty(&list.into()),
        _ => text,
    })
}
