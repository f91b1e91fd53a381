//! Attention of heads as models have them, in tiles of rows and row by row, over contexts in one piece and in several:
//! machine code against the interpreter, bit for bit.

#[path = "support/cache.rs"]
mod cache;

use lathe_codegen_cpu::{Arch, CompiledKernels, CpuFeatures, OptLevel};
use lathe_frontend::testing::Rng;
use lathe_ir::DType;
use lathe_ir::graph::Graph;
use lathe_ir::kernel::{Kernel, interp};
use lathe_ir::layout::{KvType, KvTypes};
use lathe_ir::plan::{Arg, Call, Input, Limits, ModelOutput, Plan};
use lathe_ir::quant::quantize;
use lathe_ir::types::Sym;
use lathe_passes::lower::{LowerOptions, lower};
use std::collections::HashMap;
use std::ops::Range;

const LIMITS: Limits = Limits {
    tokens: 40,
    outputs: 1,
    seqs: 2,
    ctx: 352,
};

/// Heads that share KV heads.
struct Heads {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    cap: &'static str,
    window: u32,
}

const SHAPES: [Heads; 5] = [
    Heads {
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        cap: "0.0",
        window: 0,
    },
    Heads {
        heads: 6,
        kv_heads: 1,
        head_dim: 128,
        cap: "0.0",
        window: 33,
    },
    Heads {
        heads: 3,
        kv_heads: 3,
        head_dim: 80,
        cap: "4.0",
        window: 0,
    },
    Heads {
        heads: 4,
        kv_heads: 1,
        head_dim: 256,
        cap: "0.0",
        window: 5,
    },
    Heads {
        heads: 2,
        kv_heads: 2,
        head_dim: 36,
        cap: "2.0",
        window: 40,
    },
];

impl Heads {
    /// The plan of the graph.
    fn plan(&self, lanes: u8, kv_types: KvTypes) -> Plan {
        lower(
            &self.graph(),
            &LowerOptions::for_width(LIMITS, lanes).with_kv_types(kv_types),
        )
        .unwrap()
    }

    /// A graph that attends with embeddings.
    fn graph(&self) -> Graph {
        let Heads {
            heads,
            kv_heads,
            head_dim,
            cap,
            window,
        } = *self;
        let n = heads * head_dim;
        let text = format!(
            "graph @attention (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {{
               weight @e : [16, {n}]f32
               %0 = embed @e, %tok : [tokens, {n}]f32
               %1 = split_heads %0 {{heads = {heads}}} : [tokens, {heads}, {head_dim}]f32
               %2 = attention.paged %1, %kv, %pos, %seq {{layer = 0, kv_heads = {kv_heads}, scale = 0.125, cap = {cap},
                 window = {window}}} : [tokens, {n}]f32
               %3 = gather_rows %2, %outputs : [outputs, {n}]f32
               return %3
             }}"
        );
        lathe_ir::graph::parse::parse(&text).unwrap()
    }
}

/// Position and sequence of each row: a prompt that goes on, single rows of two sequences, and another prompt.
fn rows() -> Vec<(u32, u32)> {
    let mut rows: Vec<(u32, u32)> = (250..267).map(|p| (p, 0)).collect();
    rows.extend([(299, 1), (12, 0), (300, 1), (255, 0)]);
    rows.extend((0..19).map(|p| (p, 1)));
    rows
}

/// A plan with its attention: the step that attends, and the one that merges pieces.
struct Attention {
    plan: Plan,
    calls: Vec<Call>,
    compiled: CompiledKernels,
}

impl Attention {
    fn new(plan: Plan, features: &CpuFeatures) -> Attention {
        let is_attention = |c: &&Call| plan.kernels[c.kernel].name.starts_with("attention");
        let calls = plan.steps.iter().flat_map(|s| &s.calls);
        let calls: Vec<Call> = calls.filter(is_attention).cloned().collect();
        assert_eq!(calls.len(), 2);
        let kernels: Vec<&Kernel> = calls.iter().map(|c| &plan.kernels[c.kernel]).collect();
        let compiled = CompiledKernels::compile(&kernels, features, OptLevel::default(), 1).unwrap();
        Attention {
            plan,
            calls,
            compiled,
        }
    }

    /// Contents of all that the calls name, random but for the positions, sequences and block tables.
    fn memory(&self, rows: &[(u32, u32)], rng: &mut Rng) -> HashMap<Arg, Vec<u8>> {
        let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let (positions, seqs): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
        let blocks = LIMITS.seqs * LIMITS.blocks_per_seq();
        let mut contents = |arg: Arg| match arg {
            Arg::Buffer(id) => {
                let numbers: Vec<f32> = (0..self.plan.buffers[id].bytes / 4)
                    .map(|_| rng.normal())
                    .collect();
                quantize(DType::F32, &numbers).unwrap()
            }
            Arg::Kv(part, layer) => {
                cache::random(self.plan.kv_layers[layer as usize].layout(part), blocks, rng)
            }
            Arg::Input(Input::Positions) => words(&positions),
            Arg::Input(Input::Seqs) => words(&seqs),
            _ => words(&(0..blocks).map(|i| (i * 5 + 3) % blocks).collect::<Vec<_>>()),
        };
        let args = self.calls.iter().flat_map(|c| &c.args);
        args.map(|&arg| (arg, contents(arg))).collect()
    }

