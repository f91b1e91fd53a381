//! `lathe doctor`: what this machine offers, and what Lathe makes of it.

use super::error::CliError;
use super::plans::CacheArgs;
use crate::machine::{proc_bytes, stream_bandwidth};
use clap::Args;
use lathe_codegen_cpu::CpuFeatures;
use lathe_codegen_cpu::topology::Topology;
use lathe_codegen_cuda::device::Device as _;
use lathe_codegen_cuda::driver::Gpu;
use lathe_runtime::cache::{CacheError, Entry};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(&self) -> Result<(), CliError> {
        let topology = Topology::host();
        let (cpus, cores, numa) = (topology.cpus(), topology.cores(), topology.nodes());
        let threads = topology.default_threads();
        let memory = proc_bytes("/proc/meminfo", "MemTotal");
        let free = proc_bytes("/proc/meminfo", "MemAvailable");
        let one = stream_bandwidth(1);
        let all = stream_bandwidth(threads);
        let cpu = CpuFeatures::host();
        let (features, problem) = match &cpu {
            Ok(features) => (features.names().collect(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let choice = match (&cpu, &problem) {
            (Ok(cpu), _) => cpu.code_generator(),
            (_, problem) => format!("nothing: {}", problem.as_deref().unwrap_or("")),
        };
        let store = crate::store::Store::from_env().map(|s| s.root().to_path_buf());
        let cache = CacheHealth::look(threads);
        let gpu = match Gpu::open() {
            Ok(gpu) => format!("{}, with --device cuda", gpu.describe()),
            Err(error) => error.to_string(),
        };
        if self.json {
            let object = json!({"arch": std::env::consts::ARCH, "features": features, "threads": threads,
                "cpus": cpus, "cores": cores,
                "numa_nodes": numa, "memory_bytes": memory, "free_bytes": free, "stream_gbps_1": one,
                "stream_gbps": all, "choice": choice, "store": store.ok(), "cache": cache.json(), "gpu": gpu});
            outln!("{object}");
            return Ok(());
        }
        let gib = |bytes: Option<u64>| {
            bytes.map_or("unknown".into(), |b| {
                format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64)
            })
        };
        outln!(
            "processor    {} with {}",
            std::env::consts::ARCH,
            features.join(" ")
        );
        outln!(
            "threads      {threads}, for {cores} core{} ({cpus} processor{}) on {numa} NUMA node{}",
            plural(cores),
            plural(cpus),
            plural(numa)
        );
        outln!("memory       {} in all, {} free", gib(memory), gib(free));
        outln!("bandwidth    {one:.1} GB/s with one thread, {all:.1} GB/s with {threads}");
        outln!("code         {choice}");
        outln!("GPU          {gpu}");
        match store {
            Ok(root) => outln!("models       {}", root.display()),
            Err(error) => outln!("models       {error}"),
        }
        outln!("plans        {}", cache.text());
        problem.map_or(Ok(()), |p| Err(CliError::failed(p)))
    }
}

/// The state of the plan cache; or why there is none.
struct CacheHealth(Result<(PathBuf, Vec<Entry>), CacheError>);

impl CacheHealth {
    fn look(threads: usize) -> CacheHealth {
        let look = || {
            let cache = CacheArgs::default().require(threads)?;
            Ok((cache.root().to_owned(), cache.list()?))
        };
        CacheHealth(look())
    }

    /// Entries, their bytes, and those that can't be used.
    fn counts(entries: &[Entry]) -> (usize, u64, usize) {
        let bad = entries.iter().filter(|e| e.bundle.is_err()).count();
        (entries.len(), entries.iter().map(|e| e.bytes).sum(), bad)
    }

    fn json(&self) -> serde_json::Value {
        match &self.0 {
            Ok((root, entries)) => {
                let (count, bytes, bad) = CacheHealth::counts(entries);
                json!({"folder": root, "entries": count, "bytes": bytes, "unusable": bad})
            }
            Err(error) => json!({"error": error.to_string()}),
        }
    }

    fn text(&self) -> String {
        match &self.0 {
            Ok((root, entries)) => {
                let (count, bytes, bad) = CacheHealth::counts(entries);
                let megabytes = bytes as f64 / 1e6;
                format!(
                    "{}: {count} entries, {megabytes:.1} MB, {bad} of them unusable",
                    root.display()
                )
            }
            Err(error) => error.to_string(),
        }
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
