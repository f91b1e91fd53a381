//! Random graphs that verify, for property tests: every op, fused and unfused, dead nodes and unread weights included.

use super::*;
use crate::dtype::DType;
use crate::types::{Sym, TensorType};

/// Columns of every activation: rows of whole blocks, and 4 heads of 16.
const N: u64 = 64;
const HEADS: u32 = 4;

/// A random graph; the same for the same seed. Its parameters are those of [`interp::Inputs::batch`] and `%kv`.
pub(super) fn random_graph(seed: u64) -> Graph {
    let mut g = Generator::new(seed);
    for _ in 0..1 + g.below(10) {
        g.step();
    }
    g.finish()
}

struct Generator {
    state: u64,
    b: GraphBuilder,
    pos: Value,
    seq: Value,
    outputs: Value,
    kv: Value,
    /// `[tokens, N]f32`.
    pool: Vec<Value>,
    /// Other values that may be outputs.
    other: Vec<Value>,
    layer: u32,
    weights: u32,
}

impl Generator {
    fn new(seed: u64) -> Generator {
        let mut b = GraphBuilder::new(if seed.is_multiple_of(2) {
            "random-1"
        } else {
            "a \"random\"\n\\ graph"
        });
        let ids = |sym: Sym| TensorType::new([sym], DType::I32);
        let tok = b.param("tok", ids(Sym::Tokens));
        let pos = b.param("pos", ids(Sym::Tokens));
        let seq = b.param("seq", ids(Sym::Tokens));
        let outputs = b.param("outputs", ids(Sym::Outputs));
        let kv = b.param("kv", TensorType::kv());
        let table = b.weight("token_embd", TensorType::matrix(8, N, DType::Q8_0));
        b.weight("never read", TensorType::new([3u64], DType::F32));
        let x = b.value(Op::Embed {}, &[table], &[tok]).unwrap();
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Generator {
            state,
            b,
            pos,
            seq,
            outputs,
            kv,
            pool: vec![x],
            other: vec![],
            layer: 0,
            weights: 0,
        }
    }

    /// xorshift64.
    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn x(&mut self) -> Value {
        let pool = self.pool.clone();
        self.pick(&pool)
    }

    fn float(&mut self) -> f32 {
        self.pick(&[0.5, 1.0, 1e-5, 3.25, -0.1, 30.0, 123456.79])
    }

    fn positive(&mut self) -> f32 {
        self.pick(&[0.5, 1.0, 1e-5, 30.0])
    }

    fn vector(&mut self, n: u64) -> Weight {
        self.weights += 1;
        let name = format!("blk.{}.vector-{}", self.layer, self.weights);
        self.b.weight(&name, TensorType::new([n], DType::F32))
    }

    /// `[N, N]`, in blocks or not.
    fn matrix(&mut self, blocks: bool) -> Weight {
        self.weights += 1;
        let dtype = if blocks {
            [DType::Q8_0, DType::Q4_0]
        } else {
            [DType::F32, DType::F16]
        };
        let dtype = self.pick(&dtype);
        let name = format!(
            "blk.{}.{}{}",
            self.layer,
            ["matrix", "the \\ \"matrix\" ü "][blocks as usize],
            self.weights
        );
        self.b.weight(&name, TensorType::matrix(N, N, dtype))
    }

    fn node(&mut self, op: Op, weights: &[Weight], operands: &[Value]) -> Value {
        self.b.value(op, weights, operands).unwrap()
    }

    fn step(&mut self) {
        let x = self.x();
        let y = match self.below(14) {
            0 => self.elementwise(x),
            1 => self.binary(x),
            2 => {
                let w = self.vector(N);
                self.node(Op::RmsNorm { eps: 1e-6 }, &[w], &[x])
            }
            3 => self.project(x),
            4 => self.rotated(x),
            5 => self.attention(x),
            6 | 7 => self.fused_attention(x),
            8 => self.quantized(x),
            9..=11 => self.linear(x),
            12 => {
                let (w, y) = (self.vector(N), self.x());
                self.node(Op::NormAdd { eps: 0.0 }, &[w], &[x, y])
            }
            _ => {
                let rows = self.outputs;
                let gathered = self.node(Op::GatherRows {}, &[], &[x, rows]);
                self.other.push(gathered);
                return;
            }
        };
        self.pool.push(y);
    }

