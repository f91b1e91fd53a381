//! The id of a compiled plan: a digest of everything that it is made from.

use super::{BUILD, Plans};
use crate::build::{BuildError, BuildOptions, tuned_options};
use lathe_codegen_cpu::{CpuFeatures, OptLevel};
use lathe_frontend::gguf::files_of;
use lathe_ir::plan::Limits;
use lathe_passes::lower::LowerOptions;
use lathe_runtime::cache::{Cache, Digest};
use std::path::{Path, PathBuf};

/// What a plan is made from.
pub(super) struct Key {
    /// The id of the plan.
    pub(super) id: String,
    /// The content of the model's files.
    pub(super) content: Digest,
    /// The model's files.
    pub(super) files: Vec<PathBuf>,
    /// What its code may use.
    pub(super) features: CpuFeatures,
    /// What it is lowered with, but for bounds that the model decides.
    pub(super) lowering: LowerOptions,
}

impl Key {
    /// Of the model in the file at `path`, which is hashed where that was not done before.
    pub(super) fn new(plans: &Plans, path: &Path, options: &BuildOptions) -> Result<Key, BuildError> {
        let files = files_of(path);
        let content = plans.cache.content(&files, plans.rehash)?;
        // The bounds of the plan follow from these and from the model's own context.
        let asked = Limits {
            tokens: options.chunk,
            outputs: options.outputs,
            seqs: options.seqs,
            ctx: options.context.unwrap_or(0),
        };
        let (features, lowering) = tuned_options(asked, options)?;
        let id = Cache::id(&[
            "plan",
            BUILD,
            &content.to_string(),
            &features.to_string(),
            &format!("{:?}", OptLevel::default()),
            // All of its fields decide what the kernels are.
            &format!("{lowering:?}"),
        ]);
        Ok(Key {
            id,
            content,
            files,
            features,
            lowering,
        })
    }
}
