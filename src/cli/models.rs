//! `lathe pull`, `list`, `show` and `rm`: the local store.

use super::args::ModelArg;
use super::error::CliError;
use super::progress::Progress;
use crate::build::{BuildOptions, plan};
use crate::store::{self, StoreError};
use clap::Args;
use lathe_frontend::gguf::GgufFile;
use lathe_frontend::model::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The exit status of a store error: 2 where the user asked for the wrong thing.
pub fn store_error(error: StoreError) -> CliError {
    if error.is_input() {
        CliError::input(error)
    } else {
        CliError::failed(error)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe pull smollm2-135m")]
pub struct Pull {
    #[command(flatten)]
    model: ModelArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub fn run(&self) -> Result<(), CliError> {
        let path = store::pull(&self.model.model, &mut Progress::new()).map_err(store_error)?;
        if self.json {
            outln!("{}", json!({"model": self.model.model, "path": path}));
        } else {
            outln!("{}", path.display());
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(&self) -> Result<(), CliError> {
        let entries = store::list().map_err(store_error)?;
        if self.json {
            let rows: Vec<Value> = entries
                .iter()
                .map(|e| json!({"name": e.name, "path": e.path, "bytes": e.bytes}))
                .collect();
            outln!("{}", Value::Array(rows));
            return Ok(());
        }
        for e in &entries {
            outln!(
                "{:24} {:9.1} MB  {}",
                e.name,
                e.bytes as f64 / 1e6,
                e.path.display()
            );
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Rm {
    #[command(flatten)]
    model: ModelArg,
}

impl Rm {
    pub fn run(&self) -> Result<(), CliError> {
        for path in store::remove(&self.model.model).map_err(store_error)? {
            outln!("removed {}", path.display());
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe show smollm2-135m")]
pub struct Show {
    #[command(flatten)]
    model: ModelArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub fn run(&self) -> Result<(), CliError> {
        let path = self.model.path()?;
        let card = card(&path)?;
        if self.json {
            outln!("{card}");
            return Ok(());
        }
        for (key, value) in card.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => outln!("{key:16} {text}"),
                Value::Array(items) => {
                    for item in items {
                        outln!("{key:16} {}", plain(item));
                    }
                }
                value => outln!("{key:16} {value}"),
            }
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What there is to know of a model file.
fn card(path: &Path) -> Result<Value, CliError> {
    let file = GgufFile::open(path)?;
    let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut parameters = 0u64;
    for tensor in file.tensors() {
        let entry = types.entry(tensor.dtype.keyword()).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.bytes);
        parameters += tensor.dims.iter().product::<u64>();
    }
    let types: Vec<String> = types
        .iter()
        .map(|(t, (n, b))| format!("{t}: {n} tensors, {:.1} MB", *b as f64 / 1e6))
        .collect();
    let text = |key| {
        file.metadata()
            .opt_str(key)
            .ok()
            .flatten()
            .unwrap_or("unknown")
            .to_owned()
    };
    let mut card = json!({
        "file": path,
        "name": text("general.name"),
        "architecture": text("general.architecture"),
        "parameters": parameters,
        "types": types,
        "tokenizer": text("tokenizer.ggml.model"),
        "pre-tokenizer": text("tokenizer.ggml.pre"),
    });
    match Model::load(path) {
        Ok(model) => describe(&mut card, &model),
        Err(error) => card["can't compile"] = json!([error.to_string()]),
    }
    Ok(card)
}

fn describe(card: &mut Value, model: &Model) {
    let c = &model.config;
    let layer = &c.layers[0];
    card["layers"] = c.layers.len().into();
    card["width"] = c.width.into();
    card["heads"] = format!("{} of {}, {} for KV", layer.heads, c.head_dim, layer.kv_heads).into();
    card["feed-forward"] = layer.ff.into();
    card["context"] = c.context_length.into();
    card["vocabulary"] = c.vocab_size.into();
    let mut reasons = Vec::new();
    match &model.text.tokenizer {
        Ok(t) => {
            card["end tokens"] = t
                .special()
                .eog
                .iter()
                .filter_map(|&id| t.id_to_token(id))
                .collect()
        }
        Err(error) => card["tokenizer"] = error.as_str().into(),
    }
    card["chat template"] = match &model.text.chat_template {
        None => "none".into(),
        Some(Ok(template)) => format!("{} characters", template.source().chars().count()).into(),
        Some(Err(error)) => error.as_str().into(),
    };
    match plan(model, &BuildOptions::default()) {
        Ok(plan) => {
            card["plan"] = format!("{} steps, {} kernels", plan.steps.len(), plan.kernels.len()).into()
        }
        Err(error) => reasons.push(error.to_string()),
    }
    if !reasons.is_empty() {
        card["can't compile"] = json!(reasons);
    }
}
