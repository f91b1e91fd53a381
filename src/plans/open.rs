//! Opens a compiled plan: checks its files, maps them, and makes an executable of them.

use super::BUILD;
use super::format::{CODE, KERNELS, PLAN, PlanData, TOKENIZER, WEIGHTS, WeightsData};
use crate::build::{BuildError, BuildOptions, Built, cpu_features, cpu_options};
use lathe_codegen_cpu::{Artifact, CpuExecutable, CpuFeatures, Error};
use lathe_frontend::text::TextModel;
use lathe_frontend::tokenizer::Tokenizer;
use lathe_ir::backend::Executable;
use lathe_ir::plan::{ModelOutput, Plan, parse};
use lathe_runtime::cache::{Bundle, Cache, CacheError, Kind};
use lathe_runtime::session::Identity;
use memmap2::Mmap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Why a plan can't be run.
pub(super) enum Fault {
    /// A bundle is not what was written, or can't be read.
    Bundle(Kind, CacheError),
    /// The system refuses what running it takes.
    System(BuildError),
}

/// A file of a bundle, mapped after its content was checked.
type Map<'a> = dyn Fn(&Bundle, &str) -> Result<Mmap, CacheError> + 'a;

/// Opens a plan of the cache. Where its weights are at fault, they are quarantined, and then gone.
pub(super) fn open_cached(cache: &Cache, plan: &Bundle, options: &BuildOptions) -> Result<Built, Fault> {
    let of_plan = |error| Fault::Bundle(Kind::Plan, error);
    let data: PlanData = plan.data().map_err(of_plan)?;
    let weights = cache.get(Kind::Weights, &data.weights).map_err(of_plan)?;
    let weights = weights.ok_or_else(|| of_plan(no_weights(plan)))?;
    let map = |bundle: &Bundle, name: &str| cache.map(bundle, name);
    open(plan, &weights, &map, options).map_err(|fault| match fault {
        Fault::Bundle(Kind::Weights, error) if error.is_of_entry() => {
            cache.quarantine(Kind::Weights, &data.weights, &error);
            of_plan(no_weights(plan))
        }
        fault => fault,
    })
}

/// The error for a plan whose weights are gone.
pub(super) fn no_weights(plan: &Bundle) -> CacheError {
    CacheError::Damaged {
        path: plan.folder().to_owned(),
        what: "its packed weights are gone".to_owned(),
    }
}

/// Opens a plan and its weights.
pub(super) fn open(
    plan: &Bundle,
    weights: &Bundle,
    map: &Map,
    options: &BuildOptions,
) -> Result<Built, Fault> {
    let start = Instant::now();
    let packed = map(weights, WEIGHTS).map_err(|e| Fault::Bundle(Kind::Weights, e))?;
    let text = open_text(weights, map).map_err(|e| Fault::Bundle(Kind::Weights, e))?;
    let opened = start.elapsed();
    let (executable, data) = open_plan(plan, packed, options)?;
    let mut stages = vec![("open weights and tokenizer".to_owned(), opened)];
    stages.extend(executable.report().stages.iter().cloned());
    Ok(Built {
        text,
        pooling: data.pooling,
        identity: Some(Identity {
            build: BUILD.to_owned(),
            weights: data.weights,
            features: data.features,
            kv_types: data.kv_types,
            window: executable.windows().map_or(0, |pool| pool.positions),
        }),
        executable: Box::new(executable),
        stages,
    })
}

fn open_text(weights: &Bundle, map: &Map) -> Result<TextModel, CacheError> {
    let data: WeightsData = weights.data()?;
    let tokenizer = match data.no_tokenizer {
        Some(why) => Err(why),
        None => {
            let bytes = map(weights, TOKENIZER)?;
            let tokenizer = Tokenizer::from_bytes(Arc::new(bytes));
            Ok(tokenizer.map_err(|e| damaged(weights, TOKENIZER, e))?)
        }
    };
    Ok(TextModel::new(tokenizer, data.chat_template.as_deref()))
}

fn open_plan(
    bundle: &Bundle,
    weights: Mmap,
    options: &BuildOptions,
) -> Result<(CpuExecutable, PlanData), Fault> {
    let start = Instant::now();
    let parts = read_plan(bundle).map_err(|e| Fault::Bundle(Kind::Plan, e))?;
    let cpu = cpu_options(&parts.plan, parts.features, options);
    let artifact = Artifact {
        code: &parts.code,
        entries: &parts.data.entries,
        weights,
        rope_factors: &parts.data.rope_factors,
        stages: vec![("read plan".to_owned(), start.elapsed())],
    };
    // SAFETY: the plan was verified before this build compiled it and wrote it with its code; the digests say that both
    // are what was written, and that by this user. The processor has all features that the code may use. The cache
    // replaces files and never changes them.
    let executable = unsafe { CpuExecutable::load(parts.plan, artifact, cpu) };
    let executable = executable.map_err(|error| match error {
        // The parts do not fit together.
        Error::Plan { .. } | Error::Image { .. } => {
            Fault::Bundle(Kind::Plan, damaged(bundle, "manifest", error))
        }
        error => Fault::System(error.into()),
    })?;
    Ok((executable, parts.data))
}

/// What a plan's bundle has for running it.
struct Parts {
    data: PlanData,
    features: CpuFeatures,
    plan: Plan,
    code: Vec<u8>,
}

