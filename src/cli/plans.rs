//! How verbs come to a model that is ready to run: a compiled plan from the cache, by the model's name, by the plan's id, or
//! in a folder of its own.

use super::args::{ModelArg, RunArgs};
use super::error::CliError;
use crate::build::{BuildOptions, Built};
use crate::plans::{self, BUILD, Plans, Progress, Source, SourceError};
use clap::Args;
use clap::builder::BoolishValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use lathe_runtime::cache::{Cache, CacheError};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How the plan cache is used.
#[derive(Args, Clone, Debug, Default)]
pub struct CacheArgs {
    /// Neither look for a compiled plan nor keep one
    #[arg(long, env = "LATHE_NO_CACHE", value_parser = BoolishValueParser::new())]
    pub no_cache: bool,
    /// Hash the model's file though its size and times are those of the last time
    #[arg(long, env = "LATHE_REHASH", value_parser = BoolishValueParser::new())]
    pub rehash: bool,
    /// Remove the plans used least recently where the cache would be larger than this, such as 20G
    #[arg(long, env = "LATHE_CACHE_SIZE", value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
}

/// Bytes: a number with K, M, G or T for powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is no size: a number, with K, M, G or T");
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(error()),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

impl ModelArg {
    /// The model, ready to run; a name's file is fetched where it is not there yet.
    pub fn load(&self, run: &RunArgs, options: &BuildOptions) -> Result<Built, CliError> {
        let cache = run.cache.open(options.threads)?;
        let bar = Bar::new();
        let progress = |progress| bar.show(progress);
        let plans = cache.as_ref().map(|cache| run.cache.plans(cache, &progress));
        Ok(self.source(cache.as_ref())?.load(options, plans.as_ref())?)
    }

    /// What the name stands for; a name's file is fetched where it is not there yet.
    pub fn source(&self, cache: Option<&Cache>) -> Result<Source, CliError> {
        Ok(Source::find(
            &self.model,
            cache,
            &mut super::progress::Progress::new(),
        )?)
    }
}

impl From<SourceError> for CliError {
    fn from(error: SourceError) -> CliError {
        match error {
            SourceError::Store(error) => super::models::store_error(error),
            error => CliError::input(error),
        }
    }
}

impl CacheArgs {
    /// The cache, where one is wanted and there can be one.
    pub fn open(&self, threads: usize) -> Result<Option<Cache>, CliError> {
        if self.no_cache {
            return Ok(None);
        }
        match self.require(threads) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) => {
                notice(&format!("compiled plans can't be kept: {error}"));
                Ok(None)
            }
        }
    }

    /// The cache.
    pub fn require(&self, threads: usize) -> Result<Cache, CacheError> {
        let root = plans::default_root().ok_or(CacheError::NoHome)?;
        let cache = Cache::open(&root, BUILD, threads)?;
        Ok(cache
            .with_most_bytes(self.cache_size)
            .with_notice(Box::new(notice)))
    }

    /// Plans of the cache.
    pub fn plans<'a>(&self, cache: &'a Cache, progress: &'a (dyn Fn(Progress) + Sync)) -> Plans<'a> {
        Plans {
            cache,
            rehash: self.rehash,
            progress,
            notice: &notice,
        }
    }
}

/// Tells people something.
pub fn notice(text: &str) {
    eprintln!("lathe: {text}");
}

/// Prints stages of a start and their time.
pub fn print_stages(stages: &[(String, Duration)]) {
    for (stage, time) in stages {
        eprintln!("{stage:>20} {:9.1} ms", time.as_secs_f64() * 1e3);
    }
}

/// Draws how far compiling is, on a terminal.
pub struct Bar {
    bar: ProgressBar,
    start: Instant,
}

impl Bar {
    /// A bar that appears when compiling begins.
    pub fn new() -> Bar {
        let bar = ProgressBar::hidden();
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        Bar {
            bar,
            start: Instant::now(),
        }
    }

    /// Shows a moment.
    pub fn show(&self, progress: Progress) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        match progress {
            Progress::Begin => {
                self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                self.bar.set_message("compiling for this machine, once");
            }
            Progress::Packed(done, all) => {
                self.bar.set_length(all);
                self.bar.set_position(done);
            }
            Progress::End => {
                self.bar.finish_and_clear();
                notice(&format!(
                    "compiled in {:.1} s",
                    self.start.elapsed().as_secs_f64()
                ));
            }
        }
    }
}
