//! `qwen2` (Qwen 2 and 2.5): llama's shape with biases on Q, K and V and RoPE over half pairs.
//!
//! Source: Yang et al., "Qwen2 Technical Report".

use lathe_ir::graph::{Activation, RopePairs, Value};

use super::blocks::{Attention, Mlp, Net};
use crate::Error;

/// Builds the graph and returns its result.
pub(super) fn build(net: &mut Net<'_>) -> Result<Value, Error> {
    let mut x = net.embed()?;
    for layer in net.layers() {
        let normed = net.norm(x, &layer.tensor("attn_norm"))?;
        let attention = Attention {
            pairs: RopePairs::Half,
            qk_norm: false,
            freq_factors: false,
        };
        let attended = net.attention(normed, &layer, &attention)?;
        x = net.add(attended, x)?;
        let normed = net.norm(x, &layer.tensor("ffn_norm"))?;
        let mlp = Mlp {
            activation: Activation::Silu,
            bias_and_scale: false,
        };
        let fed = net.mlp(normed, &layer, &mlp)?;
        x = net.add(fed, x)?;
    }
    net.output(x)
}