fn read_plan(bundle: &Bundle) -> Result<Parts, CacheError> {
    if bundle.build() != BUILD {
        return Err(CacheError::Version {
            path: bundle.folder().to_owned(),
            what: format!("it was compiled by Lathe {}, and this is {BUILD}", bundle.build()),
        });
    }
    let data: PlanData = bundle.data()?;
    let features: CpuFeatures = data
        .features
        .parse()
        .map_err(|e| damaged(bundle, "manifest", e))?;
    features.check_host().map_err(|e| CacheError::Version {
        path: bundle.folder().to_owned(),
        what: e.to_string(),
    })?;
    let text = bundle.read_text(PLAN)?;
    let plan = parse::parse(&text).map_err(|e| damaged(bundle, PLAN, e))?;
    Ok(Parts {
        code: bundle.read(CODE)?,
        data,
        features,
        plan,
    })
}

fn damaged(bundle: &Bundle, name: &str, what: impl std::fmt::Display) -> CacheError {
    CacheError::Damaged {
        path: bundle.folder().join(name),
        what: what.to_string(),
    }
}

/// The plan of this id in the cache.
pub(super) fn plan_of_id(cache: &Cache, id: &str) -> Result<Bundle, BuildError> {
    let plan = cache.get(Kind::Plan, id)?;
    plan.ok_or_else(|| BuildError::NoPlan(id.to_owned()))
}

/// The tokenizer and chat template of the plan in a folder.
pub(super) fn text_of_folder(folder: &Path, cache: Option<&Cache>) -> Result<TextModel, BuildError> {
    let weights = Bundle::open(&folder.join("weights"), Kind::Weights)?;
    Ok(open_text(&weights, &|bundle, name| match cache {
        Some(cache) => cache.map(bundle, name),
        None => bundle.map_checked(name, 1),
    })?)
}

/// The tokenizer and chat template of the plan of this id.
pub(super) fn text_of_entry(cache: &Cache, id: &str) -> Result<TextModel, BuildError> {
    let plan = plan_of_id(cache, id)?;
    let data: PlanData = plan.data()?;
    let weights = cache.get(Kind::Weights, &data.weights)?;
    let weights = weights.ok_or_else(|| no_weights(&plan))?;
    Ok(open_text(&weights, &|bundle, name| cache.map(bundle, name))?)
}

/// The plan of a bundle with the bodies of its kernels, and the features that its code uses; for reading, not for running.
pub(super) fn full_plan(bundle: &Bundle) -> Result<(Plan, CpuFeatures), CacheError> {
    let data: PlanData = bundle.data()?;
    let features = data
        .features
        .parse()
        .map_err(|e| damaged(bundle, "manifest", e))?;
    let text = bundle.read_text(PLAN)?;
    // The kernels that follow the plan itself have no bodies.
    let head = text.find("\nkernel ").map_or(text.as_str(), |at| &text[..=at]);
    let text = head.to_owned() + &bundle.read_text(KERNELS)?;
    let plan = parse::parse(&text).map_err(|e| damaged(bundle, KERNELS, e))?;
    Ok((plan, features))
}

/// Checks that a plan that was named as such was compiled for what the options ask for.
pub(super) fn check_options(plan: &Bundle, options: &BuildOptions) -> Result<(), BuildError> {
    let data: PlanData = plan.data()?;
    let other = |what: &str, have: &dyn Display, want: &dyn Display| {
        let (plan, message) = (plan.folder().to_owned(), format!("{what} {have}, not {want}"));
        Err(BuildError::OtherPlan { plan, message })
    };
    let name = |embeddings| if embeddings { "embeddings" } else { "logits" };
    let (have, want) = (data.pooling.is_some(), options.output == ModelOutput::Embeddings);
    if have != want {
        return other("its output as", &name(have), &name(want));
    }
    if let Some(context) = options.context.filter(|&context| context > data.context) {
        return other("a context of", &data.context, &context);
    }
    if options.seqs > data.seqs {
        return other("at most", &format!("{} sequences", data.seqs), &options.seqs);
    }
    if let Some(types) = options
        .kv_types
        .filter(|types| types.to_string() != data.kv_types)
    {
        return other("keys and values as", &data.kv_types, &types);
    }
    let allowed = cpu_features(&options.cpu_features)?;
    let features: CpuFeatures = data.features.parse().map_err(|e| damaged(plan, "manifest", e))?;
    match features.names().find(|name| !allowed.has(name)) {
        Some(name) => other("processors with", &name, &options.cpu_features),
        None => Ok(()),
    }
}

/// Opens the plan in a folder that [`super::portable`] wrote; with a cache, checks of large files are remembered.
pub(super) fn open_folder(
    folder: &Path,
    cache: Option<&Cache>,
    options: &BuildOptions,
) -> Result<Built, BuildError> {
    let plan = Bundle::open(folder, Kind::Plan)?;
    check_options(&plan, options)?;
    let weights = Bundle::open(&folder.join("weights"), Kind::Weights)?;
    let threads = options.threads;
    let map = |bundle: &Bundle, name: &str| match cache {
        Some(cache) => cache.map(bundle, name),
        None => bundle.map_checked(name, threads),
    };
    open(&plan, &weights, &map, options).map_err(|fault| match fault {
        Fault::Bundle(_, error) => error.into(),
        Fault::System(error) => error,
    })
}
