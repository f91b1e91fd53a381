//! What the processor under this program can do at most, measured: bytes that threads can read from each level of its
//! memory, and operations of the two instructions that products are made of.
//!
//! The loops are kernels like any other ([`kernels`]), compiled by the same code generator ([`probe`] runs them), so that
//! a limit is what generated code could reach, and the share of it that a kernel reaches is a statement about the kernel.
//! The figures serve the roofline model (Williams, Waterman and Patterson, "Roofline", 2009).

mod caches;
mod kernels;
mod probe;

pub use caches::{Caches, Level};

use crate::Error;
use crate::target::CpuFeatures;
use probe::Probe;
use std::time::Duration;

/// A resource that a kernel can exhaust.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Bytes read from a level of the memory.
    Read(Level),
    /// Int8 operations, two for each product, by `dot4`.
    Dot4,
    /// f32 operations, two for each product, by `fma`.
    Fma,
}

/// One measured limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// Of what.
    pub limit: Limit,
    /// The vector width of the loop, in f32 lanes.
    pub lanes: u8,
    /// Threads that ran it at once.
    pub threads: usize,
    /// Bytes or operations a second, of all threads together.
    pub rate: f64,
}

/// How long measuring may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// The shortest time of one round; a loop is repeated until a round takes as long.
    pub round: Duration,
    /// Rounds, of which the fastest counts: others are disturbed by what else runs.
    pub rounds: usize,
}

impl Effort {
    /// About a second for two threads and three vector widths.
    pub const QUICK: Effort = Effort {
        round: Duration::from_millis(1),
        rounds: 7,
    };

    /// Some ten seconds.
    pub const FULL: Effort = Effort {
        round: Duration::from_millis(5),
        rounds: 20,
    };
}

/// Loops that are ready to run, for limits that should be measured again and again: what memory gives may change by the
/// minute where a machine is shared.
pub struct LimitProbe {
    probe: Probe,
    caches: Caches,
    widths: Vec<u8>,
    threads: usize,
}

impl LimitProbe {
    /// Makes code for `features`, at every vector width that they allow, and memory for `threads` threads (at least 1).
    ///
    /// # Errors
    /// Where the processor lacks one of the features, or the system refuses memory or threads.
    pub fn new(features: &CpuFeatures, threads: usize) -> Result<LimitProbe, Error> {
        let caches = Caches::host();
        let threads = threads.max(1);
        let widths: Vec<u8> = [4, 8, 16]
            .into_iter()
            .filter(|&w| w <= features.vector_lanes())
            .collect();
        Ok(LimitProbe {
            probe: Probe::new(features, &widths, threads, &caches)?,
            caches,
            widths,
            threads,
        })
    }

    /// Measures a limit with the widest vectors, in bytes or operations a second; `None` where the machine has no such
    /// level.
    pub fn measure(&mut self, limit: Limit, effort: Effort) -> Option<f64> {
        let widest = self.widths.len().checked_sub(1)?;
        self.at_width(limit, widest, effort)
    }

    fn at_width(&mut self, limit: Limit, width: usize, effort: Effort) -> Option<f64> {
        Some(match limit {
            Limit::Read(level) => {
                let bytes = self.caches.working_set(level, self.threads)?;
                self.probe.read(width, bytes, effort)
            }
            Limit::Dot4 => self.probe.dot4(width, effort),
            Limit::Fma => self.probe.fma(width, effort),
        })
    }

    /// Every limit at every width.
    fn measure_all(&mut self, effort: Effort, into: &mut Vec<Measured>) {
        let reads = Level::ALL.map(Limit::Read);
        for width in 0..self.widths.len() {
            for limit in reads.into_iter().chain([Limit::Dot4, Limit::Fma]) {
                into.extend(self.at_width(limit, width, effort).map(|rate| Measured {
                    limit,
                    lanes: self.widths[width],
                    threads: self.threads,
                    rate,
                }));
            }
        }
    }
}

/// The limits of a machine.
#[derive(Clone, PartialEq, Debug)]
pub struct MachineLimits {
    /// The caches that the sizes of working sets were chosen for.
    pub caches: Caches,
    /// All figures.
    pub measured: Vec<Measured>,
}

