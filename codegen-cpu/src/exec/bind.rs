//! A plan bound to memory: every call with the addresses of its buffers, every step with its split over threads.

use crate::Error;
use crate::memory::Pages;
use crate::pack::PackedWeights;
use crate::partition::Split;
use lathe_ir::Id;
use lathe_ir::backend::WindowPool;
use lathe_ir::graph::KvPart;
use lathe_ir::layout::ALIGN;
use lathe_ir::plan::{Arg, Call, Count, Input, KvLayer, Plan};
use lathe_ir::types::Sym;
use std::ops::Range;

/// The memory of an executable. Nothing in it moves. All but the weights comes from the system when it is first written,
/// on the NUMA node of the thread that does: scratch memory by its own thread, keys and values by the threads that have
/// their rows of the product. Attention cuts its units otherwise and may read them from another node.
pub(super) struct Memory {
    pub(super) arena: Pages,
    pub(super) kv: Pages,
    pub(super) inputs: Pages,
    pub(super) ropes: Pages,
    pub(super) scratch: Pages,
    pub(super) weights: PackedWeights,
    /// Start of keys and of values of each layer.
    kv_offsets: Vec<(u64, u64)>,
    /// Start of each input, in the order of [`Input::ALL`].
    input_offsets: [u64; 6],
    /// Start of the hidden states that steps take.
    hidden_offset: u64,
    /// Start of each rotation table.
    pub(super) rope_offsets: Vec<u64>,
    /// Bytes from one thread's scratch memory to the next.
    pub(super) scratch_stride: u64,
}

/// Hands out ranges one after another.
#[derive(Default)]
struct Layout {
    end: u64,
}

impl Layout {
    fn add(&mut self, bytes: Option<u64>) -> Option<u64> {
        let start = self.end;
        self.end = start.checked_add(bytes?)?.checked_next_multiple_of(ALIGN)?;
        Some(start)
    }
}

impl Memory {
    /// Maps the memory that the plan needs, with a pool of `kv_blocks` KV blocks, and where layers with a sliding window have
    /// one of their own, `windows`.
    pub(super) fn new(
        plan: &Plan,
        weights: PackedWeights,
        kv_blocks: u32,
        windows: Option<WindowPool>,
        threads: usize,
    ) -> Result<Memory, Error> {
        let too_large = |what: &str| Error::Plan {
            plan: plan.name.clone(),
            what: format!("the size of {what} overflows"),
        };
        let mut kv = Layout::default();
        let mut kv_offsets = Vec::new();
        for layer in &plan.kv_layers {
            let blocks = match windows {
                Some(pool) if layer.window > 0 => pool.blocks,
                _ => kv_blocks,
            };
            let mut part = |part| kv.add(layer.layout(part).part_bytes(blocks.into()));
            let (k, v) = (part(KvPart::K), part(KvPart::V));
            kv_offsets.push(k.zip(v).ok_or_else(|| too_large("the KV cache"))?);
        }
        let mut inputs = Layout::default();
        let mut input_offsets = [0; 6];
        for ((input, _), offset) in Input::ALL.iter().zip(&mut input_offsets) {
            *offset = inputs
                .add(Some(4 * input_len(plan, *input)))
                .ok_or_else(|| too_large("the inputs"))?;
        }
        let hidden_offset = inputs
            .add(hidden_len(plan).checked_mul(4))
            .ok_or_else(|| too_large("the inputs"))?;
        let mut ropes = Layout::default();
        let mut rope_offsets = Vec::new();
        for rope in plan.ropes.values() {
            let bytes = u64::from(plan.limits.tokens).checked_mul(4 * u64::from(rope.spec.dims));
            rope_offsets.push(ropes.add(bytes).ok_or_else(|| too_large("the rotations"))?);
        }
        // Threads write scratch memory all the time: apart by pages, no two share a cache line or a prefetched one.
        let scratch = plan
            .kernels
            .values()
            .map(|k| u64::from(k.scratch))
            .max()
            .unwrap_or(0);
        let scratch_stride = scratch.next_multiple_of(4096);
        Ok(Memory {
            arena: Pages::sparse("the arena", plan.arena_bytes)?,
            kv: Pages::sparse("the KV cache", kv.end)?,
            inputs: Pages::new("inputs", inputs.end)?,
            ropes: Pages::new("rotations", ropes.end)?,
            scratch: Pages::new("scratch memory", scratch_stride.saturating_mul(threads as u64))?,
            weights,
            kv_offsets,
            input_offsets,
            hidden_offset,
            rope_offsets,
            scratch_stride,
        })
    }

