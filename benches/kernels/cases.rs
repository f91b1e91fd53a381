//! What is measured: products of the built-in models and of each format, attention, norms and quantization.

use lathe_codegen_cpu::limits::Limit;
use lathe_ir::DType;
use lathe_ir::quant;

/// Bytes of an element of f32.
const F32: u64 = 4;
/// Bytes of two elements of int8 activations: codes, scales and sums.
const Q8A_PAIR: u64 = 3;

/// A kernel and the shape it works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the shape is from: a model, or `square` and `cache` for each format.
    pub group: &'static str,
    /// Which part of it.
    pub name: String,
    /// The work.
    pub kind: Kind,
    /// Numbers of rows to measure.
    pub rows: Vec<u32>,
    /// Whether weights are read from memory, as in a model, or stay in the cache.
    pub cold: bool,
    /// Whether the quick run has it.
    pub quick: bool,
}

/// The work of a launch.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Products of q8a rows of `k` elements with matrices.
    Linear {
        /// Length of a row.
        k: u32,
        /// Rows and formats of the matrices that share the launch.
        parts: Vec<(u32, DType)>,
        /// Whether the one part is a gate that meets a second matrix of its shape in a SiLU, stored as q8a.
        glu: bool,
    },
    /// Attention over `ctx` positions; with several rows, these are the last ones.
    Attention {
        /// Query heads.
        heads: u32,
        /// KV heads.
        kv_heads: u32,
        /// Elements of a head.
        dim: u32,
        /// Positions of the cache.
        ctx: u32,
    },
    /// RMS norm of rows of this length, to q8a.
    NormQuant(u32),
    /// RMS norm and residual.
    NormAdd(u32),
    /// f32 to q8a.
    Quantize(u32),
}

/// Least traffic and operations of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Bytes read and written, each once.
    pub bytes: u64,
    /// Two for each product.
    pub operations: u64,
    /// What does the operations.
    pub peak: Limit,
}

impl Case {
    /// The id: group, part, and what the matrices hold.
    pub fn id(&self) -> String {
        match &self.kind {
            Kind::Linear { parts, .. } => format!("{} {} {}", self.group, self.name, formats(parts)),
            _ => format!("{} {}", self.group, self.name),
        }
    }

    /// The formats of the weights, or `f32` where there are none.
    pub fn format(&self) -> String {
        match &self.kind {
            Kind::Linear { parts, .. } => formats(parts),
            _ => "f32".to_owned(),
        }
    }

    /// The shape for people.
    pub fn shape(&self) -> String {
        match &self.kind {
            Kind::Linear { k, parts, glu } => {
                let rows: Vec<String> = parts.iter().map(|(n, _)| n.to_string()).collect();
                let times = if *glu { "2·" } else { "" };
                format!("{times}{}×{k}", rows.join("+"))
            }
            Kind::Attention {
                heads,
                kv_heads,
                dim,
                ctx,
            } => format!("{heads}/{kv_heads} heads of {dim}, {ctx} positions"),
            Kind::NormQuant(n) | Kind::NormAdd(n) | Kind::Quantize(n) => n.to_string(),
        }
    }

