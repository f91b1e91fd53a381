//! Hyperparameters: the metadata of a file, read, checked and completed with the defaults of llama.cpp.
//!
//! [`Config`] has what is common to the architectures; what one architecture alone reads is in its own module under
//! [`crate::arch`]. Values come from untrusted files: every one has a bound, and an error names file, key and bound.
//! Keys and defaults: the GGUF specification, "LLM" section.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::Error;
use crate::arch::Architecture;
use crate::error::shown;
use crate::gguf::{GgufFile, Metadata, Value};

/// Most layers accepted; far more than any known model has.
const MAX_LAYERS: u32 = 4096;
/// Most elements of a row: residual stream, feed-forward layer, all heads together.
const MAX_WIDTH: u32 = 1 << 20;
/// Most heads of a layer.
const MAX_HEADS: u32 = 1 << 14;
/// Most elements of a head.
const MAX_HEAD_DIM: u32 = 1 << 14;
/// Most positions: they are computed with as 32-bit signed integers.
const MAX_CONTEXT: u32 = 1 << 30;
/// Most tokens of a vocabulary.
const MAX_VOCAB: u64 = 1 << 26;
/// The frequency base of RoPE where the file has none.
const DEFAULT_ROPE_BASE: f32 = 10_000.0;

/// The hyperparameters of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// What computes the model.
    pub architecture: Architecture,
    /// `general.name`, or the architecture's name.
    pub name: String,
    /// Positions that a sequence may have.
    pub context_length: u32,
    /// Why `context_length` is below what the file says, where it is: one line for people.
    pub context_limit: Option<String>,
    /// Elements of the residual stream.
    pub width: u32,
    /// Rows of the embedding: token ids are below it.
    pub vocab_size: u32,
    /// Elements of a head, of queries, keys and values alike.
    pub head_dim: u32,
    /// Added to the mean of squares by every RMS norm.
    pub rms_eps: f32,
    /// Multiplies attention scores.
    pub attention_scale: f32,
    /// `cap · tanh(logits / cap)` is applied to the logits where there is a cap.
    pub logit_softcap: Option<f32>,
    /// One entry a layer.
    pub layers: Vec<LayerConfig>,
}

/// What may differ from layer to layer.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerConfig {
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of the feed-forward hidden layer.
    pub ff: u32,
    /// How many positions back attention reaches, the row's own included; 0: all of them.
    pub window: u32,
    /// Rotary position embedding.
    pub rope: RopeConfig,
}

/// Rotary position embedding of a layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RopeConfig {
    /// Leading elements of a head that are rotated; even.
    pub dims: u32,
    /// Frequency base.
    pub base: f32,
    /// How frequencies are stretched past the context of pre-training.
    pub scaling: RopeScaling,
    /// Multiplies cosine and sine, on top of what the scaling asks for.
    pub attention_factor: f32,
}

/// How RoPE frequencies are stretched.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All of them, by 1 / `factor`. Source: Chen et al., "Position Interpolation".
    Linear {
        /// The stretch.
        factor: f32,
    },
    /// Low ones by 1 / `factor`, high ones not, with a ramp between. Source: Peng et al., "YaRN".
    Yarn(Yarn),
}

/// Parameters of YaRN.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Yarn {
    /// The stretch of low frequencies.
    pub factor: f32,
    /// Positions of pre-training.
    pub original_context: u32,
    /// Dimensions that turn more often than this over the original context are not stretched.
    pub beta_fast: f32,
    /// Dimensions that turn less often than this are stretched wholly.
    pub beta_slow: f32,
    /// How much of the ramp is applied; 1 is the paper's method, 0 linear scaling.
    pub extrapolation: f32,
    /// `mscale_all_dim` of DeepSeek's variant: divides the magnitude by `0.1 · this · ln(factor) + 1`; 0: not so.
    pub log_multiplier: f32,
}

