//! Text that reads cells for products of many columns: a share of a cell's groups at a time as operands of tensor cores, each
//! level times its scale. So no sum of a group needs scaling; for few columns that takes more instructions than it saves.

use super::cells::Cells;
use super::text::{Lines, float};
use crate::layout::{Matrix, Scales};
use lathe_ir::quant::FormatScales;

/// Groups that a warp has as operands at a time.
pub(super) const SHARE: u32 = 4;

impl Cells<'_> {
    /// Whether there are such functions: scales of levels are integers, and a cell has all groups that it may.
    pub(super) fn can_stream(m: &Matrix) -> bool {
        matches!(m.scales(), Some(s) if s.levels == FormatScales::Two) && m.cell_groups() == 8
    }

    /// Words of sums of operands that products with minima need of eight rows, one a lane.
    pub(super) fn sum_words(&self) -> u32 {
        match self.matrix.scales() {
            Some(scales) if scales.has_min => scales.count / 4,
            _ => 0,
        }
    }

    /// `levels_P_S(cell, lane, a)`: the groups of share S, as `mma` takes them. `factors_P(cell, lane, d)`: what products of
    /// rows i and i + 8 are multiplied with. With minima, `minima_P(cell, lane, m, e)`: those, and what products with them are
    /// multiplied with, and `sums_P(b, column, x)`: the sums that these products take, of the operands of a cell.
    pub(super) fn stream_functions(&self) -> String {
        let Some((format, scales)) = self.codes() else {
            return String::new();
        };
        let p = self.suffix;
        let mut text = Lines::new();
        text.line(self.lookup());
        let loads = self.load_scales(scales, 0) + &self.load_scales(scales, 1);
        for share in 0..self.matrix.cell_groups() / SHARE {
            text.line(format_args!(
                "DEV void levels_{p}_{share}(const u8* cell, u32 lane, u32 (&a)[{}]) {{",
                8 * SHARE
            ));
            text.line(self.load_planes() + &loads);
            for group in 0..SHARE {
                text.line("    {");
                for half in 0..2 {
                    text.line(self.scaled_pairs(format, scales, share * SHARE + group, half));
                    for pair in 0..4 {
                        let at = 8 * group + 2 * pair + half;
                        text.line(format_args!("        a[{at}] = a{half}{pair};"));
                    }
                }
                text.line("    }");
            }
            text.line("}");
        }
        text.line(format_args!(
            "DEV void factors_{p}(const u8* cell, u32 lane, float (&d)[2]) {{\n{loads}    d[0] = d0; d[1] = d1;\n}}"
        ));
        if scales.has_min {
            text.line(self.minima(scales, format.group, &loads));
            text.line(self.sums_of_operands(scales, format.group));
        }
        text.finish()
    }

    fn minima(&self, scales: Scales, group: u32, loads: &str) -> String {
        let mut text = Lines::new();
        let by = float(-0.5 * group as f32);
        text.line(format_args!(
            "DEV void minima_{}(const u8* cell, u32 lane, u32 (&m)[4], float (&e)[2]) {{\n{loads}",
            self.suffix
        ));
        let (all, of_lane) = (scales.row_bytes(), scales.row_bytes() / 4);
        for half in 0..2 {
            let base = format!(
                "cell + {} + (lane / 4 + {}) * {all} + lane % 4 * {of_lane}",
                self.matrix.scale_offset(),
                8 * half
            );
            let (load, words) = match of_lane {
                4 => (format!("const u32 w{half} = load4({base});"), ["", ""]),
                _ => (format!("const uint2 w{half} = load8({base});"), [".x", ".y"]),
            };
            text.line(format_args!("    {load}"));
            for (n, word) in words.into_iter().enumerate() {
                let at = 2 * n + half;
                // A scale is before each.
                text.line(format_args!(
                    "    m[{at}] = half2_sub(__byte_perm(w{half}{word}, 0x64646464u, 0x4341u), 0x64006400u);"
                ));
            }
            text.line(format_args!("    e[{half}] = {by} * e{half};"));
        }
        text.line("}");
        text.finish()
    }

    /// Products of the minima `m` with the words of sums `x`.
    pub(super) fn mma_of_minima(&self, to: &str) -> String {
        let mut text = Lines::new();
        for b in (0..self.sum_words()).step_by(2) {
            text.line(format_args!(
                "                    mma_f16({to}, m, x[{b}], x[{}]);",
                b + 1
            ));
        }
        text.finish()
    }

    /// Sums of the operands of each scale as a product with minima takes them: the f16, and what their rounding left. They
    /// are divided by half of what they are sums of, so that these two hold all that there can be.
    fn sums_of_operands(&self, scales: Scales, group: u32) -> String {
        let mut text = Lines::new();
        text.line(format_args!(
            "DEV void sums_{}(const u32 (&b)[{}], u32 column, u32 (&x)[{}]) {{",
            self.suffix,
            self.operand_words(),
            self.sum_words()
        ));
        text.line(sums_in_rows(
            group,
            scales.count,
            if group == 16 { 0x3000 } else { 0x2c00 },
        ));
        let words = self.sum_words() / 2;
        for n in 0..words {
            let low = n + words;
            text.line(format_args!(
                "    split_pair(d[{}], d[{}], x[{n}], x[{low}]);",
                2 * n,
                2 * n + 1
            ));
            for i in [n, low] {
                text.line(format_args!("    x[{i}] = transposed(x[{i}]);"));
            }
        }
        text.line("}");
        text.finish()
    }
}

/// Sums of the operands of each scale, times the f16 `by`: each in a row of `d` of its own, in the order in which a lane
/// has minima.
fn sums_in_rows(group: u32, count: u32, by: u32) -> String {
    let mut text = Lines::new();
    text.line("    float d[4] = {};");
    for n in 0..count {
        let row = match (count, n % 4) {
            (16, of @ 0..2) => n / 4 * 2 + of,
            (16, of) => 8 + n / 4 * 2 + of - 2,
            _ => n,
        };
        text.line(format_args!(
            "    {{ const u32 one = column == {} ? 0x{by:04x}{by:04x}u : 0;",
            row % 8
        ));
        let a = if row < 8 {
            "one, 0, one, 0"
        } else {
            "0, one, 0, one"
        };
        for step in 0..group / 16 {
            let b = (n * group / 16 + step) * 2;
            text.line(format_args!("    mma_f16(d, {a}, b[{b}], b[{}]);", b + 1));
        }
        text.line("    }");
    }
    text.finish()
}
