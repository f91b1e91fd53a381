//! Text that multiplies cells of a matrix with operands on tensor cores, and scales the sums.

use super::cells::{Cells, PAIR};
use super::text::Lines;
use crate::layout::{Element, Scales};
use lathe_ir::quant::{FormatScales, QuantFormat};

impl Cells<'_> {
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
