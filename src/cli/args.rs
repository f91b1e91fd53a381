//! Arguments that several verbs share.

use crate::build::{BuildOptions, Cut, Device};
use crate::cli::error::CliError;
use crate::cli::plans::CacheArgs;
use clap::Args;
use clap::builder::BoolishValueParser;
use lathe_codegen_cpu::topology::Topology;
use lathe_ir::layout::KvTypes;
use std::path::PathBuf;

/// Which model.
#[derive(Args, Clone, Debug)]
pub struct ModelArg {
    /// A built-in name, a path to a .gguf file, hf:OWNER/REPO[:FILE], or a compiled plan: its id or its folder
    #[arg(value_name = "MODEL")]
    pub model: String,
}

impl ModelArg {
    /// The model's file, fetched if it is a name whose file is not there yet.
    pub fn path(&self) -> Result<PathBuf, CliError> {
        crate::store::resolve(&self.model, &mut super::progress::Progress::new())
            .map_err(super::models::store_error)
    }
}

/// How to run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Threads [default: one a physical core]
    #[arg(short = 't', long, env = "LATHE_THREADS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Keep each thread on a processor of its own: cores before their second hardware threads, one NUMA node before the
    /// next
    #[arg(long, env = "LATHE_PIN", value_parser = BoolishValueParser::new())]
    pub pin: bool,
    /// Where to run: cpu, or cuda for the first NVIDIA GPU
    #[arg(long, env = "LATHE_DEVICE", default_value = "cpu")]
    pub device: String,
    /// With --device cuda: so many of the model's first layers run on the GPU, and the rest on the processor [default: all]
    #[arg(long, env = "LATHE_GPU_LAYERS", value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Positions of the context [default: the model's, at most 8192]
    #[arg(long, env = "LATHE_CTX", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub ctx: Option<u32>,
    /// Most prompt tokens in one step [default: 512; on a GPU, without --gpu-layers, 2048]
    #[arg(long, env = "LATHE_CHUNK", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub chunk: Option<u32>,
    /// CPU features to use, separated by commas (all: what the machine has)
    #[arg(long, env = "LATHE_CPU_FEATURES", default_value = "all")]
    pub cpu_features: String,
    /// Leave shapes that `lathe compile --tune` found aside
    #[arg(long, env = "LATHE_NO_TUNING", value_parser = BoolishValueParser::new())]
    pub no_tuning: bool,
    /// How keys and values are cached: f32, f16, bf16, q8_0 (nearly half the memory of f16) or q4_0 (a third; not on GPUs);
    /// two types, as in f16,q4_0, for keys and for values [default: f16]
    #[arg(long = "kv-type", env = "LATHE_KV_TYPE", value_name = "TYPE")]
    pub kv_types: Option<KvTypes>,
    /// Verify the IR after every pass
    #[arg(long, env = "LATHE_VERIFY", value_parser = BoolishValueParser::new())]
    pub verify: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
}

impl RunArgs {
    /// The options of a build for text generation.
    pub fn build_options(&self) -> Result<BuildOptions, CliError> {
        let (device, cut) = self.placement()?;
        Ok(BuildOptions {
            device,
            cut,
            threads: self.thread_count()?,
            pin: self.pin,
            context: self.ctx,
            chunk: self.chunk.unwrap_or(device.chunk()),
            cpu_features: self.cpu_features.clone(),
            verify: self.verify,
            tuning: !self.no_tuning,
            kv_types: self.kv_types,
            ..BuildOptions::default()
        })
    }

    /// Where the model runs, and which of its layers elsewhere.
    fn placement(&self) -> Result<(Device, Option<Cut>), CliError> {
        match (self.device()?, self.gpu_layers) {
            (device, None) => Ok((device, None)),
            (_, Some(0)) => Ok((Device::Cpu, None)),
            (Device::Cpu, Some(layers)) => Err(CliError::input(format!(
                "--gpu-layers {layers} goes with --device cuda"
            ))),
            (device, Some(layers)) => Ok((Device::Cpu, Some(Cut { layers, device }))),
        }
    }

    /// The device asked for.
    fn device(&self) -> Result<Device, CliError> {
        match &self.device[..] {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda),
            other => Err(CliError::input(format!(
                "device `{other}` is not supported; `cpu` and `cuda` are"
            ))),
        }
    }

    /// The threads asked for, or one a core; speaks up where they are more than the processors.
    fn thread_count(&self) -> Result<usize, CliError> {
        let topology = Topology::host();
        let (threads, cpus) = match self.threads {
            Some(threads) => (threads as usize, topology.cpus()),
            None => return Ok(topology.default_threads()),
        };
        if threads > cpus && self.pin {
            return Err(CliError::input(format!(
                "--pin keeps {threads} threads on as many processors, but this process may run on {cpus}"
            )));
        }
        if threads > cpus {
            eprintln!(
                "lathe: {threads} threads take turns on {cpus} processors; --threads {} is faster",
                topology.default_threads()
            );
        }
        Ok(threads)
    }
}

/// Token ids separated by commas or blanks.
pub fn parse_tokens(text: &str) -> Result<Vec<u32>, CliError> {
    let words = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|w| !w.is_empty());
    words
        .map(|w| {
            w.parse()
                .map_err(|_| CliError::input(format!("`{w}` is not a token id")))
        })
        .collect()
}
