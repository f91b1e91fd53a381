//! Architectures: what turns the tensors of a file into a graph. Their names are known here and nowhere else.
//!
//! A graph says the mathematics and nothing else: no fused ops, no layouts. Its parameters are `%tok, %pos, %seq:
//! [tokens]i32`, `%outputs: [outputs]i32` (the rows whose result is wanted) and `%kv: kv`; its result is `[outputs,
//! vocab]f32` for logits, `[outputs, width]f32` for embeddings and `[tokens, width]f32` for hidden states. What several architectures share is in [`blocks`] and [`rope`].

mod blocks;
mod gemma3;
mod llama;
mod qwen2;
mod rope;

use lathe_ir::graph::Graph;
use lathe_ir::plan::ModelOutput;

use crate::Error;
use crate::config::{Config, Keys};
use crate::error::shown;
use crate::gguf::Metadata;
use crate::weights::ModelWeights;
use blocks::Net;

/// The metadata key that names the architecture.
const KEY: &str = "general.architecture";

/// An architecture: a row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Architecture(&'static Entry);

/// What the table says of an architecture.
#[derive(PartialEq, Eq, Debug)]
struct Entry {
    /// The value of `general.architecture`.
    name: &'static str,
    kind: Kind,
}

/// Which module computes an architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Llama,
    Mistral3,
    Qwen2,
    Gemma3,
}

/// Every architecture, by name.
static TABLE: &[Entry] = &[
    Entry {
        name: "llama",
        kind: Kind::Llama,
    },
    Entry {
        name: "mistral3",
        kind: Kind::Mistral3,
    },
    Entry {
        name: "qwen2",
        kind: Kind::Qwen2,
    },
    Entry {
        name: "gemma3",
        kind: Kind::Gemma3,
    },
];

impl Architecture {
    /// The names of all architectures.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|entry| entry.name)
    }

    /// The architecture of this name.
    pub fn by_name(name: &str) -> Option<Architecture> {
        TABLE.iter().find(|entry| entry.name == name).map(Architecture)
    }

    /// The architecture that `general.architecture` names.
    ///
    /// # Errors
    /// The key is missing or names none of the table.
    pub fn from_metadata(metadata: &Metadata) -> Result<Architecture, Error> {
        let name = metadata.str(KEY)?;
        Architecture::by_name(name).ok_or_else(|| {
            let known = Architecture::names().collect::<Vec<_>>().join(", ");
            metadata.reject(
                KEY,
                format!(
                    "unknown architecture `{}`; these are supported: {known}",
                    shown(name)
                ),
            )
        })
    }

    /// The value of `general.architecture`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Completes `config` with what this architecture alone reads.
    pub(crate) fn configure(self, config: &mut Config, keys: &Keys<'_>) -> Result<(), Error> {
        match self.0.kind {
            Kind::Llama | Kind::Qwen2 => Ok(()),
            Kind::Mistral3 => llama::configure_mistral3(config, keys),
            Kind::Gemma3 => gemma3::configure(config, keys),
        }
    }
}

/// Builds the graph of the model that `config` describes, up to `output`, and declares in `weights` every weight that it
/// names.
///
/// # Errors
/// A tensor is missing, has the wrong shape or an unsupported type, or has no place in the architecture.
pub fn build_graph(config: &Config, weights: &mut ModelWeights, output: ModelOutput) -> Result<Graph, Error> {
    let mut net = Net::new(config, weights, output)?;
    let result = match config.architecture.0.kind {
        Kind::Llama | Kind::Mistral3 => llama::build(&mut net),
        Kind::Qwen2 => qwen2::build(&mut net),
        Kind::Gemma3 => gemma3::build(&mut net),
    }?;
    net.finish(result)
}
