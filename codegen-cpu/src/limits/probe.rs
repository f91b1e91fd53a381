//! Runs the loops on all threads at once and takes their time.

use super::kernels::{self, OUT_BYTES, READ_STEP};
use super::{Caches, Effort, Level};
use crate::Error;
use crate::kernels::CompiledKernels;
use crate::memory::Pages;
use crate::pool::ThreadPool;
use crate::target::{CpuFeatures, OptLevel};
use lathe_ir::kernel::Kernel;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Distances of prefetching that the reading loop is tried with, in bytes; 0 leaves it to the hardware.
const AHEAD: [i32; 3] = [0, 1024, 4096];

/// Kernels of a vector width: reads, then `dot4`, then `fma`.
const KERNELS: usize = AHEAD.len() + 2;

/// The most times that a loop is repeated in a round: more than any processor does in a second.
const MOST: u64 = 1 << 40;

/// Loops, threads to run them, and memory to read.
pub(super) struct Probe {
    kernels: CompiledKernels,
    widths: Vec<u8>,
    pool: ThreadPool,
    source: Pages,
    out: Pages,
}

/// An address that threads share; what lies there is divided among them.
struct Shared(*mut u8);

// SAFETY: only an address; the use of what lies there says why it is sound.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *mut u8 {
        self.0
    }
}

impl Probe {
    pub(super) fn new(
        features: &CpuFeatures,
        widths: &[u8],
        threads: usize,
        caches: &Caches,
    ) -> Result<Probe, Error> {
        let host = CpuFeatures::host()?;
        if let Some(lacking) = features.names().find(|name| !host.has(name)) {
            return Err(Error::MissingFeature(lacking.to_owned()));
        }
        let pool = ThreadPool::new(threads)?;
        let all: Vec<Kernel> = widths.iter().flat_map(|&w| loops(w)).collect();
        let all: Vec<&Kernel> = all.iter().collect();
        let kernels = CompiledKernels::compile(&all, features, OptLevel::default(), 1)?;
        let largest = Level::ALL
            .iter()
            .filter_map(|&l| caches.working_set(l, pool.threads()))
            .max()
            .unwrap_or(0);
        let bytes = largest.max(READ_STEP) * pool.threads() as u64;
        let mut source = Pages::new("memory to read", bytes)?;
        // Pages that nobody wrote to would all be one page of zeros.
        source.slice_mut().fill(1);
        let out = Pages::new("sums", OUT_BYTES * pool.threads() as u64)?;
        Ok(Probe {
            kernels,
            widths: widths.to_vec(),
            pool,
            source,
            out,
        })
    }

    /// Bytes a second that all threads read, each from its own `bytes` bytes, by the loop of width number `width`.
    pub(super) fn read(&mut self, width: usize, bytes: u64, effort: Effort) -> f64 {
        let bytes = self.range(bytes);
        let threads = self.pool.threads() as u64;
        let rates = (0..AHEAD.len()).map(|n| {
            let (times, time) = self.rounds(effort, |times| Run {
                kernel: width * KERNELS + n,
                sources: 1,
                scalars: vec![bytes as i64, times as i64],
            });
            (bytes * threads * times) as f64 / time.as_secs_f64()
        });
        rates.fold(0.0, f64::max)
    }

    /// Int8 operations a second of all threads.
    pub(super) fn dot4(&mut self, width: usize, effort: Effort) -> f64 {
        self.products(width, AHEAD.len(), 4, effort)
    }

    /// f32 operations a second of all threads.
    pub(super) fn fma(&mut self, width: usize, effort: Effort) -> f64 {
        self.products(width, AHEAD.len() + 1, 1, effort)
    }

    fn products(&mut self, width: usize, kernel: usize, products: u64, effort: Effort) -> f64 {
        let (times, time) = self.rounds(effort, |times| Run {
            kernel: width * KERNELS + kernel,
            sources: 2,
            scalars: vec![kernels::whole_times(times) as i64],
        });
        let operations = kernels::operations(self.widths[width], products) * self.pool.threads() as u64;
        (operations * kernels::whole_times(times)) as f64 / time.as_secs_f64()
    }

    /// The range of a thread that asked for `bytes`: whole steps of the loop, within the memory there is.
    fn range(&self, bytes: u64) -> u64 {
        let most = self.source.bytes() / self.pool.threads() as u64;
        (bytes.min(most) / READ_STEP).max(1) * READ_STEP
    }