impl Config {
    /// Reads and checks the hyperparameters of `file`.
    ///
    /// # Errors
    /// The architecture is unknown, or a key is missing, ill-typed, out of bounds or asks for what isn't supported.
    pub fn from_gguf(file: &GgufFile) -> Result<Config, Error> {
        let metadata = file.metadata();
        let architecture = Architecture::from_metadata(metadata)?;
        let keys = Keys::new(metadata, architecture.name());
        refuse_unsupported(&keys)?;
        let width = keys.u32("embedding_length", 1..=MAX_WIDTH)?;
        let layers = read_layers(&keys, width)?;
        let head_dim = layers.head_dim;
        let mut config = Config {
            architecture,
            name: metadata
                .opt_str("general.name")?
                .unwrap_or(architecture.name())
                .to_owned(),
            context_length: keys.u32("context_length", 1..=MAX_CONTEXT)?,
            context_limit: None,
            width,
            vocab_size: vocab_size(file, &keys)?,
            head_dim,
            rms_eps: keys.f32("attention.layer_norm_rms_epsilon", 1e-12..=1.0)?,
            attention_scale: keys
                .opt_f32("attention.scale", 0.0..=1e6)?
                .filter(|&s| s > 0.0)
                .unwrap_or(1.0 / (head_dim as f32).sqrt()),
            logit_softcap: None,
            layers: layers.layers,
        };
        architecture.configure(&mut config, &keys)?;
        Ok(config)
    }
}

/// The metadata keys of one architecture: `NAME.key`, read with bounds.
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
}

impl<'a> Keys<'a> {
    fn new(metadata: &'a Metadata, prefix: &'a str) -> Self {
        Keys { metadata, prefix }
    }

    /// The metadata that the keys are in.
    pub(crate) fn metadata(&self) -> &'a Metadata {
        self.metadata
    }

    /// The whole key of `name`.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// The error for a value of `name` that can't be used.
    pub(crate) fn reject(&self, name: &str, problem: impl Into<String>) -> Error {
        self.metadata.reject(&self.key(name), problem)
    }

    /// A required integer within `bounds`.
    pub(crate) fn u32(&self, name: &str, bounds: RangeInclusive<u32>) -> Result<u32, Error> {
        self.within(name, self.metadata.u32(&self.key(name))?, &bounds)
    }

    /// An optional integer within `bounds`.
    pub(crate) fn opt_u32(&self, name: &str, bounds: RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        let value = self.metadata.opt_u32(&self.key(name))?;
        value.map(|v| self.within(name, v, &bounds)).transpose()
    }

    /// A required number within `bounds`.
    pub(crate) fn f32(&self, name: &str, bounds: RangeInclusive<f32>) -> Result<f32, Error> {
        self.within(name, self.metadata.f32(&self.key(name))?, &bounds)
    }

    /// An optional number within `bounds`.
    pub(crate) fn opt_f32(&self, name: &str, bounds: RangeInclusive<f32>) -> Result<Option<f32>, Error> {
        let value = self.metadata.opt_f32(&self.key(name))?;
        value.map(|v| self.within(name, v, &bounds)).transpose()
    }

    /// An optional integer a layer, given as one for all or as an array of `layers`.
    fn per_layer(
        &self,
        name: &str,
        layers: u32,
        bounds: RangeInclusive<u32>,
    ) -> Result<Option<Vec<u32>>, Error> {
        let key = self.key(name);
        let values = match self.metadata.get(&key) {
            None => return Ok(None),
            Some(Value::Array(_)) => self.metadata.u32_array(&key)?,
            Some(_) => vec![self.metadata.u32(&key)?; layers as usize],
        };
        if values.len() != layers as usize {
            let problem = format!(
                "it has {} elements, but the model has {layers} layers",
                values.len()
            );
            return Err(self.reject(name, problem));
        }
        values
            .iter()
            .try_for_each(|&v| self.within(name, v, &bounds).map(|_| ()))?;
        Ok(Some(values))
    }

    fn within<T: PartialOrd + Display>(
        &self,
        name: &str,
        value: T,
        bounds: &RangeInclusive<T>,
    ) -> Result<T, Error> {
        if bounds.contains(&value) {
            return Ok(value);
        }
        let problem = format!("{value} is not within {} to {}", bounds.start(), bounds.end());
        Err(self.reject(name, problem))
    }
}

