//! Reads types and the ops without regions: keyword, operands, attributes, address.

use super::super::lex::Token;
use super::super::{Buf, Cmp, Elem, KOp, Mem, TileDot, Ty, Val};
use super::{Parsed, Parser};

impl Parser<'_> {
    pub(super) fn ty(&mut self) -> Parsed<Ty> {
        let parsed = match &self.token {
            Token::Word(w) => parse_type(w),
            _ => None,
        };
        let Some(ty) = parsed else {
            return self.expected("a type such as `f32x4`");
        };
        self.take()?;
        Ok(ty)
    }

    /// Keyword, operands and attributes of an op without regions.
    pub(super) fn operation(&mut self) -> Parsed<(KOp, Vec<Val>)> {
        let place = self.place;
        let Token::Word(word) = &self.token else {
            return self.expected("an instruction");
        };
        let word = word.clone();
        self.take()?;
        if let Some(&op) = PLAIN.iter().find(|op| op.info().keyword == word) {
            return Ok((op, self.operands(op.info().args)?));
        }
        if let Some((keyword, suffix)) = word.split_once('.') {
            let found = match keyword {
                "cmp" => self.lane_cmp(suffix)?,
                _ => self.memory_op(keyword, suffix)?,
            };
            return found.ok_or_else(|| place.error(format!("there is no op `{word}`")));
        }
        Ok(match word.as_str() {
            "iconst" => (KOp::IConst(self.number("an integer below 2^63")?), Vec::new()),
            "fconst" => (KOp::FConst(self.float()?), Vec::new()),
            "bits" => {
                let args = self.operands(1)?;
                self.mark('{')?;
                let shift = self.attribute("shift")?;
                self.mark(',')?;
                let width = self.attribute("width")?;
                self.mark('}')?;
                (KOp::Bits { shift, width }, args)
            }
            "dot4" => {
                let args = self.operands(3)?;
                self.mark('{')?;
                let bits = self.attribute("bits")?;
                self.mark('}')?;
                (KOp::Dot4 { bits }, args)
            }
            "lut" => {
                let args = self.operands(1)?;
                (KOp::Lut(self.table()?), args)
            }
            "prefetch" => {
                let (buf, index, disp) = self.address()?;
                (KOp::Prefetch { buf, disp }, vec![index])
            }
            "tile_dot" => self.tile_dot()?,
            "shl" => self.with_small(KOp::Shl)?,
            "sar" => self.with_small(KOp::Sar)?,
            "shr" => self.with_small(KOp::Shr)?,
            "bshl" => self.with_small(KOp::BShl)?,
            "extract" => self.with_small(KOp::Extract)?,
            "div_const" => self.with_index(KOp::DivConst)?,
            "rem_const" => self.with_index(KOp::RemConst)?,
            _ => return Err(place.error(format!("there is no op `{word}`"))),
        })
    }

    pub(super) fn operands(&mut self, count: usize) -> Parsed<Vec<Val>> {
        let mut args = Vec::with_capacity(count);
        for i in 0..count {
            if i > 0 {
                self.mark(',')?;
            }
            args.push(self.value()?);
        }
        Ok(args)
    }

    /// The addresses and attributes of a `tile_dot`.
    fn tile_dot(&mut self) -> Parsed<(KOp, Vec<Val>)> {
        let mut places = Vec::new();
        for i in 0..3 {
            if i > 0 {
                self.mark(',')?;
            }
            places.push(self.address()?);
        }
        self.mark('{')?;
        let rows = self.attribute("rows")?;
        self.mark(',')?;
        let k = self.attribute("k")?;
        self.mark(',')?;
        self.word("stride")?;
        let stride = self.number("a number of bytes")?;
        self.mark('}')?;
        let [out, a, w] = [0, 1, 2].map(|i| (places[i].0, places[i].2));
        let tile = TileDot {
            rows,
            k,
            stride,
            out,
            a,
            w,
        };
        Ok((KOp::TileDot(tile), places.iter().map(|p| p.1).collect()))
    }

    fn attribute(&mut self, name: &str) -> Parsed<u8> {
        self.word(name)?;
        self.number("a number below 256")
    }

    /// `{0, 1, 2, …}`: sixteen bytes.
    fn table(&mut self) -> Parsed<[u8; 16]> {
        let mut table = [0; 16];
        for (i, entry) in table.iter_mut().enumerate() {
            self.mark(if i == 0 { '{' } else { ',' })?;
            *entry = self.number("a number below 256")?;
        }
        self.mark('}')?;
        Ok(table)
    }

    /// The rest of an op of a value and a small constant.
    fn with_small(&mut self, op: fn(u8) -> KOp) -> Parsed<(KOp, Vec<Val>)> {
        let args = self.operands(1)?;
        self.mark(',')?;
        Ok((op(self.number("a number below 256")?), args))
    }

    /// The rest of an op of an index and a constant.
    fn with_index(&mut self, op: fn(i64) -> KOp) -> Parsed<(KOp, Vec<Val>)> {
        let args = self.operands(1)?;
        self.mark(',')?;
        Ok((op(self.number("an integer below 2^63")?), args))
    }

    fn lane_cmp(&mut self, suffix: &str) -> Parsed<Option<(KOp, Vec<Val>)>> {
        match Cmp::ALL.into_iter().find(|c| c.keyword() == suffix) {
            Some(cmp) => Ok(Some((KOp::Cmp(cmp), self.operands(2)?))),
            None => Ok(None),
        }
    }

    fn memory_op(&mut self, keyword: &str, suffix: &str) -> Parsed<Option<(KOp, Vec<Val>)>> {
        let mem = Mem::ALL.into_iter().find(|m| m.keyword() == suffix);
        let Some(mem) = mem.filter(|_| ["load", "load_splat", "store"].contains(&keyword)) else {
            return Ok(None);
        };
        let (buf, index, disp) = self.address()?;
        let mut args = vec![index];
        let op = match keyword {
            "load" => KOp::Load { mem, buf, disp },
            "load_splat" => KOp::LoadSplat { mem, buf, disp },
            _ => {
                self.mark(',')?;
                args.push(self.value()?);
                KOp::Store { mem, buf, disp }
            }
        };
        Ok(Some((op, args)))
    }

    /// `$w[%5 + 64]`.
    fn address(&mut self) -> Parsed<(Buf, Val, i32)> {
        let place = self.place;
        let name = self.name('$')?;
        let buf = self
            .buffer(&name)
            .ok_or_else(|| place.error(format!("there is no buffer ${name}")))?;
        self.mark('[')?;
        let index = self.value()?;
        let minus = self.token == Token::Mark('-');
        let mut disp = 0;
        if minus || self.token == Token::Mark('+') {
            self.take()?;
            let place = self.place;
            let bytes = i64::from(self.number::<u32>("a number of bytes")?);
            let signed = i32::try_from(if minus { -bytes } else { bytes });
            disp = signed.map_err(|_| place.error("an offset lies within 2^31 bytes"))?;
        }
        self.mark(']')?;
        Ok((buf, index, disp))
    }
}

