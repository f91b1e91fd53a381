//! What tests of the executable share: graphs with random weights, steps of several sequences, and the interpreter beside a
//! device.
#![allow(dead_code)]

pub mod cases;
pub mod emulator;

use lathe_codegen_cuda::code::NoStore;
use lathe_codegen_cuda::device::{Device, Target};
use lathe_codegen_cuda::exec::{CudaExecutable, Setup};
use lathe_codegen_cuda::{LowerOptions, PanelsIn, lower};
use lathe_ir::backend::{Batch, ExecError, Executable, WeightSource, argmax};
use lathe_ir::graph::Graph;
use lathe_ir::graph::interp::{Inputs, KvCache, eval};
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::{Limits, ModelOutput};

/// Bounds of the plans of tests.
pub const LIMITS: Limits = Limits {
    tokens: 150,
    outputs: 24,
    seqs: 3,
    ctx: 320,
};
const BLOCKS: u32 = 30;
const SETUP: Setup = Setup {
    kv_blocks: BLOCKS,
    threads: 2,
    code: &NoStore,
};
/// What plans are made for where there is no device: few processors, each of which has much to do.
pub const TARGET: Target = Target {
    processors: 3,
    shared_bytes: 227 << 10,
    wgmma: true,
};
/// The same with less shared memory, and without what one architecture alone has.
pub const PLAIN_TARGET: Target = Target {
    shared_bytes: 163 << 10,
    wgmma: false,
    ..TARGET
};

/// As little shared memory as a device of these architectures has.
pub const SMALL_TARGET: Target = Target {
    shared_bytes: 99 << 10,
    ..PLAIN_TARGET
};

/// One step: rows of each sequence that go on, and how many of the last rows have logits.
pub struct StepSpec {
    pub rows: &'static [(u32, u32)],
    pub outputs: u32,
}

/// A step of many rows, then steps of few: every tile of rows, contexts of one segment and of two, sequences side by side.
pub const STEPS: &[StepSpec] = &[
    StepSpec {
        rows: &[(0, 17)],
        outputs: 5,
    },
    StepSpec {
        rows: &[(1, 5)],
        outputs: 2,
    },
    StepSpec {
        rows: &[(0, 1), (1, 1)],
        outputs: 2,
    },
    StepSpec {
        rows: &[(1, 1)],
        outputs: 1,
    },
    StepSpec {
        rows: &[(2, 3)],
        outputs: 3,
    },
    StepSpec {
        rows: &[(2, 1), (0, 9)],
        outputs: 10,
    },
];

/// The same over contexts of three segments.
pub const LONG: &[StepSpec] = &[
    StepSpec {
        rows: &[(0, 127)],
        outputs: 1,
    },
    StepSpec {
        rows: &[(0, 3), (1, 2)],
        outputs: 5,
    },
    StepSpec {
        rows: &[(0, 140)],
        outputs: 2,
    },
    StepSpec {
        rows: &[(0, 1), (1, 1)],
        outputs: 2,
    },
];

/// Steps of many rows of several sequences, some of which have a row alone.
pub const WIDE: &[StepSpec] = &[
    StepSpec {
        rows: &[(0, 90), (1, 2), (2, 20)],
        outputs: 23,
    },
    StepSpec {
        rows: &[(1, 70), (2, 1), (0, 60)],
        outputs: 24,
    },
    StepSpec {
        rows: &[(2, 100), (0, 3), (1, 1)],
        outputs: 8,
    },
];

/// Steps of some rows: for each number of rows that products have a kernel for, and of several tiles.
pub const SOME: &[StepSpec] = &[
    StepSpec {
        rows: &[(0, 12)],
        outputs: 12,
    },
    StepSpec {
        rows: &[(1, 20), (0, 3)],
        outputs: 10,
    },
    StepSpec {
        rows: &[(0, 30), (1, 20), (2, 5)],
        outputs: 24,
    },
    StepSpec {
        rows: &[(2, 100)],
        outputs: 24,
    },
    StepSpec {
        rows: &[(0, 135)],
        outputs: 3,
    },
];

