//! The executable: a plan bound to the memory of a device, its kernels loaded, its weights uploaded.
//!
//! Weights, cache, and the rest (arena, tables of the step, angles) are one allocation each, of the size that the plan says.
//! A step uploads its tables, runs the launches that its rows call for, and copies the logits back.

mod tables;

use crate::code::CodeStore;
use crate::device::{Address, BoundLaunch, Device, Needs};
use crate::error::Error;
use crate::kernels::{Kernel, Largest, SEGMENT};
use crate::layout::{ALIGN, KvHead};
use crate::pack;
use crate::plan::{Arg, Call, CudaPlan, SectionDecl, Sizes, verify};
use crate::tiles;
use lathe_ir::backend::{
    Batch, BatchCheck, BuildReport, ExecError, Executable, WeightSource, largest_of_rows,
};
use lathe_ir::graph::KvPart;
use lathe_ir::id::Id;
use lathe_ir::plan::{KvLayer, Limits, ModelOutput};
use lathe_ir::types::Sym;
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};
use tables::Tables;

/// Steps of up to so many rows are recorded.
const RECORDED_ROWS: u32 = 64;
/// Steps of more rows than this are recorded for a multiple of it: blocks of rows that are not there end at once. Where other
/// kernels begin, so does another multiple.
const ROW_STEP: u32 = 8;

/// How an executable is built.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Blocks of the KV cache.
    pub kv_blocks: u32,
    /// Threads of the host that compile and pack.
    pub threads: usize,
    /// Where machine code of kernels is kept.
    pub code: &'a dyn CodeStore,
}

/// A compiled model on a device.
pub struct CudaExecutable<D> {
    plan: CudaPlan,
    device: D,
    memory: Memory,
    check: BatchCheck,
    kv_blocks: u32,
    /// The tables of a step, as they are uploaded.
    tables: Vec<u8>,
    /// Rows of the last step's result; none where it was not copied.
    results: usize,
    /// Why the device failed, once it has.
    failed: Option<String>,
    report: BuildReport,
}

/// Where everything is.
struct Memory {
    arena: Address,
    sections: Vec<Address>,
    /// Keys and values of each layer.
    kv: Vec<[Address; 2]>,
    /// Angles of each rotation.
    angles: Vec<Address>,
    tables: Address,
    layout: Tables,
}

/// Bytes of a layer's keys or values in one block of the cache.
fn block_bytes(layer: &KvLayer, part: KvPart) -> u64 {
    let head = KvHead {
        head_dim: layer.head_dim,
        ty: layer.types.of(part),
    };
    head.bytes() * u64::from(layer.kv_heads)
}

/// The number of rows that a step of so many is recorded for.
fn recorded(rows: u32) -> u32 {
    match rows {
        0..=ROW_STEP => rows,
        _ => rows.next_multiple_of(ROW_STEP),
    }
}

/// What is wanted of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    /// Its result.
    Result,
    /// The place of the largest logit of each row.
    Largest,
}

/// Floats of as many bytes as a key.
const KEY_FLOATS: usize = 2;

/// The parts of a layer's cache, in the order of their addresses.
const PARTS: [KvPart; 2] = [KvPart::K, KvPart::V];

/// Bytes that a plan with so many KV blocks takes.
pub fn needs(plan: &CudaPlan, kv_blocks: u32) -> Needs {
    let bytes = |panels: bool| {
        let of_kind = plan
            .sections
            .values()
            .filter(move |s| s.panels().is_some() == panels);
        of_kind
            .filter_map(|s| s.bytes())
            .map(|bytes| bytes.next_multiple_of(ALIGN))
            .sum()
    };
    let halves = plan
        .kv_layers
        .iter()
        .flat_map(|l| PARTS.map(|part| block_bytes(l, part) * u64::from(kv_blocks)));
    let angles = plan.ropes.values().map(|r| u64::from(r.spec.dims) * 4);
    let aligned = |bytes: u64| bytes.next_multiple_of(ALIGN);
    Needs {
        weights: bytes(false),
        panels: bytes(true),
        kv: halves.map(aligned).sum(),
        rest: aligned(plan.arena_bytes)
            + angles.map(aligned).sum::<u64>()
            + aligned(Tables::new(&plan.limits).bytes),
        kv_blocks,
    }
}

