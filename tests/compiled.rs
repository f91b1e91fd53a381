//! Compiled models against the interpreters: the logits of an executable against the graph interpreter, and every kernel
//! of a plan against the kernel interpreter, bit for bit.

use lathe::build::optimize;
use lathe_codegen_cpu::{CpuExecutable, CpuFeatures, CpuOptions, OptLevel};
use lathe_frontend::Model;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::backend::{Batch, Executable};
use lathe_ir::graph::interp::{Inputs, KvCache, eval};
use lathe_ir::plan::{KV_BLOCK, Limits, Plan};
use lathe_passes::lower::{LowerOptions, lower};

const TYPES: [DType; 10] = [
    DType::F32,
    DType::F16,
    DType::Bf16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Iq4Nl,
    DType::Mxfp4,
];
/// Types with blocks of more than 32 elements.
const LONG_TYPES: [DType; 7] = [
    DType::Q2K,
    DType::Q3K,
    DType::Q4K,
    DType::Q5K,
    DType::Q6K,
    DType::Iq4Xs,
    DType::Nvfp4,
];

fn tiny(family: Family, dtype: DType) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(family).with_dtype(dtype).write(&path).unwrap();
    Model::load(&path).unwrap()
}

fn plan(model: &Model, tokens: u32, lanes: u8) -> Plan {
    let limits = Limits {
        tokens,
        outputs: tokens,
        seqs: 2,
        ctx: 96,
    };
    let graph = optimize(&model.graph, true).unwrap();
    let plan = lower(&graph, &LowerOptions::for_width(limits, lanes)).unwrap();
    if let Err(errors) = lathe_ir::plan::verify::verify(&plan) {
        panic!("{}", errors[0]);
    }
    plan
}

fn executable(model: &Model, plan: Plan, threads: usize, features: CpuFeatures) -> CpuExecutable {
    let blocks = plan.limits.blocks_per_seq() * plan.limits.seqs;
    let options = CpuOptions {
        threads,
        pin: false,
        features,
        kv_blocks: blocks,
        window_blocks: None,
        opt_level: OptLevel::default(),
    };
    CpuExecutable::compile(plan, &model.weights, options).unwrap()
}

/// Two sequences of these lengths, interleaved in one batch at the lengths' common start.
struct Sequences {
    tokens: [Vec<u32>; 2],
    tables: Vec<u32>,
}

impl Sequences {
    fn new(vocab: u32, lengths: [u32; 2]) -> Sequences {
        let tokens = |salt: u32, n: u32| (0..n).map(|i| (i * 37 + salt * 101 + 3) % vocab).collect();
        let per_seq = 96 / KV_BLOCK;
        // Blocks out of order, so that a table that is ignored shows.
        let tables = (0..2 * per_seq).map(|i| 2 * per_seq - 1 - i).collect();
        Sequences {
            tokens: [tokens(1, lengths[0]), tokens(2, lengths[1])],
            tables,
        }
    }

    /// Logits of every position of both sequences: each step runs up to `chunk` rows of the first, then of the second.
    fn run(&self, exe: &mut dyn Executable, chunk: usize) -> [Vec<f32>; 2] {
        let mut logits = [Vec::new(), Vec::new()];
        let mut done = [0usize; 2];
        while done[0] < self.tokens[0].len() || done[1] < self.tokens[1].len() {
            let (mut tokens, mut positions, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
            let mut counts = [0; 2];
            for s in 0..2 {
                let end = (done[s] + chunk).min(self.tokens[s].len());
                tokens.extend(&self.tokens[s][done[s]..end]);
                positions.extend((done[s]..end).map(|p| p as u32));
                seqs.extend(std::iter::repeat_n(s as u32, end - done[s]));
                counts[s] = end - done[s];
                done[s] = end;
            }
            let outputs: Vec<u32> = (0..tokens.len() as u32).collect();
            let batch = Batch {
                tokens: &tokens,
                positions: &positions,
                seqs: &seqs,
                outputs: &outputs,
                block_tables: &self.tables,
                window_tables: &[],
            };
            let vocab = exe.vocab() as usize;
            let rows = exe.run(&batch).unwrap();
            let (first, second) = rows.split_at(counts[0] * vocab);
            logits[0].extend(first);
            logits[1].extend(second);
        }
        logits
    }
}

fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let error: f64 = got
        .iter()
        .zip(want)
        .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
        .sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    error / norm
}

