//! A plan of nothing but variants of one product, and the time that each takes.
//!
//! Every run launches each variant in turn, on the weights of as many of the model's layers as are wanted, so that what
//! disturbs the machine meanwhile falls on all variants alike.

use super::TuneError;
use lathe_codegen_cpu::{CpuExecutable, CpuFeatures, CpuOptions, OptLevel};
use lathe_ir::backend::{Batch, Executable, WeightSource};
use lathe_ir::kernel::builder::Addr;
use lathe_ir::kernel::{Access, Kernel, KernelBuilder, Mem};
use lathe_ir::plan::{
    Arg, Buffer, BufferDecl, Call, Count, KernelId, Limits, Plan, Rope, Section, SectionDecl, Step,
};
use std::collections::HashMap;
use std::time::Duration;

/// Bytes that one unit of the kernel that fills memory writes.
const FILL: u64 = 64 << 10;

/// A call of a plan: its step, and its number there.
pub(super) type Site = (usize, usize);

/// How to run.
pub(super) struct Setting<'a> {
    /// Where weights come from.
    pub(super) weights: &'a dyn WeightSource,
    /// What the code may use.
    pub(super) features: &'a CpuFeatures,
    /// Threads.
    pub(super) threads: usize,
}

/// What to run.
pub(super) struct Experiment<'p> {
    /// Plans of the same graph that differ in shapes alone.
    pub(super) variants: Vec<&'p Plan>,
    /// Calls of the same product, for different layers.
    pub(super) sites: &'p [Site],
    /// Rows of a run.
    pub(super) rows: u32,
    /// Bytes to write between two variants, so that each finds the caches cold; 0 for none.
    pub(super) flush: u64,
}

/// Variants that are ready to run.
pub(super) struct Probe {
    executable: CpuExecutable,
    /// The kernel of each variant.
    names: Vec<String>,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    table: Vec<u32>,
}

impl Probe {
    /// Compiles the variants. Their kernels must have different names.
    ///
    /// # Errors
    /// As [`CpuExecutable::compile`].
    pub(super) fn new(experiment: &Experiment, setting: &Setting) -> Result<Probe, TuneError> {
        let (plan, names) = Composer::compose(experiment);
        let limits = plan.limits;
        let options = CpuOptions {
            threads: setting.threads,
            pin: false,
            features: setting.features.clone(),
            kv_blocks: limits.blocks_per_seq(),
            window_blocks: None,
            opt_level: OptLevel::default(),
        };
        let mut executable = CpuExecutable::compile(plan, setting.weights, options)?;
        executable.set_profiling(true);
        let rows = limits.tokens;
        Ok(Probe {
            executable,
            names,
            tokens: vec![0; rows as usize],
            positions: (0..rows).collect(),
            table: (0..limits.blocks_per_seq()).collect(),
        })
    }

    /// Runs every variant once and returns their times.
    ///
    /// # Errors
    /// Where the step is refused.
    pub(super) fn run(&mut self) -> Result<Vec<Duration>, TuneError> {
        let before = self.spent();
        let seqs = vec![0; self.tokens.len()];
        self.executable.run(&Batch {
            tokens: &self.tokens,
            positions: &self.positions,
            seqs: &seqs,
            outputs: &[0],
            block_tables: &self.table,
            window_tables: &[],
        })?;
        let after = self.spent();
        Ok(before.iter().zip(&after).map(|(b, a)| *a - *b).collect())
    }

    fn spent(&self) -> Vec<Duration> {
        let entries = self.executable.profile();
        let time = |name: &String| {
            let entry = entries.iter().find(|e| e.kernels == *name);
            entry.map_or(Duration::ZERO, |e| e.time)
        };
        self.names.iter().map(time).collect()
    }
}

/// Puts the plan together.
struct Composer<'p> {
    /// The plan that the sites are read from; the others have the same arguments.
    base: &'p Plan,
    plan: Plan,
    buffers: HashMap<Buffer, Buffer>,
    sections: HashMap<Section, Section>,
    ropes: HashMap<Rope, Rope>,
    kernels: HashMap<String, KernelId>,
}

impl<'p> Composer<'p> {
    fn compose(experiment: &Experiment<'p>) -> (Plan, Vec<String>) {
        let base = experiment.variants[0];
        let outputs = base.limits.outputs.min(experiment.rows);
        let mut composer = Composer {
            base,
            plan: Plan {
                name: format!("variants of a product of {}", base.name),
                limits: Limits {
                    tokens: experiment.rows,
                    outputs,
                    seqs: 1,
                    ctx: base.limits.ctx,
                },
                vocab: 1,
                ..Plan::default()
            },
            buffers: HashMap::new(),
            sections: HashMap::new(),
            ropes: HashMap::new(),
            kernels: HashMap::new(),
        };
        composer.inputs(experiment.sites[0], outputs);
        let flush = (experiment.flush > 0).then(|| {
            let bytes = experiment.flush.next_multiple_of(FILL);
            composer.new_buffer("what fills the caches", bytes)
        });
        let mut names = Vec::new();
        for variant in &experiment.variants {
            if let Some(flush) = flush {
                let call = composer.fill(flush);
                composer.step("flush", vec![call]);
            }
            names.push(composer.variant(variant, experiment.sites));
        }
        (composer.plan, names)
    }