    fn elementwise(&mut self, x: Value) -> Value {
        let op = match self.below(4) {
            0 => Op::Scale { by: self.float() },
            1 => Op::Softcap { cap: self.positive() },
            2 => Op::Act {
                func: self.pick(&[Activation::Silu, Activation::Gelu]),
            },
            _ => Op::Softmax {},
        };
        self.node(op, &[], &[x])
    }

    fn binary(&mut self, x: Value) -> Value {
        let y = match self.below(3) {
            0 => self.x(),
            1 => {
                let value = self.float();
                self.node(Op::Scalar { value }, &[], &[])
            }
            _ => {
                let w = self.vector(N);
                self.node(
                    Op::Dequant {
                        order: RowOrder::Natural,
                        heads: 0,
                        dims: 0,
                    },
                    &[w],
                    &[],
                )
            }
        };
        let op = if self.below(2) == 0 {
            Op::Add {}
        } else {
            Op::Mul {}
        };
        self.node(op, &[], &[x, y])
    }

    fn project(&mut self, x: Value) -> Value {
        let blocks = self.below(2) == 0;
        let w = self.matrix(blocks);
        let op = match self.below(2) {
            0 => Op::Dequant {
                order: RowOrder::Natural,
                heads: 0,
                dims: 0,
            },
            _ => Op::Dequant {
                order: RowOrder::RopeHalf,
                heads: HEADS,
                dims: 8,
            },
        };
        let w = self.node(op, &[w], &[]);
        self.node(Op::Matmul {}, &[], &[x, w])
    }

    fn spec(&mut self) -> RopeSpec {
        let pairs = self.pick(&[RopePairs::Adjacent, RopePairs::Half]);
        let magnitude = self.positive();
        RopeSpec {
            pairs,
            dims: 16,
            base: 1e4,
            freq_scale: 0.25,
            magnitude,
        }
    }

    fn factors(&mut self) -> Option<Weight> {
        (self.below(2) == 0).then(|| self.vector(8))
    }

    fn split(&mut self, x: Value) -> Value {
        self.node(Op::SplitHeads { heads: HEADS }, &[], &[x])
    }

    fn rotated_heads(&mut self, x: Value) -> Value {
        let heads = self.split(x);
        let RopeSpec {
            pairs,
            dims,
            base,
            freq_scale,
            magnitude,
        } = self.spec();
        let op = Op::Rope {
            pairs,
            dims,
            base,
            freq_scale,
            magnitude,
        };
        let (factors, pos) = (self.factors(), self.pos);
        self.node(op, factors.as_slice(), &[heads, pos])
    }

    fn rotated(&mut self, x: Value) -> Value {
        let rotated = self.rotated_heads(x);
        self.node(Op::MergeHeads {}, &[], &[rotated])
    }

    fn attention(&mut self, x: Value) -> Value {
        let (layer, kv_heads, pos, seq) = (self.layer, HEADS, self.pos, self.seq);
        let (q, k, v) = (self.project(x), self.project(x), self.project(x));
        let (q, k, v) = (self.rotated_heads(q), self.rotated_heads(k), self.split(v));
        self.kv = self.node(Op::KvAppend { layer }, &[], &[self.kv, k, v, pos, seq]);
        self.layer += 1;
        let s = self.node(Op::AttnScores { layer, kv_heads }, &[], &[q, self.kv, seq]);
        let s = self.node(Op::Scale { by: 0.25 }, &[], &[s]);
        let window = self.pick(&[0, 1, 2]);
        let s = self.node(Op::CausalMask { window }, &[], &[s, pos]);
        let p = self.node(Op::Softmax {}, &[], &[s]);
        let mix = self.node(
            Op::AttnMix {
                layer,
                kv_heads,
                head_dim: 16,
            },
            &[],
            &[p, self.kv, seq],
        );
        self.node(Op::MergeHeads {}, &[], &[mix])
    }

