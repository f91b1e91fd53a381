//! `lathe compile`: compiles a model for this machine and keeps the plan; tunes its kernels before, where that is wanted.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use super::gpu::{self, GpuArgs};
use super::plans::Bar;
use crate::build::{BuildError, BuildOptions, Device, cpu_features};
use crate::plans::{Compiled, portable};
use crate::tune::{BUSY, TuneError, Tuned, file, keep, tune};
use clap::Args;
use lathe_frontend::model::Model;
use lathe_passes::lower::{Shape, Tuning};
use lathe_runtime::cache::Bundle;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lathe compile smollm2-135m\n  lathe compile smollm2-135m --tune -t 2\n  \
    lathe compile smollm2-135m -o plan && lathe run plan -p \"The capital of France is\"\n  \
    lathe compile smollm2-135m --device cuda --gpu-arch sm_90 --gpu-memory 24G"
)]
pub struct Compile {
    #[command(flatten)]
    model: ModelArg,
    /// Compile for embeddings, as `lathe embed` and `lathe serve --embeddings` want it
    #[arg(long)]
    embeddings: bool,
    /// Try shapes of products on this machine, and keep the best for later builds
    #[arg(long)]
    tune: bool,
    /// About how long to try
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86400))]
    tune_seconds: u32,
    /// Write the plan to this folder too: it runs without the model's file, and on other machines with the same features
    #[arg(short = 'o', long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: GpuArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Compile {
    pub fn run(&self) -> Result<(), CliError> {
        let options = match self.embeddings {
            true => self.run.build_options()?.for_embeddings(),
            false => self.run.build_options()?,
        };
        if options.cut.is_some() {
            return Err(BuildError::Uncut.into());
        }
        if options.device == Device::Cuda {
            return self.for_gpu(&options);
        }
        let tuning = match self.tune {
            true => self.tune(&options)?,
            false => Value::Null,
        };
        if !self.run.cache.no_cache {
            return self.compile(&options, tuning);
        }
        if !self.tune {
            return Err(CliError::input(
                "--no-cache leaves nothing to do: a plan is compiled to be kept",
            ));
        }
        if self.json {
            outln!("{}", json!({"tuning": tuning}));
        }
        Ok(())
    }

    /// Compiles the kernels of the model's plan for a GPU.
    fn for_gpu(&self, options: &BuildOptions) -> Result<(), CliError> {
        match () {
            () if self.tune => Err(BuildError::CpuOnly("tuned shapes").into()),
            () if self.output.is_some() => Err(BuildError::CpuOnly("plans in folders").into()),
            () if self.run.cache.no_cache => Err(CliError::input(
                "--no-cache leaves nothing to do: kernels are compiled to be kept",
            )),
            () => gpu::compile(&self.model, &self.run, &self.gpu, options, self.json),
        }
    }

    /// Compiles the model into the cache, and copies the plan to where it is wanted.
    fn compile(&self, options: &BuildOptions, tuning: Value) -> Result<(), CliError> {
        let start = Instant::now();
        let path = self.model.path()?;
        let cache = self.run.cache.require(options.threads)?;
        let bar = Bar::new();
        let progress = |progress| bar.show(progress);
        let compiled = self.run.cache.plans(&cache, &progress).compile(&path, options)?;
        if let Some(folder) = &self.output {
            portable::export(&compiled, folder)?;
        }
        let folder = self.output.as_deref().unwrap_or(compiled.plan.folder());
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            let mut object = compiled_json(&compiled, folder, seconds);
            if self.tune {
                object["tuning"] = tuning;
            }
            outln!("{object}");
            return Ok(());
        }
        for (stage, time) in &compiled.stages {
            outln!("{stage:>40} {:9.1} ms", time.as_secs_f64() * 1e3);
        }
        outln!(
            "plan {}: {} kernels, {:.1} kB of code, {:.1} MB of weights, context {}, for {} threads on {}",
            &compiled.id[..12],
            compiled.data.entries.len(),
            bytes_of(&compiled.plan, "code") as f64 / 1e3,
            compiled.weights.bytes() as f64 / 1e6,
            compiled.data.context,
            compiled.data.threads,
            compiled.data.features,
        );
        let done = if compiled.stages.is_empty() {
            "it was there already"
        } else {
            "compiled"
        };
        outln!("{done}: {seconds:.2} s; {}", folder.display());
        Ok(())
    }

    /// Tries shapes of products, and keeps the best. Returns what it found, as JSON.
    fn tune(&self, options: &BuildOptions) -> Result<Value, CliError> {
        let start = Instant::now();
        let features = cpu_features(&options.cpu_features).map_err(CliError::input)?;
        let Some(path) = file::path(&features, options.threads) else {
            return Err(CliError::failed(file::FileError::NoHome));
        };
        // A file that can't be read is replaced.
        let mut tuning = file::load(&path).unwrap_or_else(|error| {
            eprintln!("lathe: {error}");
            None
        });
        let model = Model::load_for(self.model.path()?, options.output)?;
        let time = Duration::from_secs(self.tune_seconds.into());
        let terminal = std::io::stderr().is_terminal();
        let mut note = |text: &str| {
            if terminal {
                eprintln!("lathe: {text}");
            }
        };
        let results = tune(&model, options, time, &mut note).map_err(tune_error)?;
        let tuning = tuning.get_or_insert_with(Tuning::default);
        keep(&results, tuning).map_err(CliError::failed)?;
        file::save(&path, tuning).map_err(CliError::failed)?;
        let spread = results.iter().map(|r| r.spread).fold(0.0, f64::max);
        if spread > BUSY {
            eprintln!(
                "lathe: the machine is busy: a kernel took {:.0} % longer than at best; tune again when it is idle",
                100.0 * spread
            );
        }
        if self.json {
            let products: Vec<Value> = results.iter().map(product_json).collect();
            return Ok(json!({"file": path, "seconds": start.elapsed().as_secs_f64(), "products": products}));
        }
        for line in table(&results) {
            outln!("{line}");
        }
        outln!(
            "{:.1} s; kept in {} ({} products)",
            start.elapsed().as_secs_f64(),
            path.display(),
            tuning.len()
        );
        Ok(Value::Null)
    }
}

