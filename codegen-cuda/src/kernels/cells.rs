//! Text that reads cells of a matrix: levels as operands of tensor cores, and what scales them.

use super::text::{Lines, Names, float};
use crate::layout::{Element, Matrix, SCALE_BIAS, Scales, runs};
use half::f16;
use lathe_ir::quant::{Codebook, FormatScales, QuantFormat};

/// The part of names that tells matrices apart: type and shape.
pub fn matrix_name(m: &Matrix) -> String {
    format!("{}_{}x{}", m.dtype, m.rows, m.k)
}

/// Functions on the cells of a matrix, whose names end in `suffix`.
pub struct Cells<'a> {
    /// Ends the names of the functions.
    pub suffix: &'a str,
    /// How rows of weights lie.
    pub matrix: &'a Matrix,
    /// Whether the eight columns of a product are the groups of a cell, because there is one row of operands: the sums of a
    /// group need no scaling before those of the next begin. Only where [`Cells::can_spread`]. Else columns are rows of
    /// operands. Either way the sums of a pair of groups are scaled and added alike, and pairs are added in the same order.
    pub spread: bool,
}

/// Groups of which a lane keeps sums of its own.
pub(super) const PAIR: u32 = 2;

impl Cells<'_> {
    /// Whether columns of products can be the groups of a cell.
    pub fn can_spread(m: &Matrix) -> bool {
        matches!(m.element, Element::Codes(_)) && m.cell_groups() == 8
    }

    /// Floats of sums: of each pair of groups, of two rows of weights and two columns.
    pub fn sums(&self) -> u32 {
        match self.codes() {
            Some(_) if !self.spread => 4 * self.matrix.cell_groups().div_ceil(PAIR),
            _ => 4,
        }
    }

    /// Registers that a lane has of the operands of a cell: four pairs a group, and with bfloat16 what their rounding left.
    pub fn operand_words(&self) -> u32 {
        let each = if matches!(self.matrix.element, Element::Bf16) {
            8
        } else {
            4
        };
        each * self.matrix.cell_groups()
    }

    /// Sums of operands that products with minima need: one a scale and column.
    pub fn operand_sums(&self) -> u32 {
        match self.matrix.scales() {
            Some(scales) if scales.has_min && self.spread => scales.count / 4,
            Some(scales) if scales.has_min => 2 * scales.count,
            _ => 1,
        }
    }

    pub(super) fn codes(&self) -> Option<(&'static QuantFormat, Scales)> {
        match (self.matrix.element, self.matrix.scales()) {
            (Element::Codes(format), Some(scales)) => Some((format, scales)),
            _ => None,
        }
    }

    /// `decode_P(cell, lane, upper, k0, K, to)`: the elements that a lane has of row i, or of row i + 8, of a cell that
    /// begins at element `k0`.
    pub fn decode_functions(&self) -> String {
        let mut text = Lines::new();
        text.line(self.lookup());
        text.line(format_args!(
            "template <class To> DEV void decode_{}(const u8* cell, u32 lane, bool upper, u32 k0, u32 end, To to) {{",
            self.suffix
        ));
        text.line(self.load_planes());
        for half in 0..2 {
            text.line(if half == 0 {
                "    if (!upper) {"
            } else {
                "    } else {"
            });
            if let Some((_, scales)) = self.codes() {
                text.line(self.load_scales(scales, half));
            }
            for group in 0..self.matrix.cell_groups() {
                text.line(self.decode_group(group, half));
            }
        }
        text.line("    }\n}");
        text.finish()
    }

    fn decode_group(&self, group: u32, half: u32) -> String {
        let mut text = Lines::new();
        text.line("    {");
        text.line(self.pairs(group, half));
        for run in 0..2u32 {
            let mut values = Vec::new();
            for (pair, i) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(pair, i)| (2 * run + pair, i)) {
                let level = format!("(a{half}{pair} >> {}) & 0xffffu", 16 * i);
                let value = match (self.matrix.element, self.codes()) {
                    (Element::Bf16, _) => format!("from_bf16({level})"),
                    (_, None) => format!("from_half({level})"),
                    (_, Some((format, scales))) => {
                        let n = (group * 32 + run * 16) / format.group;
                        let (by, min) = self.effective(scales, half, n);
                        format!("{by} * from_half({level}){min}")
                    }
                };
                values.push(value);
            }
            text.line(format_args!(
                "        put4(to, k0 + {} + 4 * (lane % 4), end, {});",
                group * 32 + run * 16,
                values.join(", ")
            ));
        }
        text.line("    }");
        text.finish()
    }

    /// Scale `n` of a row, and what is taken off for its minimum.
    fn effective(&self, scales: Scales, half: u32, n: u32) -> (String, String) {
        let (by, min) = (scales.scale(half, n), scales.min(half, n));
        match scales.levels {
            FormatScales::One => (by, min.map_or(String::new(), |m| format!(" - {m}"))),
            FormatScales::Two => (
                format!("(d{half} * {by})"),
                min.map_or(String::new(), |m| format!(" - e{half} * {m}")),
            ),
        }
    }

    /// Loads the words of planes into `pN[]`.
    pub(super) fn load_planes(&self) -> String {
        let m = self.matrix;
        let mut text = Lines::new();
        for (n, &bits) in m.planes().iter().enumerate() {
            let words = m.plane_words(bits);
            text.line(format_args!("    u32 p{n}[{words}];"));
            for (first, run) in runs(words) {
                let place = format!("cell + {} + lane * {}", m.plane(n) + 128 * first, 4 * run);
                text.line(load_words(&format!("p{n}"), first, run, &place));
            }
        }
        text.finish()
    }

    /// Loads the scales of row i or i + 8 into `sH[]`, those of all groups or of the two of the lane, and the factors into
    /// `dH` and `eH`.
    pub(super) fn load_scales(&self, scales: Scales, half: u32) -> String {
        let m = self.matrix;
        let mut text = Lines::new();
        let row = format!("(lane / 4 + {})", 8 * half);
        let all = scales.row_bytes();
        let (bytes, first) = match self.spread {
            true => (all / 4, format!(" + lane % 4 * {}", all / 4)),
            false => (all, String::new()),
        };
        text.line(format_args!("    u32 s{half}[{}];", bytes.div_ceil(4)));
        let base = format!("cell + {} + {row} * {all}{first}", m.scale_offset());
        match bytes {
            2 => text.line(format_args!("    s{half}[0] = load2({base});")),
            _ => {
                for (first, run) in runs(bytes / 4) {
                    text.line(load_words(
                        &format!("s{half}"),
                        first,
                        run,
                        &format!("{base} + {}", 4 * first),
                    ));
                }
            }
        }
        let base = format!("cell + {} + {row} * {}", m.factor_offset(), scales.factor_bytes());
        match scales.factor_bytes() {
            0 => {}
            2 => text.line(format_args!(
                "    const float d{half} = from_half(load2({base}));"
            )),
            _ => {
                text.line(format_args!("    const u32 f{half} = load4({base});"));
                text.line(format_args!(
                    "    const float d{half} = from_half(f{half} & 0xffffu), e{half} = from_half(f{half} >> 16);"
                ));
            }
        }
        text.finish()
    }

    /// The levels of a group of row i or i + 8 as pairs `aH0`, …, `aH3`.
    pub(super) fn pairs(&self, group: u32, half: u32) -> String {
        let mut text = Lines::new();
        let planes = self.matrix.planes();
        for pair in 0..4 {
            let name = format!("a{half}{pair}");
            let fields: Vec<_> = planes
                .iter()
                .map(|&b| Matrix::field(b, group, half, pair))
                .collect();
            let word = |n: usize| format!("p{n}[{}]", fields[n].word);
            let Element::Codes(format) = self.matrix.element else {
                text.line(format_args!("        const u32 {name} = {};", word(0)));
                continue;
            };
            if format.codebook.is_some() {
                // Two pairs in one look.
                if pair % 2 == 0 {
                    let shifted = shift(&word(0), fields[0].shift);
                    text.line(format_args!(
                        "        u32 a{half}{pair}, a{half}{}; lookup_{}({shifted}, a{half}{pair}, a{half}{});",
                        pair + 1,
                        self.suffix,
                        pair + 1
                    ));
                }
                continue;
            }
            let offset = u32::from(format.offset);
            if planes == [4] && fields[0].shift % 8 == 4 {
                // Sixteen times the code: no shift.
                let v = format!(
                    "and_or({}, 0x00f000f0u, 0x64006400u)",
                    shift(&word(0), fields[0].shift - 4)
                );
                let (by, less) = (pair_of(0.0625), pair_of(-(64.0 + offset as f32)));
                text.line(format_args!(
                    "        const u32 {name} = half2_fma({v}, {by}, {less});"
                ));
                continue;
            }
            let mut code = String::from("0x64006400u");
            let mut below = 0;
            for (n, &bits) in planes.iter().enumerate() {
                let mask = (((1u32 << bits) - 1) << below) * 0x0001_0001;
                let moved = match fields[n].shift.checked_sub(below) {
                    Some(by) => shift(&word(n), by),
                    None => format!("({} << {})", word(n), below - fields[n].shift),
                };
                code = format!("and_or({moved}, 0x{mask:08x}u, {code})");
                below += u32::from(bits);
            }
            let less = pair_of(1024.0 + offset as f32);
            text.line(format_args!(
                "        const u32 {name} = half2_sub({code}, {less});"
            ));
        }
        text.finish()
    }

    /// The levels of a group of row i or i + 8 times their scales, as pairs `aH0`, …, `aH3`. A code is behind the exponent of
    /// 1024 or, four bits higher, of 64: what that adds and the offset, times the scale, is exact.
    pub(super) fn scaled_pairs(&self, format: &QuantFormat, scales: Scales, group: u32, half: u32) -> String {
        let mut text = Lines::new();
        let per = 32 / format.group;
        for part in 0..per {
            let scale = scales.as_operand(half, group * per + part);
            text.line(format_args!("        const u32 k{half}{part} = {scale};"));
        }
        if format.codebook.is_some() {
            text.line(self.pairs(group, half));
        }
        for pair in 0..4 {
            let (name, scale) = (format!("a{half}{pair}"), format!("k{half}{}", pair * per / 4));
            if format.codebook.is_some() {
                text.line(format_args!("        {name} = half2_fma({name}, {scale}, 0);"));
                continue;
            }
            let (code, base) = self.raised_code(group, half, pair);
            let less = pair_of(-(base + f32::from(format.offset)));
            text.line(format_args!(
                "        const u32 {name} = half2_fma({code}, {scale}, half2_fma({scale}, {less}, 0));"
            ));
        }
        text.finish()
    }

    /// A pair of codes, each of which a power of two is added to; and that power. Of a plane alone, the codes that need the
    /// fewest shifts.
    fn raised_code(&self, group: u32, half: u32, pair: u32) -> (String, f32) {
        let planes = self.matrix.planes();
        let field = |bits| Matrix::field(bits, group, half, pair);
        let at = match planes {
            [4] if field(4).shift % 8 == 0 => 0,
            _ => 4,
        };
        let (exponent, base) = if at == 0 { (0x6400, 1024.0) } else { (0x5400, 64.0) };
        let mut code = format!("0x{exponent:04x}{exponent:04x}u");
        let mut to = at;
        for (n, &bits) in planes.iter().enumerate() {
            let mask = (((1u32 << bits) - 1) << to) * 0x0001_0001;
            let (field, word) = (field(bits), format!("p{n}[{}]", field(bits).word));
            let moved = match field.shift.checked_sub(to) {
                Some(by) => shift(&word, by),
                None => format!("({word} << {})", to - field.shift),
            };
            code = format!("and_or({moved}, 0x{mask:08x}u, {code})");
            to += u32::from(bits);
        }
        (code, base)
    }

    /// `lookup_P(w, a, b)`: what the codebook has for the lower two nibbles of each half of `w`, as two pairs.
    pub(super) fn lookup(&self) -> String {
        match self.matrix.element {
            Element::Codes(QuantFormat {
                codebook: Some(book),
                offset,
                ..
            }) => lookup(self.suffix, book, *offset),
            _ => String::new(),
        }
    }
}

