//! Products with weights of f32, of activations of f32.
//!
//! A block computes a tile of rows of activations by a number of outputs of one part. Each warp takes outputs of the tile
//! one after another: lane l takes stretches l, l + 32, … of a row, and a butterfly adds the lanes. So a sum has the same
//! bits whatever is computed beside it.

use super::cells::load_floats;
use super::epilogue::ProductPart;
use super::text::{Lines, Names};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::Element;

/// Products that share their input.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Rows of a tile, one of [`DENSE_ROWS`].
    pub rows: u32,
    /// The products, at least one, of equal numbers of inputs.
    pub parts: Vec<ProductPart>,
}

/// Rows of the tiles that there are; steps of more rows have several tiles of the last.
pub const DENSE_ROWS: [u32; 2] = [1, 8];

/// Warps of a block.
const WARPS: u32 = 8;
/// Outputs of a tile.
const TILE: u32 = 8;

impl Dense {
    fn k(&self) -> u32 {
        self.parts.first().map_or(0, |p| p.matrix.k)
    }

    pub(super) fn threads(&self) -> u32 {
        32 * WARPS
    }

    /// Tiles of outputs of all parts.
    pub fn tiles(&self) -> u32 {
        self.parts.iter().map(|p| p.columns().div_ceil(TILE)).sum()
    }

    pub(super) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(ProductPart::name).collect();
        format!("dense_{}r_{}_{}", self.rows, self.k(), parts.join("__"))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let x = Param::rows("x", ParamType::F32, row_bytes(ParamType::F32, self.k()));
        let parts = self.parts.iter().enumerate();
        std::iter::once(x)
            .chain(parts.flat_map(|(i, p)| p.params(i)))
            .collect()
    }

    pub(super) fn source(&self) -> String {
        let k = self.k();
        let vector = [4, 2].into_iter().find(|v| k.is_multiple_of(*v)).unwrap_or(1);
        let dot = Names::new()
            .with("MR", self.rows)
            .with("K", k)
            .with("V", vector)
            .with("LOAD", load_floats(&Element::F32, vector, "(w + 4 * i)", "f"))
            .fill(DOT);
        let mut bodies = Lines::new();
        let mut first = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let end = first + part.columns().div_ceil(TILE);
            let second = match part.paired {
                true => format!("            dot(second{i} + 4 * at, x, rows_at, lane, two);\n"),
                false => String::new(),
            };
            let names = Names::new()
                .with("P", i)
                .with("FIRST", first)
                .with("END", end)
                .with("N", part.matrix.rows)
                .with("TILE", TILE)
                .with("WARPS", WARPS)
                .with("MR", self.rows)
                .with("K", k)
                .with("SECOND", second)
                .with("FINISH", part.finish(i));
            bodies.line(names.fill(PART));
            first = end;
        }
        let signature = Kernel::signature(&self.name(), self.threads(), &self.params());
        let start = Names::new().with("MR", self.rows).fill(START);
        format!("{dot}{signature}{start}{}}}\n", bodies.finish())
    }
}

const DOT: &str =
    "DEV void dot(const u8* w, const float* x, const u32 (&rows)[$MR], u32 lane, float (&acc)[$MR]) {
    for (u32 i = lane * $V; i < $K; i += 32 * $V) {
        float f[$V];
$LOAD#pragma unroll
        for (int t = 0; t < $MR; ++t) {
#pragma unroll
            for (int j = 0; j < $V; ++j) acc[t] = fmaf(f[j], x[(u64)rows[t] * $K + i + j], acc[t]);
        }
    }
#pragma unroll
    for (int t = 0; t < $MR; ++t) acc[t] = warp_sum(acc[t]);
}
";

const START: &str = "    const u32 rows = (u32)*count, row0 = blockIdx.x * $MR, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 rows_at[$MR];
#pragma unroll
    for (u32 t = 0; t < $MR; ++t) rows_at[t] = row0 + t < rows ? row0 + t : rows - 1;
";

const PART: &str = "    if (tile >= $FIRST && tile < $END) {
        for (u32 o = warp; o < $TILE; o += $WARPS) {
            const u32 col = (tile - $FIRST) * $TILE + o;
            const u64 at = (u64)(col < $N ? col : $N - 1) * $K;
            float one[$MR] = {}, two[$MR] = {};
            dot(w$P + 4 * at, x, rows_at, lane, one);
$SECOND            float v = one[0], second = two[0];
#pragma unroll
            for (u32 t = 1; t < $MR; ++t) {
                v = lane == t ? one[t] : v;
                second = lane == t ? two[t] : second;
            }
            const u32 row = row0 + lane;
            if (lane >= $MR || row >= rows) continue;
            $FINISH        }
    }";
