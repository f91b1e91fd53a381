//! Attention of steps of few rows over a cache of f16, on tensor cores.
//!
//! A context is cut into segments of [`SEGMENT`] positions, and these into as many splits as there are segments, or a bound
//! that fills the device, of several segments each: what a row sees alone decides. A block has a split of a row, for the query heads
//! of one KV head; a warp has a block of the cache of each segment. Keys are the left operand as they lie in memory, up to
//! eight heads of queries the right one; of values a lane takes eight elements of four positions, and pairs of positions are
//! made of words of two of them. What is f32 (queries, weights of positions) is two f16 each, one for what the other leaves,
//! so that no more is lost than in the cache. Maxima are those of a warp until all have ended.
//!
//! A row of one split is finished; else [`JoinSplits`] joins the states that are left, in the order of positions.

use super::attention::{Attention, AttentionOut, SEGMENT, first_position, rows_of, stored};
use super::text::{Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::device::Target;
use crate::layout::KvHead;
use lathe_ir::layout::KvType;

/// Most splits of a context: lanes of a warp.
const MOST_SPLITS: u32 = 32;
/// Threads of a block: a warp has a block of the cache of each segment.
pub(super) const THREADS: u32 = SEGMENT;
/// Warps of a block.
const WARPS: u32 = THREADS / 32;
/// Most query heads that a block has: the columns of a product.
const MOST_HEADS: u32 = 8;
/// Largest head: sums of a head are registers.
const MOST_ELEMENTS: u32 = 128;

/// Attention of one layer for steps of few rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SplitAttention {
    of: Attention,
    /// Splits of the longest context.
    splits: u32,
}

impl SplitAttention {
    /// Of heads whose keys and values are f16 and fit registers; `None` for others. With more than one split where two
    /// blocks for each processor leave room.
    pub fn new(of: Attention, target: Target) -> Option<SplitAttention> {
        let blocks = of.kv_heads * chunks(&of);
        let splits = (2 * target.processors / blocks).clamp(2, MOST_SPLITS);
        let f16 = of.types.k == KvType::F16 && of.types.v == KvType::F16;
        let fits = of.head_dim.is_multiple_of(8) && of.head_dim <= MOST_ELEMENTS;
        let rows = matches!(of.out, AttentionOut::Rows { .. });
        (f16 && fits && rows).then_some(SplitAttention {
            of,
            splits: splits.min(of.segments()),
        })
    }

    /// What joins its splits.
    pub fn join(&self) -> JoinSplits {
        JoinSplits { of: *self }
    }

    /// Floats of a state: weighted values, maximum, sum of weights, and what aligns the next.
    fn state_floats(&self) -> u32 {
        self.of.head_dim + 4
    }

    /// Bytes of the states of a row.
    pub fn state_bytes(&self) -> u64 {
        4 * u64::from(self.of.heads) * u64::from(self.splits) * u64::from(self.state_floats())
    }

    /// Splits of the longest context.
    pub fn splits(&self) -> u32 {
        self.splits
    }

    /// Blocks of a split.
    pub fn blocks(&self) -> u32 {
        self.of.kv_heads * chunks(&self.of)
    }

    fn operands(&self) -> bool {
        self.of.out == AttentionOut::Rows { operands: true }
    }

    fn out(&self) -> Param {
        rows_of(self.operands(), self.of.heads * self.of.head_dim).written()
    }

    pub(super) fn name(&self) -> String {
        format!("split_{}", self.suffix())
    }

    /// What tells such kernels apart.
    fn suffix(&self) -> String {
        let of = &self.of;
        let cap = match of.cap {
            0.0 => String::new(),
            cap => format!("_cap{}", float_name(cap)),
        };
        let window = match of.window {
            0 => String::new(),
            window => format!("_w{window}"),
        };
        format!(
            "{}x{}x{}_{}{cap}{window}_t{}_s{}{}",
            of.heads,
            of.kv_heads,
            of.head_dim,
            float_name(of.scale),
            of.blocks_per_seq,
            self.splits,
            if self.operands() { "_op" } else { "" }
        )
    }

