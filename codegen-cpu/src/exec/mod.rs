//! The executable: a plan compiled, its weights packed, its memory mapped, and the loop that runs its steps.
//!
//! Everything that a step needs is laid out at construction; running one allocates nothing.

mod bind;
mod profile;
mod rope;

pub use profile::ProfileEntry;

use crate::Error;
use crate::kernels::CompiledKernels;
use crate::pack::{Owners, PackedWeights, Sink, decode_vector, pack_chunks};
use crate::pool::{Team, ThreadPool};
use crate::target::{CpuFeatures, OptLevel};
use crate::topology::{Topology, count_nodes};
use bind::{Bound, Memory, Sizes};
use lathe_ir::backend::{Batch, BatchCheck, BuildReport, ExecError, Executable, WeightSource, WindowPool};
use lathe_ir::kernel::Kernel;
use lathe_ir::plan::{Input, KvLayer, Limits, ModelOutput, Plan, RopeDecl};
use lathe_ir::types::Sym;
use memmap2::Mmap;
use profile::Profile;
use rope::RopeAngles;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How to build an executable.
#[derive(Clone, Debug)]
pub struct CpuOptions {
    /// Threads that run steps, the calling one among them.
    pub threads: usize,
    /// Whether each thread stays on a processor of its own.
    pub pin: bool,
    /// What the code may use of the processor.
    pub features: CpuFeatures,
    /// KV blocks in the pool.
    pub kv_blocks: u32,
    /// Blocks of a pool for layers with a sliding window alone; `None` where they share the one of all layers.
    pub window_blocks: Option<u32>,
    /// Cranelift's optimization level.
    pub opt_level: OptLevel,
}

/// Rows of a step that touch little of the arena: each buffer is made for the rows of the largest step, and huge pages for
/// the first few of each would take longer to make than the step.
const FEW_ROWS: usize = 32;

/// A compiled model on the CPU.
pub struct CpuExecutable {
    plan: Plan,
    kv_blocks: u32,
    windows: Option<WindowPool>,
    kernels: CompiledKernels,
    bound: Bound,
    memory: Memory,
    /// Whether a step had many rows.
    filled: bool,
    ropes: Vec<RopeAngles>,
    check: BatchCheck,
    /// Rows of the last step's result.
    results: usize,
    pool: ThreadPool,
    profile: Profile,
    report: BuildReport,
}

// SAFETY: the raw pointers in `bound` point into `memory`, which moves with it and which nothing else refers to.
unsafe impl Send for CpuExecutable {}

/// What a plan was compiled to, as it is kept in files.
pub struct Artifact<'a> {
    /// Machine code of the plan's kernels, as [`CompiledKernels::image`] gives it.
    pub code: &'a [u8],
    /// Start of each kernel's code.
    pub entries: &'a [u64],
    /// The chunks that [`pack_weights`] gave, one after another.
    pub weights: Mmap,
    /// What [`rope_factors`] gave.
    pub rope_factors: &'a [Option<Vec<f32>>],
    /// Stages before loading it, for the report.
    pub stages: Vec<(String, Duration)>,
}

/// Whether a layer has its blocks in the pool that is not of windows alone.
fn in_shared_pool(windows: Option<WindowPool>) -> impl Fn(&KvLayer) -> bool {
    move |layer| layer.window == 0 || windows.is_none()
}

impl CpuExecutable {
    /// Compiles the plan's kernels, packs its weights and maps its memory.
    ///
    /// # Errors
    /// Where the plan is invalid, a kernel cannot be compiled, a weight is missing, differs from its declaration or
    /// cannot be packed, or the system refuses memory or threads.
    pub fn compile(
        plan: Plan,
        weights: &dyn WeightSource,
        options: CpuOptions,
    ) -> Result<CpuExecutable, Error> {
        let mut stages = Vec::new();
        let mut team = Threads::start(&options)?;

        let start = Instant::now();
        let kernels = compile_kernels(&plan, &options)?;
        stages.push((format!("compile {} kernels", kernels.len()), start.elapsed()));

        let start = Instant::now();
        let owners = team.owners(&plan);
        let packed = PackedWeights::pack(&plan, weights, &mut team.pool, owners.as_ref())?;
        let elapsed = start.elapsed();
        stages.push((
            format!("pack weights ({})", rate(packed.bytes(), elapsed)),
            elapsed,
        ));
        let factors = rope_factors(&plan, weights)?;
        CpuExecutable::assemble(plan, kernels, packed, &factors, options, team, stages)
    }

