//! The text of [`super::Product`]: templates, of which each instance fills in the names.

pub(super) const START: &str = "    SHARED_BYTES(shared);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const shared_t full = shared_address(shared + $BARRIERS), empty = full + 8 * $SLOTS;
    const shared_t operands_full = empty + 8 * $SLOTS, done = operands_full + 8 * $SLOTS, taken = done + 16;
    const shared_t norm_full = taken + 16, squared = norm_full + 8;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < $SLOTS; ++i) {
            barrier_init(full + 8 * i, COPY_ARRIVALS);
            barrier_init(empty + 8 * i, $PER_COPY);
            barrier_init(operands_full + 8 * i, COPY_ARRIVALS);
        }
        for (u32 i = 0; i < 2; ++i) {
            barrier_init(done + 8 * i, $DONE);
            barrier_init(taken + 8 * i, 1);
        }
        barrier_init(norm_full, COPY_ARRIVALS);
        barrier_init(squared, $CONSUMERS);
        barriers_ready();
    }
    __syncthreads();
    let_next_begin();
    const u32 row0 = blockIdx.y * $MR;
";

/// Copies cells as far ahead as there is room.
pub(super) const COPIER: &str = "    if (warp == $CONSUMERS) {
        const u64 policy = read_once();
        u32 copies = 0;
$BODY        return;
    }
";

pub(super) const COPY_PART: &str = "        for (u32 u = first$P; u < end$P; ++u) {
            const u32 tiles = u * $TILES + $TILES < $PART_TILES ? $TILES : $PART_TILES - u * $TILES;
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                const u8* from = (m == 0 ? $W : $SECOND) + (u64)u * ($TILES * $CELLS * $CELL);
                for (u32 s = 0; s < $STEPS; ++s) {
                    const u32 left = tiles * $CELLS - s * $CONSUMERS, cells = left < $CONSUMERS ? left : $CONSUMERS;
                    for (u32 at = 0; at < $CONSUMERS; at += $PER_COPY, ++copies) {
                        const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
                        if (copies >= $IN_FLIGHT) {
                            const u32 before = copies - $IN_FLIGHT;
                            barrier_wait(full + 8 * (before % $SLOTS), before / $SLOTS & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        const u32 count = at < cells ? (cells - at < $PER_COPY ? cells - at : $PER_COPY) : 0;
                        copy_begin(full + 8 * slot, count * $CELL, lane);
                        copy_piece(shared + slot * $SLOT, from + (s * $CONSUMERS + at) * $CELL, count * $CELL,
                                   full + 8 * slot, lane, policy);
                        copy_end(full + 8 * slot, lane);
                        // A lane that lags would miss the phases that it waits for.
                        __syncwarp();
                    }
                }
            }
        }
";

/// Copies rows of operands, once what made them is done.
pub(super) const OPERAND_COPIER: &str = "    if (warp == $CONSUMERS + 2) {
        wait_for_previous();
        const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
        const u64 policy = read_often();
        u32 copies = 0;
$BODY        return;
    }
";

pub(super) const COPY_OPERANDS: &str = "        for (u32 u = first$P; u < end$P; ++u) {
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                for (u32 s = 0; s < $STEPS; ++s) {
                    const u32 left = $CELLS - s * $CONSUMERS, cells = left < $CONSUMERS ? left : $CONSUMERS;
                    for (u32 at = 0; at < $CONSUMERS; at += $PER_COPY, ++copies) {
                        const u32 slot = copies % $SLOTS, turn = copies / $SLOTS;
                        const u32 count = at < cells ? (cells - at < $PER_COPY ? cells - at : $PER_COPY) : 0;
                        const u32 bytes = count * ($ELEMENTS * 2);
                        const shared_t bar = operands_full + 8 * slot;
                        if (copies >= $IN_FLIGHT) {
                            const u32 before = copies - $IN_FLIGHT;
                            barrier_wait(operands_full + 8 * (before % $SLOTS), before / $SLOTS & 1);
                        }
                        barrier_wait(empty + 8 * slot, (turn & 1) ^ 1);
                        copy_begin(bar, rows * bytes, lane);
                        for (u32 t = 0; t < rows; ++t)
                            copy_piece(shared + slot * $SLOT + $OPERANDS + t * $ROW_STRIDE,
                                       (const u8*)(x + (u64)(row0 + t) * $STRIDE + (s * $CONSUMERS + at) * $ELEMENTS), bytes,
                                       bar, lane, policy);
                        copy_end(bar, lane);
                        __syncwarp();
                    }
                }
            }
        }