    fn names(&self) -> Names {
        Names::new()
            .with("H", self.of.heads)
            .with("D", self.of.head_dim)
            .with("SEG", SEGMENT)
            .with("SPLITS", self.splits)
            .with("STATE", self.state_floats())
            .with("FIRST", first_position(self.of.window))
            .with("STORED", stored(self.operands()))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let of = &self.of;
        let head_dim = of.head_dim;
        let kv = |name: &str, ty| {
            let bytes = KvHead { head_dim, ty }.bytes() * u64::from(of.kv_heads);
            Param::whole(name, ParamType::Bytes, bytes)
        };
        vec![
            Param::rows(
                "q",
                ParamType::F32,
                row_bytes(ParamType::F32, of.heads * head_dim),
            ),
            kv("keys", of.types.k),
            kv("values", of.types.v),
            Param::rows("positions", ParamType::I32, 4),
            Param::rows("seqs", ParamType::I32, 4),
            Param::whole("tables", ParamType::I32, 0),
            Param::rows("states", ParamType::F32, self.state_bytes()).written(),
            self.out(),
        ]
    }

    pub(super) fn source(&self) -> String {
        let of = &self.of;
        let head = KvHead {
            head_dim: of.head_dim,
            ty: KvType::F16,
        };
        let capped = match of.cap {
            0.0 => "x".to_owned(),
            cap => format!("softcap({}, x)", float(cap)),
        };
        let names = self
            .names()
            .with("KVH", of.kv_heads)
            .with("G", of.group())
            .with("GC", together(of))
            .with("CHUNKS", chunks(of))
            .with("RUNS", of.head_dim.div_ceil(32))
            .with("HALVES", of.head_dim.div_ceil(64))
            .with("TABLE", of.blocks_per_seq)
            .with("BYTES", head.bytes())
            .with("WARPS", WARPS)
            .with("SCALE", float(of.scale))
            .with("CAPPED", capped);
        let start = Kernel::head(&self.name(), THREADS, &self.params());
        let functions = names.fill(FUNCTIONS);
        let body = [START, QUERIES, WALK_START, SCORES, WEIGHTS, VALUES, END].map(|part| names.fill(part));
        format!("{functions}{start}{}}}\n", body.concat())
    }
}

/// The merge of the splits of rows that have several.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JoinSplits {
    of: SplitAttention,
}

impl JoinSplits {
    /// Blocks of a row.
    pub fn blocks(&self) -> u32 {
        self.of.of.heads
    }

    /// Vectors of four elements of a head.
    fn vectors(&self) -> u32 {
        self.of.of.head_dim / 4
    }

    /// Threads that share an element of a head.
    fn parts(&self) -> u32 {
        THREADS / self.vectors()
    }

    pub(super) fn name(&self) -> String {
        format!("join_{}", self.of.suffix())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            Param::rows("states", ParamType::F32, self.of.state_bytes()),
            Param::rows("positions", ParamType::I32, 4),
            self.of.out(),
        ]
    }

    pub(super) fn source(&self) -> String {
        let names = self
            .of
            .names()
            .with("WARPS", WARPS)
            .with("VECTORS", self.vectors())
            .with("PARTS", self.parts())
            .with("EACH", self.of.splits.div_ceil(self.parts()));
        let signature = Kernel::signature(&self.name(), THREADS, &self.params());
        format!("{signature}{}}}\n", names.fill(JOIN))
    }
}

/// Query heads of a block.
fn together(of: &Attention) -> u32 {
    of.group().min(MOST_HEADS)
}

/// Blocks of the query heads of a KV head.
fn chunks(of: &Attention) -> u32 {
    of.group().div_ceil(together(of))
}

