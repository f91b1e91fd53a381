//! What requests leave behind: nothing. The only test of its process, since memory is measured of the whole.

mod support;

use lathe::build::{BuildOptions, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, Rng};
use lathe_ir::DType;
use lathe_runtime::{Engine, Event, Finish, Request, RequestId};
use std::path::Path;
use std::sync::Arc;
use support::TinyFile;

/// Requests in all, and those before the memory that is compared with.
const REQUESTS: u32 = 100_000;
const FIRST: u32 = 20_000;

fn engine(path: &Path) -> Engine {
    let options = BuildOptions {
        threads: 1,
        context: Some(128),
        chunk: 128,
        outputs: 32,
        seqs: 32,
        kv_positions: Some(1024),
        ..BuildOptions::default()
    };
    let built = build(path, &options).unwrap();
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    Engine::new(built.executable, Arc::new(vocabulary))
}

fn below(rng: &mut Rng, n: u32) -> u32 {
    (rng.next_u64() % u64::from(n)) as u32
}

/// Resident memory of this process in bytes, where the system says it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

/// The request with this number: some share their beginning.
fn request(number: u32, rng: &mut Rng) -> Request {
    let shared = 32 * below(rng, 3);
    let own = 1 + below(rng, 12);
    Request {
        prompt: (0..shared)
            .chain((0..own).map(|i| (number * 7 + i) % 300))
            .collect(),
        max_tokens: Some(1 + below(rng, 6) as usize),
        ..Request::default()
    }
}

#[test]
fn a_hundred_thousand_requests_leave_nothing_behind() {
    if !support::slow("a_hundred_thousand_requests_leave_nothing_behind") {
        return;
    }
    let model = TinyFile::new(Family::Qwen2, DType::F32);
    let mut engine = engine(&model.path);
    let mut rng = Rng::new(7);
    let (mut submitted, mut ended, mut cancelled, mut before) = (0, 0, 0, None);
    let mut last: Vec<RequestId> = Vec::new();
    while ended < REQUESTS {
        while submitted < REQUESTS && engine.load().0 < 32 {
            last.push(engine.submit(request(submitted, &mut rng)).unwrap());
            submitted += 1;
        }
        if below(&mut rng, 2) == 0 {
            engine.cancel(last[below(&mut rng, last.len() as u32) as usize]);
        }
        if last.len() > 64 {
            last.drain(..32);
        }
        engine.step(&mut |_, event| {
            if let Event::Done { result, .. } = event {
                ended += 1;
                cancelled += usize::from(result.unwrap().finish == Finish::Cancelled);
            }
            true
        });
        if ended > FIRST && before.is_none() {
            before = Some(resident());
        }
    }
    let (free, all) = engine.blocks();
    assert_eq!((free, engine.is_idle()), (all, true), "blocks are held by nobody");
    assert!(cancelled > 5_000, "{cancelled} cancelled");
    if let (Some(Some(before)), Some(after)) = (before, resident()) {
        eprintln!("{cancelled} cancelled; resident {before} bytes after {FIRST} requests, {after} after all");
        assert!(after < before + (1 << 20), "{before} bytes grew to {after}");
    }
}