/// Refuses what changes the computation in a way that no architecture here knows.
fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), Error> {
    if let Some(experts) = keys.opt_u32("expert_count", 0..=u32::MAX)?.filter(|&n| n > 0) {
        let problem = format!("mixtures of experts ({experts} here) are not supported yet");
        return Err(keys.reject("expert_count", problem));
    }
    if keys.metadata.opt_bool(&keys.key("attention.causal"))? == Some(false) {
        return Err(keys.reject(
            "attention.causal",
            "models without causal attention are not supported",
        ));
    }
    let zero = [
        "attention.clamp_kqv",
        "attention.max_alibi_bias",
        "logit_scale",
        "residual_scale",
        "embedding_scale",
    ];
    for name in zero {
        if let Some(value) = keys.metadata.opt_f32(&keys.key(name))?.filter(|&v| v != 0.0) {
            return Err(keys.reject(
                name,
                format!("a value ({value}) is not supported for this architecture"),
            ));
        }
    }
    Ok(())
}

/// The layers, and the length of a head that they share.
struct Layers {
    head_dim: u32,
    layers: Vec<LayerConfig>,
}

/// Reads what every layer has.
fn read_layers(keys: &Keys<'_>, width: u32) -> Result<Layers, Error> {
    let count = keys.u32("block_count", 1..=MAX_LAYERS)?;
    let required = |name: &str, bounds| {
        keys.per_layer(name, count, bounds)?
            .ok_or_else(|| Error::MissingKey {
                file: keys.metadata.file().to_owned(),
                key: shown(&keys.key(name)),
                expected: "an integer or an array of them",
            })
    };
    let heads = required("attention.head_count", 1..=MAX_HEADS)?;
    let kv_heads = keys.per_layer("attention.head_count_kv", count, 1..=MAX_HEADS)?;
    let kv_heads = kv_heads.unwrap_or_else(|| heads.clone());
    let ff = required("feed_forward_length", 1..=MAX_WIDTH)?;
    let head_dim = head_dim(keys, width, heads[0])?;
    let rope = read_rope(keys, head_dim)?;
    let layers = heads
        .iter()
        .zip(&kv_heads)
        .zip(&ff)
        .map(|((&heads, &kv_heads), &ff)| {
            if !heads.is_multiple_of(kv_heads) {
                let problem = format!("{kv_heads} key/value heads do not divide {heads} query heads");
                return Err(keys.reject("attention.head_count_kv", problem));
            }
            if heads * head_dim > MAX_WIDTH {
                let problem = format!("{heads} heads of {head_dim} have more than {MAX_WIDTH} elements");
                return Err(keys.reject("attention.head_count", problem));
            }
            Ok(LayerConfig {
                heads,
                kv_heads,
                ff,
                window: 0,
                rope,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Layers { head_dim, layers })
}

/// Elements of a head: `key_length`, or the heads' share of the residual stream.
fn head_dim(keys: &Keys<'_>, width: u32, heads: u32) -> Result<u32, Error> {
    let bounds = || 1..=MAX_HEAD_DIM;
    let key = match keys.opt_u32("attention.key_length", bounds())? {
        Some(length) => length,
        None if width.is_multiple_of(heads) => width / heads,
        None => {
            let problem = format!("{heads} heads do not divide the embedding length {width}");
            return Err(keys.reject("attention.head_count", problem));
        }
    };
    match keys.opt_u32("attention.value_length", bounds())? {
        Some(value) if value != key => {
            let problem = format!("values of {value} elements with keys of {key} are not supported yet");
            Err(keys.reject("attention.value_length", problem))
        }
        _ => Ok(key),
    }
}

/// The rotary embedding that all layers start with.
fn read_rope(keys: &Keys<'_>, head_dim: u32) -> Result<RopeConfig, Error> {
    let dims = keys
        .opt_u32("rope.dimension_count", 2..=head_dim)?
        .unwrap_or(head_dim);
    if !dims.is_multiple_of(2) {
        return Err(keys.reject(
            "rope.dimension_count",
            format!("{dims} elements make no pairs: it is odd"),
        ));
    }
    Ok(RopeConfig {
        dims,
        base: keys
            .opt_f32("rope.freq_base", 2.0..=1e12)?
            .unwrap_or(DEFAULT_ROPE_BASE),
        scaling: read_scaling(keys)?,
        attention_factor: keys
            .opt_f32("rope.scaling.attn_factor", 1e-3..=1e3)?
            .unwrap_or(1.0),
    })
}

/// How RoPE is scaled. As in llama.cpp a factor of 0 says that there is none, and linear is the default kind.
fn read_scaling(keys: &Keys<'_>) -> Result<RopeScaling, Error> {
    const KIND: &str = "rope.scaling.type";
    // The second key is that of older files.
    let mut factor = 1.0;
    for name in ["rope.scaling.factor", "rope.scale_linear"] {
        if let Some(stretch) = keys.opt_f32(name, 0.0..=1e6)?.filter(|&f| f > 0.0) {
            factor = keys.within(name, stretch, &(1e-3..=1e6))?;
            break;
        }
    }
    match keys.metadata.opt_str(&keys.key(KIND))?.unwrap_or("linear") {
        "none" => Ok(RopeScaling::None),
        "linear" if factor == 1.0 => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor }),
        "yarn" => Ok(RopeScaling::Yarn(read_yarn(keys, factor)?)),
        other => {
            let known = "none, linear and yarn are supported";
            Err(keys.reject(KIND, format!("unknown kind `{}`: {known}", shown(other))))
        }
    }
}

fn read_yarn(keys: &Keys<'_>, factor: f32) -> Result<Yarn, Error> {
    let original = keys.opt_u32("rope.scaling.original_context_length", 1..=MAX_CONTEXT)?;
    Ok(Yarn {
        factor,
        original_context: match original {
            Some(length) => length,
            None => keys.u32("context_length", 1..=MAX_CONTEXT)?,
        },
        beta_fast: keys
            .opt_f32("rope.scaling.yarn_beta_fast", 1e-3..=1e6)?
            .unwrap_or(32.0),
        beta_slow: keys
            .opt_f32("rope.scaling.yarn_beta_slow", 1e-3..=1e6)?
            .unwrap_or(1.0),
        // Below 0 stands for "not set".
        extrapolation: keys
            .opt_f32("rope.scaling.yarn_ext_factor", -1e3..=1.0)?
            .filter(|&f| f >= 0.0)
            .unwrap_or(1.0),
        log_multiplier: 0.0,
    })
}

/// The size of the vocabulary: rows of the embedding, which the other places that know it must agree with.
fn vocab_size(file: &GgufFile, keys: &Keys<'_>) -> Result<u32, Error> {
    let embedding = file.require_tensor("token_embd.weight")?;
    let rows = embedding.rows();
    if rows > MAX_VOCAB {
        return Err(embedding.reject(
            file.name(),
            format!("{rows} rows are more than {MAX_VOCAB} tokens"),
        ));
    }
    if let Some(size) = keys
        .metadata
        .opt_u64(&keys.key("vocab_size"))?
        .filter(|&n| n != rows)
    {
        let problem = format!("{size} tokens, but the embedding `token_embd.weight` has {rows} rows");
        return Err(keys.reject("vocab_size", problem));
    }
    Ok(rows as u32)
}
