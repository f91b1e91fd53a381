//! What happens to the sums of a product, element by element, before they are stored.

use super::text::{Lines, float, float_name};
use super::{Param, ParamType, row_bytes};
use crate::layout::{Matrix, operand_stride};
use lathe_ir::graph::Activation;

/// An elementwise step of an epilogue.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// Adds a vector.
    Bias,
    /// Multiplies by a constant.
    Scale(f32),
    /// The activation of the product times that with the second weight.
    Glu(Activation),
    /// An activation function.
    Act(Activation),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// Adds a value of the same shape.
    Add,
}

impl Step {
    fn name(self) -> String {
        match self {
            Step::Bias => "bias".into(),
            Step::Scale(by) => format!("scale{}", float_name(by)),
            Step::Glu(func) => format!("glu{}", func.keyword()),
            Step::Act(func) => func.keyword().into(),
            Step::Softcap(cap) => format!("cap{}", float_name(cap)),
            Step::Add => "add".into(),
        }
    }

    /// Its statement, on the element `v` of column `col` of row `row`, for a part whose parameters end in `suffix`.
    pub(super) fn statement(self, suffix: &str, n: u32) -> String {
        match self {
            Step::Bias => format!("v += bias{suffix}[col];"),
            Step::Scale(by) => format!("v *= {};", float(by)),
            Step::Glu(func) => format!("v = {}(v) * second;", func.keyword()),
            Step::Act(func) => format!("v = {}(v);", func.keyword()),
            Step::Softcap(cap) => format!("v = softcap({}, v);", float(cap)),
            Step::Add => format!("v += add{suffix}[(u64)row * {n} + col];"),
        }
    }

    pub(super) fn names(steps: &[Step]) -> String {
        steps.iter().map(|s| format!("_{}", s.name())).collect()
    }
}

/// One product.
#[derive(Clone, Debug)]
pub struct ProductPart {
    /// The weight.
    pub matrix: Matrix,
    /// Whether there is a second weight of the same layout, for [`Step::Glu`].
    pub paired: bool,
    /// What happens to sums.
    pub steps: Vec<Step>,
    /// Whether the output is operands of other products rather than f32.
    pub operands: bool,
}

/// Parameters of what adds up sums that blocks left of products, and finishes them.
pub(super) fn join_params(sum_bytes: u64, parts: &[ProductPart]) -> Vec<Param> {
    let sums = Param::whole("sums", ParamType::F32, sum_bytes);
    let finish = parts
        .iter()
        .enumerate()
        .flat_map(|(i, part)| part.finish_params(i));
    std::iter::once(sums).chain(finish).collect()
}

impl ProductPart {
    pub(super) fn has(&self, step: fn(&Step) -> bool) -> bool {
        self.steps.iter().any(step)
    }

    pub(super) fn name(&self) -> String {
        let steps = Step::names(&self.steps);
        let out = if self.operands { "_op" } else { "" };
        format!("{}_{}{steps}{out}", self.matrix.dtype, self.matrix.rows)
    }

    /// Weights of it: one, or two.
    pub(super) fn weights(&self) -> u32 {
        1 + u32::from(self.paired)
    }

    /// Columns that are stored: with those that fill up a row of operands.
    pub(super) fn columns(&self) -> u32 {
        match self.operands {
            true => operand_stride(self.matrix.rows),
            false => self.matrix.rows,
        }
    }

    pub(super) fn out(&self) -> ParamType {
        match self.operands {
            true => ParamType::Operands,
            false => ParamType::F32,
        }
    }

    /// Its parameters: weights, vector, values, output; names end in `suffix`.
    pub(super) fn params(&self, suffix: usize) -> Vec<Param> {
        let mut params = self.weight_params(suffix);
        params.extend(self.finish_params(suffix));
        params
    }

    /// The name of the second weight; the first, where it is the only one.
    pub(super) fn second_name(&self, suffix: usize) -> String {
        match self.paired {
            true => format!("second{suffix}"),
            false => format!("w{suffix}"),
        }
    }

    /// Those of them that are weights.
    pub(super) fn weight_params(&self, suffix: usize) -> Vec<Param> {
        let weight =
            |name: &str| Param::whole(format!("{name}{suffix}"), ParamType::Bytes, self.matrix.bytes());
        let mut params = vec![weight("w")];
        params.extend(self.paired.then(|| weight("second")));
        params
    }

    /// Those of them that finish and store need.
    pub(super) fn finish_params(&self, suffix: usize) -> Vec<Param> {
        let n = self.matrix.rows;
        let f32_row = row_bytes(ParamType::F32, n);
        let mut params = Vec::new();
        if self.has(|s| *s == Step::Bias) {
            params.push(Param::whole(format!("bias{suffix}"), ParamType::F32, f32_row));
        }
        if self.has(|s| *s == Step::Add) {
            params.push(Param::rows(format!("add{suffix}"), ParamType::F32, f32_row));
        }
        params.push(Param::rows(format!("out{suffix}"), self.out(), row_bytes(self.out(), n)).written());
        params
    }

    /// Statements that finish and store the element `v` of row `row`, column `col`; columns up to the last of a row of
    /// operands are stored.
    pub(super) fn finish(&self, suffix: usize) -> String {
        let n = self.matrix.rows;
        let mut text = Lines::new();
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|s| s.statement(&suffix.to_string(), n))
            .collect();
        let steps = steps.join(" ");
        match self.operands {
            true => {
                let stride = operand_stride(n);
                text.line(format_args!("if (col < {n}) {{ {steps} }} else v = 0.0f;"));
                text.line(format_args!(
                    "if (col < {stride}) out{suffix}[(u64)row * {stride} + col] = (u16)to_operand(v);"
                ));
            }
            false => text.line(format_args!(
                "if (col < {n}) {{ {steps} out{suffix}[(u64)row * {n} + col] = v; }}"
            )),
        }
        text.finish()
    }
}
