//! A device that fails now and then: requests under way end with its error, and those after them get what they always get.

mod support;

use lathe::build::{BuildOptions, Windows, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, Rng};
use lathe_ir::DType;
use lathe_ir::backend::{Batch, BuildReport, ExecError, Executable, WindowPool};
use lathe_ir::plan::{Limits, ModelOutput};
use lathe_runtime::{Engine, Error, Event, Request, SwapWhen};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::TinyFile;

/// An executable that fails one time of so many; never where that is 0.
struct Failing {
    inner: Box<dyn Executable>,
    one_of: Arc<AtomicU64>,
    rng: Rng,
}

impl Failing {
    fn may_fail(&mut self) -> Result<(), ExecError> {
        match self.one_of.load(Ordering::Relaxed) {
            0 => Ok(()),
            n if self.rng.next_u64().is_multiple_of(n) => Err(ExecError::Device("it is tired".into())),
            _ => Ok(()),
        }
    }
}

impl Executable for Failing {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn vocab(&self) -> u32 {
        self.inner.vocab()
    }

    fn gives(&self) -> ModelOutput {
        self.inner.gives()
    }

    fn width(&self) -> u32 {
        self.inner.width()
    }

    fn kv_blocks(&self) -> u32 {
        self.inner.kv_blocks()
    }

    fn windows(&self) -> Option<WindowPool> {
        self.inner.windows()
    }

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        self.may_fail()?;
        self.inner.run(batch)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.may_fail()?;
        self.inner.copy_block(from, to)
    }

    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        self.may_fail()?;
        self.inner.copy_window_block(from, to)
    }

    fn block_bytes(&self) -> Option<u64> {
        self.inner.block_bytes()
    }

    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        self.may_fail()?;
        self.inner.read_block(block, window, out)
    }

    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        self.may_fail()?;
        self.inner.write_block(block, window, bytes)
    }

    fn output(&self) -> &[f32] {
        self.inner.output()
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        self.inner.weight_bytes_per_step()
    }

    fn report(&self) -> &BuildReport {
        self.inner.report()
    }
}

fn engine(one_of: &Arc<AtomicU64>) -> Engine {
    let file = TinyFile::new(Family::Gemma3, DType::F32);
    let options = BuildOptions {
        context: Some(128),
        chunk: 16,
        seqs: 6,
        outputs: 6,
        kv_positions: Some(192),
        windows: Windows::Blocks(0),
        ..BuildOptions::default()
    };
    let built = build(&file.path, &options).unwrap();
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    let bytes = 20 * built.executable.block_bytes().unwrap();
    let executable = Failing {
        inner: built.executable,
        one_of: one_of.clone(),
        rng: Rng::new(3),
    };
    Engine::new(Box::new(executable), Arc::new(vocabulary)).with_swap_space(bytes, SwapWhen::Always)
}

fn request(number: u32) -> Request {
    let shared = [0, 33, 64][number as usize % 3];
    let own = 3 + number % 17;
    Request {
        prompt: (0..shared)
            .map(|i| 10 + i)
            .chain((0..own).map(|i| 40 + i * number % 200))
            .collect(),
        max_tokens: Some(4 + number as usize % 40),
        ignore_stop_tokens: true,
        choices: [1, 1, 3][number as usize % 3],
        ..Request::default()
    }
}

/// Submits requests and runs them to their ends; what came of the first choice of each, in order of submission.
fn play(engine: &mut Engine, requests: &[Request]) -> Vec<Result<Vec<u32>, Error>> {
    let ids: Vec<_> = requests
        .iter()
        .map(|r| engine.submit(r.clone()).unwrap())
        .collect();
    let mut made: Vec<_> = ids.iter().map(|_| None).collect();
    let mut more = true;
    while more {
        more = engine.step(&mut |id, event| {
            if let Event::Done { choice: 0, result } = event {
                let at = ids.iter().position(|&other| other == id).unwrap();
                assert!(made[at].is_none(), "it ends once");
                made[at] = Some(result.map(|completion| completion.tokens));
            }
            true
        });
    }
    let (free, all) = engine.blocks();
    assert_eq!(free, all, "blocks are held by nobody");
    assert_eq!(engine.swapped_blocks(), 0, "and none are kept elsewhere");
    made.into_iter().map(|made| made.expect("it ends")).collect()
}

#[test]
fn failures_end_what_is_under_way_and_spoil_nothing() {
    let one_of = Arc::new(AtomicU64::new(0));
    let mut engine = engine(&one_of);
    let requests: Vec<Request> = (0..12).map(request).collect();
    let want: Vec<_> = requests
        .iter()
        .map(|request| {
            play(&mut engine, std::slice::from_ref(request))
                .remove(0)
                .unwrap()
        })
        .collect();
    let (mut failed, mut right) = (0, 0);
    for round in 0..300 {
        one_of.store([0, 40, 200][round % 3], Ordering::Relaxed);
        for (got, want) in play(&mut engine, &requests).into_iter().zip(&want) {
            match got {
                Ok(got) => {
                    assert_eq!(got, *want);
                    right += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("it is tired"), "{error}");
                    failed += 1;
                }
            }
        }
    }
    let stats = engine.stats();
    eprintln!("{failed} failed, {right} right, {stats:?}");
    assert!(failed > 500 && right > 1200 && stats.swapped_in > 200);
}
