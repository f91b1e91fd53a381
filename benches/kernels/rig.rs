//! Runs the launches of a case through the executable, as models run, and takes their time by its profile.

use crate::cases::{Case, Kind};
use crate::graphs::{self, Weights};
use lathe_codegen_cpu::limits::{Caches, Level};
use lathe_codegen_cpu::{CpuExecutable, CpuFeatures, CpuOptions, OptLevel};
use lathe_ir::backend::{Batch, Executable};
use lathe_ir::layout::PackedLayout;
use lathe_ir::plan::{KV_BLOCK, Limits, Plan, Step};
use lathe_passes::lower::{LowerOptions, lower};
use std::error::Error;
use std::time::Duration;

/// Launches in a step where all read the same weights: so many that starting a step costs nothing.
const WARM_LAUNCHES: usize = 32;
/// Rows up to which reading weights from memory matters; above, one copy does.
pub const COLD_ROWS: u32 = 16;
/// The most copies of the weights.
const MOST_COPIES: u64 = 2048;

/// An executable that runs a case again and again.
pub struct Rig {
    executable: CpuExecutable,
    /// Kernel names of the steps of a launch, as the profile has them.
    measured: Vec<String>,
    /// Those of the first.
    kernels: String,
    /// Launches in a run.
    pub launches: usize,
    /// Bytes of packed weights that a launch reads.
    pub weight_bytes: u64,
    /// Bytes that the launches of a run read in all: what must fit a cache for them to read from it.
    pub working_set: u64,
    ctx: u32,
    inputs: Inputs,
}

/// The batch of a run.
#[derive(Default)]
struct Inputs {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    seqs: Vec<u32>,
    table: Vec<u32>,
}

impl Rig {
    /// A rig for up to `rows` rows of `case`.
    pub fn new(
        case: &Case,
        rows: u32,
        threads: usize,
        features: &CpuFeatures,
        caches: &Caches,
    ) -> Result<Rig, Box<dyn Error>> {
        let weight_bytes = weight_bytes(case)?;
        let copies = match caches.working_set(Level::Memory, 1) {
            Some(bytes) if case.cold && rows <= COLD_ROWS && weight_bytes > 0 => {
                bytes.div_ceil(weight_bytes).clamp(1, MOST_COPIES) as usize
            }
            _ => 1,
        };
        let launches = match copies {
            1 if rows <= COLD_ROWS && !case.cold => WARM_LAUNCHES,
            copies => copies,
        };
        let ctx = match case.kind {
            Kind::Attention { ctx, .. } => ctx,
            _ => rows,
        };
        let made = graphs::launches(case, launches, copies)?;
        let limits = Limits {
            tokens: rows,
            outputs: 1,
            seqs: 1,
            ctx: ctx.next_multiple_of(KV_BLOCK),
        };
        let plan = lower(
            &made.graph,
            &LowerOptions::for_width(limits, features.vector_lanes()),
        )?;
        let names: Vec<String> = plan.steps.iter().map(|step| names(&plan, step)).collect();
        let (setup, measured) = names.split_at(made.setup);
        // Attention may be followed by a merge, which is of the same launch.
        let steps = measured.len() / launches;
        assert!(
            measured.len() == steps * launches
                && measured.chunks(steps).all(|launch| launch == &measured[..steps])
                && !setup.iter().any(|name| measured.contains(name)),
            "the launches are all steps but the first {}, and have kernels of their own",
            made.setup
        );
        let measured = measured[..steps].to_vec();
        let options = CpuOptions {
            threads,
            pin: false,
            features: features.clone(),
            kv_blocks: limits.blocks_per_seq(),
            window_blocks: None,
            opt_level: OptLevel::default(),
        };
        let mut executable = CpuExecutable::compile(plan, &Weights::of(&made.graph), options)?;
        executable.set_profiling(true);
        let working_set = match case.kind {
            Kind::Linear { .. } => weight_bytes * copies as u64,
            _ => case.work(rows, 0).bytes,
        };
        Ok(Rig {
            executable,
            kernels: measured[0].clone(),
            measured,
            launches,
            weight_bytes,
            working_set,
            ctx,
            inputs: Inputs {
                table: (0..limits.blocks_per_seq()).collect(),
                ..Inputs::default()
            },
        })
    }

    /// What the code was made for.
    pub fn target(&self) -> &str {
        &self.executable.report().target
    }

    /// The kernels of a launch.
    pub fn kernels(&self) -> &str {
        &self.kernels
    }

    /// Sets the number of rows of the runs after this, at most that of the rig.
    pub fn set_rows(&mut self, rows: u32) {
        self.inputs.tokens = (0..rows).map(|row| row % 16).collect();
        self.inputs.positions = (self.ctx - rows..self.ctx).collect();
        self.inputs.seqs = vec![0; rows as usize];
    }

    /// Runs `times` times and returns the time of all launches, from barrier to barrier; nothing else of a run counts.
    pub fn run(&mut self, times: u64) -> Duration {
        let before = self.spent();
        for _ in 0..times {
            let batch = Batch {
                tokens: &self.inputs.tokens,
                positions: &self.inputs.positions,
                seqs: &self.inputs.seqs,
                outputs: &[0],
                block_tables: &self.inputs.table,
                window_tables: &[],
            };
            self.executable
                .run(&batch)
                .expect("the batch is within the plan's limits");
        }
        self.spent() - before
    }

    fn spent(&self) -> Duration {
        let entries = self.executable.profile();
        let entries = entries.iter().filter(|e| self.measured.contains(&e.kernels));
        entries.map(|e| e.time).sum()
    }
}

/// The names of a step's kernels, as the profile has them.
fn names(plan: &Plan, step: &Step) -> String {
    let names = step
        .calls
        .iter()
        .map(|call| plan.kernels[call.kernel].name.as_str());
    names.collect::<Vec<_>>().join(" + ")
}

/// Bytes of packed weights of one copy.
fn weight_bytes(case: &Case) -> Result<u64, Box<dyn Error>> {
    let Kind::Linear { k, parts, glu } = &case.kind else {
        return Ok(0);
    };
    let mut bytes = 0;
    for &(n, dtype) in parts {
        bytes += PackedLayout::of(dtype, n.into(), (*k).into())?.bytes();
    }
    Ok(if *glu { 2 * bytes } else { bytes })
}