    /// Repeats a loop until a round is long enough; returns the repetitions and the time of the fastest round.
    fn rounds(&mut self, effort: Effort, run: impl Fn(u64) -> Run) -> (u64, Duration) {
        let mut times = 1;
        while times < MOST && self.time(&run(times)) < effort.round {
            times *= 2;
        }
        let run = run(times);
        let best = (0..effort.rounds.max(1)).map(|_| self.time(&run)).min();
        (times, best.unwrap_or_default().max(Duration::from_nanos(1)))
    }

    /// The time from when all threads are ready until the last has run its unit.
    fn time(&mut self, run: &Run) -> Duration {
        let source = Shared(self.source.at(0));
        let out = Shared(self.out.at(0));
        let (kernels, nanoseconds) = (&self.kernels, AtomicU64::new(0));
        self.pool.run(&|team| {
            let mut buffers = vec![source.get(); run.sources];
            buffers.push(out.get());
            let unit = team.thread as i64;
            team.barrier();
            let start = Instant::now();
            // SAFETY: `Probe::new` compared the features with the processor's. A reading unit reads `bytes` bytes from
            // `unit · bytes` on, which `range` cut to the memory there is; the others read one vector, and there is
            // room for more. Each stores one vector of at most `OUT_BYTES` bytes at its own place. No loop has scratch
            // memory, and nothing else uses the memory meanwhile.
            unsafe {
                kernels.call(
                    run.kernel,
                    &buffers,
                    &run.scalars,
                    unit..unit + 1,
                    std::ptr::null_mut(),
                );
            }
            team.barrier();
            if team.thread == 0 {
                nanoseconds.store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        });
        Duration::from_nanos(nanoseconds.load(Ordering::Relaxed))
    }
}

/// A loop and its arguments.
struct Run {
    kernel: usize,
    /// Buffers that it reads, all from the start of the memory.
    sources: usize,
    scalars: Vec<i64>,
}

/// The loops of a vector width, in the order of [`KERNELS`].
fn loops(lanes: u8) -> Vec<Kernel> {
    let mut all: Vec<Kernel> = AHEAD.iter().map(|&ahead| kernels::read(lanes, ahead)).collect();
    all.extend([kernels::dot4(lanes), kernels::fma(lanes)]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the units stored, as words.
    fn stored(probe: &Probe, lanes: u8) -> Vec<i32> {
        let places = probe.out.slice().chunks_exact(OUT_BYTES as usize);
        let words = places.flat_map(|place| place[..4 * lanes as usize].as_chunks::<4>().0);
        words.map(|&word| i32::from_le_bytes(word)).collect()
    }

    #[test]
    fn the_loops_do_all_the_work_that_is_counted() {
        let features = CpuFeatures::host().unwrap();
        let caches = Caches {
            l1: 8 << 10,
            l2: 16 << 10,
            l3: 0,
        };
        let widths: Vec<u8> = [4, 8, 16]
            .into_iter()
            .filter(|&w| w <= features.vector_lanes())
            .collect();
        let mut probe = Probe::new(&features, &widths, 2, &caches).unwrap();
        let bytes = 3 * READ_STEP;
        for (w, &lanes) in widths.iter().enumerate() {
            for ahead in 0..AHEAD.len() {
                probe.time(&Run {
                    kernel: w * KERNELS + ahead,
                    sources: 1,
                    scalars: vec![bytes as i64, 5],
                });
                // Every byte is 1, and every word is read five times; sums wrap.
                let all = stored(&probe, lanes).into_iter().fold(0, i32::wrapping_add);
                assert_eq!(all, (5 * 2 * bytes as i32 / 4).wrapping_mul(0x0101_0101));
            }
            probe.time(&Run {
                kernel: w * KERNELS + AHEAD.len(),
                sources: 2,
                scalars: vec![8],
            });
            // A product of four pairs of ones is 8 operations.
            let sums: i64 = stored(&probe, lanes).iter().map(|&w| i64::from(w)).sum();
            assert_eq!(2 * sums as u64, 2 * 8 * kernels::operations(lanes, 4));
            probe.time(&Run {
                kernel: w * KERNELS + AHEAD.len() + 1,
                sources: 2,
                scalars: vec![8],
            });
            let sums: f32 = stored(&probe, lanes)
                .iter()
                .map(|&w| f32::from_bits(w as u32))
                .sum();
            assert_eq!(2 * sums as u64, 2 * 8 * kernels::operations(lanes, 1));
        }
    }
}