impl MachineLimits {
    /// Measures this machine with code for `features`, at every vector width that they allow, with each number of
    /// threads in `threads`.
    ///
    /// # Errors
    /// Where the processor lacks one of the features, or the system refuses memory or threads.
    pub fn measure(
        features: &CpuFeatures,
        threads: &[usize],
        effort: Effort,
    ) -> Result<MachineLimits, Error> {
        let mut measured = Vec::new();
        for &threads in threads {
            LimitProbe::new(features, threads)?.measure_all(effort, &mut measured);
        }
        let caches = Caches::host();
        Ok(MachineLimits { caches, measured })
    }

    /// The highest rate measured with this number of threads, whatever the vector width.
    pub fn best(&self, limit: Limit, threads: usize) -> Option<f64> {
        let rates = self
            .measured
            .iter()
            .filter(|m| m.limit == limit && m.threads == threads)
            .map(|m| m.rate);
        rates.max_by(f64::total_cmp)
    }

    /// The least time in seconds that `threads` threads need to read `bytes` from `level` and to do `operations` of
    /// `peak` meanwhile: the roofline. `None` where one of them was not measured.
    pub fn least_time(
        &self,
        (bytes, level): (u64, Level),
        (operations, peak): (u64, Limit),
        threads: usize,
    ) -> Option<f64> {
        let reading = bytes as f64 / self.best(Limit::Read(level), threads)?;
        let computing = operations as f64 / self.best(peak, threads)?;
        Some(reading.max(computing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASTY: Effort = Effort {
        round: Duration::from_micros(200),
        rounds: 3,
    };

    #[test]
    fn figures_of_this_machine_are_plausible() {
        let features = CpuFeatures::host().unwrap();
        let limits = MachineLimits::measure(&features, &[1, 2], HASTY).unwrap();
        for m in &limits.measured {
            assert!((1e8..1e15).contains(&m.rate), "{m:?}");
        }
        let kinds = Level::ALL
            .iter()
            .filter(|&&l| limits.caches.working_set(l, 1).is_some())
            .count()
            + 2;
        let widths = [4, 8, 16]
            .iter()
            .filter(|&&w| w <= features.vector_lanes())
            .count();
        assert_eq!(limits.measured.len(), 2 * widths * kinds);
        let best = |limit| limits.best(limit, 1).unwrap();
        let (l1, memory) = (best(Limit::Read(Level::L1)), best(Limit::Read(Level::Memory)));
        assert!(l1 > memory, "L1 {l1:.3e}, memory {memory:.3e}");
        // A byte has a quarter of the bits of a float, and no processor with a dot product does fewer of them.
        if features.has_dot4() {
            assert!(best(Limit::Dot4) > best(Limit::Fma));
        }
    }

    #[test]
    fn the_roofline_is_the_slower_of_reading_and_computing() {
        let measured = |limit, rate| Measured {
            limit,
            lanes: 4,
            threads: 1,
            rate,
        };
        let limits = MachineLimits {
            caches: Caches::host(),
            measured: vec![
                measured(Limit::Read(Level::Memory), 10.0),
                measured(Limit::Dot4, 100.0),
                measured(Limit::Dot4, 50.0),
            ],
        };
        let time = |bytes, ops| limits.least_time((bytes, Level::Memory), (ops, Limit::Dot4), 1);
        assert_eq!(time(100, 100), Some(10.0));
        assert_eq!(time(100, 5000), Some(50.0));
        assert_eq!(limits.least_time((1, Level::L1), (1, Limit::Dot4), 1), None);
        assert_eq!(limits.best(Limit::Dot4, 2), None);
    }

    #[test]
    fn features_that_the_processor_lacks_are_refused() {
        let host = CpuFeatures::host().unwrap();
        let all = CpuFeatures::all(host.arch());
        if host != all {
            let refused = MachineLimits::measure(&all, &[1], HASTY);
            assert!(matches!(refused, Err(Error::MissingFeature(_))));
        }
    }
}
