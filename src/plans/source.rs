//! What the name of a model stands for: a file, a compiled plan of the cache, or one in a folder of its own.

use super::{Plans, is_plan, open, portable};
use crate::build::{BuildError, BuildOptions, Built, build, build_keeping};
use crate::store::{self, StoreError};
use lathe_codegen_cpu::CpuFeatures;
use lathe_frontend::gguf::GgufFile;
use lathe_frontend::text::TextModel;
use lathe_ir::plan::Plan;
use lathe_runtime::cache::{Bundle, Cache, Kind};
use std::path::{Path, PathBuf};

/// What a model's name stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A GGUF file.
    File(PathBuf),
    /// A compiled plan in a folder of its own.
    Folder(PathBuf),
    /// A compiled plan of the cache, by its id.
    Cached(String),
}

/// Why a name stands for no model.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store of models has none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder that is no plan.
    #[error("{0}: the folder is no compiled plan")]
    NoPlan(PathBuf),
    /// The beginning of several ids.
    #[error("several compiled plans begin with {digits}: {}", ids.join(", "))]
    Several {
        /// The beginning.
        digits: String,
        /// The ids.
        ids: Vec<String>,
    },
}

impl Source {
    /// What `model` stands for: a path, the first digits of a plan's id, a built-in name, or `hf:OWNER/REPO[:FILE]`. The
    /// file of a name is fetched where it is not there yet.
    ///
    /// # Errors
    /// Where it stands for nothing, or can't be fetched.
    pub fn find(
        model: &str,
        cache: Option<&Cache>,
        progress: &mut dyn store::Progress,
    ) -> Result<Source, SourceError> {
        let path = Path::new(model);
        if path.is_dir() {
            return match is_plan(path) {
                true => Ok(Source::Folder(path.to_owned())),
                false => Err(SourceError::NoPlan(path.to_owned())),
            };
        }
        if path.exists() {
            return Ok(Source::File(path.to_owned()));
        }
        match cache.map(|cache| cache.find(Kind::Plan, model)) {
            Some(Ok(Some(id))) => return Ok(Source::Cached(id)),
            Some(Err(ids)) => {
                let digits = model.to_owned();
                return Err(SourceError::Several { digits, ids });
            }
            Some(Ok(None)) | None => {}
        }
        Ok(Source::File(store::resolve(model, progress)?))
    }

    /// The model's tokenizer and chat template alone. A file may have a vocabulary and no weights.
    ///
    /// # Errors
    /// Where the file is damaged, or there is no such plan.
    pub fn text(&self, cache: Option<&Cache>) -> Result<TextModel, BuildError> {
        match (self, cache) {
            (Source::File(path), _) => {
                let file = GgufFile::open(path)?;
                Ok(TextModel::from_metadata(file.metadata())?)
            }
            (Source::Folder(folder), cache) => open::text_of_folder(folder, cache),
            (Source::Cached(id), Some(cache)) => open::text_of_entry(cache, id),
            (Source::Cached(id), None) => Err(BuildError::NoPlan(id.clone())),
        }
    }

    /// A compiled plan for people to read, with the bodies of its kernels and the features that its code uses. It may be of
    /// another build or for another processor.
    ///
    /// # Errors
    /// Where there is no such plan, or it is damaged. A model's file is no plan.
    pub fn plan(&self, cache: Option<&Cache>) -> Result<(Plan, CpuFeatures), BuildError> {
        let bundle = match (self, cache) {
            (Source::File(path), _) => return Err(BuildError::NoPlan(path.display().to_string())),
            (Source::Folder(folder), _) => Bundle::open(folder, Kind::Plan)?,
            (Source::Cached(id), Some(cache)) => open::plan_of_id(cache, id)?,
            (Source::Cached(id), None) => return Err(BuildError::NoPlan(id.clone())),
        };
        Ok(open::full_plan(&bundle)?)
    }

    /// The model, ready to run: by its compiled plan, or compiled in memory where there are no `plans`. Of plans of GPUs the
    /// kernels are kept, and the rest is made anew.
    ///
    /// # Errors
    /// As [`Plans::load`], [`Plans::load_id`] and [`portable::load`].
    pub fn load(&self, options: &BuildOptions, plans: Option<&Plans>) -> Result<Built, BuildError> {
        if !options.on_cpu() {
            return match self {
                Source::File(path) => match plans {
                    Some(plans) => build_keeping(path, options, &plans.kernels()),
                    None => build(path, options),
                },
                Source::Folder(_) | Source::Cached(_) => Err(BuildError::CpuOnly("compiled plans")),
            };
        }
        match (self, plans) {
            (Source::Folder(folder), _) => portable::load(folder, options, plans.map(|p| p.cache)),
            (Source::File(path), Some(plans)) => plans.load(path, options),
            (Source::File(path), None) => build(path, options),
            (Source::Cached(id), Some(plans)) => plans.load_id(id, options),
            (Source::Cached(id), None) => Err(BuildError::NoPlan(id.clone())),
        }
    }
}
