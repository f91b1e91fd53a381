//! `lathe cache`: the compiled plans that are kept.

use super::error::CliError;
use super::plans::CacheArgs;
use crate::plans::PlanData;
use clap::{Args, Subcommand};
use lathe_codegen_cpu::topology::Topology;
use lathe_runtime::cache::{Bundle, Cache, CacheError, Entry, Kind};
use serde_json::{Value, json};
use std::time::SystemTime;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lathe cache list\n  lathe cache verify\n  lathe cache clear --outdated\n\n\
    The cache is the folder `compiled` in LATHE_CACHE (~/.cache/lathe where that is not set)."
)]
pub struct CacheVerb {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List entries with their sizes and last use
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check the content of every file; what is damaged is set aside and made anew when it is wanted
    Verify,
    /// Remove entries
    Clear {
        /// Only plans that another build of Lathe made, and weights that no plan uses
        #[arg(long)]
        outdated: bool,
    },
}

impl CacheVerb {
    pub fn run(&self) -> Result<(), CliError> {
        let cache = CacheArgs::default().require(Topology::host().default_threads())?;
        match &self.action {
            Action::List { json } => list(&cache, *json),
            Action::Verify => verify(&cache),
            Action::Clear { outdated: true } => clear_outdated(&cache),
            Action::Clear { outdated: false } => {
                outln!("{} freed", size(cache.clear()?));
                Ok(())
            }
        }
    }
}

impl From<CacheError> for CliError {
    fn from(error: CacheError) -> CliError {
        CliError::failed(error)
    }
}

fn list(cache: &Cache, json: bool) -> Result<(), CliError> {
    let entries = cache.list()?;
    let total: u64 = entries.iter().map(|e| e.bytes).sum();
    if json {
        let entries: Vec<Value> = entries.iter().map(|e| entry_json(cache, e)).collect();
        outln!(
            "{}",
            json!({"folder": cache.root(), "bytes": total, "entries": entries})
        );
        return Ok(());
    }
    let (kernels, others): (Vec<&Entry>, Vec<&Entry>) = entries
        .iter()
        .partition(|e| e.kind == Kind::Kernel && e.bundle.is_ok());
    for entry in others {
        outln!(
            "{}  {:7}  {:>10}  {:>8}  {}",
            &entry.id[..12],
            kind(entry.kind),
            size(entry.bytes),
            ago(entry.used),
            describe(cache, entry)
        );
    }
    // They are many and small.
    if let Some(last) = kernels.first() {
        outln!(
            "{:12}  {:7}  {:>10}  {:>8}  for GPUs: {}",
            "",
            "kernels",
            size(kernels.iter().map(|e| e.bytes).sum()),
            ago(last.used),
            kernels.len()
        );
    }
    outln!(
        "{} in {} entries in {}",
        size(total),
        entries.len(),
        cache.root().display()
    );
    Ok(())
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Plan => "plan",
        Kind::Weights => "weights",
        Kind::Kernel => "kernel",
    }
}

/// Whether another build made a plan; such are not run.
fn outdated(cache: &Cache, entry: &Entry) -> bool {
    entry.kind == Kind::Plan && entry.bundle.as_ref().is_ok_and(|b| b.build() != cache.build())
}

fn describe(cache: &Cache, entry: &Entry) -> String {
    let bundle = match &entry.bundle {
        Ok(bundle) => bundle,
        Err(error) => return error.to_string(),
    };
    let field = |name: &str| bundle.data::<Value>().ok()?[name].as_str().map(str::to_owned);
    let mut text = field("model").unwrap_or_default();
    if let Ok(data) = bundle.data::<PlanData>() {
        if let Some(pooling) = data.pooling {
            text.push_str(&format!(", embeddings ({pooling})"));
        }
        text.push_str(&format!(
            ", context {}, {} threads, KV {}",
            data.context, data.threads, data.kv_types
        ));
    }
    if outdated(cache, entry) {
        text.push_str(" (of another build)");
    }
    text
}

fn entry_json(cache: &Cache, entry: &Entry) -> Value {
    let used = entry
        .used
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let mut object = json!({"id": entry.id, "kind": kind(entry.kind), "bytes": entry.bytes, "used": used,
        "folder": entry.folder, "outdated": outdated(cache, entry)});
    match &entry.bundle {
        Ok(bundle) => {
            object["created"] = bundle.created().into();
            object["build"] = bundle.build().into();
            let files = bundle
                .files()
                .map(|(name, bytes)| (name.to_owned(), Value::from(bytes)));
            object["files"] = files.collect();
            object["data"] = bundle.data().unwrap_or_default();
        }
        Err(error) => object["error"] = error.to_string().into(),
    }
    object
}

fn verify(cache: &Cache) -> Result<(), CliError> {
    let (mut good, mut bad) = (0, 0);
    for entry in cache.list()? {
        let checked = match &entry.bundle {
            Ok(bundle) => cache.verify(bundle),
            Err(error) => Err(CacheError::Damaged {
                path: entry.folder.clone(),
                what: error.to_string(),
            }),
        };
        match checked {
            Ok(()) => good += 1,
            Err(error) => {
                bad += 1;
                outln!("{error}");
                cache.quarantine(entry.kind, &entry.id, &error);
            }
        }
    }
    outln!("as they were written: {good}; not: {bad}");
    match bad {
        0 => Ok(()),
        _ => Err(CliError::failed(
            "damaged entries were set aside; they are made anew when they are wanted",
        )),
    }
}

fn clear_outdated(cache: &Cache) -> Result<(), CliError> {
    let mut freed = 0;
    let entries = cache.list()?;
    let kept: Vec<&Bundle> = entries
        .iter()
        .filter(|e| e.kind == Kind::Plan && !outdated(cache, e))
        .filter_map(|e| e.bundle.as_ref().ok())
        .collect();
    let used: Vec<String> = kept
        .iter()
        .filter_map(|b| Some(b.data::<PlanData>().ok()?.weights))
        .collect();
    for entry in &entries {
        let unused = entry.kind == Kind::Weights && !used.contains(&entry.id);
        if (unused || outdated(cache, entry)) && cache.remove(entry)? {
            freed += entry.bytes;
        }
    }
    outln!("{} freed", size(freed));
    Ok(())
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// How long ago, for people.
fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().map_or(0, |d| d.as_secs());
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}