";

pub(super) const FINISHER: &str = "    if (warp == $CONSUMERS + 1) {
        wait_for_previous();
        const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
        u32 round = 0;
$BODY        return;
    }
";

pub(super) const FINISH_PART: &str = "        for (u32 u = first$P; u < end$P; ++u, ++round) {
            const u32 set = round % 2;
            const float* sums = (const float*)(shared + $SUMS + set * $SUMS_BYTES);
            barrier_wait(done + 8 * set, round / 2 & 1);
            for (u32 q = 0; q < $TILES && u * $TILES + q < $PART_TILES; ++q) {
                for (u32 i = lane; i < 16 * rows; i += 32) {
                    const u32 t = i / 16, row = row0 + t, col = (u * $TILES + q) * 16 + i % 16;
                    const float* from = sums + (q * $OF_TILE * $MR + t) * $SUM_STRIDE + i % 16;
                    float v = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < $OF_TILE; ++w) v += from[w * $MR * $SUM_STRIDE];
                    v *= OPERAND_UNIT;
$ADD_SECOND                    $FINISH                }
            }
$FILL_UP            __syncwarp();
            if (lane == 0) barrier_arrive(taken + 8 * set);
        }
";

/// A row of operands goes on for half a group where the last tile ends in one.
pub(super) const FILL_UP: &str = "            if (u * $TILES + $TILES >= $PART_TILES)
                for (u32 i = lane; i < 16 * rows; i += 32)
                    out$P[(u64)(row0 + i / 16) * $OUT_STRIDE + 16 * $PART_TILES + i % 16] = 0;
";

pub(super) const FINISH_SECOND: &str = "                    float second = 0.0f;
#pragma unroll
                    for (u32 w = 0; w < $OF_TILE; ++w) second += from[($CONSUMERS + w) * $MR * $SUM_STRIDE];
                    second *= OPERAND_UNIT;
";

pub(super) const CONSUMER_START: &str = "    wait_for_previous();
    const u32 all = (u32)*count, rows = row0 >= all ? 0 : (all - row0 < $MR ? all - row0 : $MR);
    // A column is a row of operands, or a group of the only row.
    const u32 column = lane / 4, loads = $LOADED, of_copy = warp % $PER_COPY;
    // Copies come step by step; where the last of a step is for fewer consumers, the last of them counts for the others.
    u32 copy = warp / $PER_COPY, round = 0;
    const u32 arrives = warp == $CONSUMERS - 1 ? $LAST_ARRIVES : 1;
    u32 from[$WORDS];
";

/// The weights of the norm, before those of the products.
pub(super) const COPY_NORM: &str = "        copy_begin(norm_full, $NORM_BYTES, lane);
        copy_piece(shared + $NORM + 32 * $CONSUMERS, (const u8*)norm, $NORM_BYTES, norm_full, lane, policy);
        copy_end(norm_full, lane);
";

/// Each consumer reads its part of the rows; sums of squares meet in shared memory.
pub(super) const LOAD_AND_NORM: &str = "    {
        const u32 first = warp % $OF_TILE * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
        const float* at = x + (u64)(row0 + loads) * $K + first;
        float own[8 * $OWN], sums_of[$OWN];
#pragma unroll
        for (u32 i = 0; i < 2 * $OWN; ++i) {
            const uint4 v = loads < rows ? load16(at + 16 * i) : make_uint4(0, 0, 0, 0);
            own[4 * i] = __uint_as_float(v.x);
            own[4 * i + 1] = __uint_as_float(v.y);
            own[4 * i + 2] = __uint_as_float(v.z);
            own[4 * i + 3] = __uint_as_float(v.w);
        }
#pragma unroll
        for (u32 i = 0; i < $OWN; ++i) {
            sums_of[i] = 0.0f;
#pragma unroll
            for (u32 j = 0; j < 8; ++j) sums_of[i] = fmaf(own[8 * i + j], own[8 * i + j], sums_of[i]);
        }
$ADD_GROUPS        float sum = sums_of[0];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        float* squares = (float*)(shared + $NORM);
        if (lane % 4 == 0) squares[warp * 8 + column] = sum;
        __syncwarp();
        if (lane == 0) barrier_arrive(squared);
        barrier_wait(squared, 0);
        sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < $OF_TILE; ++i) sum += squares[i * 8 + column];
        const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, $INV_K, $EPS)));
        const float* weights = squares + 8 * $CONSUMERS + first;
        barrier_wait(norm_full, 0);