    /// Where a block of keys and values lies, in each of the layers that `of` says.
    pub(super) fn block_ranges(
        &self,
        plan: &Plan,
        of: impl Fn(&KvLayer) -> bool,
        block: u32,
    ) -> impl Iterator<Item = Range<usize>> {
        let layers = plan.kv_layers.iter().zip(&self.kv_offsets);
        let layers = layers.filter(move |(layer, _)| of(layer));
        layers.flat_map(move |(layer, &(k, v))| {
            [(KvPart::K, k), (KvPart::V, v)].map(|(part, start)| {
                // The pool has many such blocks, and its size fits.
                let bytes = layer.layout(part).block_bytes().unwrap_or(0);
                let at = (start + u64::from(block) * bytes) as usize;
                at..at + bytes as usize
            })
        })
    }

    /// Copies a block of keys and values in the layers that `of` says; both blocks are in their pool.
    pub(super) fn copy_block(&mut self, plan: &Plan, of: impl Fn(&KvLayer) -> bool, from: u32, to: u32) {
        let to: Vec<Range<usize>> = self.block_ranges(plan, &of, to).collect();
        let from: Vec<Range<usize>> = self.block_ranges(plan, &of, from).collect();
        for (from, to) in from.into_iter().zip(to) {
            self.kv.slice_mut().copy_within(from, to.start);
        }
    }

    /// The bytes of an input.
    pub(super) fn input_mut(&mut self, plan: &Plan, input: Input) -> &mut [u8] {
        let start = self.input_offset(input) as usize;
        &mut self.inputs.slice_mut()[start..start + 4 * input_len(plan, input) as usize]
    }

    /// The bytes of the hidden states that steps take.
    pub(super) fn hidden_mut(&mut self, plan: &Plan) -> &mut [u8] {
        let start = self.hidden_offset as usize;
        &mut self.inputs.slice_mut()[start..start + 4 * hidden_len(plan) as usize]
    }

    fn input_offset(&self, input: Input) -> u64 {
        Input::ALL
            .iter()
            .position(|(i, _)| *i == input)
            .map_or(0, |i| self.input_offsets[i])
    }

    fn address(&mut self, plan: &Plan, arg: Arg) -> *mut u8 {
        match arg {
            Arg::Buffer(buffer) => self.arena.at(plan.buffers[buffer].offset),
            // Kernels only read sections.
            Arg::Section(section) => self.weights.address(section).cast_mut(),
            Arg::Kv(part, layer) => {
                let (k, v) = self.kv_offsets[layer as usize];
                self.kv.at(if part == KvPart::K { k } else { v })
            }
            Arg::Rope(rope) => self.ropes.at(self.rope_offsets[rope.index()]),
            Arg::Input(input) => self.inputs.at(self.input_offset(input)),
            Arg::Hidden => self.inputs.at(self.hidden_offset),
        }
    }
}

/// Elements of the hidden states that steps take, at the plan's bounds.
fn hidden_len(plan: &Plan) -> u64 {
    u64::from(plan.limits.tokens) * u64::from(plan.takes.unwrap_or(0))
}

/// Entries of an input at the plan's bounds.
fn input_len(plan: &Plan, input: Input) -> u64 {
    let limits = &plan.limits;
    match input {
        Input::Tokens | Input::Positions | Input::Seqs => limits.tokens.into(),
        Input::Outputs => limits.outputs.into(),
        Input::BlockTables | Input::WindowTables => {
            u64::from(limits.seqs) * u64::from(limits.blocks_per_seq())
        }
    }
}