/// Hands out an allocation piece by piece.
struct Cursor(Address);

impl Cursor {
    fn take(&mut self, bytes: u64) -> Address {
        let at = self.0;
        self.0 = at.plus(bytes.next_multiple_of(ALIGN));
        at
    }
}

impl<D: Device> CudaExecutable<D> {
    /// Loads the plan's kernels, plans its memory, and uploads its weights.
    ///
    /// # Errors
    /// Where the plan is invalid, a kernel does not compile, a weight is missing, differs from its declaration or can't be
    /// packed, or the device has too little memory.
    pub fn build(
        plan: CudaPlan,
        weights: &dyn WeightSource,
        mut device: D,
        setup: Setup,
    ) -> Result<CudaExecutable<D>, Error> {
        let Setup {
            kv_blocks,
            threads,
            code,
        } = setup;
        verify::verify(&plan)?;
        let needs = needs(&plan, kv_blocks);
        device.check(&needs)?;
        let mut stages: Vec<(String, Duration)> = Vec::new();

        let start = Instant::now();
        let kernels: Vec<&Kernel> = plan.kernels.values().collect();
        let loaded = device.load(&kernels, threads, code)?;
        stages.push((loaded.stage(kernels.len()), start.elapsed()));

        let start = Instant::now();
        let memory = Memory::new(&plan, &mut device, &needs, kv_blocks)?;
        memory.fill(&plan, weights, &mut device, threads)?;
        let elapsed = start.elapsed();
        let rate = needs.weights as f64 / 1e9 / elapsed.as_secs_f64().max(1e-9);
        stages.push((
            format!(
                "upload weights ({:.2} GB at {rate:.1} GB/s)",
                needs.weights as f64 / 1e9
            ),
            elapsed,
        ));

        let report = BuildReport {
            stages,
            kernels: kernels.len(),
            code_bytes: loaded.bytes,
            weight_bytes: needs.weights,
            kv_bytes: needs.kv,
            arena_bytes: plan.arena_bytes,
            target: device.describe(),
        };
        Ok(CudaExecutable {
            check: BatchCheck::new(plan.limits, plan.vocab, kv_blocks),
            tables: vec![0; memory.layout.bytes as usize],
            plan,
            device,
            memory,
            kv_blocks,
            results: 0,
            failed: None,
            report,
        })
    }

    /// The plan it runs.
    pub fn plan(&self) -> &CudaPlan {
        &self.plan
    }

    /// Writes the tables of a step, and returns how many bytes are in use.
    fn fill_tables(&mut self, batch: &Batch, tiles: &[[u32; 2]]) -> usize {
        let layout = self.memory.layout;
        let counts = [batch.tokens.len() as u32, batch.outputs.len() as u32];
        let parts = [
            (0, &counts[..]),
            (layout.tokens, batch.tokens),
            (layout.positions, batch.positions),
            (layout.seqs, batch.seqs),
            (layout.outputs, batch.outputs),
            (layout.tiles, tiles.as_flattened()),
            (layout.blocks, batch.block_tables),
        ];
        for (start, values) in parts {
            let to = self.tables[start as usize..].as_chunks_mut::<4>().0;
            for (out, value) in to.iter_mut().zip(values) {
                *out = value.to_le_bytes();
            }
        }
        layout.blocks as usize + 4 * batch.block_tables.len()
    }