#pragma unroll
        for (u32 i = 0; i < 2 * $OWN; ++i) {
            const uint4 v = load16(weights + 16 * i);
            const u32 a = to_operand(own[4 * i] * by * __uint_as_float(v.x));
            const u32 b = to_operand(own[4 * i + 1] * by * __uint_as_float(v.y));
            const u32 c = to_operand(own[4 * i + 2] * by * __uint_as_float(v.z));
            const u32 d = to_operand(own[4 * i + 3] * by * __uint_as_float(v.w));
            from[2 * i] = a | b << 16;
            from[2 * i + 1] = c | d << 16;
        }
    }
";

/// Sums of groups are added two and two: those of a lane, or those of the lanes that have one each.
pub(super) const ADD_OWN: &str = "#pragma unroll
        for (u32 o = 1; o < $OWN; o *= 2) {
#pragma unroll
            for (u32 i = 0; i < $OWN; i += 2 * o) sums_of[i] += sums_of[i + o];
        }
";

pub(super) const ADD_LANES: &str = "#pragma unroll
        for (u32 o = 4; o < 32; o *= 2) sums_of[0] += __shfl_xor_sync(0xffffffffu, sums_of[0], (int)o);
";

/// A lane's words of operands at `at`; rows that are not there have none.
pub(super) const LOAD_WORDS: &str = "#pragma unroll
        for (u32 i = 0; i < $OWN; ++i) {
            const uint2 a = loads < rows ? load8(at + 32 * i) : make_uint2(0, 0);
            const uint2 b = loads < rows ? load8(at + 32 * i + 16) : make_uint2(0, 0);
            from[4 * i] = a.x;
            from[4 * i + 1] = a.y;
            from[4 * i + 2] = b.x;
            from[4 * i + 3] = b.y;
        }
";

pub(super) const LOAD_OPERANDS: &str = "    {
        const u16* at = x + (u64)(row0 + loads) * $STRIDE + warp % $OF_TILE * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
$LOAD_WORDS    }
";

pub(super) const READY: &str = "        u32 b[$B];
        float x_sums[$X];
        ready_$P(from, column, b, x_sums);
";

pub(super) const OPERANDS_OF_STEP: &str = "                    const u16* at = (const u16*)(shared + slot * $SLOT + $OPERANDS + loads * $ROW_STRIDE)
                        + of_copy * $ELEMENTS + $OF_COLUMN + lane % 4 * 4;
$LOAD_WORDS";

pub(super) const OPERANDS_WAIT: &str = "                    barrier_wait(operands_full + 8 * slot, turn & 1);
";

pub(super) const CONSUME_PART: &str = "    {
$ONCE        for (u32 u = first$P; u < end$P; ++u, ++round) {
            const u32 set = round % 2;
            float* sums = (float*)(shared + $SUMS + set * $SUMS_BYTES) + warp * $MR * $SUM_STRIDE;
            for (u32 m = 0; m < $WEIGHTS; ++m) {
                float acc[$A] = {}, total[4];
                for (u32 s = 0; s < $STEPS; ++s, copy += $COPIES) {
                    const u32 slot = copy % $SLOTS, turn = copy / $SLOTS;
                    barrier_wait(full + 8 * slot, turn & 1);
$WAIT                    // In the last step of a tile, and in the last unit of a part, there may be fewer cells.
                    const u32 cell = s * $CONSUMERS + warp;
                    if (cell < $CELLS * ($TILES < $PART_TILES - u * $TILES ? $TILES : $PART_TILES - u * $TILES)) {
$EACH                        cell_$P(shared + slot * $SLOT + of_copy * $CELL, lane, b, x_sums, acc);
                    }
                    __syncwarp();
                    if (lane < arrives) barrier_arrive(empty + 8 * slot);
                }
                if (m == 0) barrier_wait(taken + 8 * set, (round / 2 & 1) ^ 1);
                total_$P(acc, total);
                float* to = sums + m * ($CONSUMERS * $MR * $SUM_STRIDE) + column;
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    const u32 t = 2 * (lane % 4) + i;
                    if (t < rows) {
                        to[t * $SUM_STRIDE] = total[i];
                        to[t * $SUM_STRIDE + 8] = total[2 + i];
                    }
                }
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(done + 8 * set);
        }
    }
";
