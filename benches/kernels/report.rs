//! The results as JSON: the machine's limits, and each kernel with its rate and its share of them.

use crate::cases::{Case, Work};
use lathe_codegen_cpu::limits::{Level, Limit, MachineLimits};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;

/// Criterion's figures of a measurement, in nanoseconds an iteration.
pub struct Timing {
    /// The median of the samples.
    pub median: f64,
    /// Its confidence interval.
    pub interval: [f64; 2],
    /// The fastest sample.
    pub fastest: f64,
}

impl Timing {
    /// Reads what criterion wrote of a measurement to `folder`.
    pub fn read(folder: &Path) -> Result<Timing, Box<dyn Error>> {
        let read = |file: &str| -> Result<Value, Box<dyn Error>> {
            let path = folder.join("new").join(file);
            let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(serde_json::from_slice(&text)?)
        };
        let estimate = &read("estimates.json")?["median"];
        let number = |value: &Value| value.as_f64().ok_or("criterion's estimates have no median");
        let sample = read("sample.json")?;
        let list = |key: &str| -> Vec<f64> {
            let values = sample[key].as_array().into_iter().flatten();
            values.filter_map(Value::as_f64).collect()
        };
        let each = list("times").into_iter().zip(list("iters")).map(|(t, n)| t / n);
        Ok(Timing {
            median: number(&estimate["point_estimate"])?,
            interval: [
                number(&estimate["confidence_interval"]["lower_bound"])?,
                number(&estimate["confidence_interval"]["upper_bound"])?,
            ],
            fastest: each.fold(f64::INFINITY, f64::min),
        })
    }
}

/// A measured launch.
pub struct Entry<'a> {
    /// What was measured.
    pub case: &'a Case,
    /// Names of the kernels.
    pub kernels: &'a str,
    /// Rows of the launch.
    pub rows: u32,
    /// Threads that shared it.
    pub threads: usize,
    /// Its least work.
    pub work: Work,
    /// Bytes of its packed weights.
    pub weight_bytes: u64,
    /// Where its bytes come from.
    pub level: Level,
    /// Bytes a second that the level gave just before.
    pub read_rate: Option<f64>,
    /// Launches in an iteration.
    pub launches: usize,
    /// The time of an iteration.
    pub timing: Timing,
}

impl Entry<'_> {
    /// The entry of the report. Rates and shares are those of the fastest sample, as limits are those of the fastest
    /// round.
    pub fn json(&self, limits: &MachineLimits) -> Value {
        let launch = |nanoseconds: f64| nanoseconds / self.launches as f64;
        let seconds = launch(self.timing.fastest) * 1e-9;
        let read_rate = self
            .read_rate
            .or_else(|| limits.best(Limit::Read(self.level), self.threads));
        let reading = read_rate.map(|rate| self.work.bytes as f64 / rate);
        let peak = limits.best(self.work.peak, self.threads);
        let computing = peak.map(|rate| self.work.operations as f64 / rate);
        let least = reading.zip(computing).map(|(r, c)| r.max(c));
        json!({
            "group": self.case.group, "name": self.case.name, "kind": self.case.keyword(),
            "format": self.case.format(), "shape": self.case.shape(), "kernels": self.kernels,
            "rows": self.rows, "threads": self.threads,
            "weight_bytes": self.weight_bytes, "bytes": self.work.bytes, "operations": self.work.operations,
            "peak": limit_name(self.work.peak), "level": self.level.name(), "read_rate": read_rate,
            "median_ns": launch(self.timing.median), "fastest_ns": launch(self.timing.fastest),
            "interval_ns": self.timing.interval.map(launch),
            "gbps": self.work.bytes as f64 / seconds / 1e9,
            "gops": self.work.operations as f64 / seconds / 1e9,
            "bound": reading.zip(computing).map(|(r, c)| if r > c { "read" } else { "compute" }),
            "share": least.map(|least| least / seconds),
        })
    }
}

/// What a limit is called.
pub fn limit_name(limit: Limit) -> String {
    match limit {
        Limit::Read(level) => format!("read {}", level.name()),
        Limit::Dot4 => "dot4".to_owned(),
        Limit::Fma => "fma".to_owned(),
    }
}

/// The machine and its limits; rates are bytes or operations a second.
pub fn machine_json(limits: &MachineLimits, features: &str) -> Value {
    let measured: Vec<Value> = limits
        .measured
        .iter()
        .map(
            |m| json!({"limit": limit_name(m.limit), "lanes": m.lanes, "threads": m.threads, "rate": m.rate}),
        )
        .collect();
    let caches = limits.caches;
    json!({
        "processor": processor(), "features": features,
        "caches": {"L1": caches.l1, "L2": caches.l2, "L3": caches.l3},
        "limits": measured,
    })
}

/// The processor's name, where the system has it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
