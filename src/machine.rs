//! What can be measured of the machine without special rights.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Bytes read a round: more than the caches of most machines hold.
const BYTES: usize = 192 << 20;

/// Rounds whose best counts.
const ROUNDS: usize = 5;

/// Sequential read bandwidth of `threads` threads from memory, in GB/s: the best of five rounds over 192 MiB. Each thread
/// reads what it wrote first, so that with several NUMA nodes its part lies on its own.
pub fn stream_bandwidth(threads: usize) -> f64 {
    let threads = threads.max(1);
    let part = (BYTES / 8).div_ceil(threads);
    let start_line = Barrier::new(threads);
    let read = || {
        let words = vec![1u64; part];
        [(); ROUNDS].map(|()| {
            start_line.wait();
            let start = Instant::now();
            black_box(sum(black_box(&words)));
            (start, Instant::now())
        })
    };
    let times: Vec<[(Instant, Instant); ROUNDS]> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    });
    let rate = |round: usize| {
        let first = times.iter().map(|t| t[round].0).min()?;
        let last = times.iter().map(|t| t[round].1).max()?;
        Some((times.len() * part * 8) as f64 / (last - first).as_secs_f64() / 1e9)
    };
    (0..ROUNDS).filter_map(rate).fold(0.0, f64::max)
}

/// A sum that the compiler turns into wide loads with several running sums.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    let mut chunks = words.chunks_exact(32);
    for chunk in &mut chunks {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    chunks
        .remainder()
        .iter()
        .chain(&sums)
        .fold(0, |a, b| a.wrapping_add(*b))
}

/// The processor's name as the system has it, else its architecture.
pub fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line
        .and_then(|rest| rest.split_once(':'))
        .map(|(_, name)| name.trim());
    name.filter(|name| !name.is_empty())
        .unwrap_or(std::env::consts::ARCH)
        .to_owned()
}

/// A figure of `/proc/meminfo` or `/proc/self/status` in bytes, where the system has it.
pub fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.split(':').next() == Some(key))?;
    let number: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_read_at_a_plausible_rate() {
        let rate = super::stream_bandwidth(1);
        assert!((0.1..10_000.0).contains(&rate), "{rate} GB/s");
    }
}
