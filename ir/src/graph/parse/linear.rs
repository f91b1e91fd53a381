//! Reads `linear`: its input, its parts and their epilogues.

use super::lexer::Kind;
use super::{ParseError, Parser};
use crate::graph::op::AttrType;
use crate::graph::{Epilogue, KvPart, Linear, Op, Output, Part, RopeSpec, RowOrder, Value, Weight};

impl Parser<'_> {
    /// `%x [part, …]`, after the keyword.
    pub(super) fn linear(&mut self) -> Result<(Op, Vec<Weight>, Vec<Value>), ParseError> {
        let input = self.value()?;
        self.mark("[")?;
        let mut parts = Vec::new();
        self.list("]", |p| {
            parts.push(p.part()?);
            Ok(())
        })?;
        let linear = Linear { parts };
        let operands = std::iter::once(input).chain(linear.values()).collect();
        Ok((Op::Linear(Box::new(linear.clone())), linear.weights(), operands))
    }

    /// `@w [>< @w2] [order] [{steps}] -> output`.
    fn part(&mut self) -> Result<Part, ParseError> {
        let mut part = Part::new(self.weight()?);
        if self.eat("><") {
            part.gate_up = Some(self.weight()?);
        }
        if self.peek().kind == Kind::Word {
            part.order = self.attr::<RowOrder>("`natural` or `rope_half`")?;
        }
        if self.eat("{") {
            self.list("}", |p| {
                part.epilogue.push(p.step()?);
                Ok(())
            })?;
        }
        self.mark("->")?;
        part.output = self.output()?;
        Ok(part)
    }

    /// A number or word of type `T`.
    fn attr<T: AttrType>(&mut self, what: &str) -> Result<T, ParseError> {
        let at = self.at;
        let text = match self.peek().kind {
            Kind::Number | Kind::Word => self.attr_text()?,
            _ => return self.expected(what),
        };
        match T::from_text(text) {
            Some(value) => Ok(value),
            None => self.error_at(at, format!("expected {what}, found `{text}`")),
        }
    }

    /// A comma and a number or word.
    fn comma_attr<T: AttrType>(&mut self, what: &str) -> Result<T, ParseError> {
        self.mark(",")?;
        self.attr(what)
    }

    fn comma_value(&mut self) -> Result<Value, ParseError> {
        self.mark(",")?;
        self.value()
    }

    fn step(&mut self) -> Result<Epilogue, ParseError> {
        let at = self.at;
        let word = self.text(Kind::Word, "a step of an epilogue")?;
        self.mark("(")?;
        let step = match word {
            "bias" => Epilogue::Bias(self.weight()?),
            "heads" => Epilogue::Heads(self.attr("a number of heads")?),
            "head_norm" => Epilogue::HeadNorm {
                weight: self.weight()?,
                eps: self.comma_attr("a float")?,
            },
            "rope" => self.rope()?,
            "scale" => Epilogue::Scale(self.attr("a float")?),
            "glu" => Epilogue::Glu(self.attr("`silu` or `gelu`")?),
            "act" => Epilogue::Act(self.attr("`silu` or `gelu`")?),
            "softcap" => Epilogue::Softcap(self.attr("a float")?),
            "add" => Epilogue::Add(self.value()?),
            _ => return self.error_at(at, format!("unknown step `{word}` of an epilogue")),
        };
        self.mark(")")?;
        Ok(step)
    }

    /// `%pos, pairs, dims, base, freq_scale, magnitude[, @factors]`.
    fn rope(&mut self) -> Result<Epilogue, ParseError> {
        let pos = self.value()?;
        let spec = RopeSpec {
            pairs: self.comma_attr("`adjacent` or `half`")?,
            dims: self.comma_attr("a number of elements")?,
            base: self.comma_attr("a float")?,
            freq_scale: self.comma_attr("a float")?,
            magnitude: self.comma_attr("a float")?,
        };
        let factors = if self.eat(",") { Some(self.weight()?) } else { None };
        Ok(Epilogue::Rope { pos, spec, factors })
    }

    /// `f32`, `q8a` or `kv.k(layer, %kv, %pos, %seq)`.
    fn output(&mut self) -> Result<Output, ParseError> {
        let at = self.at;
        let what = "an output: `f32`, `q8a`, `kv.k(…)` or `kv.v(…)`";
        let part = match self.text(Kind::Word, what)? {
            "f32" => return Ok(Output::F32),
            "q8a" => return Ok(Output::Q8A),
            "kv.k" => KvPart::K,
            "kv.v" => KvPart::V,
            word => return self.error_at(at, format!("expected {what}, found `{word}`")),
        };
        self.mark("(")?;
        let layer = self.attr("a layer")?;
        let (kv, pos, seq) = (self.comma_value()?, self.comma_value()?, self.comma_value()?);
        self.mark(")")?;
        Ok(Output::Kv {
            part,
            layer,
            kv,
            pos,
            seq,
        })
    }
}