    /// Runs a step, and copies of its result what is wanted.
    fn step(&mut self, batch: &Batch, wanted: Wanted) -> Result<(), Error> {
        let tiles = match self.plan.tile_rows {
            0 => Vec::new(),
            rows => tiles::of(batch.seqs, batch.positions, rows),
        };
        let used = self.fill_tables(batch, &tiles);
        self.device.upload(self.memory.tables, &self.tables[..used])?;
        let last = batch.positions.iter().max().copied().unwrap_or(0);
        let (tokens, outputs) = (batch.tokens.len() as u32, batch.outputs.len() as u32);
        let mut sizes = Sizes {
            tokens,
            outputs,
            ctx: last + 1,
            tiles: tiles.len() as u32,
        };
        let results = sizes.rows(self.plan.result_rows());
        let mut key = None;
        if tokens <= RECORDED_ROWS {
            // Recorded for a context up to a power of two segments: blocks beyond a row's end at once.
            let segments = sizes.ctx.div_ceil(SEGMENT).next_power_of_two();
            sizes.ctx = segments * SEGMENT;
            let limits = self.plan.limits;
            sizes.tokens = recorded(tokens).min(limits.tokens);
            sizes.outputs = recorded(outputs).min(limits.outputs);
            let rows = u64::from(sizes.tokens) << 48 | u64::from(sizes.outputs) << 32;
            key = Some(rows | u64::from(segments) << 1 | wanted as u64);
        }
        let (plan, memory) = (&self.plan, &self.memory);
        self.device.run(key, &|| memory.bind(plan, &sizes, wanted))?;
        let (from, floats) = match wanted {
            Wanted::Result => {
                let logits = plan.logits.map_or(0, |id| plan.buffers[id].offset);
                (memory.arena.plus(logits), plan.width() as usize)
            }
            Wanted::Largest => (memory.tables.plus(memory.layout.keys), KEY_FLOATS),
        };
        self.device.download(from, results as usize * floats)
    }

    /// Checks a step, runs it, and returns the rows of its result.
    fn checked_step(&mut self, batch: &Batch, wanted: Wanted) -> Result<usize, ExecError> {
        if let Some(text) = &self.failed {
            return Err(ExecError::Device(text.clone()));
        }
        self.check.check(batch)?;
        if !batch.tokens.is_empty()
            && let Err(error) = self.step(batch, wanted)
        {
            return Err(self.fail(&error));
        }
        Ok(match self.plan.result_rows() {
            Sym::Outputs => batch.outputs.len(),
            Sym::Tokens | Sym::Ctx => batch.tokens.len(),
        })
    }

    /// Remembers a failure of the device.
    fn fail(&mut self, error: &Error) -> ExecError {
        let text = error.to_string();
        self.failed = Some(text.clone());
        self.results = 0;
        ExecError::Device(text)
    }
}

impl Memory {
    fn new<D: Device>(
        plan: &CudaPlan,
        device: &mut D,
        needs: &Needs,
        kv_blocks: u32,
    ) -> Result<Memory, Error> {
        let mut weights = Cursor(device.allocate(needs.weights)?);
        let mut panels = Cursor(device.allocate(needs.panels)?);
        let mut kv = Cursor(device.allocate(needs.kv)?);
        let mut rest = Cursor(device.allocate(needs.rest)?);
        let layout = Tables::new(&plan.limits);
        let sections = plan.sections.values();
        let halves = |l: &KvLayer| PARTS.map(|part| block_bytes(l, part) * u64::from(kv_blocks));
        Ok(Memory {
            sections: sections
                .map(|s| match s.panels() {
                    Some(_) => panels.take(s.bytes().unwrap_or(0)),
                    None => weights.take(s.bytes().unwrap_or(0)),
                })
                .collect(),
            kv: plan
                .kv_layers
                .iter()
                .map(|l| halves(l).map(|bytes| kv.take(bytes)))
                .collect(),
            arena: rest.take(plan.arena_bytes),
            angles: plan
                .ropes
                .values()
                .map(|r| rest.take(u64::from(r.spec.dims) * 4))
                .collect(),
            tables: rest.take(layout.bytes),
            layout,
        })
    }