    /// The kind's keyword.
    pub fn keyword(&self) -> &'static str {
        match self.kind {
            Kind::Linear { .. } => "linear",
            Kind::Attention { .. } => "attention",
            Kind::NormQuant(_) => "norm_quant",
            Kind::NormAdd(_) => "norm_add",
            Kind::Quantize(_) => "quantize",
        }
    }

    /// The least work of a launch of `rows` rows that reads `weight_bytes` of packed weights.
    pub fn work(&self, rows: u32, weight_bytes: u64) -> Work {
        let m = u64::from(rows);
        let fma = |bytes, operations| Work {
            bytes,
            operations,
            peak: Limit::Fma,
        };
        match &self.kind {
            Kind::Linear { k, parts, glu } => {
                let (k, n) = (
                    u64::from(*k),
                    parts.iter().map(|(n, _)| u64::from(*n)).sum::<u64>(),
                );
                let (columns, out) = if *glu {
                    (2 * n, n * Q8A_PAIR / 2)
                } else {
                    (n, n * F32)
                };
                Work {
                    bytes: weight_bytes + m * (k * Q8A_PAIR / 2 + out),
                    operations: 2 * m * columns * k,
                    peak: Limit::Dot4,
                }
            }
            Kind::Attention {
                heads,
                kv_heads,
                dim,
                ctx,
            } => {
                let (ctx, head) = (u64::from(*ctx), u64::from(*dim));
                // Row i of m sees all positions but the m − 1 − i after its own; keys and values are f16.
                let seen = m * ctx - m * (m - 1) / 2;
                let cache = 2 * 2 * ctx * u64::from(*kv_heads) * head;
                let rows = 2 * m * u64::from(*heads) * head * F32;
                fma(cache + rows, 4 * seen * u64::from(*heads) * head)
            }
            Kind::NormAdd(n) => fma(m * u64::from(*n) * 3 * F32, 0),
            Kind::NormQuant(n) | Kind::Quantize(n) => {
                fma(m * u64::from(*n) * F32 + m * u64::from(*n) * Q8A_PAIR / 2, 0)
            }
        }
    }
}

fn formats(parts: &[(u32, DType)]) -> String {
    let mut names: Vec<&str> = parts.iter().map(|(_, dtype)| dtype.keyword()).collect();
    names.dedup();
    names.join("+")
}

/// Every integer format that kernels know.
pub fn integer_formats() -> impl Iterator<Item = DType> {
    DType::GGUF
        .iter()
        .copied()
        .filter(|&dtype| quant::format(dtype).is_some())
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut all = squares();
    all.extend(caches());
    all.extend(MODELS.iter().flat_map(Model::cases));
    all.extend(rows_cases());
    all
}

/// Formats in the quick run.
const QUICK: [DType; 4] = [DType::Q4_0, DType::Q4K, DType::Q6K, DType::Q8_0];

fn format_case(dtype: DType, group: &'static str, n: u32, k: u32, rows: &[u32], cold: bool) -> Case {
    Case {
        group,
        name: format!("{n}x{k}"),
        kind: Kind::Linear {
            k,
            parts: vec![(n, dtype)],
            glu: false,
        },
        rows: rows.to_vec(),
        cold,
        quick: QUICK.contains(&dtype),
    }
}

/// 4096 × 4096 of each format, as large models have it.
fn squares() -> Vec<Case> {
    let case = |dtype| format_case(dtype, "square", 4096, 4096, &[1, 2, 4, 8, 16, 64, 512], true);
    integer_formats().map(case).collect()
}

/// A matrix of each format that stays in the second-level cache of a core: what kernels do when memory does not limit.
fn caches() -> Vec<Case> {
    let case = |dtype| format_case(dtype, "cache", 512, 1024, &[1, 2, 4, 8, 16, 64], false);
    integer_formats().map(case).collect()
}

/// The products of a layer, and the logits.
struct Model {
    name: &'static str,
    width: u32,
    /// Query, key and value.
    qkv: [(u32, DType); 3],
    /// Format of the output projection.
    out: DType,
    /// Rows of gate and up, and their format.
    hidden: (u32, DType),
    /// Format of the down projection in most layers, and in the others.
    down: [DType; 2],
    /// Vocabulary and format of the logits.
    head: (u32, DType),
    /// Query heads, KV heads, elements of a head.
    attention: (u32, u32, u32),
    quick: bool,
}

