//! `gemma3` (text): norms before and after attention and feed-forward, QK-norm, a GELU-gated feed-forward layer,
//! embeddings scaled by the root of the width, and layers with a sliding window between layers without.
//!
//! Norm weights are stored with the one added that the published model adds when it runs. Source: Gemma Team, "Gemma 3
//! Technical Report".

use lathe_ir::graph::{Activation, RopePairs, Value};

use super::blocks::{Attention, Mlp, Net};
use crate::Error;
use crate::config::{Config, Keys, RopeScaling};
use crate::gguf::Value as Meta;

/// Every this many layers one attends to the whole context, where the file has no pattern.
const PERIOD: u32 = 6;
/// The key of the pattern.
const PATTERN: &str = "attention.sliding_window_pattern";
/// Frequency base of layers with a window, where the file has none.
const LOCAL_ROPE_BASE: f32 = 10_000.0;
/// Layers of the 27B model: it alone scales scores by the width a query head has of the residual stream, not by the
/// head's own length. Files do not say so, except where they have `attention.scale`.
const LAYERS_OF_27B: usize = 62;

/// Reads windows, the local layers' RoPE, and the scales.
pub(super) fn configure(config: &mut Config, keys: &Keys<'_>) -> Result<(), Error> {
    config.logit_softcap = keys
        .opt_f32("final_logit_softcapping", 0.0..=1e6)?
        .filter(|&cap| cap > 0.0);
    let file_scale = keys
        .opt_f32("attention.scale", 0.0..=1e6)?
        .is_some_and(|s| s > 0.0);
    if config.layers.len() == LAYERS_OF_27B && !file_scale {
        config.attention_scale = 1.0 / (config.width as f32 / config.layers[0].heads as f32).sqrt();
    }
    let window = keys
        .opt_u32("attention.sliding_window", 0..=u32::MAX)?
        .unwrap_or(0);
    if window == 0 {
        return Ok(());
    }
    let local_base = keys
        .opt_f32("rope.freq_base_swa", 2.0..=1e12)?
        .unwrap_or(LOCAL_ROPE_BASE);
    let local = local_layers(keys, config.layers.len())?;
    for (layer, _) in config.layers.iter_mut().zip(local).filter(|(_, local)| *local) {
        layer.window = window;
        layer.rope.base = local_base;
        layer.rope.scaling = RopeScaling::None;
    }
    Ok(())
}

/// Which layers have the window: given as a period, whose last layer has none, or as a flag a layer.
fn local_layers(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>, Error> {
    let key = keys.key(PATTERN);
    let metadata = keys.metadata();
    if let Some(Meta::Array(_)) = metadata.get(&key) {
        let flags: Vec<bool> = match metadata.bool_array(&key) {
            Ok(flags) => flags,
            Err(_) => metadata
                .u32_array(&key)?
                .into_iter()
                .map(|flag| flag != 0)
                .collect(),
        };
        return match flags.len() {
            n if n == layers => Ok(flags),
            n => Err(keys.reject(
                PATTERN,
                format!("it has {n} elements, but the model has {layers} layers"),
            )),
        };
    }
    let period = keys.opt_u32(PATTERN, 0..=u32::MAX)?.unwrap_or(PERIOD) as usize;
    Ok((0..layers)
        .map(|layer| period == 0 || layer % period < period - 1)
        .collect())
}

/// Builds the graph and returns its result.
pub(super) fn build(net: &mut Net<'_>) -> Result<Value, Error> {
    let embedded = net.embed()?;
    let mut x = net.scale(embedded, (net.config().width as f32).sqrt())?;
    for layer in net.layers() {
        let normed = net.norm(x, &layer.tensor("attn_norm"))?;
        let attention = Attention {
            pairs: RopePairs::Half,
            qk_norm: true,
            freq_factors: false,
        };
        let attended = net.attention(normed, &layer, &attention)?;
        let attended = net.norm(attended, &layer.tensor("post_attention_norm"))?;
        x = net.add(attended, x)?;
        let normed = net.norm(x, &layer.tensor("ffn_norm"))?;
        let mlp = Mlp {
            activation: Activation::Gelu,
            bias_and_scale: false,
        };
        let fed = net.mlp(normed, &layer, &mlp)?;
        let fed = net.norm(fed, &layer.tensor("post_ffw_norm"))?;
        x = net.add(fed, x)?;
    }
    net.output(x)
}