    /// Where the keys and the values of a block are, and bytes of each, layer by layer.
    fn halves(&self, plan: &CudaPlan, block: u32) -> impl Iterator<Item = (Address, u64)> + use<> {
        let layers = plan.kv_layers.iter().zip(&self.kv);
        let halves = layers.flat_map(|(layer, halves)| {
            PARTS.into_iter().zip(*halves).map(|(part, half)| {
                let bytes = block_bytes(layer, part);
                (half.plus(u64::from(block) * bytes), bytes)
            })
        });
        halves.collect::<Vec<_>>().into_iter()
    }

    /// Uploads what no step changes.
    fn fill<D: Device>(
        &self,
        plan: &CudaPlan,
        weights: &dyn WeightSource,
        device: &mut D,
        threads: usize,
    ) -> Result<(), Error> {
        let from_file = |(decl, _): &(&SectionDecl, &Address)| decl.panels().is_none();
        let sections = plan.sections.values().zip(&self.sections).filter(from_file);
        std::thread::scope(|scope| -> Result<(), Error> {
            // One goes up while the next is packed, in memory that comes back.
            let (packed, ready) = sync_channel(1);
            let (back, used) = channel();
            scope.spawn(move || {
                for (decl, &address) in sections {
                    let mut bytes = used.try_recv().unwrap_or_default();
                    let made = pack::pack(decl, weights, threads, &mut bytes);
                    // Who waits no longer has met an error.
                    if packed.send((address, made.map(|()| bytes))).is_err() {
                        return;
                    }
                }
            });
            ready.into_iter().try_for_each(|(address, bytes)| {
                let bytes: Vec<u8> = bytes?;
                device.upload(address, &bytes)?;
                // Nobody takes it back where all is packed.
                let _ = back.send(bytes);
                Ok(())
            })
        })?;
        for (decl, &address) in plan.ropes.values().zip(&self.angles) {
            let pairs = decl.spec.dims as usize / 2;
            let factors = decl
                .factors
                .as_ref()
                .map(|name| pack::floats(name, pairs, weights))
                .transpose()?;
            let angles = decl.angles(factors.as_deref()).unwrap_or_default();
            let bytes: Vec<u8> = angles.iter().flat_map(|a| a.to_le_bytes()).collect();
            device.upload(address, &bytes)?;
        }
        let none = Sizes::default();
        let unpack = |call| self.bound(plan, call, self.tables, 0, &none);
        device.run(None, &|| plan.unpacks.iter().map(unpack).collect())
    }

    /// The launches of a step of these sizes.
    fn bind(&self, plan: &CudaPlan, sizes: &Sizes, wanted: Wanted) -> Vec<BoundLaunch> {
        let mut bound = Vec::with_capacity(plan.launches.len() + 1);
        let largest = plan.largest.iter().filter(|_| wanted == Wanted::Largest);
        for launch in plan.launches.iter().chain(largest) {
            let rows = sizes.rows(launch.rows);
            let Some(call) = launch.call(rows) else { continue };
            let count = match launch.rows {
                Sym::Outputs => self.tables.plus(4),
                Sym::Tokens | Sym::Ctx => self.tables,
            };
            bound.push(self.bound(plan, call, count, rows, sizes));
        }
        bound
    }

    /// A call for so many rows, whose number is at `count`.
    fn bound(&self, plan: &CudaPlan, call: &Call, count: Address, rows: u32, sizes: &Sizes) -> BoundLaunch {
        let kernel = &plan.kernels[call.kernel];
        let args = call.args.iter().map(|arg| self.address(plan, *arg));
        BoundLaunch {
            kernel: call.kernel.index(),
            grid: call.grid.map(|extent| extent.at(rows, sizes)),
            threads: kernel.threads(),
            shared: kernel.dynamic_shared(),
            args: std::iter::once(count).chain(args).collect(),
        }
    }