/// The built-in models. Where layers differ in a format, the first layer's.
const MODELS: [Model; 4] = [
    Model {
        name: "smollm2-135m",
        width: 576,
        qkv: [(576, DType::Q4_1), (192, DType::Q4_1), (192, DType::Q4_1)],
        out: DType::Q4_1,
        hidden: (1536, DType::Q4_1),
        down: [DType::Q4_1, DType::Q4_1],
        head: (49152, DType::Q8_0),
        attention: (9, 3, 64),
        quick: true,
    },
    Model {
        name: "gemma3-270m",
        width: 640,
        qkv: [(1024, DType::Q5_0), (256, DType::Q5_0), (256, DType::Q8_0)],
        out: DType::Q4K,
        hidden: (2048, DType::Q5_0),
        down: [DType::Q4K, DType::Q6K],
        head: (262_144, DType::Q8_0),
        attention: (4, 1, 256),
        quick: false,
    },
    Model {
        name: "qwen2.5-0.5b",
        width: 896,
        qkv: [(896, DType::Q5_0), (128, DType::Q5_0), (128, DType::Q8_0)],
        out: DType::Q5_0,
        hidden: (4864, DType::Q5_0),
        down: [DType::Q4K, DType::Q6K],
        head: (151_936, DType::Q8_0),
        attention: (14, 2, 64),
        quick: true,
    },
    Model {
        name: "qwen2.5-1.5b",
        width: 1536,
        qkv: [(1536, DType::Q4K), (256, DType::Q4K), (256, DType::Q6K)],
        out: DType::Q4K,
        hidden: (8960, DType::Q4K),
        down: [DType::Q4K, DType::Q6K],
        head: (151_936, DType::Q6K),
        attention: (12, 2, 128),
        quick: false,
    },
];

impl Model {
    fn cases(&self) -> Vec<Case> {
        let (hidden, gate) = self.hidden;
        let q = self.qkv[0].0;
        let mut products = vec![
            ("qkv", self.width, self.qkv.to_vec()),
            ("out", q, vec![(self.width, self.out)]),
            ("gate_up", self.width, vec![(hidden, gate)]),
            ("down", hidden, vec![(self.width, self.down[0])]),
            ("down", hidden, vec![(self.width, self.down[1])]),
            ("head", self.width, vec![self.head]),
        ];
        products.dedup();
        let linear = |(name, k, parts): (&str, u32, Vec<(u32, DType)>)| Case {
            group: self.name,
            name: name.to_owned(),
            kind: Kind::Linear {
                k,
                parts,
                glu: name == "gate_up",
            },
            // Only rows that are sampled from have logits.
            rows: if name == "head" {
                vec![1, 4]
            } else {
                vec![1, 2, 4, 8, 16, 64, 512]
            },
            cold: true,
            quick: self.quick && name != "head",
        };
        let (heads, kv_heads, dim) = self.attention;
        let attention = [(1, 128), (1, 1024), (16, 512), (512, 512)].map(|(rows, ctx)| Case {
            group: self.name,
            name: format!("attention {ctx}"),
            kind: Kind::Attention {
                heads,
                kv_heads,
                dim,
                ctx,
            },
            rows: vec![rows],
            cold: false,
            quick: self.quick && rows != 16,
        });
        products.into_iter().map(linear).chain(attention).collect()
    }
}

/// Kernels that work row by row. A launch of few rows is shorter than the barrier after it.
fn rows_cases() -> Vec<Case> {
    let case = |name: &str, kind| Case {
        group: "rows",
        name: name.to_owned(),
        kind,
        rows: vec![1, 16, 512],
        cold: false,
        quick: true,
    };
    let mut all: Vec<Case> = Vec::new();
    for n in [576, 1536, 4096] {
        all.push(case(&format!("norm_quant {n}"), Kind::NormQuant(n)));
        all.push(case(&format!("norm_add {n}"), Kind::NormAdd(n)));
        all.push(case(&format!("quantize {n}"), Kind::Quantize(n)));
    }
    all.iter_mut().for_each(|c| c.quick = c.name.ends_with("1536"));
    all
}
