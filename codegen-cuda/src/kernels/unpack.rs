//! A matrix in tiles becomes the panels of products with many rows: once, when weights are loaded, or in each step.

use super::cells::{Cells, matrix_name};
use super::text::Names;
use super::{Kernel, Param, ParamType};
use crate::layout::{GROUP, Matrix, PANEL_BYTES, Panels, TILE};

/// Threads of a block: a warp has a cell.
const THREADS: u32 = 128;

/// A matrix, or two, to panels.
#[derive(Clone, Copy, Debug)]
pub struct Unpack {
    /// The layout of each.
    pub matrix: Matrix,
    /// Whether there are two.
    pub paired: bool,
}

impl Unpack {
    /// What is made.
    pub fn panels(&self) -> Panels {
        Panels {
            rows: self.matrix.rows,
            k: self.matrix.k,
            paired: self.paired,
        }
    }

    /// Blocks that do all cells of a matrix.
    pub fn blocks(&self) -> u32 {
        (self.matrix.tiles() * self.matrix.cells()).div_ceil(THREADS / 32)
    }

    pub(super) fn name(&self) -> String {
        let pair = if self.paired { "_pair" } else { "" };
        format!("unpack_{}{pair}", matrix_name(&self.matrix))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let weight = |name| Param::whole(name, ParamType::Bytes, self.matrix.bytes());
        let mut params = vec![weight("w")];
        params.extend(self.paired.then(|| weight("second")));
        params.push(Param::whole("out", ParamType::Panels, self.panels().bytes()).written());
        params
    }

    pub(super) fn source(&self) -> String {
        let m = &self.matrix;
        let cells = Cells {
            suffix: "w",
            matrix: m,
            spread: false,
        };
        let names = Names::new()
            .with("THREADS", THREADS)
            .with("TILES", m.tiles())
            .with("CELLS", m.cells())
            .with("CELL", m.cell_bytes())
            .with("ELEMENTS", m.cell_groups() * GROUP)
            .with("END", m.groups() * GROUP)
            .with("STEPS", self.panels().steps())
            .with("PANEL", PANEL_BYTES)
            .with("TILE", TILE)
            .with("SECOND", if self.paired { "second" } else { "w" })
            .with(
                "ROW",
                if self.paired {
                    "r / 8 * 16 + blockIdx.y * 8 + r % 8"
                } else {
                    "r"
                },
            );
        let signature = Kernel::signature(&self.name(), THREADS, &self.params());
        let functions = cells.decode_functions();
        format!(
            "{functions}{}{signature}{}}}\n",
            names.fill(ROW),
            names.fill(BODY)
        )
    }
}

/// A row of panels, of which four elements in a run of eight are written at a time.
const ROW: &str = "struct Row {
    u8* start;
    u32 flip;
};
DEV void put4(const Row& to, u32 k, u32, float a, float b, float c, float d) {
    u8* at = to.start + (u64)(k / 64) * $PANEL + ((k % 64 / 8) ^ to.flip) * 16 + k % 8 * 2;
    *(uint2*)at = make_uint2(half_pair(saturated(a), saturated(b)), half_pair(saturated(c), saturated(d)));
}
";

/// Half a step past the last group is zeros.
const BODY: &str =
    "    const u32 unit = blockIdx.x * ($THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (unit >= $TILES * $CELLS) return;
    const u32 tile = unit / $CELLS, c = unit % $CELLS;
    const u8* cell = (blockIdx.y == 0 ? w : $SECOND) + (u64)unit * $CELL;
    for (u32 half = 0; half < 2; ++half) {
        const u32 r = tile * $TILE + half * 8 + lane / 4;
        const u32 row = $ROW;
        const Row to = {out + (u64)(row / 128) * ((u64)$STEPS * $PANEL) + row % 128 * 128, row % 8};
        decode_w(cell, lane, half == 1, c * $ELEMENTS, $END, to);
        if (c + 1 < $CELLS) continue;
        for (u32 k = $END + lane % 4 * 4; k < $STEPS * 64; k += 16) put4(to, k, 0, 0.0f, 0.0f, 0.0f, 0.0f);
    }
";
