//! Models and parts of models on their devices.

use super::{
    BuildError, BuildOptions, Clock, Cut, Device, cpu_options, kv_blocks, limits, optimize_for, tuned_options,
};
use lathe_codegen_cpu::CpuExecutable;
use lathe_codegen_cuda as cuda;
use lathe_codegen_cuda::device::Device as _;
use lathe_frontend::model::Model;
use lathe_ir::backend::Executable;
use lathe_ir::graph::Graph;
use lathe_ir::plan::ModelOutput;
use lathe_passes::lower::lower;
use lathe_passes::{Activations, cut};
use lathe_runtime::Parts;

/// Builds a model where the options say.
pub(super) fn executable(
    model: &Model,
    options: &BuildOptions,
    clock: &mut Clock,
) -> Result<Box<dyn Executable>, BuildError> {
    let whole = Part {
        model,
        graph: &model.graph,
        output: model.output(),
        options,
    };
    let layers = model.config.layers.len() as u32;
    match options.cut {
        Some(cut) if cut.layers > layers => Err(BuildError::Layers {
            asked: cut.layers,
            model: layers,
        }),
        Some(cut) if cut.layers == layers => whole.build(cut.device, clock),
        Some(cut) if cut.layers > 0 => whole.build_cut(cut, layers, clock),
        _ => whole.build(options.device, clock),
    }
}

/// A model, or a part of it.
struct Part<'m> {
    model: &'m Model,
    graph: &'m Graph,
    /// What its steps give.
    output: ModelOutput,
    options: &'m BuildOptions,
}

impl Part<'_> {
    /// The first layers on one device, and the rest on the other.
    fn build_cut(&self, at: Cut, layers: u32, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        if self.output == ModelOutput::Embeddings {
            return Err(BuildError::CpuOnly("embeddings"));
        }
        let [first, rest] = clock.time("cut", || cut(self.graph, at.layers))?;
        let first = Part {
            graph: &first,
            output: ModelOutput::Hidden,
            ..*self
        };
        let rest = Part {
            graph: &rest,
            ..*self
        };
        let first = first.build(at.device, clock)?;
        let rest = rest.build(self.options.device, clock)?;
        let name = |from: u32, end: u32| match end - from {
            1 => format!("layer {from}"),
            _ => format!("layers {from}-{}", end - 1),
        };
        let names = [name(0, at.layers), name(at.layers, layers)];
        let parts = Parts::new(first, rest, names.each_ref().map(String::as_str))?;
        Ok(Box::new(parts))
    }

    fn build(&self, device: Device, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        match device {
            Device::Cpu => self.on_cpu(clock),
            Device::Cuda => self.on_cuda(clock),
        }
    }

    fn optimized(&self, activations: Activations, clock: &mut Clock) -> Result<Graph, BuildError> {
        clock.time("passes", || {
            optimize_for(self.graph, activations, self.options.verify)
        })
    }

    fn on_cpu(&self, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        let (model, options) = (self.model, self.options);
        let graph = self.optimized(Activations::Int8, clock)?;
        let (features, lowering) = tuned_options(limits(model, options)?, options)?;
        let lowering = lowering.with_output(self.output);
        let plan = clock.time("lower", || lower(&graph, &lowering))?;
        let cpu = cpu_options(&plan, features, options);
        Ok(Box::new(CpuExecutable::compile(plan, &model.weights, cpu)?))
    }

    fn on_cuda(&self, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        if self.output == ModelOutput::Embeddings {
            return Err(BuildError::CpuOnly("embeddings"));
        }
        let (model, options) = (self.model, self.options);
        let gpu = clock.time("open GPU", cuda::driver::Gpu::open)?;
        let graph = self.optimized(Activations::F32, clock)?;
        let lowering = cuda::LowerOptions {
            limits: limits(model, options)?,
            kv_types: options.kv_types.unwrap_or_default(),
            target: gpu.target(),
            panels: Some(cuda::PanelsIn::Memory),
        };
        let blocks = kv_blocks(&lowering.limits, options);
        let plan = clock.time("lower", || {
            let plan = cuda::lower(&graph, lowering)?;
            if gpu.check(&cuda::exec::needs(&plan, blocks)).is_ok() {
                return Ok(plan);
            }
            // There is no room for all weights as products with many rows want them.
            cuda::lower(
                &graph,
                cuda::LowerOptions {
                    panels: Some(cuda::PanelsIn::Arena),
                    ..lowering
                },
            )
        })?;
        let executable =
            cuda::exec::CudaExecutable::build(plan, &model.weights, gpu, blocks, options.threads)?;
        Ok(Box::new(executable))
    }
}