impl Scales {
    /// Scale `n` of row i or i + 8, of those that [`Cells::load_scales`] loaded.
    pub(super) fn scale(&self, half: u32, n: u32) -> String {
        let step = 1 + u32::from(self.has_min);
        self.value(half, step * n, u32::from(SCALE_BIAS))
    }

    pub(super) fn min(&self, half: u32, n: u32) -> Option<String> {
        self.has_min.then(|| self.value(half, 2 * n + 1, 0))
    }

    /// Scale `n` of the lower of two levels, as two f16 of the same value.
    fn as_operand(&self, half: u32, n: u32) -> String {
        let at = n * (1 + u32::from(self.has_min));
        let (word, byte) = (at / 4, at % 4);
        let less = pair_of(1024.0 + f32::from(SCALE_BIAS));
        format!("half2_sub(__byte_perm(s{half}[{word}], 0x64646464u, 0x4{byte}4{byte}u), {less})")
    }

    /// Entry `n` of the row: an f16, or a byte less the bias.
    fn value(&self, half: u32, n: u32, bias: u32) -> String {
        match self.levels {
            FormatScales::One => {
                let word = format!("s{half}[{}]", n / 2);
                match n % 2 {
                    0 => format!("from_half({word} & 0xffffu)"),
                    _ => format!("from_half({word} >> 16)"),
                }
            }
            // Behind the exponent of 2²³ a byte is a float: no slow conversion.
            FormatScales::Two => format!(
                "(__uint_as_float(__byte_perm(s{half}[{}], 0x4b000000u, 0x744{}u)) - {})",
                n / 4,
                n % 4,
                float((8_388_608 + bias) as f32)
            ),
        }
    }
}

