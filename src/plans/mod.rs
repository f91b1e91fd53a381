//! Compiled plans on the disk: a model compiled for this machine once, and mapped from then on.
//!
//! [`Plans`] finds a model's plan in the cache, or compiles it there, and opens it; [`portable`] copies one to a folder of
//! its own. docs/plan.md describes the files. The cache itself, which knows nothing of plans, is [`lathe_runtime::cache`].

mod compile;
mod format;
mod kernels;
mod key;
mod open;
pub mod portable;
mod source;

pub use compile::Stages;
pub use format::{KernelData, PlanData, WeightsData};
pub use kernels::Kernels;
pub use source::{Source, SourceError};

use crate::build::{BuildError, BuildOptions, Built, build};
use key::Key;
use lathe_runtime::cache::{Bundle, Cache, CacheError, Kind};
use open::Fault;
use std::path::{Path, PathBuf};

/// This build of Lathe: plans of another are not run.
pub const BUILD: &str = env!("LATHE_BUILD");
/// What decides the bytes of packed weights in this build.
pub(crate) const PACKING: &str = env!("LATHE_PACKING");

/// How often an entry that turns out to be damaged is made anew.
const TRIES: usize = 3;

/// What the caller is told while a plan is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Compiling begins.
    Begin,
    /// Bytes of packed weights that are written, and how many there will be.
    Packed(u64, u64),
    /// The plan is there.
    End,
}

/// Where plans come from, and who is told.
pub struct Plans<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// Whether to hash the model's files though they are known.
    pub rehash: bool,
    /// Told how far compiling is.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Told what people should know: one line each.
    pub notice: &'a (dyn Fn(&str) + Sync),
}

/// The folder of the cache: `compiled` in `LATHE_CACHE`, which is `~/.cache/lathe` where that is not set.
pub fn default_root() -> Option<PathBuf> {
    Some(crate::tune::file::cache_folder()?.join("compiled"))
}

/// Whether a folder is a compiled plan.
pub fn is_plan(path: &Path) -> bool {
    path.join("manifest").is_file() && path.join("weights").is_dir()
}

impl Plans<'_> {
    /// Kernels for GPUs of the cache.
    pub fn kernels(&self) -> Kernels<'_> {
        Kernels::new(self.cache, self.notice)
    }

    /// Loads the model in the file at `path` from its compiled plan; compiles it where there is none. Where the plan
    /// can't be kept, it is compiled in memory, and `notice` told why.
    ///
    /// # Errors
    /// As [`build`].
    pub fn load(&self, path: &Path, options: &BuildOptions) -> Result<Built, BuildError> {
        match self.load_kept(path, options) {
            Err(error) if is_of_cache(&error) => {
                (self.notice)(&format!("the compiled plan can't be kept: {error}"));
                build(path, options)
            }
            result => result,
        }
    }

    /// Loads the plan of this id.
    ///
    /// # Errors
    /// Where there is none, it is damaged or outdated, or `options` ask for what it was not compiled for.
    pub fn load_id(&self, id: &str, options: &BuildOptions) -> Result<Built, BuildError> {
        let plan = open::plan_of_id(self.cache, id)?;
        open::check_options(&plan, options)?;
        open::open_cached(self.cache, &plan, options).map_err(|fault| match fault {
            Fault::Bundle(_, error) => error.into(),
            Fault::System(error) => error,
        })
    }

    fn load_kept(&self, path: &Path, options: &BuildOptions) -> Result<Built, BuildError> {
        let key = Key::new(self, path, options)?;
        let mut tries = 1..=TRIES;
        loop {
            let (plan, stages) = self.get_or_compile(&key, path, options)?;
            match open::open_cached(self.cache, &plan, options) {
                Ok(mut built) => {
                    built.stages.splice(..0, stages);
                    return Ok(built);
                }
                Err(Fault::Bundle(kind, error)) if error.is_of_entry() && tries.next().is_some() => {
                    self.cache.quarantine(kind, &key.id, &error);
                }
                Err(Fault::Bundle(_, error)) => return Err(error.into()),
                Err(Fault::System(error)) => return Err(error),
            }
        }
    }

    /// Finds the compiled plan of a model, or compiles it. Returns it with the time of each stage.
    ///
    /// # Errors
    /// As [`build`], and where it can't be kept.
    pub fn compile(&self, path: &Path, options: &BuildOptions) -> Result<Compiled, BuildError> {
        if !options.on_cpu() {
            return Err(BuildError::CpuOnly("compiled plans"));
        }
        let key = Key::new(self, path, options)?;
        let (plan, stages) = self.get_or_compile(&key, path, options)?;
        let data: PlanData = plan.data()?;
        let weights = self.cache.get(Kind::Weights, &data.weights)?;
        let weights = weights.ok_or_else(|| open::no_weights(&plan))?;
        Ok(Compiled {
            id: key.id,
            plan,
            weights,
            data,
            stages,
        })
    }

    fn get_or_compile(
        &self,
        key: &Key,
        path: &Path,
        options: &BuildOptions,
    ) -> Result<(Bundle, compile::Stages), BuildError> {
        match self.cache.get(Kind::Plan, &key.id)? {
            Some(plan) => Ok((plan, compile::Stages::new())),
            None => compile::compile(self, key, path, options),
        }
    }
}

/// A compiled plan.
pub struct Compiled {
    /// Its id in the cache.
    pub id: String,
    /// Its files.
    pub plan: Bundle,
    /// The files of its weights.
    pub weights: Bundle,
    /// What its manifest says.
    pub data: PlanData,
    /// Stages and their time where it was compiled now.
    pub stages: compile::Stages,
}

/// Whether the cache is at fault, and the model can be run without it.
fn is_of_cache(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Cache(CacheError::Io { .. } | CacheError::Damaged { .. } | CacheError::Foreign { .. })
            | BuildError::Codegen(lathe_codegen_cpu::Error::Sink(_))
    )
}
