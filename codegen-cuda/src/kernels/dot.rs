//! The inner loop of a product: rows of weights times rows of activations, by one warp.
//!
//! Lane l takes blocks l, l + 32, … of a row (with floats: stretches that one load brings), sums them in that order, and a
//! butterfly adds the lanes. So a sum has the same bits whatever is computed beside it.

use super::text::Names;
use super::weights::{block_functions, float_functions, float_vector};
use crate::layout::{Element, Matrix};

/// What one call of the loop computes.
pub struct Dot<'a> {
    /// Ends the names of the functions.
    pub suffix: &'a str,
    /// How rows of weights lie.
    pub matrix: &'a Matrix,
    /// Whether the input is q8a.
    pub quantized: bool,
    /// Rows of weights together.
    pub outputs: u32,
    /// Rows of activations together.
    pub rows: u32,
}

impl Dot<'_> {
    /// `dot_P(w, n, x, lane, acc)`: adds to `acc[r][t]` this lane's share of row `n[r]` of the matrix at `w[r]` times the
    /// activations at `x[t]`, and the functions that it calls.
    pub fn functions(&self) -> String {
        let m = self.matrix;
        let names = Names::new()
            .with("P", self.suffix)
            .with("NR", self.outputs)
            .with("MR", self.rows)
            .with("K", m.k)
            .with("UNROLL", if self.rows == 1 { 4 } else { 1 });
        match m.element {
            Element::Codes(format) => {
                let sums = match (self.quantized, format.group, format.has_min) {
                    (false, ..) => DECODED,
                    (true, 32, false) => SUM_32,
                    (true, 32, true) => SUM_32_MIN,
                    (true, _, false) => SUM_16,
                    (true, _, true) => SUM_16_MIN,
                };
                let names = names
                    .with("KB", m.blocks())
                    .with("GROUPS", 32 / format.group)
                    .with("GROUP_DWORDS", format.group / 4)
                    .with("OFFSET", format.offset)
                    .with(
                        "X",
                        if self.quantized {
                            "const u8* x"
                        } else {
                            "const float* x"
                        },
                    );
                let load = if self.quantized { CODES_OF_X } else { "" };
                let text = format!("{BLOCKS}{load}{sums}{BLOCKS_END}");
                block_functions(self.suffix, m, format) + &names.fill(&text)
            }
            _ => {
                let names = names.with("V", float_vector(m));
                float_functions(self.suffix, m) + &names.fill(FLOATS)
            }
        }
    }
}

const BLOCKS: &str =
    "DEV void dot_$P(const u8* const (&w)[$NR], const u32 (&n)[$NR], $X, const u32 (&at)[$MR], u32 lane, float (&acc)[$NR][$MR]) {
#pragma unroll $UNROLL
    for (u32 b = lane; b < $KB; b += 32) {
        u32 c[$NR][8];
        float s[$NR][$GROUPS], m[$NR][$GROUPS];
#pragma unroll
        for (int r = 0; r < $NR; ++r) {
            codes_$P(w[r], n[r] * $KB + b, c[r]);
            scales_$P(w[r], n[r] * $KB + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < $MR; ++t) {
";

const CODES_OF_X: &str = "            const u8* from = x + (u64)at[t] * ($K + $K / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + $K + 4 * b);
";

const BLOCKS_END: &str = "        }
    }
}
";

/// The integer products of dwords `from..from + 4` of a block.
macro_rules! four {
    ($start:literal, $x:literal, $from:literal) => {
        concat!(
            "dot4(c[r][",
            $from,
            " + 3], ",
            $x,
            ".w, dot4(c[r][",
            $from,
            " + 2], ",
            $x,
            ".z, dot4(c[r][",
            $from,
            " + 1], ",
            $x,
            ".y, dot4(c[r][",
            $from,
            "], ",
            $x,
            ".x, ",
            $start,
            "))))"
        )
    };
}

/// The loop over the rows of weights around the sums of a block.
macro_rules! sums {
    ($load:literal, $($line:expr),*) => {
        concat!(
            $load,
            "#pragma unroll\n            for (int r = 0; r < $NR; ++r) {\n",
            $("                ", $line, "\n",)*
            "            }\n"
        )
    };
}

const SUM_32: &str = sums!(
    "            const int nx = (int)load4(from + $K + $K / 8 + 4 * b);\n",
    concat!("int d = ", four!("$OFFSET * nx", "x0", "0"), ";"),
    concat!("d = ", four!("d", "x1", "4"), ";"),
    "acc[r][t] = fmaf(sx, s[r][0] * (float)d, acc[r][t]);"
);

const SUM_32_MIN: &str = sums!(
    "            const int nx = (int)load4(from + $K + $K / 8 + 4 * b);\n",
    concat!("int d = ", four!("$OFFSET * nx", "x0", "0"), ";"),
    concat!("d = ", four!("d", "x1", "4"), ";"),
    "acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);"
);

const SUM_16: &str = sums!(
    "            const uint2 nx = load8(from + $K + $K / 4 + 8 * b);\n",
    concat!("const int d0 = ", four!("$OFFSET * (int)nx.x", "x0", "0"), ";"),
    concat!("const int d1 = ", four!("$OFFSET * (int)nx.y", "x1", "4"), ";"),
    "acc[r][t] = fmaf(sx, fmaf(s[r][1], (float)d1, s[r][0] * (float)d0), acc[r][t]);"
);

const SUM_16_MIN: &str = sums!(
    "            const uint2 nx = load8(from + $K + $K / 4 + 8 * b);\n",
    concat!("const int d0 = ", four!("$OFFSET * (int)nx.x", "x0", "0"), ";"),
    concat!("const int d1 = ", four!("$OFFSET * (int)nx.y", "x1", "4"), ";"),
    "const float low = fmaf(m[r][1], (float)(int)nx.y, m[r][0] * (float)(int)nx.x);",
    "acc[r][t] = fmaf(sx, fmaf(s[r][1], (float)d1, fmaf(s[r][0], (float)d0, low)), acc[r][t]);"
);

const DECODED: &str = "            const float* from = x + (u64)at[t] * $K + 32 * b;
#pragma unroll
            for (int e = 0; e < 32; ++e) {
                const float xe = loadf(from + e);
#pragma unroll
                for (int r = 0; r < $NR; ++r) {
                    const float level = (float)((int)((c[r][e / 4] >> (8 * (e % 4))) & 255u) - $OFFSET);
                    const float we = fmaf(s[r][e / 4 / $GROUP_DWORDS], level, -m[r][e / 4 / $GROUP_DWORDS]);
                    acc[r][t] = fmaf(we, xe, acc[r][t]);
                }
            }
";

const FLOATS: &str =
    "DEV void dot_$P(const u8* const (&w)[$NR], const u32 (&n)[$NR], const float* x, const u32 (&at)[$MR], u32 lane, float (&acc)[$NR][$MR]) {
#pragma unroll $UNROLL
    for (u32 i = lane * $V; i < $K; i += 32 * $V) {
        float f[$NR][$V];
#pragma unroll
        for (int r = 0; r < $NR; ++r) floats_$P(w[r], n[r], i, f[r]);
#pragma unroll
        for (int t = 0; t < $MR; ++t) {
#pragma unroll
            for (int j = 0; j < $V; ++j) {
                const float xe = loadf(x + (u64)at[t] * $K + i + j);
#pragma unroll
                for (int r = 0; r < $NR; ++r) acc[r][t] = fmaf(f[r][j], xe, acc[r][t]);
            }
        }
    }
}
";