/// Statements that load a run of words.
fn load_words(array: &str, first: u32, run: u32, place: &str) -> String {
    let fields = ["x", "y", "z", "w"];
    let (ty, load) = match run {
        4 => ("uint4", "load16"),
        2 => ("uint2", "load8"),
        _ => return format!("    {array}[{first}] = load4({place});"),
    };
    let assign: Vec<String> = (0..run)
        .map(|i| format!("{array}[{}] = v.{};", first + i, fields[i as usize]))
        .collect();
    format!("    {{ const {ty} v = {load}({place}); {} }}", assign.join(" "))
}

fn shift(word: &str, by: u32) -> String {
    match by {
        0 => word.to_owned(),
        by => format!("({word} >> {by})"),
    }
}

/// Two f16 of the same value.
fn pair_of(value: f32) -> String {
    let bits = f16::from_f32(value).to_bits();
    format!("0x{bits:04x}{bits:04x}u")
}

fn lookup(suffix: &str, book: &Codebook, offset: u8) -> String {
    let words: Vec<String> = book
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| format!("0x{:08x}u", u32::from_le_bytes(*b)))
        .collect();
    Names::new()
        .with("P", suffix)
        .with("A", &words[0])
        .with("B", &words[1])
        .with("C", &words[2])
        .with("D", &words[3])
        .with("LESS", pair_of(1024.0 + f32::from(offset)))
        .fill(LOOKUP)
}

