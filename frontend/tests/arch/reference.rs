//! A second forward pass, independent of graph and interpreter: plain loops in f64 over the tensors of a file.
//!
//! It reads metadata and tensors itself, by the names in the file, and knows nothing of the code that it tests.

use std::f64::consts::PI;

use lathe_frontend::gguf::{GgufFile, TensorInfo};
use lathe_ir::DType;

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

/// The logits of every position of `tokens`.
pub fn logits(file: &GgufFile, tokens: &[u32]) -> Rows {
    let reference = Reference::new(file);
    reference.project_out(&reference.run(tokens))
}

/// The hidden state after the final norm, of every position of `tokens`.
pub fn embeddings(file: &GgufFile, tokens: &[u32]) -> Rows {
    Reference::new(file).run(tokens)
}

struct Reference<'a> {
    file: &'a GgufFile,
    arch: &'a str,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f64,
}

impl<'a> Reference<'a> {
    fn new(file: &'a GgufFile) -> Self {
        let metadata = file.metadata();
        let arch = metadata.str("general.architecture").unwrap();
        let number = |key: &str| metadata.opt_usize(&format!("{arch}.{key}")).unwrap();
        let heads = number("attention.head_count").unwrap();
        let width = number("embedding_length").unwrap();
        Reference {
            file,
            arch,
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            head_dim: number("attention.key_length").unwrap_or(width / heads),
            eps: f64::from(
                metadata
                    .f32(&format!("{arch}.attention.layer_norm_rms_epsilon"))
                    .unwrap(),
            ),
        }
    }

    fn run(&self, tokens: &[u32]) -> Rows {
        let gemma = self.arch == "gemma3";
        let embedding = self.matrix("token_embd.weight");
        let width = embedding[0].len();
        let scale = if gemma { (width as f64).sqrt() } else { 1.0 };
        let mut x: Rows = tokens
            .iter()
            .map(|&t| embedding[t as usize].iter().map(|v| v * scale).collect())
            .collect();
        let layers = self.key("block_count").unwrap() as usize;
        for layer in 0..layers {
            let mut attended = self.attention(&self.norm(&x, &format!("blk.{layer}.attn_norm")), layer);
            if gemma {
                attended = self.norm(&attended, &format!("blk.{layer}.post_attention_norm"));
            }
            add(&mut x, &attended);
            let mut fed = self.mlp(&self.norm(&x, &format!("blk.{layer}.ffn_norm")), layer);
            if gemma {
                fed = self.norm(&fed, &format!("blk.{layer}.post_ffw_norm"));
            }
            add(&mut x, &fed);
        }
        self.norm(&x, "output_norm")
    }

    fn project_out(&self, normed: &Rows) -> Rows {
        let gemma = self.arch == "gemma3";
        let output = if self.file.tensor("output.weight").is_some() {
            "output"
        } else {
            "token_embd"
        };
        let mut logits = product(normed, &self.matrix(&format!("{output}.weight")));
        self.bias(&mut logits, "output");
        if let Some(cap) = self.key("final_logit_softcapping").filter(|&c| gemma && c > 0.0) {
            logits
                .iter_mut()
                .flatten()
                .for_each(|v| *v = cap * (*v / cap).tanh());
        }
        logits
    }

    fn attention(&self, x: &Rows, layer: usize) -> Rows {
        let (mut q, mut k) = (self.project(x, layer, "attn_q"), self.project(x, layer, "attn_k"));
        let v = self.project(x, layer, "attn_v");
        for (rows, norm) in [(&mut q, "attn_q_norm"), (&mut k, "attn_k_norm")] {
            for (position, row) in rows.iter_mut().enumerate() {
                for head in row.chunks_mut(self.head_dim) {
                    if self.arch == "gemma3" {
                        let weight = self.vector(&format!("blk.{layer}.{norm}.weight"));
                        let normed = rms(head, &weight, self.eps);
                        head.copy_from_slice(&normed);
                    }
                    self.rotate(head, position, layer);
                }
            }
        }
        let window = if self.is_local(layer) {
            self.key("attention.sliding_window").unwrap() as usize
        } else {
            0
        };
        let mixed = (0..x.len())
            .map(|row| {
                let first = if window > 0 {
                    (row + 1).saturating_sub(window)
                } else {
                    0
                };
                (0..self.heads)
                    .flat_map(|head| self.mix(&q[row], &k[first..=row], &v[first..=row], head))
                    .collect()
            })
            .collect();
        self.project(&mixed, layer, "attn_output")
    }