    /// Buffers of the product, those that it reads filled, and an output, which nobody looks at.
    fn inputs(&mut self, site: Site, outputs: u32) {
        let base = self.base;
        let call = &base.steps[site.0].calls[site.1];
        let mut fills = Vec::new();
        for (arg, decl) in call.args.iter().zip(base.kernels[call.kernel].bufs.values()) {
            match *arg {
                Arg::Buffer(id) if !self.buffers.contains_key(&id) => {
                    let BufferDecl { name, bytes, .. } = &base.buffers[id];
                    let new = self.new_buffer(name, *bytes);
                    self.buffers.insert(id, new);
                    if decl.access != Access::Out {
                        fills.push(self.fill(new));
                    }
                }
                Arg::Kv(_, layer) => self.plan.kv_layers = vec![base.kv_layers[layer as usize]],
                _ => {}
            }
        }
        let output = self.new_buffer("output", 4 * u64::from(outputs));
        fills.push(self.fill(output));
        self.plan.output = Some(output);
        self.step("inputs", fills);
    }

    /// The steps of a variant; returns the name of its kernel.
    fn variant(&mut self, variant: &'p Plan, sites: &[Site]) -> String {
        let (step, number) = sites[0];
        let template = &self.base.steps[step].calls[number];
        let first = &variant.steps[step].calls[number];
        let kernel = variant.kernels[first.kernel].clone();
        let name = kernel.name.clone();
        let id = self.kernel(kernel);
        for &(step, number) in sites {
            let call = &variant.steps[step].calls[number];
            let args = call.args.iter().zip(&template.args);
            let call = Call {
                kernel: id,
                args: args.map(|(&arg, &first)| self.arg(arg, first)).collect(),
                ..call.clone()
            };
            self.step(&name, vec![call]);
        }
        name
    }

    /// The argument of a layer in this plan, where `first` is that of the first layer: its buffers serve all layers.
    fn arg(&mut self, arg: Arg, first: Arg) -> Arg {
        match (arg, first) {
            (_, Arg::Buffer(id)) => Arg::Buffer(self.buffers[&id]),
            (Arg::Section(id), _) => Arg::Section(self.section(id)),
            (Arg::Rope(id), _) => Arg::Rope(self.rope(id)),
            (Arg::Kv(part, _), _) => Arg::Kv(part, 0),
            (other, _) => other,
        }
    }

    fn section(&mut self, id: Section) -> Section {
        let decl: &SectionDecl = &self.base.sections[id];
        let sections = &mut self.plan.sections;
        *self
            .sections
            .entry(id)
            .or_insert_with(|| sections.push(decl.clone()))
    }

    fn rope(&mut self, id: Rope) -> Rope {
        let decl = &self.base.ropes[id];
        let ropes = &mut self.plan.ropes;
        *self.ropes.entry(id).or_insert_with(|| ropes.push(decl.clone()))
    }

    fn new_buffer(&mut self, name: &str, bytes: u64) -> Buffer {
        let offset = self.plan.arena_bytes;
        self.plan.arena_bytes = (offset + bytes).next_multiple_of(lathe_ir::layout::ALIGN);
        self.plan.buffers.push(BufferDecl {
            name: name.to_owned(),
            offset,
            bytes,
        })
    }

    fn kernel(&mut self, kernel: Kernel) -> KernelId {
        let kernels = &mut self.plan.kernels;
        let name = kernel.name.clone();
        *self.kernels.entry(name).or_insert_with(|| kernels.push(kernel))
    }

    /// A call that fills a buffer.
    fn fill(&mut self, buffer: Buffer) -> Call {
        let bytes = self.plan.buffers[buffer].bytes;
        let (units, unit) = match bytes.is_multiple_of(FILL) {
            true => (bytes / FILL, FILL),
            false => (1, bytes),
        };
        Call {
            kernel: self.kernel(fill_kernel(unit)),
            args: vec![Arg::Buffer(buffer)],
            scalars: Vec::new(),
            units: Count::constant(units),
            cost: unit,
        }
    }

    fn step(&mut self, label: &str, calls: Vec<Call>) {
        let label = label.to_owned();
        self.plan.steps.push(Step { label, calls });
    }
}

/// Writes 1.0 to `bytes` bytes a unit: rows of floats, or codes and scales of int8 activations that are no denormal
/// numbers.
fn fill_kernel(bytes: u64) -> Kernel {
    let mut b = KernelBuilder::new(format!("fill.{bytes}"));
    let out = b.buf("out", Access::Out);
    let unit = b.unit();
    let start = b.mul_const(unit, bytes as i64);
    let lanes: u8 = if bytes.is_multiple_of(16) { 4 } else { 1 };
    let one = b.fconst(1.0, lanes);
    let (lo, hi) = (b.index(0), b.index((bytes / 4 * 4) as i64));
    b.for_loop(lo, hi, 4 * i64::from(lanes), &[], |b, i, _| {
        let index = b.add(start, i);
        let at = Addr {
            buf: out,
            index,
            disp: 0,
        };
        b.store(Mem::F32, at, one);
        Vec::new()
    });
    b.finish()
}