    fn store(&mut self, part: KvPart) -> Part {
        let mut p = Part {
            epilogue: vec![Epilogue::Heads(HEADS)],
            ..Part::new(self.matrix(false))
        };
        p.output = Output::Kv {
            part,
            layer: self.layer,
            kv: self.kv,
            pos: self.pos,
            seq: self.seq,
        };
        p
    }

    fn fused_attention(&mut self, x: Value) -> Value {
        let (layer, kv_heads, pos, seq) = (self.layer, HEADS, self.pos, self.seq);
        let mut q = Part {
            epilogue: self.head_steps(),
            ..Part::new(self.matrix(false))
        };
        if q.epilogue.iter().any(|e| matches!(e, Epilogue::Rope { .. })) && self.below(2) == 0 {
            q.order = RowOrder::RopeHalf;
        }
        let parts = vec![q, self.store(KvPart::K), self.store(KvPart::V)];
        let made = self.b.linear(x, Linear { parts }).unwrap();
        self.kv = made[1];
        self.layer += 1;
        let op = Op::AttentionPaged {
            layer,
            kv_heads,
            scale: 0.25,
            cap: self.pick(&[0.0, 5.0]),
            window: 3,
        };
        self.node(op, &[], &[made[0], made[1], pos, seq])
    }

    fn head_steps(&mut self) -> Vec<Epilogue> {
        let mut steps = Vec::new();
        if self.below(2) == 0 {
            steps.push(Epilogue::Bias(self.vector(N)));
        }
        steps.push(Epilogue::Heads(HEADS));
        if self.below(2) == 0 {
            steps.push(Epilogue::HeadNorm {
                weight: self.vector(16),
                eps: 1e-6,
            });
        }
        if self.below(2) == 0 {
            steps.push(Epilogue::Rope {
                pos: self.pos,
                spec: self.spec(),
                factors: self.factors(),
            });
        }
        steps
    }

    fn quantized(&mut self, x: Value) -> Value {
        let codes = if self.below(2) == 0 {
            self.node(Op::Quantize {}, &[], &[x])
        } else {
            let w = self.vector(N);
            self.node(Op::NormQuant { eps: 1e-5 }, &[w], &[x])
        };
        self.other.push(codes);
        let part = Part::new(self.matrix(true));
        self.b.linear(codes, Linear { parts: vec![part] }).unwrap()[0]
    }

    fn linear(&mut self, x: Value) -> Value {
        let mut glu = Part::new(self.matrix(false));
        let ty = self.b.graph().weights[glu.weight].ty.clone();
        self.weights += 1;
        glu.gate_up = Some(self.b.weight(&format!("up.{}", self.weights), ty));
        glu.epilogue = vec![
            Epilogue::Glu(Activation::Gelu),
            Epilogue::Softcap(self.positive()),
        ];
        glu.output = Output::Q8A;
        let mut flat = Part::new(self.matrix(true));
        let other = self.x();
        let steps = [Epilogue::Bias(self.vector(N)), Epilogue::Scale(self.float())];
        flat.epilogue.extend(steps.into_iter().filter(|_| x != other));
        flat.epilogue
            .extend([Epilogue::Act(Activation::Silu), Epilogue::Add(other)]);
        let made = self
            .b
            .linear(
                x,
                Linear {
                    parts: vec![flat, glu],
                },
            )
            .unwrap();
        self.other.push(made[1]);
        made[0]
    }

    fn finish(mut self) -> Graph {
        let mut outputs = vec![self.x()];
        let other = self.other.clone();
        outputs.extend(other.into_iter().take(2));
        let named = self.x();
        let mut graph = self.b.finish(&outputs);
        if matches!(graph.values[named].def, Def::Result(..)) {
            graph.values[named].name = Some("a.name_1".to_owned());
        }
        // Take out what nothing reads, from the end, so that dead nodes remain in the arenas.
        for node in graph.order.clone().into_iter().rev() {
            let counts = graph.use_counts();
            let unread = graph.nodes[node]
                .results
                .iter()
                .all(|v| counts[crate::id::Id::index(*v)] == 0);
            if unread && graph.nodes[node].op.info().pure {
                graph.remove(node);
            }
        }
        graph
    }
}