/// Indices become one a byte: of the first pair, of the second, of the first, of the second.
const LOOKUP: &str = "DEV void lookup_$P(u32 w, u32& a, u32& b) {
    const u32 c = (w & 0x000f000fu) | ((w & 0x00f000f0u) << 4);
    const u32 pairs = c | (c >> 4);
    const u32 nibbles = __byte_perm(pairs, 0u, 0x4420u);
    const u32 low = __byte_perm($A, $B, nibbles & 0x7777u);
    const u32 high = __byte_perm($C, $D, nibbles & 0x7777u);
    const u32 mask = ((c >> 3) & 0x01010101u) * 255u;
    const u32 found = (low & ~mask) | (high & mask);
    a = half2_sub(__byte_perm(found, 0x64646464u, 0x4240u), $LESS);
    b = half2_sub(__byte_perm(found, 0x64646464u, 0x4341u), $LESS);
}";

/// Statements that load `v` elements of a type at `p` into the array `f`.
pub fn load_floats(element: &Element, v: u32, p: &str, f: &str) -> String {
    let (bytes, convert) = match element {
        Element::F32 => (4 * v, "__uint_as_float"),
        Element::Bf16 => (2 * v, "from_bf16"),
        Element::F16 | Element::Codes(_) => (2 * v, "from_half"),
    };
    let mut text = Lines::new();
    let words: Vec<String> = match bytes {
        16 => ["x", "y", "z", "w"].map(|c| format!("l.{c}")).to_vec(),
        8 => ["x", "y"].map(|c| format!("l.{c}")).to_vec(),
        _ => vec!["l".to_owned()],
    };
    text.line(match bytes {
        16 => format!("    const uint4 l = load16({p});"),
        8 => format!("    const uint2 l = load8({p});"),
        4 => format!("    const u32 l = load4({p});"),
        _ => format!("    const u32 l = load2({p});"),
    });
    for i in 0..v {
        let bits = match bytes / v {
            4 => words[i as usize].clone(),
            _ if i % 2 == 0 => format!("{} & 0xffffu", words[i as usize / 2]),
            _ => format!("{} >> 16", words[i as usize / 2]),
        };
        text.line(format_args!("    {f}[{i}] = {convert}({bits});"));
    }
    text.finish()
}
