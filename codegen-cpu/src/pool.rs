//! A fixed pool of threads that run one job together, the calling thread among them.
//!
//! A job is a closure that gets the thread's number; threads meet at [`Team::barrier`]. Waiting threads spin for some
//! microseconds, then give their time slice away, and between jobs go to sleep after some milliseconds. Starting a job
//! allocates nothing and takes no lock while the threads are awake. Where threads are pinned, the calling thread is on
//! its processor during jobs only: what it starts between them may run anywhere.

mod barrier;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::affinity::{self, Pinned};
use crate::topology::Cpu;
use barrier::{Barrier, Line};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Spins before a waiting thread yields; some microseconds.
const SPINS: u32 = 2000;
/// How long a thread without a job stays awake.
const AWAKE: Duration = Duration::from_millis(2);

type Job = dyn Fn(&Team) + Sync;

/// A pool of threads.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// The processor of the calling thread, where threads are pinned.
    own_cpu: Option<usize>,
}

/// A thread's view of the job that it runs.
pub struct Team<'a> {
    /// The thread's number, below `threads`; the calling thread is 0.
    pub thread: usize,
    /// Threads that run the job.
    pub threads: usize,
    barrier: &'a Barrier,
}

struct Shared {
    threads: usize,
    /// The job of the present round, set before `round` counts up and cleared after every worker has finished.
    job: UnsafeCell<Option<*const Job>>,
    /// Jobs started so far. Waiting threads read it all the time.
    round: Line<AtomicUsize>,
    /// Workers that are not done with the job of this round.
    busy: Line<AtomicUsize>,
    barrier: Barrier,
    stop: AtomicBool,
    /// Workers that sleep, or are about to.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written by the thread that owns the pool only while no worker runs (`busy` is 0), and read by workers
// only between the release of a new `round` and their release of `busy`; the pointer is to a `Sync` closure.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Shared {}

impl ThreadPool {
    /// A pool of `threads` threads (at least 1), `threads − 1` of them new.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn new(threads: usize) -> Result<ThreadPool, Error> {
        ThreadPool::start(threads.max(1), None)
    }

    /// A pool with a thread on each of these processors, one at least; the calling thread has the first.
    ///
    /// # Errors
    /// Where the system starts no thread, or does not let one run where it should.
    pub fn pinned(cpus: &[Cpu]) -> Result<ThreadPool, Error> {
        if let Some(cpu) = cpus.first() {
            // Only a try: each job pins its caller.
            Pinned::to(cpu.number).map_err(|source| Error::Pin {
                index: 0,
                cpu: cpu.number,
                source,
            })?;
        }
        ThreadPool::start(cpus.len().max(1), Some(cpus))
    }

    fn start(threads: usize, cpus: Option<&[Cpu]>) -> Result<ThreadPool, Error> {
        let shared = Arc::new(Shared {
            threads,
            job: UnsafeCell::new(None),
            round: Line::default(),
            busy: Line::default(),
            barrier: Barrier::new(threads),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let cpu = |index: usize| Some(cpus?.get(index)?.number);
        let mut pool = ThreadPool {
            shared,
            workers: Vec::new(),
            own_cpu: cpu(0),
        };
        let (report, reports) = mpsc::channel();
        for index in 1..threads {
            let (shared, report, cpu) = (Arc::clone(&pool.shared), report.clone(), cpu(index));
            let builder = std::thread::Builder::new().name(format!("lathe-{index}"));
            let worker = builder.spawn(move || {
                let pinned = cpu.map_or(Ok(()), |cpu| {
                    affinity::pin(cpu).map_err(|source| Error::Pin { index, cpu, source })
                });
                // Only a pool that could not be made has nobody who listens.
                let _ = report.send(pinned);
                shared.work(index);
            });
            pool.workers
                .push(worker.map_err(|source| Error::Thread { index, source })?);
        }
        drop(report);
        // Where one fails, the pool is dropped, which ends the others.
        reports.iter().take(threads - 1).collect::<Result<(), Error>>()?;
        Ok(pool)
    }

    /// Threads in the pool.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `job` once on every thread and returns when all are done.
    ///
    /// # Panics
    /// Where the job panics on any thread; the pool can be used again afterwards.
    pub fn run(&mut self, job: &(dyn Fn(&Team) + Sync)) {
        let shared = &*self.shared;
        // Pinning worked when the pool was made. Where the processor has gone since, the thread runs where it can.
        let pinned = self.own_cpu.and_then(|cpu| Pinned::to(cpu).ok());
        if !self.workers.is_empty() {
            shared.publish(job);
        }
        let own = catch_unwind(AssertUnwindSafe(|| job(&shared.team(0))));
        if own.is_err() {
            shared.barrier.break_up();
        }
        let mut wait = Waiter::default();
        while shared.busy.load(Ordering::Acquire) > 0 {
            wait.pause();
        }
        // SAFETY: no worker runs, and none reads the job before the next round.
        unsafe { *shared.job.get() = None };
        let broken = shared.barrier.reset();
        drop(pinned);
        match own {
            Err(panic) => resume_unwind(panic),
            Ok(()) if broken => panic!("a thread of the pool panicked"),
            Ok(()) => {}
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker catches its panics.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn team(&self, thread: usize) -> Team<'_> {
        Team {
            thread,
            threads: self.threads,
            barrier: &self.barrier,
        }
    }

    fn publish(&self, job: &(dyn Fn(&Team) + Sync)) {
        // SAFETY: the pointer outlives its use: `run` returns only when no worker holds it. Only the lifetime changes.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(&Team) + Sync + '_), *const Job>(job) };
        // SAFETY: no worker runs between jobs (`busy` is 0), so nobody reads the cell.
        unsafe { *self.job.get() = Some(job) };
        self.busy.store(self.threads - 1, Ordering::Relaxed);
        self.round.fetch_add(1, Ordering::SeqCst);
        self.wake_sleepers();
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.await_round(seen);
            seen = seen.wrapping_add(1);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the round has begun, so the job is set; it stays until `busy` is 0.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            let done = catch_unwind(AssertUnwindSafe(|| {
                if let Some(job) = job {
                    job(&self.team(index));
                }
            }));
            if done.is_err() {
                self.barrier.break_up();
            }
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits until more than `seen` rounds have begun.
    fn await_round(&self, seen: usize) {
        let mut wait = Waiter::default();
        let mut idle_since = None;
        while self.round.load(Ordering::SeqCst) == seen {
            if !wait.pause() {
                continue;
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() > AWAKE {
                self.sleep_until_after(seen);
            }
        }
    }

    fn sleep_until_after(&self, seen: usize) {
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted before the last look at the round: whoever begins one after it sees the sleeper and takes the lock.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.round.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Team<'_> {
    /// Waits until every thread of the job has come here.
    ///
    /// # Panics
    /// Where another thread panicked and will not come.
    pub fn barrier(&self) {
        self.barrier.wait(self.thread);
    }
}

/// Spins first, then yields.
#[derive(Default)]
struct Waiter {
    spins: u32,
}

impl Waiter {
    /// Passes some time; says whether it yielded.
    fn pause(&mut self) -> bool {
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
            return false;
        }
        std::thread::yield_now();
        true
    }
}
