//! Jobs, barriers, sleep, panics and pinning.

use super::*;
use std::sync::atomic::AtomicU64;

#[test]
fn every_thread_runs_every_job() {
    for threads in 1..=8 {
        let mut pool = ThreadPool::new(threads).unwrap();
        let hits: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
        for _ in 0..300 {
            pool.run(&|team| {
                assert_eq!(team.threads, threads);
                hits[team.thread].fetch_add(1, Ordering::Relaxed);
            });
        }
        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 300));
    }
}

#[test]
fn barriers_order_the_steps_of_a_job() {
    // 20 threads meet at a tree of two levels.
    for (threads, steps) in [(3, 500), (20, 40)] {
        let mut pool = ThreadPool::new(threads).unwrap();
        let sum = AtomicU64::new(0);
        pool.run(&|team| {
            for step in 0..steps {
                sum.fetch_add(1, Ordering::Relaxed);
                team.barrier();
                assert_eq!(sum.load(Ordering::Relaxed), threads as u64 * (step + 1));
                team.barrier();
            }
        });
    }
}

#[test]
fn sleeping_threads_wake() {
    let mut pool = ThreadPool::new(2).unwrap();
    let hits = AtomicU64::new(0);
    for _ in 0..3 {
        std::thread::sleep(AWAKE * 5);
        pool.run(&|_| {
            hits.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(hits.load(Ordering::Relaxed), 6);
}

#[test]
fn a_panic_on_any_thread_reaches_the_caller_and_leaves_the_pool_usable() {
    let mut pool = ThreadPool::new(3).unwrap();
    for culprit in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|team| {
                if team.thread == culprit {
                    resume_unwind(Box::new("on purpose"));
                }
                team.barrier();
            });
        }));
        assert!(panic.is_err());
    }
    let hits = AtomicU64::new(0);
    pool.run(&|team| {
        team.barrier();
        hits.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(hits.load(Ordering::Relaxed), 3);
}

#[test]
fn pinned_threads_stay_where_they_are_put() {
    let topology = crate::topology::Topology::host();
    let before = affinity::allowed().ok();
    for threads in 1..=topology.cpus().min(4) {
        let cpus = topology.place(threads).unwrap();
        let mut pool = ThreadPool::pinned(&cpus).unwrap();
        for _ in 0..3 {
            pool.run(&|team| {
                assert_eq!(affinity::allowed().unwrap(), [cpus[team.thread].number]);
                team.barrier();
            });
            // The calling thread is free again.
            assert_eq!(affinity::allowed().ok(), before);
        }
    }
}

#[test]
fn a_processor_that_is_not_there_is_an_error() {
    let topology = crate::topology::Topology::host();
    let good = topology.place(1).unwrap()[0];
    let bad = Cpu {
        number: 1 << 20,
        ..good
    };
    for (cpus, index) in [(vec![bad], 0), (vec![good, bad], 1)] {
        let error = ThreadPool::pinned(&cpus).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("could not pin thread {index} to processor 1048576")),
            "{error}"
        );
    }
}

/// Prints what a barrier takes; for people: `cargo test --release barrier_time -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn barrier_time() {
    for threads in [1, 2, 4, 16] {
        let mut pool = ThreadPool::new(threads).unwrap();
        let rounds = if threads > 2 { 2_000 } else { 200_000 };
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            pool.run(&|team| (0..rounds).for_each(|_| team.barrier()));
            best = best.min(start.elapsed().as_secs_f64() / f64::from(rounds));
        }
        println!("{threads:3} threads: {:.3} us a barrier", best * 1e6);
    }
}
