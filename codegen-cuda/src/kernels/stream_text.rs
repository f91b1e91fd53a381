//! The text of [`super::StreamProduct`] and of [`super::JoinProduct`]: templates, of which each instance fills in the names.

pub(super) const START: &str = "    SHARED_BYTES(shared);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const shared_t full = shared_address(shared + $BARRIERS), empty = full + 8 * $SLOTS;
    const shared_t operands_full = empty + 8 * $SLOTS, summed = operands_full + 8 * $SLOTS;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < $SLOTS; ++i) {
            barrier_init(full + 8 * i, COPY_ARRIVALS);
            barrier_init(empty + 8 * i, $CONSUMERS);
            barrier_init(operands_full + 8 * i, COPY_ARRIVALS);
            barrier_init(summed + 8 * i, 1);
        }
        barriers_ready();
    }
    __syncthreads();
    let_next_begin();
    const u32 row0 = blockIdx.y * $ROWS;
    const u32 low = first_unit(blockIdx.x), high = first_unit(blockIdx.x + 1);
    u32 copies = 0;
";

/// The units of a block are those before the first of the next.
pub(super) const CUT: &str = "DEV u32 first_unit(u32 block) { return (u32)((u64)$UNITS * block / $BLOCKS); }
";

pub(super) const RANGE: &str = "    const u32 first$P = units_before(low, $BEFORE, 1, $PART_UNITS), end$P = units_before(high, $BEFORE, 1, $PART_UNITS);
";

/// Copies cells as far ahead as there is room.
pub(super) const COPIER: &str = "    if (warp == $CONSUMERS) {
        const u64 policy = read_once();
$BODY        return;
    }
";

pub(super) const COPY_PART: &str = "        for (u32 u = first$P; u < end$P; ++u, ++copies) {
            const u32 slot = copies % $SLOTS, turn = copies / $SLOTS, strip = u / $CELLS;
            const u32 tile = strip % $STRIPS * $TILES, tiles = $PART_TILES - tile < $TILES ? $PART_TILES - tile : $TILES;
            const u8* from = (strip < $STRIPS ? $W : $SECOND) + ((u64)tile * $CELLS + u % $CELLS) * $CELL;
            if (copies >= $IN_FLIGHT) {
                const u32 before = copies - $IN_FLIGHT;
                barrier_wait(full + 8 * (before % $SLOTS), before / $SLOTS & 1);
            }
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(full + 8 * slot, tiles * $CELL, lane);
            copy_pieces(shared + slot * $SLOT, $CELL, from, $CELLS * $CELL, tiles, $CELL, full + 8 * slot, lane, policy);
            copy_end(full + 8 * slot, lane);
            // A lane that lags would miss the phases that it waits for.
            __syncwarp();
        }
";

/// Copies the same elements of all rows, once what made them is done.
pub(super) const OPERAND_COPIER: &str = "    wait_for_previous();
    const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $ROWS ? all - row0 : $ROWS);
    if (warp == $CONSUMERS + 1) {
        const u64 policy = read_often();
$BODY        return;
    }
";

pub(super) const COPY_OPERANDS: &str = "        for (u32 u = first$P; u < end$P; ++u, ++copies) {
            const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
            barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
            copy_begin(operands_full + 8 * slot, rows * $ROW_BYTES, lane);
            copy_pieces(shared + slot * $SLOT + $OPERANDS, $ROW_STRIDE,
                        (const u8*)(x + (u64)row0 * $STRIDE) + u % $CELLS * $ROW_BYTES, 2 * $STRIDE, rows, $ROW_BYTES,
                        operands_full + 8 * slot, lane, policy);
            copy_end(operands_full + 8 * slot, lane);
            __syncwarp();
        }
";

/// Sums the operands that products with minima need.
pub(super) const SUMMER: &str = "    if (warp == $CONSUMERS + 2) {
$BODY        return;
    }
";

/// It follows every unit, also of parts without minima: turns of a slot are told by their parity.
pub(super) const SUM_PART: &str = "        for (u32 u = first$P; u < end$P; ++u, ++copies) {
            const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
            barrier_wait(operands_full + 8 * slot, turn & 1);
$SUMS_OF_UNIT            __syncwarp();
            if (lane == 0) barrier_arrive(summed + 8 * slot);
        }
";

pub(super) const SUMS_OF_UNIT: &str = "            u8* start = shared + slot * $SLOT;
            for (u32 n = 0; n < $COLUMNS && 8 * n < rows; ++n) {
                const u8* at = start + $OPERANDS + (8 * n + lane / 4) * $ROW_STRIDE + lane % 4 * 8;
                u32 b[$B], x[$X];
#pragma unroll
                for (u32 i = 0; i < $B / 2; ++i) {
                    const uint2 pair = load8(at + 32 * i);
                    b[2 * i] = pair.x;
                    b[2 * i + 1] = pair.y;
                }
                sums_$P(b, lane / 4, x);
#pragma unroll
                for (u32 i = 0; i < $X; ++i) *(u32*)(start + $SUMS + (n * $X + i) * 128 + lane * 4) = x[i];
            }
";

pub(super) const SUMS_WAIT: &str = "            barrier_wait(summed + 8 * slot, turn & 1);
";