fn bytes_of(bundle: &Bundle, name: &str) -> u64 {
    bundle
        .files()
        .find(|(file, _)| *file == name)
        .map_or(0, |(_, bytes)| bytes)
}

fn compiled_json(compiled: &Compiled, folder: &Path, seconds: f64) -> Value {
    let stages: Vec<Value> = compiled
        .stages
        .iter()
        .map(|(stage, time)| json!({"stage": stage, "seconds": time.as_secs_f64()}))
        .collect();
    json!({"plan": compiled.id, "folder": folder, "model": compiled.data.model, "seconds": seconds, "stages": stages,
        "kernels": compiled.data.entries.len(), "code_bytes": bytes_of(&compiled.plan, "code"),
        "weight_bytes": bytes_of(&compiled.weights, "packed"), "context": compiled.data.context,
 "embeddings": compiled.data.pooling.is_some(),
        "threads": compiled.data.threads, "features": compiled.data.features, "kv_type": compiled.data.kv_types})
}

fn tune_error(error: TuneError) -> CliError {
    match error {
        TuneError::Build(error) => error.into(),
        error => CliError::failed(error),
    }
}

/// A shape in few characters: rows by vectors, whether codes are spread, bytes of a unit, bytes ahead.
fn short(shape: &Shape) -> String {
    let tile = shape.tile;
    let spread = if tile.expand { " spread" } else { "" };
    let ahead = match tile.prefetch {
        0 => String::new(),
        bytes => format!(" ahead {bytes}"),
    };
    format!(
        "{}x{}{spread} {}K{ahead}",
        tile.rows,
        tile.groups,
        shape.unit_bytes >> 10
    )
}

/// Time that a share of the time saves, in percent.
fn gain(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| {
        format!("{:+.1} %", 100.0 * (1.0 / share - 1.0))
    })
}

fn table(results: &[Tuned]) -> Vec<String> {
    let mut rows = vec![["kernel", "calls", "default", "best", "many rows", "one row"].map(str::to_owned)];
    rows.extend(results.iter().map(|r| {
        [
            r.key.to_string(),
            r.calls.to_string(),
            short(&r.default),
            if r.best == r.default {
                "the same".to_owned()
            } else {
                short(&r.best)
            },
            gain(r.many),
            gain(r.one),
        ]
    }));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn shape_json(shape: &Shape) -> Value {
    let tile = shape.tile;
    json!({"rows": tile.rows, "groups": tile.groups, "expand": tile.expand, "prefetch": tile.prefetch,
        "unit_bytes": shape.unit_bytes})
}

fn product_json(r: &Tuned) -> Value {
    let trials = r.trials.iter().map(|t| {
        json!({"shape": shape_json(&t.shape), "against": shape_json(&t.against), "time_many": t.many,
            "time_one": t.one, "predicted_many": t.predicted_many, "predicted_one": t.predicted_one})
    });
    json!({"kernel": r.key.to_string(), "calls": r.calls, "default": shape_json(&r.default),
        "best": shape_json(&r.best), "time_many": r.many, "time_one": r.one,
        "spread": r.spread, "trials": trials.collect::<Vec<Value>>()})
}