/// Something to compute on a device and in the interpreter.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub steps: &'static [StepSpec],
    pub kv_types: KvTypes,
    /// What it gives.
    pub output: ModelOutput,
    /// Where weights are as panels.
    pub panels: Option<PanelsIn>,
    /// Most of ‖got − want‖ / ‖want‖ in a step.
    pub tolerance: f64,
}

impl Case {
    /// How it is lowered for a device.
    pub fn options(&self, target: Target) -> LowerOptions {
        LowerOptions {
            output: self.output,
            limits: LIMITS,
            kv_types: self.kv_types,
            target,
            panels: self.panels,
        }
    }
}

/// The rows of a step, as a batch has them.
#[derive(Default)]
struct Rows {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    seqs: Vec<u32>,
    outputs: Vec<u32>,
}

impl Rows {
    fn of(spec: &StepSpec, lens: &mut [u32], vocab: u32, step: u32) -> Rows {
        let mut rows = Rows::default();
        for &(seq, count) in spec.rows {
            for _ in 0..count {
                let position = lens[seq as usize];
                lens[seq as usize] += 1;
                rows.tokens
                    .push((position * 37 + seq * 11 + step * 5 + 3) % vocab);
                rows.positions.push(position);
                rows.seqs.push(seq);
            }
        }
        let all = rows.tokens.len() as u32;
        rows.outputs = (all - spec.outputs..all).rev().collect();
        rows
    }
}

/// Tables that put no sequence's blocks in order.
fn block_tables() -> Vec<u32> {
    let entries = LIMITS.seqs * LIMITS.blocks_per_seq();
    (0..entries).map(|i| (i * 7 + 3) % BLOCKS).collect()
}

/// The distance of two results, relative to the size of the second.
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let apart: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(g - w))).sum();
    let size: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    (apart / size.max(1e-30)).sqrt()
}

/// Sizes of steps that share their bits, and positions that they divide so that no step is of the others: up to 8 rows, up to
/// 64, up to 256.
const SHARED_BITS: [(&[usize], u32); 3] = [(&[8, 1, 3, 7], 40), (&[20, 10], 40), (&[132, 66], 132)];
/// Positions before those.
const BEFORE: u32 = 100;

/// Runs a graph over so many positions in steps of several sizes. The logits of all that share their bits must have the same.
pub fn invariant<D: Device>(graph: &Graph, weights: &dyn WeightSource, device: impl Fn() -> D) {
    for (sizes, positions) in SHARED_BITS {
        invariant_among(graph, weights, &device, sizes, positions);
    }
}

fn invariant_among<D: Device>(
    graph: &Graph,
    weights: &dyn WeightSource,
    device: &impl Fn() -> D,
    sizes: &[usize],
    positions: u32,
) {
    let options = LowerOptions {
        output: ModelOutput::Logits,
        limits: LIMITS,
        kv_types: KvTypes::default(),
        target: device().target(),
        panels: Some(PanelsIn::Memory),
    };
    let tables = block_tables();
    let mut first: Option<Vec<u32>> = None;
    for &step in sizes {
        let plan = lower(graph, options).unwrap();
        let mut executable = CudaExecutable::build(plan, weights, device(), SETUP).unwrap();
        let (before, end) = (BEFORE as usize, (BEFORE + positions) as usize);
        let positions: Vec<u32> = (0..end as u32).collect();
        let tokens: Vec<u32> = positions
            .iter()
            .map(|i| (i * 37 + 11) % executable.vocab())
            .collect();
        let mut bits = Vec::new();
        // What comes before is the same; then steps of the size at hand.
        let steps = (before..end).step_by(step).map(|p| p..(p + step).min(end));
        for range in std::iter::once(0..before).chain(steps) {
            let rows = (range.end - range.start) as u32;
            let outputs: Vec<u32> = (0..rows.min(LIMITS.outputs))
                .map(|i| rows - 1 - i)
                .rev()
                .collect();
            let logits = executable.run(&Batch {
                tokens: &tokens[range.clone()],
                positions: &positions[range.clone()],
                seqs: &vec![1; rows as usize],
                outputs: &outputs,
                block_tables: &tables,
                window_tables: &[],
            });
            let logits = logits.unwrap();
            if range.start >= before {
                bits.extend(logits.iter().map(|x| x.to_bits()));
            }
        }
        let want = first.get_or_insert_with(|| bits.clone());
        // Of large steps, the last rows alone have logits.
        let common = want.len().min(bits.len());
        let same = want[want.len() - common..] == bits[bits.len() - common..];
        assert!(same && common > 0, "steps of {step} rows give other bits");
    }
}

