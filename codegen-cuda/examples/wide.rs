//! Times the kernels of steps of many rows on a GPU, at the shapes of a model of 8 billion weights.
//!
//! `wide [--plain] [--arena] [ROWS]...`: rows of each step of one sequence that goes on (default: 2048 four times). With
//! `--plain`, without what sm_90 alone has; with `--arena`, weights become panels in each step.

use lathe_codegen_cuda::code::NoStore;
use lathe_codegen_cuda::device::{Device, Target};
use lathe_codegen_cuda::driver::Gpu;
use lathe_codegen_cuda::exec::{CudaExecutable, Setup};
use lathe_codegen_cuda::{LowerOptions, PanelsIn, lower};
use lathe_ir::backend::{Batch, Executable};
use lathe_ir::graph::interp::MemoryWeights;
use lathe_ir::graph::parse;
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::{Limits, ModelOutput};

const LAYER: &str =
    "graph @layer (%tok: [tokens]i32, %pos: [tokens]i32, %seq: [tokens]i32, %outputs: [outputs]i32, %kv: kv) {
    weight @e : [50, 4096]f32
    weight @n : [4096]f32
    weight @q : [4096, 4096]q4_k
    weight @k : [1024, 4096]q4_k
    weight @v : [1024, 4096]q6_k
    weight @o : [4096, 4096]q4_k
    weight @gate : [14336, 4096]q4_k
    weight @up : [14336, 4096]q4_k
    weight @down : [4096, 14336]q6_k
    %0 = embed @e, %tok : [tokens, 4096]f32
    %9 = rms_norm @n, %0 {eps = 1e-5} : [tokens, 4096]f32
    %1, %2 = linear %9 [
        @q {heads(32), rope(%pos, adjacent, 128, 10000.0, 1.0, 1.0)} -> f32,
        @k {heads(8), rope(%pos, adjacent, 128, 10000.0, 1.0, 1.0)} -> kv.k(0, %kv, %pos, %seq),
        @v {heads(8)} -> kv.v(0, %kv, %pos, %seq)
      ] : [tokens, 32, 128]f32, kv
    %3 = attention.paged %1, %2, %pos, %seq {layer = 0, kv_heads = 8, scale = 0.088, cap = 0.0, window = 0} : [tokens, 4096]f32
    %4 = linear %3 [@o {add(%0)} -> f32] : [tokens, 4096]f32
    %5 = rms_norm @n, %4 {eps = 1e-5} : [tokens, 4096]f32
    %6 = linear %5 [@gate >< @up {glu(silu)} -> f32] : [tokens, 14336]f32
    %7 = linear %6 [@down {add(%4)} -> f32] : [tokens, 4096]f32
    %8 = gather_rows %7, %outputs : [outputs, 4096]f32
    return %8
}
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, steps): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let flag = |name: &str| flags.iter().any(|f| f == name);
    let panels = match flag("--arena") {
        true => PanelsIn::Arena,
        false => PanelsIn::Memory,
    };
    let mut steps: Vec<u32> = steps.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    if steps.is_empty() {
        steps = vec![2048; 4];
    }
    let limits = Limits {
        tokens: steps.iter().copied().max().unwrap_or(1),
        outputs: 1,
        seqs: 1,
        ctx: steps.iter().sum(),
    };
    let graph = parse::parse(LAYER)?;
    let gpu = Gpu::open()?;
    let options = LowerOptions {
        output: ModelOutput::Logits,
        limits,
        kv_types: KvTypes::default(),
        target: Target {
            wgmma: gpu.target().wgmma && !flag("--plain"),
            ..gpu.target()
        },
        panels: Some(panels),
    };
    let weights = MemoryWeights::random(&graph, 7)?;
    let blocks = limits.blocks_per_seq();
    let plan = lower(&graph, options)?;
    let setup = Setup {
        kv_blocks: blocks,
        threads: 8,
        code: &NoStore,
    };
    let mut executable = CudaExecutable::build(plan, &weights, gpu, setup)?;
    let table: Vec<u32> = (0..blocks).rev().collect();
    for round in 0..2 {
        let mut start = 0;
        for &rows in &steps {
            let tokens: Vec<u32> = (start..start + rows).map(|i| (i * 37 + 11) % 50).collect();
            let positions: Vec<u32> = (start..start + rows).collect();
            executable.set_profiling(true);
            executable.run(&Batch {
                tokens: &tokens,
                positions: &positions,
                seqs: &vec![0; rows as usize],
                outputs: &[rows - 1],
                block_tables: &table,
                window_tables: &[],
            })?;
            if round == 1 {
                println!("rows {start}..{}\n{}", start + rows, executable.profile_text());
            }
            start += rows;
        }
    }
    Ok(())
}