/// What a lane has of a block of the cache: of keys two rows of two tiles of 16 positions, eight elements of each run of 32;
/// of values four positions of two tiles, eight elements of each 64. Positions beyond `last` are read as it is.
const FUNCTIONS: &str = "struct Keys { u32 of[2][2][$RUNS][4]; };
struct Values { u32 of[2][4][$HALVES][4]; };
DEV void take(u32 (&to)[4], const u8* from, bool there) {
    const uint4 v = there ? load16(from) : make_uint4(0, 0, 0, 0);
    to[0] = v.x;
    to[1] = v.y;
    to[2] = v.z;
    to[3] = v.w;
}
DEV void load_keys(Keys& k, const u8* block, u32 last, u32 lane) {
#pragma unroll
    for (u32 t = 0; t < 2; ++t) {
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            const u32 at = 16 * t + 8 * half + lane / 4;
            const u8* row = block + (at < last ? at : last) * ($D * 2);
#pragma unroll
            for (u32 i = 0; i < $RUNS; ++i) {
                const u32 d = 32 * i + lane % 4 * 8;
                take(k.of[t][half][i], row + 2 * d, d < $D);
            }
        }
    }
}
DEV void load_values(Values& v, const u8* block, u32 last, u32 lane) {
#pragma unroll
    for (u32 t = 0; t < 2; ++t) {
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            const u32 at = 16 * t + 4 * j + lane % 4;
            const u8* row = block + (at < last ? at : last) * ($D * 2);
#pragma unroll
            for (u32 h = 0; h < $HALVES; ++h) {
                const u32 d = 64 * h + lane / 4 * 8;
                take(v.of[t][j][h], row + 2 * d, d < $D);
            }
        }
    }
}
// Two values as two f16, and what that leaves.
DEV void parts_of(float a, float b, u32& high, u32& low) {
    high = half_pair(a, b);
    low = half_pair(a - from_half(high & 0xffffu), b - from_half(high >> 16));
}
";

/// The first keys and values are on their way before the launch before has ended, where no row of this step wrote them.
const START: &str = "    __shared__ float weights[$WARPS][32 * 8], sums[$WARPS][$GC][$D], top_of[$WARPS][8], total_of[$WARPS][8];
    let_next_begin();
    const u32 row = blockIdx.z, split = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 rows = (u32)*count;
    if (row >= rows) return;
    const u32 position = (u32)positions[row], first = $FIRST;
    const u32 seg0 = first / $SEG, segments = position / $SEG - seg0 + 1, each = (segments + $SPLITS - 1) / $SPLITS;
    if (split * each >= segments) return;
    const u32 begin = seg0 + split * each, end = begin + each < seg0 + segments ? begin + each : seg0 + segments;
    const u32 kvh = blockIdx.y / $CHUNKS, g0 = blockIdx.y % $CHUNKS * $GC;
    const u32 heads = $G - g0 < $GC ? $G - g0 : $GC, head0 = kvh * $G + g0;
    const int seq = seqs[row];
    const int* blocks = tables + (u64)(u32)seq * $TABLE;
    // The first position that this step writes.
    float newest = (float)position;
    for (u32 i = lane; i < rows; i += 32) newest = seqs[i] == seq ? fminf(newest, (float)positions[i]) : newest;
    newest = -warp_max(-newest);
    Keys k;
    Values v;
    // Where a warp has no position that is seen, it has nothing to do in that segment.
    const auto there = [&](u32 seg) {
        const u32 from = seg * $SEG + warp * 32;
        return seg < end && from <= position && from + 32 > first;
    };
    const auto place = [&](const u8* half, u32 seg) {
        return half + ((u64)(u32)blocks[seg * $WARPS + warp] * $KVH + kvh) * $BYTES;
    };
    const auto last = [&](u32 seg) { return position - (seg * $SEG + warp * 32); };
    const bool early = there(begin) && (float)(begin * $SEG + warp * 32 + 32) <= newest;
    if (early) {
        load_keys(k, place(keys, begin), last(begin), lane);
        load_values(v, place(values, begin), last(begin), lane);
    }
    wait_for_previous();
    if (!early && there(begin)) {
        load_keys(k, place(keys, begin), last(begin), lane);
        load_values(v, place(values, begin), last(begin), lane);
    }
";

/// A column is a head; a lane has of it what it has of keys.
const QUERIES: &str = "    u32 q_high[$RUNS][4], q_low[$RUNS][4];
    {
        const u32 head = lane / 4;
        const float* from = q + ((u64)row * $H + head0 + (head < heads ? head : 0)) * $D;
#pragma unroll
        for (u32 i = 0; i < $RUNS; ++i) {
            const u32 d = 32 * i + lane % 4 * 8;
            float own[8];
#pragma unroll
            for (u32 e = 0; e < 8; ++e) own[e] = d < $D ? saturated(from[d + e]) : 0.0f;
#pragma unroll
            for (u32 w = 0; w < 4; ++w) parts_of(own[2 * w], own[2 * w + 1], q_high[i][w], q_low[i][w]);
        }
    }
    float top[2] = {-1e30f, -1e30f}, total[2] = {}, mix[$HALVES][4][4] = {};
