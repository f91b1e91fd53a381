//! Decoding allocates nothing once it is warm: counted by an allocator of this test's own.

use lathe::build::{BuildOptions, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_runtime::sampling::{Candidates, Restriction, Sampler};
use lathe_runtime::text::TextStream;
use lathe_runtime::{Evaluator, SamplingParams, Vocabulary};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(Family::Gemma3)
        .with_dtype(DType::Q4_0)
        .write(&path)
        .unwrap();
    let options = BuildOptions {
        threads: 2,
        chunk: 16,
        ..BuildOptions::default()
    };
    let built = build(&path, &options).unwrap();
    let vocabulary = ModelVocabulary::new(&built.text).unwrap();
    let mut engine = Evaluator::new(built.executable);
    for params in [
        SamplingParams::default(),
        SamplingParams {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.01,
            repeat_penalty: 1.1,
            seed: 3,
            ..SamplingParams::default()
        },
    ] {
        let mut sampler = Sampler::new(params).unwrap();
        let mut text = TextStream::new(&["never".to_owned()]);
        let (mut shown, mut candidates) = (0, Candidates::default());
        let mut history: Vec<u32> = (5..40).collect();
        history.reserve(256);
        engine.begin(&history).unwrap();
        let mut warm = 0;
        // 100 tokens cross several KV blocks and outlast the repetition window.
        for i in 0..100 {
            if i == 5 {
                warm = ALLOCATIONS.load(Ordering::Relaxed);
            }
            let token = sampler.sample(
                engine.forward().unwrap(),
                &history,
                Restriction::default(),
                &mut candidates,
            );
            let token = token.expect("logits are finite");
            history.push(token);
            engine.commit(token);
            text.push(vocabulary.token_bytes(token), &mut |piece| shown += piece.len());
        }
        assert_eq!(
            ALLOCATIONS.load(Ordering::Relaxed) - warm,
            0,
            "allocations in 95 tokens"
        );
        assert!(shown > 0);
    }
}
