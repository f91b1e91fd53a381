//! The end of products whose elements several blocks shared.

use super::epilogue::join_params;
use super::text::{Lines, Names};
use super::wide::SPLIT_ROWS;
use super::{Kernel, Param, WideProduct};

pub(super) const THREADS: u32 = 128;
/// Columns of a thread.
const COLUMNS: u32 = 2;

/// The second launch of a [`WideProduct`] with splits: adds what blocks left in the order of elements, and does what follows.
#[derive(Clone, Debug)]
pub struct JoinWide(
    /// The first.
    pub WideProduct,
);

impl JoinWide {
    /// Blocks of a part.
    fn part_blocks(&self, part: usize) -> u32 {
        self.0.parts[part].columns().div_ceil(THREADS * COLUMNS)
    }

    /// Blocks across, for each row.
    pub fn blocks(&self) -> u32 {
        (0..self.0.parts.len()).map(|part| self.part_blocks(part)).sum()
    }

    pub(super) fn name(&self) -> String {
        format!("join_wide_{}", self.0.shape())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        join_params(self.0.sum_bytes(), &self.0.parts)
    }

    pub(super) fn source(&self) -> String {
        let mut text = Lines::new();
        text.line(Kernel::signature(&self.name(), THREADS, &self.params()));
        text.line(START);
        for (i, part) in self.0.parts.iter().enumerate() {
            // Eight columns of the first weight, then eight of the second.
            let (place, second) = match part.paired {
                true => ("col0 / 8 * 16 + col0 % 8", SECOND),
                false => ("col0", ""),
            };
            let names = Names::new()
                .with("BLOCKS", self.part_blocks(i))
                .with("THREADS", THREADS)
                .with("ALL", part.columns())
                .with("SPLITS", self.0.splits)
                .with("SPLIT", u64::from(SPLIT_ROWS) * u64::from(self.0.sum_row()))
                .with("SUM_ROW", self.0.sum_row())
                .with("FIRST", self.0.first_tile(i) * self.0.columns)
                .with("PLACE", place);
            let second = names.fill(second);
            let names = names.with("ADD_SECOND", second);
            let value = if part.paired { SECOND_VALUE } else { "" };
            let names = names.with("SECOND_VALUE", value);
            text.line(names.with("FINISH", part.finish(i)).fill(PART));
        }
        text.line("}");
        text.finish()
    }
}

const START: &str = "    const u32 row = blockIdx.y;
    if (row >= (u32)*count) return;
    u32 block = blockIdx.x;
";

const PART: &str = "    if (block < $BLOCKS) {
        const u32 col0 = (block * $THREADS + threadIdx.x) * 2;
        if (col0 >= $ALL) return;
        const float* at = sums + (u64)row * $SUM_ROW + $FIRST + $PLACE;
        float2 all[$SPLITS];
#pragma unroll
        for (u32 s = 0; s < $SPLITS; ++s) all[s] = *(const float2*)(at + (u64)s * $SPLIT);
        float2 sum = all[0];
#pragma unroll
        for (u32 s = 1; s < $SPLITS; ++s) sum = make_float2(sum.x + all[s].x, sum.y + all[s].y);
$ADD_SECOND#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 col = col0 + i;
            float v = (i == 0 ? sum.x : sum.y) * OPERAND_UNIT;
$SECOND_VALUE            $FINISH        }
        return;
    }
    block -= $BLOCKS;
";

const SECOND: &str = "        float2 other = *(const float2*)(at + 8);
#pragma unroll
        for (u32 s = 1; s < $SPLITS; ++s) {
            const float2 more = *(const float2*)(at + (u64)s * $SPLIT + 8);
            other = make_float2(other.x + more.x, other.y + more.y);
        }
";

const SECOND_VALUE: &str = "            const float second = (i == 0 ? other.x : other.y) * OPERAND_UNIT;
";