    /// Runs a plan from what was compiled and packed before. Nothing is compiled, packed or copied but the machine code.
    ///
    /// # Errors
    /// Where the artifact does not fit the plan, or the system refuses memory or threads.
    ///
    /// # Safety
    /// `plan` was verified, `artifact.code` was made for its kernels and for a processor with no other features than
    /// this one has, and nobody changes the file of the weights while the executable lives.
    pub unsafe fn load(plan: Plan, artifact: Artifact, options: CpuOptions) -> Result<CpuExecutable, Error> {
        let team = Threads::start(&options)?;
        let start = Instant::now();
        let kernels: Vec<&Kernel> = plan.kernels.values().collect();
        // SAFETY: the caller vouches for the code.
        let kernels = unsafe { CompiledKernels::from_image(&kernels, artifact.code, artifact.entries)? };
        let packed = PackedWeights::map(&plan, artifact.weights)?;
        let mut stages = artifact.stages;
        stages.push(("copy code".to_owned(), start.elapsed()));
        CpuExecutable::assemble(
            plan,
            kernels,
            packed,
            artifact.rope_factors,
            options,
            team,
            stages,
        )
    }

    fn assemble(
        plan: Plan,
        kernels: CompiledKernels,
        packed: PackedWeights,
        rope_factors: &[Option<Vec<f32>>],
        options: CpuOptions,
        team: Threads,
        mut stages: Vec<(String, Duration)>,
    ) -> Result<CpuExecutable, Error> {
        let Threads { pool, nodes } = team;
        let threads = pool.threads();
        let start = Instant::now();
        let weight_bytes = packed.bytes();
        let windows = options.window_blocks.zip(plan.window());
        let windows = windows.map(|(blocks, positions)| WindowPool { blocks, positions });
        let mut memory = Memory::new(&plan, packed, options.kv_blocks, windows, threads)?;
        let bound = Bound::new(&plan, &mut memory, threads);
        let ropes = rope_angles(&plan, rope_factors)?;
        stages.push(("map memory".to_owned(), start.elapsed()));

        let mut report = BuildReport {
            stages,
            kernels: kernels.len(),
            code_bytes: kernels.code_bytes(),
            weight_bytes,
            kv_bytes: memory.kv.bytes(),
            arena_bytes: plan.arena_bytes,
            target: format!(
                "{}: {}, {threads} threads",
                options.features,
                options.features.code_generator()
            ),
        };
        if options.pin {
            report.target.push_str(", pinned");
        }
        if nodes > 1 {
            report.target.push_str(&format!(", {nodes} NUMA nodes"));
        }
        let check = BatchCheck::new(plan.limits, plan.vocab, options.kv_blocks).with_windows(windows);
        let profile = Profile::new(plan.steps.len());
        let kv_blocks = options.kv_blocks;
        Ok(CpuExecutable {
            plan,
            kv_blocks,
            windows,
            kernels,
            bound,
            memory,
            filled: false,
            ropes,
            check,
            results: 0,
            pool,
            profile,
            report,
        })
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Time spent in launches while profiling was on, by kernels, longest first.
    pub fn profile(&self) -> Vec<ProfileEntry> {
        self.profile.entries(&self.plan)
    }

    fn copy_inputs(&mut self, batch: &Batch) {
        let inputs = [
            (Input::Tokens, batch.tokens),
            (Input::Positions, batch.positions),
            (Input::Seqs, batch.seqs),
            (Input::Outputs, batch.outputs),
            (Input::BlockTables, batch.block_tables),
            (
                Input::WindowTables,
                self.windows.map_or(batch.block_tables, |_| batch.window_tables),
            ),
        ];
        for (input, values) in inputs {
            let memory = self.memory.input_mut(&self.plan, input);
            for (out, value) in memory.chunks_exact_mut(4).zip(values) {
                out.copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// Runs all steps for a batch that was checked.
    fn launch(&mut self, batch: &Batch) {
        let scratch = Shared(self.memory.scratch.at(0));
        let ropes = Shared(self.memory.ropes.at(0));
        let bound = Shared(&raw const self.bound as *mut Bound);
        let (kernels, profile) = (&self.kernels, &self.profile);
        let (angles, rope_offsets) = (&self.ropes, &self.memory.rope_offsets);
        let stride = self.memory.scratch_stride as usize;
        self.pool.run(&|team| {
            for (angles, &offset) in angles.iter().zip(rope_offsets) {
                fill_rows(angles, ropes.plus(offset as usize), batch.positions, team);
            }
            team.barrier();
            // SAFETY: `self.bound` outlives the run and nobody writes to it meanwhile.
            let bound = unsafe { &*bound.get() };
            run_steps(bound, kernels, scratch.plus(team.thread * stride), profile, team);
        });
    }

    /// Where a block and a window block lie.
    fn content(&self, block: u32, window: Option<u32>) -> Result<Vec<Range<usize>>, ExecError> {
        self.check.check_copy(block, block)?;
        let memory = &self.memory;
        let shared = in_shared_pool(self.windows);
        let mut ranges: Vec<_> = memory.block_ranges(&self.plan, shared, block).collect();
        if let Some(window) = window {
            self.check.check_window_copy(window, window)?;
            ranges.extend(memory.block_ranges(&self.plan, |layer| layer.window > 0, window));
        }
        Ok(ranges)
    }

    fn output_of(&self, rows: usize) -> &[f32] {
        let Some(buffer) = self.plan.output else {
            return &[];
        };
        let start = self.plan.buffers[buffer].offset as usize;
        let len = rows * self.plan.width() as usize;
        let bytes = &self.memory.arena.slice()[start..start + 4 * len];
        // SAFETY: the bytes are as long as this, any bits are floats, and buffers start at multiples of 64.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), len) }
    }
}

impl Executable for CpuExecutable {
    fn limits(&self) -> Limits {
        self.plan.limits
    }

    fn vocab(&self) -> u32 {
        self.plan.vocab
    }

    fn gives(&self) -> ModelOutput {
        self.plan.gives()
    }

    fn width(&self) -> u32 {
        self.plan.width()
    }

    fn kv_blocks(&self) -> u32 {
        self.kv_blocks
    }

    fn windows(&self) -> Option<WindowPool> {
        self.windows
    }

    fn takes(&self) -> Option<u32> {
        self.plan.takes
    }

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        self.run_on(batch, &[])
    }

    fn run_on(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&[f32], ExecError> {
        self.check.check(batch)?;
        let want = batch.tokens.len() * self.plan.takes.unwrap_or(0) as usize;
        if hidden.len() != want {
            return Err(ExecError::Length {
                what: "elements of hidden states",
                got: hidden.len(),
                want,
            });
        }
        self.results = match self.plan.result_rows() {
            Sym::Outputs => batch.outputs.len(),
            Sym::Tokens | Sym::Ctx => batch.tokens.len(),
        };
        if batch.tokens.is_empty() {
            return Ok(self.output());
        }
        if batch.tokens.len() > FEW_ROWS && !self.filled {
            self.memory.arena.fill_up();
            self.filled = true;
        }
        self.copy_inputs(batch);
        let input = self.memory.hidden_mut(&self.plan);
        for (out, value) in input.as_chunks_mut().0.iter_mut().zip(hidden) {
            *out = value.to_le_bytes();
        }
        let last = batch.positions.iter().max().copied().unwrap_or(0);
        self.bound.prepare(Sizes {
            tokens: batch.tokens.len() as u64,
            outputs: batch.outputs.len() as u64,
            ctx: u64::from(last) + 1,
        });
        self.launch(batch);
        Ok(self.output())
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.check.check_copy(from, to)?;
        let shared = in_shared_pool(self.windows);
        self.memory.copy_block(&self.plan, shared, from, to);
        Ok(())
    }

    fn block_bytes(&self) -> Option<u64> {
        let bytes = |range: Range<usize>| range.len() as u64;
        Some(self.memory.block_ranges(&self.plan, |_| true, 0).map(bytes).sum())
    }

    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        for range in self.content(block, window)? {
            out.extend_from_slice(&self.memory.kv.slice()[range]);
        }
        Ok(())
    }

    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        let ranges = self.content(block, window)?;
        let want = ranges.iter().map(Range::len).sum();
        if bytes.len() < want {
            return Err(ExecError::Length {
                what: "bytes of a block",
                got: bytes.len(),
                want,
            });
        }
        let mut rest = bytes;
        for range in ranges {
            let (own, others) = rest.split_at(range.len());
            self.memory.kv.slice_mut()[range].copy_from_slice(own);
            rest = others;
        }
        Ok(())
    }

    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.check.check_window_copy(from, to)?;
        self.memory
            .copy_block(&self.plan, |layer| layer.window > 0, from, to);
        Ok(())
    }

    fn output(&self) -> &[f32] {
        self.output_of(self.results)
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        self.plan.weight_bytes_per_step()
    }

    fn set_profiling(&mut self, on: bool) {
        self.profile.set_enabled(on);
    }

    fn profile_text(&self) -> String {
        let entries = self.profile();
        let all: f64 = entries.iter().map(|e| e.time.as_secs_f64()).sum();
        let line = |e: &ProfileEntry| {
            let (ms, share) = (e.time.as_secs_f64() * 1e3, 100.0 * e.time.as_secs_f64() / all);
            format!(
                "{ms:10.2} ms {share:5.1} % {:8} launches  {}\n",
                e.launches, e.kernels
            )
        };
        entries.iter().map(line).collect()
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}

/// Compiles the kernels of a plan on as many threads as will run it.
///
/// # Errors
/// Where the plan is invalid or a kernel cannot be compiled.
pub fn compile_kernels(plan: &Plan, options: &CpuOptions) -> Result<CompiledKernels, Error> {
    lathe_ir::plan::verify::verify(plan).map_err(|errors| Error::Plan {
        plan: plan.name.clone(),
        what: errors[0].to_string(),
    })?;
    let kernels: Vec<&Kernel> = plan.kernels.values().collect();
    CompiledKernels::compile(
        &kernels,
        &options.features,
        options.opt_level,
        options.threads.max(1),
    )
}

/// Packs the weights of a plan in chunks, each on a thread of the NUMA node that will read most of it.
///
/// # Errors
/// Where a tensor is missing, differs from its declaration, or cannot be packed; the error names it. Where the sink
/// fails.
pub fn pack_weights(
    plan: &Plan,
    weights: &dyn WeightSource,
    options: &CpuOptions,
    sink: &Sink<'_>,
) -> Result<(), Error> {
    let mut team = Threads::start(options)?;
    let owners = team.owners(plan);
    pack_chunks(plan, weights, &mut team.pool, owners.as_ref(), sink)
}

/// The frequency divisors of each rotation of a plan that has any.
///
/// # Errors
/// Where a tensor is missing or has another length.
pub fn rope_factors(plan: &Plan, weights: &dyn WeightSource) -> Result<Vec<Option<Vec<f32>>>, Error> {
    let factors = |decl: &RopeDecl| {
        let name = decl.factors.as_ref()?;
        Some(decode_vector(weights, name, decl.spec.dims as usize / 2))
    };
    plan.ropes
        .values()
        .map(|decl| factors(decl).transpose())
        .collect()
}

fn rope_angles(plan: &Plan, factors: &[Option<Vec<f32>>]) -> Result<Vec<RopeAngles>, Error> {
    let error = |what: &str| Error::Plan {
        plan: plan.name.clone(),
        what: what.to_owned(),
    };
    if factors.len() != plan.ropes.len() {
        return Err(error("its rotations are not those of the artifact"));
    }
    let angles = |(decl, factors): (_, &Option<Vec<f32>>)| {
        RopeAngles::new(decl, factors.as_deref()).ok_or_else(|| error("a rotation lacks its factors"))
    };
    plan.ropes.values().zip(factors).map(angles).collect()
}

/// The threads of an executable, and the number of NUMA nodes that they may be on.
struct Threads {
    pool: ThreadPool,
    nodes: usize,
}

impl Threads {
    fn start(options: &CpuOptions) -> Result<Threads, Error> {
        let (topology, threads) = (Topology::host(), options.threads.max(1));
        if !options.pin {
            let (pool, nodes) = (ThreadPool::new(threads)?, topology.nodes());
            return Ok(Threads { pool, nodes });
        }
        let cpus = topology.place(threads).ok_or(Error::TooFewCpus {
            threads,
            cpus: topology.cpus(),
        })?;
        let (pool, nodes) = (ThreadPool::pinned(&cpus)?, count_nodes(&cpus));
        Ok(Threads { pool, nodes })
    }

    /// Who reads which panels, where that matters.
    fn owners(&self, plan: &Plan) -> Option<Owners> {
        (self.nodes > 1).then(|| Owners::new(plan, self.pool.threads()))
    }
}

/// An address that threads share; what lies there is divided among them.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: only an address; each use of what lies there says why it is sound.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

impl Shared<u8> {
    fn plus(&self, bytes: usize) -> *mut u8 {
        self.0.wrapping_add(bytes)
    }
}

/// Fills this thread's rows of a rotation table at `table`.
fn fill_rows(angles: &RopeAngles, table: *mut u8, positions: &[u32], team: &Team) {
    let len = angles.row_len();
    let share = |thread: usize| positions.len() * thread / team.threads;
    let own = share(team.thread)..share(team.thread + 1);
    for (row, &position) in own.clone().zip(&positions[own]) {
        // SAFETY: the table has a row of `len` f32 for each row of the plan's limit, which the batch keeps, and starts at
        // a multiple of 64; no other thread has this row.
        let out = unsafe { std::slice::from_raw_parts_mut(table.cast::<f32>().add(row * len), len) };
        angles.fill(position, out);
    }
}

/// Runs this thread's units of every step that has any; threads meet after each.
fn run_steps(bound: &Bound, kernels: &CompiledKernels, scratch: *mut u8, profile: &Profile, team: &Team) {
    for (number, calls) in bound.steps.iter().enumerate() {
        if !bound.active[number] {
            continue;
        }
        let start = profile.start(team.thread);
        for index in calls.clone() {
            let units = bound.units[index * team.threads + team.thread].clone();
            if units.is_empty() {
                continue;
            }
            let call = &bound.calls[index];
            let (buffers, scalars) = (
                &bound.pointers[call.pointers.clone()],
                &bound.scalars[call.scalars.clone()],
            );
            // SAFETY: the plan was verified: its buffers, sections and counts are those that the kernels were made for.
            // Units are split so that no two threads have the same, calls of a step do not depend on each other, and a
            // barrier stands before and after. The scratch memory is this thread's own.
            unsafe { kernels.call(call.kernel, buffers, scalars, units, scratch) };
        }
        team.barrier();
        profile.stop(number, start);
    }
}

/// A rate for people.
fn rate(bytes: u64, time: Duration) -> String {
    format!(
        "{:.2} GB at {:.1} GB/s",
        bytes as f64 / 1e9,
        bytes as f64 / 1e9 / time.as_secs_f64().max(1e-9)
    )
}
