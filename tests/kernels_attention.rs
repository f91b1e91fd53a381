//! Attention of heads as models have them, in tiles of rows and row by row: machine code against the interpreter, bit for
//! bit.

#[path = "support/cache.rs"]
mod cache;

use lathe_codegen_cpu::{Arch, CompiledKernels, CpuFeatures, OptLevel};
use lathe_frontend::testing::Rng;
use lathe_ir::DType;
use lathe_ir::kernel::interp;
use lathe_ir::layout::{KvLayout, KvType};
use lathe_ir::plan::{Call, Limits, Plan};
use lathe_ir::quant::quantize;
use lathe_passes::lower::{LowerOptions, lower};

const LIMITS: Limits = Limits {
    tokens: 40,
    outputs: 1,
    seqs: 2,
    ctx: 128,
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
    /// The plan of a graph that attends with embeddings.
    fn plan(&self, lanes: u8, kv_type: KvType) -> Plan {
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
        let graph = lathe_ir::graph::parse::parse(&text).unwrap();
        lower(
            &graph,
            &LowerOptions::for_width(LIMITS, lanes).with_kv_type(kv_type),
        )
        .unwrap()
    }
}

/// Position and sequence of each row: a prompt that goes on, single rows of two sequences, and another prompt.
fn rows() -> Vec<(u32, u32)> {
    let mut rows: Vec<(u32, u32)> = (58..75).map(|p| (p, 0)).collect();
    rows.extend([(99, 1), (12, 0), (100, 1), (31, 0)]);
    rows.extend((0..19).map(|p| (p, 1)));
    rows
}

/// The buffers of the attention call for `rows`, random but for the positions, sequences and block tables.
fn buffers(shape: &Heads, layout: KvLayout, rows: &[(u32, u32)], rng: &mut Rng) -> Vec<Vec<u8>> {
    let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let (positions, seqs): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
    let row = shape.heads * shape.head_dim;
    let queries: Vec<f32> = (0..rows.len() * row as usize).map(|_| rng.normal()).collect();
    let blocks = LIMITS.seqs * LIMITS.blocks_per_seq();
    vec![
        quantize(DType::F32, &queries).unwrap(),
        cache::random(layout, blocks, rng),
        cache::random(layout, blocks, rng),
        words(&positions),
        words(&seqs),
        words(&[6, 0, 3, 1, 7, 2, 5, 4]),
        vec![0; rows.len() * row as usize * 4],
    ]
}

/// Runs the call both ways and compares the results.
fn compare(plan: &Plan, call: &Call, compiled: &CompiledKernels, mut bufs: Vec<Vec<u8>>, rows: u64) {
    let kernel = &plan.kernels[call.kernel];
    let mut want = bufs.clone();
    let units = 0..call.units.at(|_| rows) as i64;
    let scalars: Vec<i64> = call.scalars.iter().map(|c| c.at(|_| rows) as i64).collect();
    let mut slices: Vec<&mut [u8]> = want.iter_mut().map(Vec::as_mut_slice).collect();
    interp::run(kernel, &mut slices, &scalars, units.clone()).unwrap();

    let mut scratch = vec![0u64; kernel.scratch as usize / 8 + 16];
    let start = scratch.as_mut_ptr().cast::<u8>();
    let pointers: Vec<*mut u8> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
    // SAFETY: the features are those of this machine; the interpreter just ran the same units on buffers of these sizes
    // with every access checked, and the scratch memory is as large as the kernel says, with room to align it.
    unsafe {
        let scratch = start.add(start.align_offset(64));
        compiled.call(0, &pointers, &scalars, units, scratch);
    }
    assert!(bufs == want, "@{}, {rows} rows", kernel.name);
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
        let types = || KvType::ALL.into_iter();
        for (features, kv_type) in levels()
            .into_iter()
            .flat_map(|f| types().map(move |ty| (f.clone(), ty)))
        {
            let plan = shape.plan(features.vector_lanes(), kv_type);
            let mut calls = plan.steps.iter().flat_map(|s| &s.calls);
            let is_attention = |c: &&Call| plan.kernels[c.kernel].name.starts_with("attention.");
            let call = calls.find(is_attention).unwrap();
            let kernels = [&plan.kernels[call.kernel]];
            let compiled = CompiledKernels::compile(&kernels, &features, OptLevel::default(), 1).unwrap();
            for range in [0..all.len(), 0..17, 17..21, 20..21] {
                let rows = &all[range];
                let bufs = buffers(shape, plan.kv_layers[0].layout(), rows, &mut rng);
                compare(&plan, call, &compiled, bufs, rows.len() as u64);
            }
        }
    }
}
