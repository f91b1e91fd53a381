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
const PAIR: u32 = 2;

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

    fn codes(&self) -> Option<(&'static QuantFormat, Scales)> {
        match (self.matrix.element, self.matrix.scales()) {
            (Element::Codes(format), Some(scales)) => Some((format, scales)),
            _ => None,
        }
    }

    /// `cell_P(cell, lane, b, x, acc)`: adds the products of a cell with the operands `b`, whose sums are `x`.
    /// `ready_P(from, column, b, x)`: makes `b` and `x` of the operands as they are in memory. `total_P(acc, total)`: the
    /// sums of all groups.
    pub fn product_functions(&self) -> String {
        let mut text = Lines::new();
        text.line(self.lookup());
        text.line(self.ready());
        text.line(format_args!(
            "DEV void cell_{}(const u8* cell, u32 lane, const u32 (&b)[{}], const float (&x)[{}], float (&acc)[{}]) {{",
            self.suffix,
            self.operand_words(),
            self.operand_sums(),
            self.sums()
        ));
        text.line(self.load_planes());
        match self.codes() {
            None => text.line(self.float_products()),
            Some((format, scales)) if self.spread => text.line(self.spread_products(format, scales)),
            Some((format, scales)) => text.line(self.code_products(format, scales)),
        }
        text.line("}");
        text.line(self.total());
        text.finish()
    }

    fn total(&self) -> String {
        let mut text = Lines::new();
        let (suffix, sums) = (self.suffix, self.sums());
        text.line(format_args!(
            "DEV void total_{suffix}(const float (&acc)[{sums}], float (&total)[4]) {{"
        ));
        for i in 0..4 {
            let pairs: Vec<String> = (0..sums / 4)
                .map(|pair| format!("acc[{}]", 4 * pair + i))
                .collect();
            let halves: Vec<String> = pairs
                .chunks(2)
                .map(|two| format!("({})", two.join(" + ")))
                .collect();
            text.line(format_args!("    total[{i}] = {};", halves.join(" + ")));
            if self.spread && i % 2 == 0 {
                for lanes in [1, 2] {
                    text.line(format_args!(
                        "    total[{i}] += __shfl_xor_sync(0xffffffffu, total[{i}], {lanes});"
                    ));
                }
            }
        }
        text.line("}");
        text.finish()
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
    fn load_planes(&self) -> String {
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
    fn load_scales(&self, scales: Scales, half: u32) -> String {
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
    fn pairs(&self, group: u32, half: u32) -> String {
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

    /// `lookup_P(w, a, b)`: what the codebook has for the lower two nibbles of each half of `w`, as two pairs.
    fn lookup(&self) -> String {
        match self.matrix.element {
            Element::Codes(QuantFormat {
                codebook: Some(book),
                offset,
                ..
            }) => lookup(self.suffix, book, *offset),
            _ => String::new(),
        }
    }

    fn ready(&self) -> String {
        let (words, sums) = (self.operand_words(), self.operand_sums());
        let plain = 4 * self.matrix.cell_groups();
        let (given, operand) = match self.spread {
            // A lane has the operands of the group that its column is.
            true => (4, "(column == i / 4 ? from[i % 4] : 0)"),
            false => (plain, "from[i]"),
        };
        let mut text = Lines::new();
        text.line(format_args!(
            "DEV void ready_{}(const u32 (&from)[{given}], u32 column, u32 (&b)[{words}], float (&x)[{sums}]) {{",
            self.suffix
        ));
        text.line("#pragma unroll");
        match self.matrix.element {
            Element::Bf16 => text.line(format_args!(
                "    for (u32 i = 0; i < {plain}; ++i) bf16_parts({operand}, b[i / 4 * 8 + i % 4], b[i / 4 * 8 + 4 + i % 4]);"
            )),
            _ => text.line(format_args!("    for (u32 i = 0; i < {plain}; ++i) b[i] = {operand};")),
        }
        match self.codes() {
            Some((format, scales)) if scales.has_min && self.spread => {
                text.line(sums_of_spread(format.group, self.matrix.cell_groups()));
            }
            Some((format, scales)) if scales.has_min => {
                text.line(sums_of_operands(format.group, scales.count))
            }
            _ => text.line("    x[0] = 0.0f;"),
        }
        text.line("}");
        text.finish()
    }

    /// Even and odd halves of groups have sums of their own, so that products need not wait for one another.
    fn float_products(&self) -> String {
        let mut text = Lines::new();
        text.line("    float even[4] = {}, odd[4] = {};");
        for group in 0..self.matrix.cell_groups() {
            text.line("    {");
            text.line(self.pairs(group, 0) + &self.pairs(group, 1));
            for (n, sum) in ["even", "odd"].into_iter().enumerate() {
                let a = format!("a0{0}, a1{0}, a0{1}, a1{1}", 2 * n, 2 * n + 1);
                let b = |first: u32| format!("b[{}], b[{}]", first + 2 * n as u32, first + 2 * n as u32 + 1);
                match self.matrix.element {
                    Element::Bf16 => {
                        text.line(format_args!("        mma_bf16({sum}, {a}, {});", b(8 * group)));
                        text.line(format_args!(
                            "        mma_bf16({sum}, {a}, {});",
                            b(8 * group + 4)
                        ));
                    }
                    _ => text.line(format_args!("        mma_f16({sum}, {a}, {});", b(4 * group))),
                }
            }
            text.line("    }");
        }
        text.line("#pragma unroll");
        text.line("    for (u32 i = 0; i < 4; ++i) acc[i] += even[i] + odd[i];");
        text.finish()
    }

    /// Products of a group with all columns: `d`, and `e` where its halves have scales of their own.
    fn group_products(&self, format: &QuantFormat, group: u32) -> String {
        let mut text = Lines::new();
        text.line(self.pairs(group, 0) + &self.pairs(group, 1));
        for n in 0..2 {
            let b = 4 * group + 2 * n;
            let into = if format.group == 16 && n == 1 { "e" } else { "d" };
            text.line(format_args!(
                "        mma_f16({into}, a0{0}, a1{0}, a0{1}, a1{1}, b[{b}], b[{2}]);",
                2 * n,
                2 * n + 1,
                b + 1
            ));
        }
        text.finish()
    }

    /// Columns are rows of operands.
    fn code_products(&self, format: &QuantFormat, scales: Scales) -> String {
        let mut text = Lines::new();
        text.line(self.load_scales(scales, 0) + &self.load_scales(scales, 1));
        let per = 32 / format.group;
        for pair in 0..self.matrix.cell_groups().div_ceil(PAIR) {
            text.line("    {");
            text.line("        float sum[4] = {}, low[4] = {};");
            for group in (PAIR * pair..self.matrix.cell_groups()).take(PAIR as usize) {
                text.line("        {");
                text.line("        float d[4] = {}, e[4] = {};");
                text.line(self.group_products(format, group));
                for part in 0..per {
                    let n = group * per + part;
                    let from = ["d", "e"][part as usize];
                    text.line(scaled(scales, n, |i| (format!("{from}[{i}]"), 2 * n + i % 2)));
                }
                text.line("        }");
            }
            for i in 0..4 {
                text.line(added(scales, i, &format!("acc[{}]", 4 * pair + i)));
            }
            text.line("    }");
        }
        text.finish()
    }

    /// Columns are groups: lanes have the sums of two of them.
    fn spread_products(&self, format: &QuantFormat, scales: Scales) -> String {
        let mut text = Lines::new();
        text.line(self.load_scales(scales, 0) + &self.load_scales(scales, 1));
        text.line("    float d[4] = {}, e[4] = {}, sum[4] = {}, low[4] = {};");
        for group in 0..self.matrix.cell_groups() {
            text.line("    {");
            text.line(self.group_products(format, group));
            text.line("    }");
        }
        let per = 32 / format.group;
        for n in 0..PAIR * per {
            let (column, from) = (n / per, ["d", "e"][(n % per) as usize]);
            text.line(scaled_rows(scales, n, |i| (format!("{from}[{}]", i + column), n)));
        }
        for i in [0, 2] {
            text.line(added(scales, i, &format!("acc[{i}]")));
        }
        text.finish()
    }
}

impl Scales {
    /// Scale `n` of row i or i + 8, of those that [`Cells::load_scales`] loaded.
    fn scale(&self, half: u32, n: u32) -> String {
        let step = 1 + u32::from(self.has_min);
        self.value(half, step * n, u32::from(SCALE_BIAS))
    }

    fn min(&self, half: u32, n: u32) -> Option<String> {
        self.has_min.then(|| self.value(half, 2 * n + 1, 0))
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

/// Adds products with scale `n` to `sum`, and operands with its minimum to `low`; `of` says which, of each of four sums.
fn scaled(scales: Scales, n: u32, of: impl Fn(u32) -> (String, u32)) -> String {
    scaled_of(scales, n, &[0, 1, 2, 3], of)
}

/// The same of the two sums of rows of weights.
fn scaled_rows(scales: Scales, n: u32, of: impl Fn(u32) -> (String, u32)) -> String {
    scaled_of(scales, n, &[0, 2], of)
}

fn scaled_of(scales: Scales, n: u32, sums: &[u32], of: impl Fn(u32) -> (String, u32)) -> String {
    let mut text = Lines::new();
    text.line("        {");
    for half in 0..2 {
        let by = scales.scale(half, n);
        text.line(format_args!("            const float by{half} = {by};"));
        if let Some(min) = scales.min(half, n) {
            text.line(format_args!("            const float min{half} = {min};"));
        }
    }
    for &i in sums {
        let (half, (product, x)) = (i / 2, of(i));
        text.line(format_args!(
            "            sum[{i}] = fmaf(by{half}, {product}, sum[{i}]);"
        ));
        if scales.has_min {
            text.line(format_args!(
                "            low[{i}] = fmaf(min{half}, x[{x}], low[{i}]);"
            ));
        }
    }
    text.line("        }");
    text.finish()
}

/// Adds `sum` less `low` to a sum that lasts, with the factors of the row.
fn added(scales: Scales, i: u32, to: &str) -> String {
    let half = i / 2;
    match (scales.levels, scales.has_min) {
        (FormatScales::One, false) => format!("        {to} += sum[{i}];"),
        (FormatScales::One, true) => format!("        {to} += sum[{i}] - low[{i}];"),
        (FormatScales::Two, false) => format!("        {to} = fmaf(d{half}, sum[{i}], {to});"),
        (FormatScales::Two, true) => {
            format!("        {to} = fmaf(-e{half}, low[{i}], fmaf(d{half}, sum[{i}], {to}));")
        }
    }
}

/// Products with ones: the layout of the sums is that of all products.
fn sums_of_operands(group: u32, count: u32) -> String {
    let mut text = Lines::new();
    for n in 0..count {
        text.line("    {");
        text.line("        float d[4] = {};");
        for step in 0..group / 16 {
            let b = (n * group / 16 + step) * 2;
            text.line(format_args!(
                "        mma_f16(d, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u, b[{b}], b[{}]);",
                b + 1
            ));
        }
        text.line(format_args!(
            "        x[{}] = d[0]; x[{}] = d[1];",
            2 * n,
            2 * n + 1
        ));
        text.line("    }");
    }
    text.finish()
}

/// The same where columns are groups: `x` has the sums of the scales of two.
fn sums_of_spread(group: u32, groups: u32) -> String {
    let mut text = Lines::new();
    let ones = "0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u";
    text.line("    float d[4] = {}, e[4] = {};");
    for n in 0..2 * groups {
        let into = if group == 16 && n % 2 == 1 { "e" } else { "d" };
        text.line(format_args!(
            "    mma_f16({into}, {ones}, b[{}], b[{}]);",
            2 * n,
            2 * n + 1
        ));
    }
    match group {
        16 => text.line("    x[0] = d[0]; x[1] = e[0]; x[2] = d[1]; x[3] = e[1];"),
        _ => text.line("    x[0] = d[0]; x[1] = d[1];"),
    }
    text.finish()
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