";

const WALK_START: &str = "    for (u32 seg = begin; seg < end; ++seg) {
        if (!there(seg)) {
            if (there(seg + 1)) {
                load_keys(k, place(keys, seg + 1), last(seg + 1), lane);
                load_values(v, place(values, seg + 1), last(seg + 1), lane);
            }
            continue;
        }
";

/// A lane has scores of four positions and two heads. The next keys are on their way then.
const SCORES: &str = "        float x_of[2][4];
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
            float high[4] = {}, low[4] = {};
#pragma unroll
            for (u32 i = 0; i < $RUNS; ++i) {
#pragma unroll
                for (u32 w = 0; w < 4; w += 2) {
                    const u32 a0 = k.of[t][0][i][w], a1 = k.of[t][1][i][w];
                    const u32 a2 = k.of[t][0][i][w + 1], a3 = k.of[t][1][i][w + 1];
                    mma_f16(high, a0, a1, a2, a3, q_high[i][w], q_high[i][w + 1]);
                    mma_f16(low, a0, a1, a2, a3, q_low[i][w], q_low[i][w + 1]);
                }
            }
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const u32 at = seg * $SEG + warp * 32 + 16 * t + n / 2 * 8 + lane / 4;
                const float x = (high[n] + low[n]) * $SCALE;
                x_of[t][n] = at <= position && at >= first ? $CAPPED : __uint_as_float(0xff800000u);
            }
        }
        if (there(seg + 1)) load_keys(k, place(keys, seg + 1), last(seg + 1), lane);
";

/// Weights of positions, as columns of heads.
const WEIGHTS: &str = "        float by[2];
#pragma unroll
        for (u32 n = 0; n < 2; ++n) {
            float most = fmaxf(fmaxf(x_of[0][n], x_of[0][n + 2]), fmaxf(x_of[1][n], x_of[1][n + 2]));
#pragma unroll
            for (int o = 4; o < 32; o *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, o));
            most = fmaxf(most, top[n]);
            by[n] = expf(top[n] - most);
            top[n] = most;
#pragma unroll
            for (u32 t = 0; t < 2; ++t) {
                x_of[t][n] = expf(x_of[t][n] - most);
                x_of[t][n + 2] = expf(x_of[t][n + 2] - most);
            }
            const float all = (x_of[0][n] + x_of[0][n + 2]) + (x_of[1][n] + x_of[1][n + 2]);
            total[n] = fmaf(total[n], by[n], all);
        }
        float* own = weights[warp];
        __syncwarp();
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
#pragma unroll
            for (u32 n = 0; n < 4; ++n)
                own[(16 * t + n / 2 * 8 + lane / 4) * 8 + lane % 4 * 2 + n % 2] = x_of[t][n];
        }
        __syncwarp();
";

/// Words of two positions become pairs of positions of two elements.
const VALUES: &str = "#pragma unroll
        for (u32 h = 0; h < $HALVES; ++h) {
#pragma unroll
            for (u32 w = 0; w < 4; ++w) {
#pragma unroll
                for (u32 n = 0; n < 4; ++n) mix[h][w][n] *= by[n % 2];
            }
        }
#pragma unroll
        for (u32 t = 0; t < 2; ++t) {
            float p[4];
#pragma unroll
            for (u32 j = 0; j < 4; ++j) p[j] = own[(16 * t + 4 * j + lane % 4) * 8 + lane / 4];
            u32 high[2], low[2];
            parts_of(p[0], p[1], high[0], low[0]);
            parts_of(p[2], p[3], high[1], low[1]);
#pragma unroll
            for (u32 h = 0; h < $HALVES; ++h) {
#pragma unroll
                for (u32 w = 0; w < 4; ++w) {
                    const u32 a0 = __byte_perm(v.of[t][0][h][w], v.of[t][1][h][w], 0x5410u);
                    const u32 a1 = __byte_perm(v.of[t][0][h][w], v.of[t][1][h][w], 0x7632u);
                    const u32 a2 = __byte_perm(v.of[t][2][h][w], v.of[t][3][h][w], 0x5410u);
                    const u32 a3 = __byte_perm(v.of[t][2][h][w], v.of[t][3][h][w], 0x7632u);
                    mma_f16(mix[h][w], a0, a1, a2, a3, high[0], high[1]);
                    mma_f16(mix[h][w], a0, a1, a2, a3, low[0], low[1]);
                }
            }
        }
        if (there(seg + 1)) load_values(v, place(values, seg + 1), last(seg + 1), lane);
    }
