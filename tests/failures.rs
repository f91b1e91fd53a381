//! A device that fails now and then: requests under way end with its error, and those after them get what they always get.
//! One that is lost is opened anew.

mod support;

use lathe::build::{BuildOptions, Built, Windows, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, Rng};
use lathe_ir::DType;
use lathe_ir::backend::{Batch, BuildReport, ExecError, Executable, WindowPool};
use lathe_ir::plan::{Limits, ModelOutput};
use lathe_runtime::{Engine, Error, Event, Reopened, Request, SwapWhen};
use lathe_server::queue::{self, Queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::TinyFile;

/// Says whether the device fails now.
type MayFail = dyn FnMut() -> Result<(), ExecError> + Send;

/// An executable that fails when it is told to.
struct Failing {
    inner: Box<dyn Executable>,
    may_fail: Box<MayFail>,
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
        (self.may_fail)()?;
        self.inner.run(batch)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        (self.may_fail)()?;
        self.inner.copy_block(from, to)
    }

    fn copy_window_block(&mut self, from: u32, to: u32) -> Result<(), ExecError> {
        (self.may_fail)()?;
        self.inner.copy_window_block(from, to)
    }

    fn block_bytes(&self) -> Option<u64> {
        self.inner.block_bytes()
    }

    fn read_block(&mut self, block: u32, window: Option<u32>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        (self.may_fail)()?;
        self.inner.read_block(block, window, out)
    }

    fn write_block(&mut self, block: u32, window: Option<u32>, bytes: &[u8]) -> Result<(), ExecError> {
        (self.may_fail)()?;
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

fn built() -> Built {
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
    build(&file.path, &options).unwrap()
}

/// An engine whose device fails one time of so many; never where that is 0.
fn engine(one_of: &Arc<AtomicU64>) -> Engine {
    let built = built();
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    let bytes = 20 * built.executable.block_bytes().unwrap();
    let (one_of, mut rng) = (one_of.clone(), Rng::new(3));
    let executable = Failing {
        inner: built.executable,
        may_fail: Box::new(move || match one_of.load(Ordering::Relaxed) {
            0 => Ok(()),
            n if rng.next_u64().is_multiple_of(n) => Err(ExecError::Device("it is tired".into())),
            _ => Ok(()),
        }),
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

/// A device that is lost after so many calls.
fn mortal_device(inner: Box<dyn Executable>, mut calls: u64) -> Box<dyn Executable> {
    let may_fail = Box::new(move || match calls.checked_sub(1) {
        None => Err(ExecError::Device("it fell off the bus".into())),
        Some(left) => {
            calls = left;
            Ok(())
        }
    });
    Box::new(Failing { inner, may_fail })
}

/// An engine whose device takes so many calls; each time it is opened anew it takes as many as `lives` says next, and where
/// that is 0 or there is none it can't be opened. With it, how often that was tried.
fn mortal(calls: u64, lives: &'static [u64]) -> (Engine, Arc<AtomicU64>) {
    let first = built();
    let vocabulary = ModelVocabulary::new(&first.text).unwrap();
    let opened = Arc::new(AtomicU64::new(0));
    let (mut lives, count) = (lives.iter().copied(), opened.clone());
    let engine = Engine::new(mortal_device(first.executable, calls), Arc::new(vocabulary));
    let engine = engine.with_revival(Box::new(move |why| {
        assert!(
            why.contains("it fell off the bus") || why.contains("not there"),
            "{why}"
        );
        count.fetch_add(1, Ordering::Relaxed);
        match lives.next() {
            Some(calls @ 1..) => Ok(Reopened {
                model: mortal_device(built().executable, calls),
                draft: None,
            }),
            _ => Err("it is not there".into()),
        }
    }));
    (engine, opened)
}

#[test]
fn a_lost_device_is_opened_anew() {
    let requests: Vec<Request> = (0..12).map(request).collect();
    let (mut well, _) = mortal(u64::MAX, &[]);
    let want = play(&mut well, &requests);
    assert!(want.iter().all(Result::is_ok));
    // Lost in the middle of things, of prompts and of prefixes that others wait for.
    for calls in [0, 1, 5, 20, 40] {
        let (mut engine, opened) = mortal(calls, &[u64::MAX]);
        let failed = play(&mut engine, &requests).into_iter().filter_map(Result::err);
        let failed: Vec<Error> = failed.collect();
        assert!(!failed.is_empty(), "after {calls} calls");
        for error in failed {
            assert!(
                error.is_of_device() && error.to_string().contains("it fell off the bus"),
                "{error}"
            );
        }
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        // What comes then finds nothing of what was there before.
        assert_eq!(play(&mut engine, &requests), want, "after {calls} calls");
    }
}

#[test]
fn a_device_that_stays_away_is_asked_for_now_and_then() {
    let (mut engine, opened) = mortal(3, &[0, 2, u64::MAX]);
    assert!(play(&mut engine, &[request(5)])[0].is_err());
    // It was looked for once, in vain; requests are refused at once, and it is left alone for a while.
    for _ in 0..50 {
        let error = engine.submit(request(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the device failed and can't be used yet: it is not there"
        );
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    std::thread::sleep(Duration::from_millis(2100));
    // It comes back, is lost again soon, and is back.
    assert!(play(&mut engine, &[request(5)])[0].is_err());
    assert!(play(&mut engine, &[request(5)])[0].is_ok());
    assert_eq!(opened.load(Ordering::Relaxed), 3);
}

#[test]
fn another_model_is_not_taken_for_the_one_that_was_lost() {
    let other = TinyFile::new(Family::Llama, DType::F32);
    let (engine, _) = mortal(2, &[]);
    let mut engine = engine.with_revival(Box::new(move |_| {
        Ok(Reopened {
            model: build(&other.path, &BuildOptions::default()).unwrap().executable,
            draft: None,
        })
    }));
    assert!(play(&mut engine, &[request(5)])[0].is_err());
    let error = engine.submit(request(5)).unwrap_err().to_string();
    assert!(error.contains("other bounds"), "{error}");
}

#[test]
fn clients_are_told_to_come_again() {
    let (engine, _) = mortal(2, &[0, u64::MAX]);
    let (queue, thread) = Queue::start(engine).unwrap();
    // How a request ends.
    let ask = || {
        let mut events = queue.submit(request(5)).unwrap();
        loop {
            if let queue::Event::Done(_, result) = events.blocking_recv().unwrap() {
                break result;
            }
        }
    };
    let lost = ask().unwrap_err();
    assert_eq!(lost.status.as_u16(), 503, "{lost:?}");
    assert!(lost.message.contains("it fell off the bus"), "{lost:?}");
    let away = ask().unwrap_err();
    assert_eq!(away.status.as_u16(), 503, "{away:?}");
    assert!(away.message.contains("it is not there"), "{away:?}");
    std::thread::sleep(Duration::from_millis(2100));
    assert!(ask().is_ok());
    drop(queue);
    thread.join().unwrap();
}