    /// The output of one head for one query row.
    fn mix(&self, q: &[f64], k: &[Vec<f64>], v: &[Vec<f64>], head: usize) -> Vec<f64> {
        let d = self.head_dim;
        let kv_head = head * self.kv_heads / self.heads;
        let scale = self
            .key("attention.scale")
            .filter(|&s| s > 0.0)
            .unwrap_or(1.0 / (d as f64).sqrt());
        let query = &q[head * d..][..d];
        let scores: Vec<f64> = k
            .iter()
            .map(|row| dot(query, &row[kv_head * d..][..d]) * scale)
            .collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..d)
            .map(|i| {
                weights
                    .iter()
                    .zip(v)
                    .map(|(w, row)| w * row[kv_head * d + i])
                    .sum::<f64>()
                    / total
            })
            .collect()
    }

    fn mlp(&self, x: &Rows, layer: usize) -> Rows {
        let mut gate = self.feed(x, layer, "ffn_gate");
        let up = self.feed(x, layer, "ffn_up");
        for (g, u) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            let act = match self.arch {
                "gemma3" => 0.5 * *g * (1.0 + ((2.0 / PI).sqrt() * (*g + 0.044715 * g.powi(3))).tanh()),
                _ => *g / (1.0 + (-*g).exp()),
            };
            *g = act * u;
        }
        self.feed(&gate, layer, "ffn_down")
    }

    /// A projection of attention: scaled, then biased.
    fn project(&self, x: &Rows, layer: usize, name: &str) -> Rows {
        let name = format!("blk.{layer}.{name}");
        let mut y = product(x, &self.matrix(&format!("{name}.weight")));
        let scale = self.scale(&name);
        y.iter_mut().flatten().for_each(|v| *v *= scale);
        self.bias(&mut y, &name);
        y
    }

    /// A projection of the feed-forward layer: biased, then scaled, in llama alone.
    fn feed(&self, x: &Rows, layer: usize, name: &str) -> Rows {
        let name = format!("blk.{layer}.{name}");
        let mut y = product(x, &self.matrix(&format!("{name}.weight")));
        if matches!(self.arch, "llama" | "mistral3") {
            self.bias(&mut y, &name);
            let scale = self.scale(&name);
            y.iter_mut().flatten().for_each(|v| *v *= scale);
        }
        y
    }

    fn rotate(&self, head: &mut [f64], position: usize, layer: usize) {
        let adjacent = matches!(self.arch, "llama" | "mistral3");
        let half = head.len() / 2;
        for i in 0..half {
            let (a, b) = if adjacent {
                (2 * i, 2 * i + 1)
            } else {
                (i, i + half)
            };
            let (sin, cos) = self.angle(i, half, position, layer).sin_cos();
            (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
        }
    }

    fn angle(&self, pair: usize, pairs: usize, position: usize, layer: usize) -> f64 {
        let local = self.is_local(layer);
        let key = if local {
            "rope.freq_base_swa"
        } else {
            "rope.freq_base"
        };
        let base = self.key(key).unwrap_or(10_000.0);
        let factor = self
            .key("rope.scaling.factor")
            .filter(|&f| f > 0.0 && !local)
            .unwrap_or(1.0);
        let divisor = match self.file.tensor("rope_freqs.weight") {
            Some(_) => self.vector("rope_freqs.weight")[pair],
            None => 1.0,
        };
        position as f64 * base.powf(-(pair as f64) / pairs as f64) / factor / divisor
    }

    /// Whether a layer has a window: by the pattern of the file, or five of six.
    fn is_local(&self, layer: usize) -> bool {
        if self.arch != "gemma3" || self.key("attention.sliding_window").is_none_or(|w| w == 0.0) {
            return false;
        }
        match self
            .file
            .metadata()
            .opt_u32_array("gemma3.attention.sliding_window_pattern")
        {
            Ok(Some(flags)) => flags[layer] != 0,
            _ => match self
                .file
                .metadata()
                .opt_bool_array("gemma3.attention.sliding_window_pattern")
            {
                Ok(Some(flags)) => flags[layer],
                _ => layer % 6 != 5,
            },
        }
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let weight = self.vector(&format!("{name}.weight"));
        x.iter().map(|row| rms(row, &weight, self.eps)).collect()
    }

    fn bias(&self, x: &mut Rows, name: &str) {
        let name = format!("{name}.bias");
        if self.file.tensor(&name).is_some() {
            let bias = self.vector(&name);
            x.iter_mut()
                .for_each(|row| row.iter_mut().zip(&bias).for_each(|(v, b)| *v += b));
        }
    }

    fn scale(&self, name: &str) -> f64 {
        let name = format!("{name}.scale");
        if self.file.tensor(&name).is_some() {
            self.vector(&name)[0]
        } else {
            1.0
        }
    }

    fn key(&self, name: &str) -> Option<f64> {
        let key = format!("{}.{name}", self.arch);
        self.file.metadata().opt_f32(&key).unwrap().map(f64::from)
    }

    fn matrix(&self, name: &str) -> Rows {
        let info = self.file.require_tensor(name).unwrap();
        self.values(info)
            .chunks(info.dims[0] as usize)
            .map(<[f64]>::to_vec)
            .collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.values(self.file.require_tensor(name).unwrap())
    }

    fn values(&self, info: &TensorInfo) -> Vec<f64> {
        let bytes = self.file.data(info);
        match info.dtype {
            DType::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
            DType::F16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| half::f16::from_le_bytes(*b).to_f64())
                .collect(),
            other => panic!("{}: the reference knows no {other}", info.name),
        }
    }
}

fn rms(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter()
        .zip(weight)
        .map(|(v, w)| v / (mean + eps).sqrt() * w)
        .collect()
}

fn product(x: &Rows, w: &Rows) -> Rows {
    x.iter()
        .map(|row| w.iter().map(|w| dot(row, w)).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut Rows, y: &Rows) {
    x.iter_mut()
        .flatten()
        .zip(y.iter().flatten())
        .for_each(|(x, y)| *x += y);
}