/// The value of each symbol in a step.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Sizes {
    pub(super) tokens: u64,
    pub(super) outputs: u64,
    pub(super) ctx: u64,
}

impl Sizes {
    fn of(&self, count: Count) -> u64 {
        count.at(|sym| match sym {
            Sym::Tokens => self.tokens,
            Sym::Outputs => self.outputs,
            Sym::Ctx => self.ctx,
        })
    }
}

/// A call with its place in the tables.
pub(super) struct BoundCall {
    pub(super) kernel: usize,
    /// Where its addresses are in [`Bound::pointers`].
    pub(super) pointers: Range<usize>,
    /// Where its scalars are in [`Bound::scalars`].
    pub(super) scalars: Range<usize>,
    units: Count,
    cost: u64,
}

/// A plan's steps, bound to memory.
pub(super) struct Bound {
    /// All calls, step after step.
    pub(super) calls: Vec<BoundCall>,
    /// The calls of each step.
    pub(super) steps: Vec<Range<usize>>,
    /// Addresses of the buffers of all calls.
    pub(super) pointers: Vec<*mut u8>,
    counts: Vec<Count>,
    /// Values of `counts` in the present step.
    pub(super) scalars: Vec<i64>,
    /// Units that each thread runs of each call in the present step: `[call][thread]`.
    pub(super) units: Vec<Range<i64>>,
    /// Whether any call of a step has units in the present step.
    pub(super) active: Vec<bool>,
    threads: usize,
    sizes: Option<Sizes>,
}

impl Bound {
    /// Binds a verified plan.
    pub(super) fn new(plan: &Plan, memory: &mut Memory, threads: usize) -> Bound {
        let mut bound = Bound {
            calls: Vec::new(),
            steps: Vec::new(),
            pointers: Vec::new(),
            counts: Vec::new(),
            scalars: Vec::new(),
            units: Vec::new(),
            active: vec![false; plan.steps.len()],
            threads,
            sizes: None,
        };
        for step in &plan.steps {
            let first = bound.calls.len();
            for call in &step.calls {
                bound.bind(plan, memory, call);
            }
            bound.steps.push(first..bound.calls.len());
        }
        bound.scalars = vec![0; bound.counts.len()];
        bound.units = vec![0..0; bound.calls.len() * threads];
        bound
    }

    fn bind(&mut self, plan: &Plan, memory: &mut Memory, call: &Call) {
        let (pointers, scalars) = (self.pointers.len(), self.counts.len());
        self.pointers
            .extend(call.args.iter().map(|&arg| memory.address(plan, arg)));
        self.counts.extend(&call.scalars);
        self.calls.push(BoundCall {
            kernel: call.kernel.index(),
            pointers: pointers..self.pointers.len(),
            scalars: scalars..self.counts.len(),
            units: call.units,
            cost: call.cost,
        });
    }

    /// Works out scalars and splits for a step of these sizes, where they are not those of the step before.
    pub(super) fn prepare(&mut self, sizes: Sizes) {
        if self.sizes == Some(sizes) {
            return;
        }
        self.sizes = Some(sizes);
        for (scalar, &count) in self.scalars.iter_mut().zip(&self.counts) {
            *scalar = sizes.of(count) as i64;
        }
        for (step, active) in self.steps.iter().zip(&mut self.active) {
            let calls = &self.calls[step.clone()];
            *active = calls.iter().any(|call| sizes.of(call.units) > 0);
            let split = Split::new(calls.iter().map(|c| (sizes.of(c.units), c.cost)), self.threads);
            let mut before = 0;
            for (index, call) in step.clone().zip(calls) {
                let units = sizes.of(call.units);
                for thread in 0..self.threads {
                    let range = split.units(thread, before, units, call.cost);
                    self.units[index * self.threads + thread] = range.start as i64..range.end as i64;
                }
                before += u128::from(units) * u128::from(call.cost);
            }
        }
    }
}
