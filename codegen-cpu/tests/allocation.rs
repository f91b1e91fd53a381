//! Running a step allocates nothing.

#[path = "support/tiny.rs"]
mod tiny;

use lathe_codegen_cpu::{CpuExecutable, CpuFeatures, CpuOptions, OptLevel};
use lathe_ir::backend::{Batch, Executable};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counting what it hands out on all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn running_a_step_allocates_nothing() {
    let features = CpuFeatures::host().unwrap();
    let options = CpuOptions {
        threads: 3,
        pin: false,
        features,
        kv_blocks: 4,
        window_blocks: None,
        opt_level: OptLevel::None,
    };
    let mut exe = CpuExecutable::compile(tiny::plan(8), &tiny::weights(), options).unwrap();
    let tables = [0, 1, 2, 3];
    let batch = Batch {
        tokens: &[1, 2],
        positions: &[0, 1],
        seqs: &[0, 0],
        outputs: &[1],
        block_tables: &tables,
        window_tables: &[],
    };
    let mut run = |position: u32| {
        let positions = [position, position + 1];
        exe.run(&Batch {
            positions: &positions,
            ..batch
        })
        .unwrap()[0]
    };
    run(0);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let sum: f32 = (1..60).map(&mut run).sum();
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(sum > 0.0);
    assert_eq!(after - before, 0);
}
