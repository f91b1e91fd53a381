//! `cargo bench --bench kernels`: each kernel at the shapes that models have, and its share of the machine's own limit.
//!
//! The limits are measured first, by the same code generator. Criterion times the launches, and the results go to a JSON
//! file that `benches/roofline.py` reads. docs/performance.md says what the figures mean.

mod cases;
mod graphs;
mod report;
mod rig;

use cases::{Case, cases};
use clap::Parser;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use lathe_codegen_cpu::CpuFeatures;
use lathe_codegen_cpu::limits::{Caches, Effort, Level, Limit, LimitProbe, MachineLimits, Measured};
use report::{Entry, Timing, limit_name, machine_json};
use rig::Rig;
use serde_json::{Value, json};
use std::collections::{BTreeMap, btree_map};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures kernels and the machine's limits")]
struct Args {
    /// Measure only cases whose id contains this
    filter: Option<String>,
    /// A selection of cases, with few samples: about a minute
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: lathe-bench.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// CPU features to use, as `lathe run --cpu-features` takes them
    #[arg(long, value_name = "LIST", default_value = "", allow_hyphen_values = true)]
    features: String,
    /// Print the ids of the cases
    #[arg(long)]
    list: bool,
    /// Cargo passes this to a benchmark; without it, each quick case runs once
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let chosen: Vec<Case> = cases()
        .into_iter()
        .filter(|c| args.filter.as_ref().is_none_or(|f| c.id().contains(f.as_str())))
        .filter(|c| c.quick || args.bench && !args.quick)
        .collect();
    if args.list {
        chosen.iter().for_each(|case| println!("{}", case.id()));
        return Ok(());
    }
    let features = CpuFeatures::host()?.narrowed(&args.features)?;
    if !args.bench {
        return try_once(&chosen, &features);
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let limits = MachineLimits::measure(&features, &args.threads, effort)?;
    limits.measured.iter().for_each(print_limit);
    let mut session = Session {
        criterion: criterion(args.quick),
        folder: target_folder().join("criterion"),
        limits,
        probes: BTreeMap::new(),
        features,
        entries: Vec::new(),
        target: String::new(),
    };
    for case in &chosen {
        for &threads in &args.threads {
            session.measure(case, threads, args.quick)?;
        }
    }
    let path = args
        .json
        .unwrap_or_else(|| target_folder().join("lathe-bench.json"));
    session.write(&path, args.quick)
}

/// Runs each case once with its fewest rows and no timing: what `cargo test --benches` asks for.
fn try_once(chosen: &[Case], features: &CpuFeatures) -> Result<(), Box<dyn Error>> {
    for case in chosen {
        let small = Case {
            cold: false,
            ..case.clone()
        };
        let rows = case.rows[0];
        let mut rig = Rig::new(&small, rows, 2, features, &Caches::host())?;
        rig.set_rows(rows);
        assert!(rig.run(1) > Duration::ZERO, "{} took no time", case.id());
        println!("{}: {}", case.id(), rig.kernels());
    }
    Ok(())
}

fn print_limit(m: &Measured) {
    let width = 32 * u32::from(m.lanes);
    let name = limit_name(m.limit);
    println!(
        "{name:<10} {width:>4} bit  {} threads  {:9.1} G/s",
        m.threads,
        m.rate / 1e9
    );
}

fn criterion(quick: bool) -> Criterion {
    let milliseconds = |quickly, fully| Duration::from_millis(if quick { quickly } else { fully });
    Criterion::default()
        .without_plots()
        .sample_size(if quick { 10 } else { 20 })
        .nresamples(2000)
        .warm_up_time(milliseconds(30, 200))
        .measurement_time(milliseconds(150, 600))
        .output_directory(&target_folder().join("criterion"))
}

/// The folder that cargo builds in.
fn target_folder() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}

/// A run of the program.
struct Session {
    criterion: Criterion,
    folder: PathBuf,
    limits: MachineLimits,
    /// Loops that read memory, by the number of threads.
    probes: BTreeMap<usize, LimitProbe>,
    features: CpuFeatures,
    entries: Vec<Value>,
    target: String,
}

impl Session {
    /// Measures a case: few rows with weights from memory where the case says so, many rows with one copy of them.
    fn measure(&mut self, case: &Case, threads: usize, quick: bool) -> Result<(), Box<dyn Error>> {
        let wanted = |&rows: &u32| !quick || matches!(rows, 1 | 64 | 512) && !(case.cold && rows == 512);
        let rows: Vec<u32> = case.rows.iter().copied().filter(wanted).collect();
        let (few, many): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(|&rows| rows <= rig::COLD_ROWS);
        for rows in [few, many] {
            let Some(&most) = rows.iter().max() else { continue };
            let mut rig = Rig::new(case, most, threads, &self.features, &self.limits.caches)?;
            rig.target().clone_into(&mut self.target);
            for rows in rows {
                self.time(case, &mut rig, rows, threads)?;
            }
        }
        Ok(())
    }

    fn time(&mut self, case: &Case, rig: &mut Rig, rows: u32, threads: usize) -> Result<(), Box<dyn Error>> {
        let work = case.work(rows, rig.weight_bytes);
        let level = self.limits.caches.level_of(rig.working_set, threads);
        let read_rate = self.read_rate(level, threads)?;
        rig.set_rows(rows);
        let (group, function) = (case.id(), format!("{rows} rows"));
        let parameter = format!("{threads} threads");
        let launches = rig.launches as u64;
        let mut benchmark = self.criterion.benchmark_group(group.as_str());
        benchmark.sampling_mode(SamplingMode::Flat);
        benchmark.throughput(if rows == 1 || work.operations == 0 {
            Throughput::BytesDecimal(work.bytes * launches)
        } else {
            Throughput::Elements(work.operations * launches)
        });
        let id = BenchmarkId::new(&function, &parameter);
        benchmark.bench_function(id, |b| b.iter_custom(|times| rig.run(times)));
        benchmark.finish();
        let folder = self.folder.join(group).join(function).join(parameter);
        let entry = Entry {
            case,
            kernels: rig.kernels(),
            rows,
            threads,
            work,
            weight_bytes: rig.weight_bytes,
            level,
            read_rate,
            launches: rig.launches,
            timing: Timing::read(&folder)?,
        };
        self.entries.push(entry.json(&self.limits));
        Ok(())
    }

    /// What memory gives now: other users of a machine take their share of it, and change it by the minute. `None` for
    /// caches, which stay as they were measured.
    fn read_rate(&mut self, level: Level, threads: usize) -> Result<Option<f64>, Box<dyn Error>> {
        if level != Level::Memory {
            return Ok(None);
        }
        let probe = match self.probes.entry(threads) {
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
            btree_map::Entry::Vacant(entry) => entry.insert(LimitProbe::new(&self.features, threads)?),
        };
        Ok(probe.measure(Limit::Read(level), Effort::QUICK))
    }

    fn write(&self, path: &Path, quick: bool) -> Result<(), Box<dyn Error>> {
        let report = json!({
            "quick": quick, "target": self.target,
            "machine": machine_json(&self.limits, &self.features.to_string()),
            "kernels": self.entries,
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)?)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{} measurements are in {}", self.entries.len(), path.display());
        Ok(())
    }
}
