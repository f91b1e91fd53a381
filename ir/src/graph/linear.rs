//! `linear`: the fused matrix product, its parts and their epilogues.
//!
//! Text form: `%1, %2 = linear %0 [@wq {bias(@bq), heads(14), rope(%pos, half, …)} -> f32, @wk … -> kv.k(0, %kv, %pos,
//! %seq)] : …`; see the printer. Every value and weight that an epilogue names is an operand or weight of the node, so that uses are
//! counted and replaced in one place.

use super::op::{Activation, KvPart, RopeSpec, RowOrder};
use super::{Value, Weight};

/// The attributes of [`super::Op::Linear`]: parts that share the input, which is operand 0 (`[rows, k]`, f32 or q8a).
#[derive(Clone, PartialEq, Debug)]
pub struct Linear {
    /// The products, at least one.
    pub parts: Vec<Part>,
}

/// One product `x · wᵀ` and what happens to its rows before they leave the registers.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// The weight `[n, k]`; an element of the node's weights.
    pub weight: Weight,
    /// A second weight of the same shape whose product meets the first one's in [`Epilogue::Glu`].
    pub gate_up: Option<Weight>,
    /// The order in which the rows of `weight` are read.
    pub order: RowOrder,
    /// Applied in order to each row of n sums.
    pub epilogue: Vec<Epilogue>,
    /// Where the row goes.
    pub output: Output,
}

/// One step of an epilogue. Their order in a part follows the order of this enum.
#[derive(Clone, PartialEq, Debug)]
pub enum Epilogue {
    /// Adds a bias `[n]`, read in the part's row order.
    Bias(Weight),
    /// Splits the row into heads for the steps after it.
    Heads(u32),
    /// RMS norm of each head with a weight `[n / heads]`.
    HeadNorm {
        /// The weight.
        weight: Weight,
        /// Added to the mean of squares.
        eps: f32,
    },
    /// RoPE of each head at the row's position.
    Rope {
        /// Positions `[rows]i32`.
        pos: Value,
        /// The rotation; pairs are halves once passes have run.
        spec: RopeSpec,
        /// Optional frequency divisors `[dims/2]`.
        factors: Option<Weight>,
    },
    /// Multiplies by a constant.
    Scale(f32),
    /// `func(x) · y`, where y is the product of [`Part::gate_up`].
    Glu(Activation),
    /// An activation function.
    Act(Activation),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// Adds a value `[rows, n]f32` (a residual).
    Add(Value),
}

/// Where the rows of a part go.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A value `[rows, n]f32`, or `[rows, heads, n/heads]f32` after [`Epilogue::Heads`].
    F32,
    /// A value `[rows, n]q8a`.
    Q8A,
    /// The KV cache, as f16; the node then reads and makes a `kv` token.
    Kv {
        /// Keys or values.
        part: KvPart,
        /// The layer.
        layer: u32,
        /// The token read, the positions and the sequences `[rows]i32`.
        kv: Value,
        /// Positions.
        pos: Value,
        /// Sequence slots.
        seq: Value,
    },
}

impl Epilogue {
    /// The place of the step in the order that the steps of a part keep.
    pub fn rank(&self) -> usize {
        match self {
            Epilogue::Bias(_) => 0,
            Epilogue::Heads(_) => 1,
            Epilogue::HeadNorm { .. } => 2,
            Epilogue::Rope { .. } => 3,
            Epilogue::Scale(_) => 4,
            Epilogue::Glu(_) => 5,
            Epilogue::Act(_) => 6,
            Epilogue::Softcap(_) => 7,
            Epilogue::Add(_) => 8,
        }
    }
}

impl Linear {
    /// Whether a part stores to the KV cache. Such a node makes one `kv` token, after its other results.
    pub fn stores_kv(&self) -> bool {
        self.parts.iter().any(|p| matches!(p.output, Output::Kv { .. }))
    }

    /// Parts that make a value, in order.
    pub fn value_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts
            .iter()
            .filter(|p| !matches!(p.output, Output::Kv { .. }))
    }

    /// Every weight that the parts name, in order of appearance, without repeats.
    pub fn weights(&self) -> Vec<Weight> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.push(part.weight);
            all.extend(part.gate_up);
            for step in &part.epilogue {
                match step {
                    Epilogue::Bias(w) | Epilogue::HeadNorm { weight: w, .. } => all.push(*w),
                    Epilogue::Rope { factors: Some(w), .. } => all.push(*w),
                    _ => {}
                }
            }
        }
        dedup(all)
    }

    /// Every value that the parts name, in order of appearance, without repeats; the input is not among them.
    pub fn values(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for part in &self.parts {
            for step in &part.epilogue {
                match step {
                    Epilogue::Rope { pos, .. } => all.push(*pos),
                    Epilogue::Add(value) => all.push(*value),
                    _ => {}
                }
            }
            if let Output::Kv { kv, pos, seq, .. } = part.output {
                all.extend([kv, pos, seq]);
            }
        }
        dedup(all)
    }

    /// Replaces every weight that the parts name by what `map` gives for it.
    pub fn map_weights(&mut self, map: &mut dyn FnMut(Weight) -> Weight) {
        for part in &mut self.parts {
            part.weight = map(part.weight);
            part.gate_up = part.gate_up.map(&mut *map);
            for step in &mut part.epilogue {
                match step {
                    Epilogue::Bias(w) | Epilogue::HeadNorm { weight: w, .. } => *w = map(*w),
                    Epilogue::Rope { factors: Some(w), .. } => *w = map(*w),
                    _ => {}
                }
            }
        }
    }

    /// Replaces every value that the parts name by what `map` gives for it.
    pub fn map_values(&mut self, map: &mut dyn FnMut(Value) -> Value) {
        for part in &mut self.parts {
            for step in &mut part.epilogue {
                match step {
                    Epilogue::Rope { pos, .. } => *pos = map(*pos),
                    Epilogue::Add(value) => *value = map(*value),
                    _ => {}
                }
            }
            if let Output::Kv { kv, pos, seq, .. } = &mut part.output {
                (*kv, *pos, *seq) = (map(*kv), map(*pos), map(*seq));
            }
        }
    }
}

impl Part {
    /// A bare product with weight `w`.
    pub fn new(w: Weight) -> Part {
        Part {
            weight: w,
            gate_up: None,
            order: RowOrder::Natural,
            epilogue: Vec::new(),
            output: Output::F32,
        }
    }

    /// The number of heads that the epilogue splits the row into, if it does.
    pub fn heads(&self) -> Option<u32> {
        self.epilogue.iter().find_map(|e| {
            if let Epilogue::Heads(n) = e {
                Some(*n)
            } else {
                None
            }
        })
    }
}

fn dedup<T: Copy + PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut seen: Vec<T> = Vec::with_capacity(all.len());
    for x in all {
        if !seen.contains(&x) {
            seen.push(x);
        }
    }
    seen
}
