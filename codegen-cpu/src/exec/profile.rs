//! Time spent in each launch, measured by the calling thread from barrier to barrier.

use lathe_ir::plan::Plan;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time spent in launches of the same kernels.
#[derive(Clone, PartialEq, Debug)]
pub struct ProfileEntry {
    /// The names of the kernels, joined by ` + `.
    pub kernels: String,
    /// Launches measured.
    pub launches: u64,
    /// Their time, the wait for the slowest thread included.
    pub time: Duration,
}

/// Sums by step. Off until enabled: then a launch costs one branch.
pub(super) struct Profile {
    enabled: bool,
    steps: Vec<StepTime>,
}

#[derive(Default)]
struct StepTime {
    launches: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Profile {
    pub(super) fn new(steps: usize) -> Profile {
        Profile {
            enabled: false,
            steps: (0..steps).map(|_| StepTime::default()).collect(),
        }
    }

    pub(super) fn set_enabled(&mut self, on: bool) {
        self.enabled = on;
    }

    /// The time now, for the thread that measures.
    pub(super) fn start(&self, thread: usize) -> Option<Instant> {
        (self.enabled && thread == 0).then(Instant::now)
    }

    pub(super) fn stop(&self, step: usize, start: Option<Instant>) {
        if let Some(start) = start {
            let nanoseconds = start.elapsed().as_nanos() as u64;
            self.steps[step].launches.fetch_add(1, Ordering::Relaxed);
            self.steps[step]
                .nanoseconds
                .fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }

    /// Sums by kernel names, longest first.
    pub(super) fn entries(&self, plan: &Plan) -> Vec<ProfileEntry> {
        let mut entries: Vec<ProfileEntry> = Vec::new();
        for (step, time) in plan.steps.iter().zip(&self.steps) {
            let names: Vec<&str> = step
                .calls
                .iter()
                .map(|c| plan.kernels[c.kernel].name.as_str())
                .collect();
            let kernels = names.join(" + ");
            let launches = time.launches.load(Ordering::Relaxed);
            let time = Duration::from_nanos(time.nanoseconds.load(Ordering::Relaxed));
            match entries.iter_mut().find(|e| e.kernels == kernels) {
                Some(entry) => {
                    entry.launches += launches;
                    entry.time += time;
                }
                None => entries.push(ProfileEntry {
                    kernels,
                    launches,
                    time,
                }),
            }
        }
        entries.sort_by_key(|e| std::cmp::Reverse(e.time));
        entries
    }
}