/// Logits of one sequence by the interpreter, of the graph as optimized (`quantized`) or as the frontend built it.
fn interpreted(model: &Model, tokens: &[u32], optimized: bool) -> Vec<f32> {
    let graph = if optimized {
        optimize(&model.graph, true).unwrap()
    } else {
        model.graph.clone()
    };
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let inputs = Inputs::batch(tokens, &rows, &vec![0; tokens.len()], &rows);
    let outputs = eval(&graph, &model.weights, &inputs, &mut KvCache::new()).unwrap();
    outputs[0].to_f32().unwrap()
}

/// What is computed is what the optimized graph says: with float weights but for the order of sums, with quantized ones
/// until a sum falls on the other side of a rounding boundary and an int8 code differs by one. That is as likely as not
/// for a tiny model of 19 rows, and then the difference is of the size of the quantization error itself.
#[test]
fn executables_agree_with_the_interpreter_on_every_type() {
    let (mut cases, mut equal) = (0, 0);
    for family in Family::ALL {
        let types: &[DType] = if family == Family::Qwen2 { &LONG_TYPES } else { &[] };
        for &dtype in TYPES.iter().chain(types) {
            let model = tiny(family, dtype);
            let host = CpuFeatures::host().unwrap();
            let plan = plan(&model, 24, host.vector_lanes());
            let sequences = Sequences::new(plan.vocab, [19, 7]);
            let mut exe = executable(&model, plan, 2, host);
            let got = sequences.run(&mut exe, 12);
            for (s, got) in got.iter().enumerate() {
                let error = nmse(got, &interpreted(&model, &sequences.tokens[s], true));
                let exact = nmse(got, &interpreted(&model, &sequences.tokens[s], false));
                let bar = if dtype.is_block_quantized() { 2e-3 } else { 1e-8 };
                let what = format!("{family:?} {dtype}, sequence {s}");
                assert!(error <= bar, "{what}: nmse {error:.1e} from the optimized graph");
                assert!(exact <= bar, "{what}: nmse {exact:.1e} from exact arithmetic");
                if dtype.is_block_quantized() && !LONG_TYPES.contains(&dtype) {
                    cases += 1;
                    equal += usize::from(error < 1e-10);
                }
            }
        }
    }
    assert!(
        2 * equal > cases,
        "{equal} of {cases} cases without a code that differs"
    );
}

#[test]
fn batch_mates_chunks_threads_and_features_change_no_bit() {
    let host = CpuFeatures::host().unwrap();
    for (family, dtype) in [
        (Family::Llama, DType::Q4_0),
        (Family::Gemma3, DType::Q8_0),
        (Family::Qwen2, DType::Q4K),
    ] {
        let model = tiny(family, dtype);
        for lanes in [4, 8, 16] {
            invariant(
                &model,
                lanes,
                &host,
                &format!("{family:?} {dtype}, {lanes} lanes"),
            );
        }
    }
}

/// Checks that a plan for vectors of `lanes` gives the same logits whatever runs beside it, and on a processor without
/// the host's features.
fn invariant(model: &Model, lanes: u8, host: &CpuFeatures, what: &str) {
    let plan = plan(model, 40, lanes);
    let sequences = Sequences::new(plan.vocab, [70, 45]);
    let mut exe = executable(model, plan.clone(), 1, host.clone());
    let want = sequences.run(&mut exe, 20);
    for (threads, chunk) in [(2, 1), (3, 7), (1, 13)] {
        let mut exe = executable(model, plan.clone(), threads, host.clone());
        assert!(
            sequences.run(&mut exe, chunk) == want,
            "{what}: {threads} threads, chunks of {chunk}"
        );
    }
    let baseline = CpuFeatures::baseline(host.arch());
    let mut exe = executable(model, plan.clone(), 2, baseline);
    assert!(
        sequences.run(&mut exe, 20) == want,
        "{what}: another feature level"
    );
    let alone = Sequences {
        tokens: [sequences.tokens[1].clone(), Vec::new()],
        ..Sequences::new(plan.vocab, [0, 0])
    };
    let mut exe = executable(model, plan, 2, host.clone());
    assert!(alone.run(&mut exe, 40)[0] == want[1], "{what}: a sequence alone");
}

#[test]
fn real_plans_read_back() {
    for family in Family::ALL {
        let text = plan(&tiny(family, DType::Q4_0), 8, 16).to_string();
        let back = lathe_ir::plan::parse::parse(&text).unwrap();
        lathe_ir::plan::verify::verify(&back).unwrap();
        assert_eq!(back.to_string(), text);
    }
}