/// Ops that are written as a keyword and their operands.
const PLAIN: [KOp; 24] = [
    KOp::Iota,
    KOp::Add,
    KOp::Sub,
    KOp::Mul,
    KOp::Div,
    KOp::Min,
    KOp::Max,
    KOp::And,
    KOp::Or,
    KOp::Neg,
    KOp::Abs,
    KOp::Sqrt,
    KOp::Round,
    KOp::Fma,
    KOp::Fnma,
    KOp::CvtF32,
    KOp::CvtI32,
    KOp::ToIndex,
    KOp::ToI32,
    KOp::Bitcast,
    KOp::Splat,
    KOp::ReduceAdd,
    KOp::ReduceMax,
    KOp::Select,
];

/// `f32`, `u8x64`; lanes from 2 to 255 stand after `x`.
fn parse_type(word: &str) -> Option<Ty> {
    const ELEMS: [Elem; 5] = [Elem::I8, Elem::U8, Elem::I32, Elem::I64, Elem::F32];
    let (name, lanes) = match word.split_once('x') {
        Some((name, lanes)) => (name, lanes.parse().ok().filter(|&n: &u8| n > 1)?),
        None => (word, 1),
    };
    let elem = ELEMS.into_iter().find(|e| e.keyword() == name)?;
    Some(Ty { elem, lanes })
}