    fn address(&self, plan: &CudaPlan, arg: Arg) -> Address {
        match arg {
            Arg::Buffer(id) => self.arena.plus(plan.buffers[id].offset),
            Arg::Section(id) => self.sections[id.index()],
            Arg::Angles(id) => self.angles[id.index()],
            Arg::Kv(KvPart::K, layer) => self.kv[layer as usize][0],
            Arg::Kv(KvPart::V, layer) => self.kv[layer as usize][1],
            Arg::Tiles => self.tables.plus(self.layout.tiles),
            Arg::Keys => self.tables.plus(self.layout.keys),
            Arg::Input(input) => self.tables.plus(self.layout.of(input)),
        }
    }
}

impl<D: Device> Executable for CudaExecutable<D> {
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

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        self.results = self.checked_step(batch, Wanted::Result)?;
        Ok(self.output())
    }

    fn run_largest(&mut self, batch: &Batch, largest: &mut Vec<Option<u32>>) -> Result<(), ExecError> {
        if self.plan.largest.is_none() {
            return largest_of_rows(self, batch, largest);
        }
        let rows = self.checked_step(batch, Wanted::Largest)?;
        self.results = 0;
        let (keys, _) = self.device.downloaded().as_chunks::<KEY_FLOATS>();
        let key =
            |[low, high]: &[f32; KEY_FLOATS]| u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32;
        largest.extend(keys.iter().take(rows).map(|parts| Largest::place(key(parts))));
        Ok(())
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.check.check_copy(from, to)?;
        let [from, to] = [from, to].map(|block| self.memory.halves(&self.plan, block));
        for ((from, bytes), (to, _)) in from.zip(to) {
            if let Err(error) = self.device.copy(from, to, bytes) {
                return Err(self.fail(&error));
            }
        }
        Ok(())
    }

    fn block_bytes(&self) -> Option<u64> {
        Some(self.memory.halves(&self.plan, 0).map(|(_, bytes)| bytes).sum())
    }

    fn read_block(&mut self, block: u32, _window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        self.check.check_copy(block, block)?;
        self.results = 0;
        for (from, bytes) in self.memory.halves(&self.plan, block) {
            if let Err(error) = self.device.download(from, (bytes / 4) as usize) {
                return Err(self.fail(&error));
            }
            out.extend(
                self.device
                    .downloaded()
                    .iter()
                    .flat_map(|word| word.to_bits().to_le_bytes()),
            );
        }
        Ok(())
    }

    fn write_block(&mut self, block: u32, _window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        self.check.check_copy(block, block)?;
        let want = self.block_bytes().unwrap_or(0) as usize;
        if bytes.len() < want {
            return Err(ExecError::Length {
                what: "bytes of a block",
                got: bytes.len(),
                want,
            });
        }
        let mut rest = bytes;
        for (to, bytes) in self.memory.halves(&self.plan, block) {
            let (own, others) = rest.split_at(bytes as usize);
            if let Err(error) = self.device.upload(to, own) {
                return Err(self.fail(&error));
            }
            rest = others;
        }
        Ok(())
    }

    fn output(&self) -> &[f32] {
        let len = self.results * self.plan.width() as usize;
        self.device.downloaded().get(..len).unwrap_or_default()
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        Some(self.plan.weight_bytes_per_step())
    }

    fn set_profiling(&mut self, on: bool) {
        self.device.set_profiling(on);
    }

    fn profile_text(&self) -> String {
        let profile = self.device.profile();
        let mut entries: Vec<_> = profile.iter().zip(self.plan.kernels.values()).collect();
        entries.retain(|((launches, _), _)| *launches > 0);
        entries.sort_by_key(|((_, time), _)| std::cmp::Reverse(*time));
        let all: f64 = entries.iter().map(|((_, time), _)| time.as_secs_f64()).sum();
        let line = |((launches, time), kernel): &(&(u64, Duration), &Kernel)| {
            let (ms, share) = (time.as_secs_f64() * 1e3, 100.0 * time.as_secs_f64() / all);
            let each = ms * 1e3 / *launches as f64;
            format!(
                "{ms:10.2} ms {share:5.1} % {launches:8} launches of {each:8.2} us  {}\n",
                kernel.name()
            )
        };
        entries.iter().map(line).collect()
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}