";

/// Warps meet in shared memory, in their order.
const END: &str = "#pragma unroll
    for (u32 n = 0; n < 2; ++n) {
        const u32 head = lane % 4 * 2 + n;
        float all = total[n];
#pragma unroll
        for (int o = 4; o < 32; o *= 2) all += __shfl_xor_sync(0xffffffffu, all, o);
        if (lane < 4) {
            top_of[warp][head] = top[n];
            total_of[warp][head] = all;
        }
        if (head < heads) {
#pragma unroll
            for (u32 h = 0; h < $HALVES; ++h) {
#pragma unroll
                for (u32 w = 0; w < 4; ++w) {
                    const u32 d = 64 * h + lane / 4 * 8 + 2 * w;
                    if (d < $D) {
                        sums[warp][head][d] = mix[h][w][n];
                        sums[warp][head][d + 1] = mix[h][w][n + 2];
                    }
                }
            }
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < heads * $D; i += 32 * $WARPS) {
        const u32 g = i / $D, d = i % $D;
        float most = top_of[0][g], l = 0.0f, x = 0.0f;
#pragma unroll
        for (u32 w = 1; w < $WARPS; ++w) most = fmaxf(most, top_of[w][g]);
#pragma unroll
        for (u32 w = 0; w < $WARPS; ++w) {
            const float by = expf(top_of[w][g] - most);
            l = fmaf(total_of[w][g], by, l);
            x = fmaf(sums[w][g][d], by, x);
        }
        if (each >= segments) {
            const float v = __fdiv_rn(x, l);
            out[((u64)row * $H + head0 + g) * $D + d] = $STORED;
            continue;
        }
        float* state = states + (((u64)row * $H + head0 + g) * $SPLITS + split) * $STATE;
        state[d] = x;
        if (d == 0) {
            state[$D] = most;
            state[$D + 1] = l;
        }
    }
";

/// Every warp has a lane for each split, to know what all count; each thread adds four elements of some splits.
const JOIN: &str = "    __shared__ float by_of[$WARPS][32];
    __shared__ float parts[$PARTS][$D];
    const u32 head = blockIdx.x, row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = $FIRST;
    const u32 segments = position / $SEG - first / $SEG + 1, each = (segments + $SPLITS - 1) / $SPLITS;
    const u32 splits = (segments + each - 1) / each;
    if (splits == 1) return;
    const float* from = states + ((u64)row * $H + head) * ($SPLITS * $STATE);
    const u32 part = threadIdx.x / $VECTORS, d = threadIdx.x % $VECTORS * 4;
    uint4 own[$EACH];
#pragma unroll
    for (u32 i = 0; i < $EACH; ++i) {
        const u32 split = i * $PARTS + part;
        own[i] = part < $PARTS && split < splits ? load16(from + split * $STATE + d) : make_uint4(0, 0, 0, 0);
    }
    const bool counts = lane < splits;
    const float top = counts ? from[lane * $STATE + $D] : -1e30f, l = counts ? from[lane * $STATE + $D + 1] : 0.0f;
    const float by = expf(top - warp_max(top)), total = warp_sum(l * by);
    by_of[warp][lane] = by;
    __syncwarp();
    float x[4] = {};
#pragma unroll
    for (u32 i = 0; i < $EACH; ++i) {
        const float f = by_of[warp][(i * $PARTS + part) % 32];
        x[0] = fmaf(__uint_as_float(own[i].x), f, x[0]);
        x[1] = fmaf(__uint_as_float(own[i].y), f, x[1]);
        x[2] = fmaf(__uint_as_float(own[i].z), f, x[2]);
        x[3] = fmaf(__uint_as_float(own[i].w), f, x[3]);
    }
    if (part < $PARTS) {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) parts[part][d + e] = x[e];
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < $D; i += 32 * $WARPS) {
        float all = 0.0f;
#pragma unroll
        for (u32 p = 0; p < $PARTS; ++p) all += parts[p][i];
        const float v = __fdiv_rn(all, total);
        out[((u64)row * $H + head) * $D + i] = $STORED;
    }
";
