//! `llama` (Llama 1 to 3, Mistral, SmolLM and others) and `mistral3`, its long-context sibling.
//!
//! Pre-norm decoder with grouped-query attention, RoPE over adjacent pairs (the converter permutes the rows of Q and K
//! to that form) and a SiLU-gated feed-forward layer. All projections may have biases. Sources: Touvron et al.,
//! "LLaMA"; Jiang et al., "Mistral 7B".

use lathe_ir::graph::{Activation, RopePairs, Value};

use super::blocks::{Attention, Mlp, Net};
use crate::Error;
use crate::config::{Config, Keys, RopeScaling};

/// Reads what `mistral3` adds: YaRN's variant, and queries that grow with the position.
pub(super) fn configure_mistral3(config: &mut Config, keys: &Keys<'_>) -> Result<(), Error> {
    let multiplier = keys
        .opt_f32("rope.scaling.yarn_log_multiplier", 0.0..=100.0)?
        .unwrap_or(0.0);
    for layer in &mut config.layers {
        if let RopeScaling::Yarn(yarn) = &mut layer.rope.scaling {
            yarn.log_multiplier = multiplier;
        }
    }
    if keys
        .opt_f32("attention.temperature_scale", -1e3..=1e3)?
        .is_some_and(|scale| scale != 0.0)
    {
        limit_context(config, keys)?;
    }
    Ok(())
}

/// Queries at position p are multiplied by `1 + scale · ln(1 + ⌊p / original context⌋)`, which is 1 within the original
/// context. Beyond it the graph has no op for them, so that the context ends there.
fn limit_context(config: &mut Config, keys: &Keys<'_>) -> Result<(), Error> {
    let original = keys.u32("rope.scaling.original_context_length", 1..=u32::MAX)?;
    if original < config.context_length {
        config.context_limit = Some(format!(
            "the context ends at {original} of {} positions: attention temperature scaling beyond is not supported yet",
            config.context_length
        ));
        config.context_length = original;
    }
    Ok(())
}

/// Builds the graph and returns its result.
pub(super) fn build(net: &mut Net<'_>) -> Result<Value, Error> {
    let mut x = net.embed()?;
    for layer in net.layers() {
        let normed = net.norm(x, &layer.tensor("attn_norm"))?;
        let attention = Attention {
            pairs: RopePairs::Adjacent,
            qk_norm: false,
            freq_factors: true,
        };
        let attended = net.attention(normed, &layer, &attention)?;
        x = net.add(attended, x)?;
        let normed = net.norm(x, &layer.tensor("ffn_norm"))?;
        let mlp = Mlp {
            activation: Activation::Silu,
            bias_and_scale: true,
        };
        let fed = net.mlp(normed, &layer, &mlp)?;
        x = net.add(fed, x)?;
    }
    net.output(x)
}
