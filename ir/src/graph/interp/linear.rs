//! `linear`: the ops that its parts stand for, one after another.

use super::eval::Evaluator;
use super::tensor::Tensor;
use super::{EvalError, ops, rope};
use crate::graph::{Epilogue, Linear, NodeData, Output, Part};

/// A product on its way through an epilogue.
struct Rows {
    /// `[rows, n]`.
    elements: Vec<f32>,
    rows: usize,
    n: usize,
    /// Heads, once split.
    heads: Option<usize>,
}

impl Rows {
    /// Heads and the elements of each, for steps that the verifier lets stand after `heads` only.
    fn split(&self) -> (usize, usize) {
        let heads = self.heads.unwrap_or(1);
        (heads, self.n / heads)
    }

    fn dims(&self) -> Vec<usize> {
        match self.heads {
            Some(heads) => vec![self.rows, heads, self.n / heads],
            None => vec![self.rows, self.n],
        }
    }
}

impl Evaluator<'_> {
    /// The results of a `linear`: the values of its parts and, where it stores, the token.
    pub(super) fn linear(&mut self, data: &NodeData, linear: &Linear) -> Result<Vec<Tensor>, EvalError> {
        let input = self.value(data.operands[0]);
        let x = input.to_f32().unwrap_or_default();
        let (rows, k) = (input.dims[0], input.dims[1]);
        let mut results = Vec::new();
        for part in &linear.parts {
            results.extend(self.part(&x, rows, k, part)?);
        }
        if linear.stores_kv() {
            results.push(Tensor::kv());
        }
        Ok(results)
    }

    /// The value of a part; `None` where it stores.
    fn part(&mut self, x: &[f32], rows: usize, k: usize, part: &Part) -> Result<Option<Tensor>, EvalError> {
        let rope_dims = part.epilogue.iter().find_map(|step| match step {
            Epilogue::Rope { spec, .. } => Some(spec.dims as usize),
            _ => None,
        });
        let (heads, dims) = (part.heads().unwrap_or(1) as usize, rope_dims.unwrap_or(0));
        let w = self.weights.ordered(part.weight, part.order, heads, dims)?;
        let n = w.len() / k.max(1);
        let mut y = Rows {
            elements: ops::matmul(x, &w, [rows, n, k]),
            rows,
            n,
            heads: None,
        };
        for step in &part.epilogue {
            y.elements = match step {
                Epilogue::Bias(bias) => ops::zip(
                    &y.elements,
                    &self.weights.ordered(*bias, part.order, heads, dims)?,
                    |a, b| a + b,
                ),
                Epilogue::Glu(func) => {
                    // The verifier has seen that there is a second weight.
                    let second = part.gate_up.map_or(Ok(Vec::new()), |w| self.weights.decoded(w))?;
                    let gate = ops::map(&y.elements, |x| ops::activation(*func, x));
                    ops::zip(&gate, &ops::matmul(x, &second, [rows, n, k]), |a, b| a * b)
                }
                Epilogue::Heads(heads) => {
                    y.heads = Some(*heads as usize);
                    y.elements
                }
                step => self.step(step, &y)?,
            };
        }
        self.output(&part.output, y)
    }

    /// A step that changes elements and needs nothing of the part.
    fn step(&self, step: &Epilogue, y: &Rows) -> Result<Vec<f32>, EvalError> {
        let x = &y.elements;
        Ok(match step {
            Epilogue::HeadNorm { weight, eps } => ops::rms_norm(x, &self.weights.decoded(*weight)?, *eps),
            Epilogue::Rope { pos, spec, factors } => {
                let factors = factors.map(|w| self.weights.decoded(w)).transpose()?;
                let (heads, d) = y.split();
                rope::rope(x, heads, d, self.value(*pos).ints(), spec, factors.as_deref())
            }
            Epilogue::Scale(by) => ops::map(x, |x| x * by),
            Epilogue::Act(func) => ops::map(x, |x| ops::activation(*func, x)),
            Epilogue::Softcap(cap) => ops::map(x, |x| ops::softcap(*cap, x)),
            Epilogue::Add(value) => ops::zip(x, self.value(*value).floats(), |a, b| a + b),
            Epilogue::Bias(_) | Epilogue::Glu(_) | Epilogue::Heads(_) => x.clone(),
        })
    }

    fn output(&mut self, output: &Output, y: Rows) -> Result<Option<Tensor>, EvalError> {
        match *output {
            Output::F32 => Ok(Some(Tensor::f32(&y.dims(), y.elements))),
            Output::Q8A => Tensor::quantized(&[y.rows, y.n], &y.elements).map(Some),
            Output::Kv {
                part,
                layer,
                pos,
                seq,
                ..
            } => {
                self.store(layer, part, &y.elements, pos, seq)?;
                Ok(None)
            }
        }
    }
}