/// Consumers multiply: each has two tiles of a strip.
pub(super) const CONSUME_PART: &str = "    for (u32 u = first$P; u < end$P;) {
        const u32 strip = u / $CELLS, stop = (strip + 1) * $CELLS < end$P ? (strip + 1) * $CELLS : end$P;
        float acc[2][$COLUMNS][4] = {};
        for (; u < stop; ++u, ++copies) {
            const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
            const u8* start = shared + slot * $SLOT;
            const u8* cells = start + warp * (2 * $CELL);
            const u8* at = start + $OPERANDS + lane / 4 * $ROW_STRIDE + lane % 4 * 8;
            float d[2][2];
            barrier_wait(full + 8 * slot, turn & 1);
            factors_$P(cells, lane, d[0]);
            factors_$P(cells + $CELL, lane, d[1]);
            barrier_wait(operands_full + 8 * slot, turn & 1);
$SHARES$SUMS_WAIT$MINIMA            __syncwarp();
            if (lane == 0) barrier_arrive(empty + 8 * slot);
        }
        for (u32 j = 0; j < 2; ++j) {
            const u32 tile = warp * 2 + j;
            u32* to = (u32*)sums + ((((u64)blockIdx.y * $ALL_SLOTS + $STRIPS_BEFORE + strip + blockIdx.x) * $TILES + tile)
                                    * $COLUMNS * 32 + lane) * 4;
            if (strip % $STRIPS * $TILES + tile >= $PART_TILES) continue;
#pragma unroll
            for (u32 n = 0; n < $COLUMNS; ++n) {
                if (8 * n >= rows) break;
                *(uint4*)(to + 128 * n) =
                    make_uint4(__float_as_uint(acc[j][n][0]), __float_as_uint(acc[j][n][1]), __float_as_uint(acc[j][n][2]),
                               __float_as_uint(acc[j][n][3]));
            }
        }
    }
";

pub(super) const CONSUME_SHARE: &str = "            {
                u32 a[2][8 * $SHARE];
                levels_$PS(cells, lane, a[0]);
                levels_$PS(cells + $CELL, lane, a[1]);
#pragma unroll
                for (u32 n = 0; n < $COLUMNS; ++n) {
                    uint2 b[2 * $SHARE];
#pragma unroll
                    for (u32 i = 0; i < 2 * $SHARE; ++i) b[i] = load8(at + n * (8 * $ROW_STRIDE) + 64 * $SHARE * $S + 32 * i);
#pragma unroll
                    for (u32 j = 0; j < 2; ++j) {
                        float s[4] = {};
#pragma unroll
                        for (u32 i = 0; i < 2 * $SHARE; ++i)
                            mma_f16(s, a[j][4 * i], a[j][4 * i + 1], a[j][4 * i + 2], a[j][4 * i + 3], b[i].x, b[i].y);
#pragma unroll
                        for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(d[j][i / 2], s[i], acc[j][n][i]);
                    }
                }
            }
";

pub(super) const CONSUME_MINIMA: &str = "#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                u32 m[4];
                float e[2];
                minima_$P(cells + j * $CELL, lane, m, e);
#pragma unroll
                for (u32 n = 0; n < $COLUMNS; ++n) {
                    u32 x[$X];
#pragma unroll
                    for (u32 i = 0; i < $X; ++i) x[i] = load4(start + $SUMS + (n * $X + i) * 128 + lane * 4);
                    float s[4] = {};
$MMA#pragma unroll
                    for (u32 i = 0; i < 4; ++i) acc[j][n][i] = fmaf(e[i / 2], s[i], acc[j][n][i]);
                }
            }
";

/// Adds the sums of a strip that blocks left, in the order of blocks, which is that of elements.
pub(super) const ADD: &str = "DEV void add_sums(const u32* at, u32 strip, float (&sum)[4]) {
    const u32 first = block_of(strip * $CELLS), last = block_of(strip * $CELLS + $CELLS - 1);
#pragma unroll
    for (u32 i = 0; i < 4; ++i) sum[i] = 0.0f;
#pragma unroll 4
    for (u32 b = first; b <= last; ++b) {
        const uint4 v = load16(at + (u64)(strip + b) * ($TILES * $COLUMNS * 128));
        sum[0] += __uint_as_float(v.x);
        sum[1] += __uint_as_float(v.y);
        sum[2] += __uint_as_float(v.z);
        sum[3] += __uint_as_float(v.w);
    }
}
";

pub(super) const BLOCK_OF: &str =
    "DEV u32 block_of(u32 unit) { return (u32)(((unit + 1ull) * $BLOCKS - 1) / (u64)$UNITS); }
";

pub(super) const JOIN_START: &str = "    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, all = (u32)*count;
    const u32 n = blockIdx.y * $WARPS + warp;
    if (8 * n >= all) return;
    u32 tile = blockIdx.x;
    const u32* at = (const u32*)sums + ((u64)(n / $COLUMNS) * ($ALL_SLOTS * $TILES * $COLUMNS) + n % $COLUMNS) * 128 + lane * 4;
";

pub(super) const JOIN_PART: &str = "    if (tile < $PART_TILES) {
        float sum[4];
        add_sums(at + tile % $TILES * ($COLUMNS * 128), $STRIPS_BEFORE + tile / $TILES, sum);
$ADD_SECOND#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const u32 row = 8 * n + lane % 4 * 2 + i % 2, col = 16 * tile + lane / 4 + i / 2 * 8;
            if (row >= all) continue;
            float v = sum[i] * OPERAND_UNIT;
$SECOND_VALUE            $FINISH        }
        return;
    }
    tile -= $PART_TILES;
";

pub(super) const ADD_SECOND: &str = "        float other[4];
        add_sums(at + tile % $TILES * ($COLUMNS * 128), $STRIPS_BEFORE + $STRIPS + tile / $TILES, other);
";

pub(super) const SECOND_VALUE: &str = "            const float second = other[i] * OPERAND_UNIT;
";