/// Runs a case on a device and in the interpreter; the worst distance of a step, or what is wrong.
pub fn run<D: Device>(case: &Case, weights: &dyn WeightSource, device: D) -> Result<f64, String> {
    let plan = lower(&case.graph, case.options(device.target())).map_err(|e| e.to_string())?;
    let vocab = match case
        .graph
        .weights
        .values()
        .next()
        .map(|w| w.ty.dims[0].constant())
    {
        Some(Some(n)) => n as u32,
        _ => plan.vocab,
    };
    let mut executable = CudaExecutable::build(plan, weights, device, SETUP).map_err(|e| e.to_string())?;
    let mut cache = KvCache::new();
    let (mut lens, tables) = ([0; LIMITS.seqs as usize], block_tables());
    let mut worst = 0.0f64;
    for (number, spec) in case.steps.iter().enumerate() {
        let rows = Rows::of(spec, &mut lens, vocab.min(executable.vocab()), number as u32);
        let inputs = Inputs::batch(&rows.tokens, &rows.positions, &rows.seqs, &rows.outputs);
        let want = eval(&case.graph, weights, &inputs, &mut cache).map_err(|e| e.to_string())?;
        let want = want[0].to_f32().ok_or("the output is no floats")?;
        let batch = Batch {
            tokens: &rows.tokens,
            positions: &rows.positions,
            seqs: &rows.seqs,
            outputs: &rows.outputs,
            block_tables: &tables,
            window_tables: &[],
        };
        let got = executable.run(&batch).map_err(|e| e.to_string())?;
        let apart = distance(got, &want);
        // Nothing is near what is no number.
        if apart.is_nan() || apart > case.tolerance {
            return Err(format!(
                "step {number}: off by {apart:.2e} (most: {:.0e})",
                case.tolerance
            ));
        }
        worst = worst.max(apart);
        // The same step again, for the largest alone.
        let width = executable.width() as usize;
        let want: Vec<Option<u32>> = executable.output().chunks_exact(width).map(argmax).collect();
        let mut largest = Vec::new();
        let asked = executable.run_largest(&batch, &mut largest);
        asked.map_err(|e| e.to_string())?;
        if largest != want {
            return Err(format!(
                "step {number}: the largest are {want:?}, not {largest:?}"
            ));
        }
    }
    blocks_come_back(&mut executable).map_err(|e| e.to_string())?;
    Ok(worst)
}

/// What is read of a block and written to another is the same there.
fn blocks_come_back(executable: &mut dyn Executable) -> Result<(), ExecError> {
    let bytes = executable.block_bytes().unwrap_or(0) as usize;
    let read = |executable: &mut dyn Executable, block| {
        let mut content = Vec::new();
        executable.read_block(block, None, &mut content)?;
        assert_eq!(content.len(), bytes);
        Ok::<_, ExecError>(content)
    };
    let (first, last) = (read(executable, 0)?, BLOCKS - 1);
    executable.write_block(last, None, &first)?;
    executable.copy_block(last, last - 1)?;
    assert!(read(executable, last - 1)? == first && read(executable, 0)? == first);
    assert!(
        executable
            .write_block(0, None, &first[..bytes.saturating_sub(1)])
            .is_err()
            || bytes == 0
    );
    assert!(executable.read_block(BLOCKS, None, &mut Vec::new()).is_err());
    Ok(())
}
