//! Models and parts of models on their devices.

use super::{BuildError, BuildOptions, Clock, Cut, Device, cpu_options, limits, optimize, tuned_options};
use lathe_codegen_cpu::CpuExecutable;
use lathe_codegen_cuda::code::CodeStore;
use lathe_frontend::model::Model;
use lathe_ir::backend::Executable;
use lathe_ir::graph::Graph;
use lathe_ir::plan::ModelOutput;
use lathe_passes::cut;
use lathe_passes::lower::lower;
use lathe_runtime::Parts;

/// Builds a model where the options say.
pub(super) fn executable(
    model: &Model,
    options: &BuildOptions,
    code: &dyn CodeStore,
    clock: &mut Clock,
) -> Result<Box<dyn Executable>, BuildError> {
    let whole = Part {
        model,
        graph: &model.graph,
        output: model.output(),
        options,
        code,
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
    /// Where machine code of GPU kernels is kept.
    code: &'m dyn CodeStore,
}

impl Part<'_> {
    /// The first layers on one device, and the rest on the other.
    fn build_cut(&self, at: Cut, layers: u32, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        if self.output == ModelOutput::Embeddings {
            return Err(BuildError::CutEmbeddings);
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

    fn on_cpu(&self, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        let (model, options) = (self.model, self.options);
        let graph = clock.time("passes", || optimize(self.graph, options.verify))?;
        let (features, lowering) = tuned_options(limits(model, options)?, options)?;
        let lowering = lowering.with_output(self.output);
        let plan = clock.time("lower", || lower(&graph, &lowering))?;
        let cpu = cpu_options(&plan, features, options);
        Ok(Box::new(CpuExecutable::compile(plan, &model.weights, cpu)?))
    }

    fn on_cuda(&self, clock: &mut Clock) -> Result<Box<dyn Executable>, BuildError> {
        let (graph, output, stages) = (self.graph, self.output, &mut clock.stages);
        crate::gpu::executable(self.model, graph, output, self.options, self.code, stages)
    }
}