    /// Runs both calls both ways and compares all memory after each.
    fn check(&self, rows: &[(u32, u32)], rng: &mut Rng) {
        let mut memory = self.memory(rows, rng);
        let context = rows.iter().map(|r| u64::from(r.0) + 1).max().unwrap_or(0);
        let sizes = |sym| match sym {
            Sym::Ctx => context,
            _ => rows.len() as u64,
        };
        for (number, call) in self.calls.iter().enumerate() {
            let units = 0..call.units.at(sizes) as i64;
            let scalars: Vec<i64> = call.scalars.iter().map(|c| c.at(sizes) as i64).collect();
            let bufs: Vec<Vec<u8>> = call.args.iter().map(|arg| memory[arg].clone()).collect();
            let want = self.compare(number, bufs, &scalars, units, rows.len());
            memory.extend(call.args.iter().copied().zip(want));
        }
    }

    /// Runs a call both ways, compares the results, and returns them.
    fn compare(
        &self,
        number: usize,
        mut bufs: Vec<Vec<u8>>,
        scalars: &[i64],
        units: Range<i64>,
        rows: usize,
    ) -> Vec<Vec<u8>> {
        let kernel = &self.plan.kernels[self.calls[number].kernel];
        let mut want = bufs.clone();
        let mut slices: Vec<&mut [u8]> = want.iter_mut().map(Vec::as_mut_slice).collect();
        interp::run(kernel, &mut slices, scalars, units.clone()).unwrap();

        let mut scratch = vec![0u64; kernel.scratch as usize / 8 + 16];
        let start = scratch.as_mut_ptr().cast::<u8>();
        let pointers: Vec<*mut u8> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        // SAFETY: the features are those of this machine; the interpreter just ran the same units on buffers of these
        // sizes with every access checked, and the scratch memory is as large as the kernel says, with room to align it.
        unsafe {
            let scratch = start.add(start.align_offset(64));
            self.compiled.call(number, &pointers, scalars, units, scratch);
        }
        assert!(bufs == want, "@{}, {rows} rows", kernel.name);
        want
    }
}

/// Levels of this processor that have vectors of their own.
fn levels() -> Vec<CpuFeatures> {
    let host = CpuFeatures::host().unwrap();
    let mut levels = vec![host.clone()];
    if host.arch() == Arch::X86_64 {
        let narrower = ["-avx512f", "-avx512f,-f16c"];
        levels.extend(narrower.map(|list| host.narrowed(list).unwrap()));
    }
    levels.dedup();
    levels
}

#[test]
fn machine_code_of_attention_equals_the_interpreter() {
    let mut rng = Rng::new(3);
    let all = rows();
    for shape in &SHAPES {
        let apart = KvTypes {
            k: KvType::Q8_0,
            v: KvType::Bf16,
        };
        let types = || KvType::ALL.map(KvTypes::both).into_iter().chain([apart]);
        for (features, kv_types) in levels()
            .into_iter()
            .flat_map(|f| types().map(move |ty| (f.clone(), ty)))
        {
            let attention = Attention::new(shape.plan(features.vector_lanes(), kv_types), &features);
            for range in [0..all.len(), 0..17, 17..21, 20..21, 5..14] {
                attention.check(&all[range], &mut rng);
            }
        }
    }
}

/// Heads that can't be cut in two, and GPUs, which have no kernels for 4-bit codes, are refused while a plan is made.
#[test]
fn types_that_can_not_be_cached_are_refused() {
    let q4_0 = KvTypes::both(KvType::Q4_0);
    let odd = Heads {
        head_dim: 35,
        ..SHAPES[2]
    };
    let options = LowerOptions::for_width(LIMITS, 8);
    let error = lower(&odd.graph(), &options.with_kv_types(q4_0))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("q4_0 keys or values with heads of 35 elements"),
        "{error}"
    );
    let of_gpu = |kv_types| lathe_codegen_cuda::lower::LowerOptions {
        output: ModelOutput::Logits,
        limits: LIMITS,
        kv_types,
        target: lathe_codegen_cuda::device::Target {
            processors: 1,
            shared_bytes: 227 << 10,
            wgmma: false,
        },
        panels: None,
    };
    let values = KvTypes {
        k: KvType::F16,
        v: KvType::Q4_0,
    };
    for kv_types in [q4_0, values] {
        let refused = lathe_codegen_cuda::lower::lower(&SHAPES[0].graph(), of_gpu(kv_types));
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("q4_0 keys or values"), "{error}");
    }
}

/// Steps of few rows have units for each segment of the context; those of many rows and of short contexts have them for
/// rows and heads only, and nothing to merge.
#[test]
fn few_rows_have_pieces_of_long_contexts() {
    // Both have two units a row: for two KV heads, and for the halves of the heads of one.
    for shape in [&SHAPES[0], &SHAPES[3]] {
        let plan = shape.plan(8, KvTypes::default());
        let calls = plan.steps.iter().flat_map(|s| &s.calls);
        let is_attention = |c: &&Call| plan.kernels[c.kernel].name.starts_with("attention");
        let units: Vec<_> = calls.filter(is_attention).map(|c| c.units).collect();
        // (rows, context, pieces)
        for (rows, context, pieces) in [(1, 256, 1), (1, 257, 2), (16, 352, 2), (17, 352, 1)] {
            let sizes = |sym| if sym == Sym::Ctx { context } else { rows };
            let merges = if pieces > 1 { rows * 2 } else { 0 };
            let got: Vec<u64> = units.iter().map(|units| units.at(sizes)).collect();
            assert_eq!(
                got,
                [rows * 2 * pieces, merges],
                "{rows} rows, {context} positions"
            );
        }
    }
}
