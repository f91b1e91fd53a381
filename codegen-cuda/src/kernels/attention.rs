//! Attention over the paged cache, read in place.
//!
//! A context is cut into segments of [`SEGMENT`] positions, counted from position 0. A block walks a segment of one row with
//! query heads of one KV head: scores of all positions, their softmax, the weighted sum of values. Each segment is walked
//! from a state that has seen nothing, and the states (maximum, sum of weights, weighted values) are merged in the order of
//! positions: by [`Combine`] where segments are blocks of their own, else by the block that walks them all. Both do the
//! same arithmetic, so that it is free who walks what.

use super::cells::load_floats;
use super::text::{Names, float, float_name};
use super::{Kernel, Param, ParamType, row_bytes};
use crate::layout::{Element, KvHead, operand_stride};
use lathe_ir::layout::{KvType, KvTypes};

/// Positions of a segment.
pub const SEGMENT: u32 = 128;
/// Threads of a block.
pub(super) const THREADS: u32 = 256;
/// Warps of a block.
const WARPS: u32 = THREADS / 32;
/// Most query heads that a block walks together.
const MOST_HEADS: u32 = 8;
/// Elements of keys or values that a lane has on their way at least.
const UNROLLED_ELEMENTS: u32 = 64;
/// Most shared memory for weighted sums of values, one of each warp and the merged one.
const SUMS_BYTES: u32 = 40 * 1024;

/// Attention of one layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: u32,
    /// KV heads, which divide them.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// How keys and values are stored.
    pub types: KvTypes,
    /// Multiplies scores.
    pub scale: f32,
    /// Soft cap of scores; 0 for none.
    pub cap: f32,
    /// Positions that a row sees, its own included; 0 for all.
    pub window: u32,
    /// Entries of a sequence's row of the block table.
    pub blocks_per_seq: u32,
    /// What is left of rows.
    pub out: AttentionOut,
}

/// What attention leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttentionOut {
    /// States of segments, which are blocks of their own.
    States,
    /// Finished rows: operands of products rather than f32, or f32.
    Rows {
        /// Whether they are operands of products.
        operands: bool,
    },
}

/// The parameter of finished rows.
pub(super) fn rows_of(operands: bool, n: u32) -> Param {
    let ty = if operands {
        ParamType::Operands
    } else {
        ParamType::F32
    };
    Param::rows("out", ty, row_bytes(ty, n))
}

/// Whether rows of `n` elements can be stored as operands head by head: nothing has to fill them up.
pub fn stores_operands(n: u32) -> bool {
    operand_stride(n) == n
}

/// What is stored of the element `v`.
pub(super) fn stored(operands: bool) -> &'static str {
    match operands {
        true => "(u16)to_operand(v)",
        false => "v",
    }
}

/// Bytes of the state of a segment: maximum, sum of weights, weighted values.
fn state_floats(head_dim: u32) -> u32 {
    head_dim + 2
}

/// Segments of a context.
fn segments(blocks_per_seq: u32) -> u32 {
    (blocks_per_seq * 32).div_ceil(SEGMENT)
}

/// How one part of the cache is read.
struct Reader {
    head: KvHead,
    /// Elements that a lane loads at once.
    vector: u32,
}

impl Reader {
    fn new(head_dim: u32, ty: KvType) -> Reader {
        let head = KvHead { head_dim, ty };
        Reader {
            head,
            vector: head.vector(),
        }
    }

    /// `load_NAME(head, position, d, f)`: elements d.. of the head at a position of its block.
    fn function(&self, name: &str) -> String {
        let v = self.vector;
        let names = Names::new()
            .with("NAME", name)
            .with("V", v)
            .with("D", self.head.head_dim)
            .with("BYTES", self.head.ty.element_bytes())
            .with("SCALES", self.head.code_bytes())
            .with("GROUPS", self.head.groups());
        let start = names.fill(READ);
        let load = match self.head.ty {
            KvType::F32 => load_floats(&Element::F32, v, "p", "f"),
            KvType::F16 => load_floats(&Element::F16, v, "p", "f"),
            KvType::Bf16 => load_floats(&Element::Bf16, v, "p", "f"),
            KvType::Q8_0 => names.fill(READ_CODES),
            KvType::Q4_0 => unreachable!("refused by the lowering"),
        };
        format!("{start}{load}}}\n")
    }
}

const READ: &str = "DEV void load_$NAME(const u8* head, u32 position, u32 d, float (&f)[$V]) {
    const u8* p = head + (position * $D + d) * $BYTES;
";

const READ_CODES: &str = "    const float scale = loadf(head + $SCALES + 4 * (position * $GROUPS + d / 32));
#pragma unroll
    for (int i = 0; i < $V; ++i) f[i] = scale * (float)(signed char)p[i];
";

impl Attention {
    /// Query heads of a KV head.
    pub fn group(&self) -> u32 {
        self.heads / self.kv_heads
    }

    /// Segments of the longest context.
    pub(super) fn segments(&self) -> u32 {
        segments(self.blocks_per_seq)
    }

    /// Query heads that a block walks together.
    fn together(&self) -> u32 {
        let fits = SUMS_BYTES / (4 * (WARPS + 1) * self.head_dim);
        self.group().min(MOST_HEADS).min(fits).max(1)
    }

    /// Blocks of a row (of a segment of it).
    pub fn blocks(&self) -> u32 {
        self.kv_heads * self.group().div_ceil(self.together())
    }

    /// Whether the shared memory holds a head.
    pub fn fits(&self) -> bool {
        4 * (WARPS + 1) * self.head_dim <= SUMS_BYTES
    }

    /// Bytes of the states of a row.
    pub fn state_bytes(&self) -> u64 {
        let states = u64::from(self.heads) * u64::from(segments(self.blocks_per_seq));
        4 * states * u64::from(state_floats(self.head_dim))
    }

    pub(super) fn name(&self) -> String {
        let cap = match self.cap {
            0.0 => String::new(),
            cap => format!("_cap{}", float_name(cap)),
        };
        let window = match self.window {
            0 => String::new(),
            window => format!("_w{window}"),
        };
        format!(
            "attention_{}_{}x{}x{}_k{}_v{}_{}{cap}{window}_t{}",
            match self.out {
                AttentionOut::States => "split",
                AttentionOut::Rows { operands: true } => "walk_op",
                AttentionOut::Rows { operands: false } => "walk",
            },
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.types.k,
            self.types.v,
            float_name(self.scale),
            self.blocks_per_seq,
        )
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let row = row_bytes(ParamType::F32, self.heads * self.head_dim);
        let kv = |name: &str, ty| {
            let head_dim = self.head_dim;
            let bytes = KvHead { head_dim, ty }.bytes() * u64::from(self.kv_heads);
            Param::whole(name, ParamType::Bytes, bytes)
        };
        let out = match self.out {
            AttentionOut::States => Param::rows("out", ParamType::F32, self.state_bytes()),
            AttentionOut::Rows { operands } => rows_of(operands, self.heads * self.head_dim),
        };
        vec![
            Param::rows("q", ParamType::F32, row),
            kv("keys", self.types.k),
            kv("values", self.types.v),
            Param::rows("positions", ParamType::I32, 4),
            Param::rows("seqs", ParamType::I32, 4),
            Param::whole("tables", ParamType::I32, 0),
            out.written(),
        ]
    }

    fn constants(&self) -> Names {
        Names::new()
            .with("H", self.heads)
            .with("KVH", self.kv_heads)
            .with("G", self.group())
            .with("GC", self.together())
            .with("CHUNKS", self.group().div_ceil(self.together()))
            .with("D", self.head_dim)
            .with("TABLE", self.blocks_per_seq)
            .with("SEGS", segments(self.blocks_per_seq))
            .with("SEG", SEGMENT)
            .with("WARPS", WARPS)
            .with("STATE", state_floats(self.head_dim))
            .with("FIRST", first_position(self.window))
    }

    pub(super) fn source(&self) -> String {
        let readers = [
            ("k", Reader::new(self.head_dim, self.types.k)),
            ("v", Reader::new(self.head_dim, self.types.v)),
        ];
        let mut functions = MERGE.to_owned();
        let mut names = self.constants();
        for (name, reader) in &readers {
            functions += &reader.function(name);
            let lanes = self.head_dim.div_ceil(reader.vector).next_power_of_two().min(32);
            let [v, l, i, b, u] = match *name {
                "k" => ["KV", "KL", "KI", "KB", "KU"],
                _ => ["VV", "VL", "VI", "VB", "VU"],
            };
            names = names
                .with(v, reader.vector)
                .with(l, lanes)
                .with(i, self.head_dim.div_ceil(reader.vector * lanes))
                .with(b, reader.head.bytes())
                .with(
                    u,
                    UNROLLED_ELEMENTS.div_ceil(reader.vector * self.head_dim.div_ceil(reader.vector * lanes)),
                );
        }
        let capped = match self.cap {
            0.0 => "x".to_owned(),
            cap => format!("softcap({}, x)", float(cap)),
        };
        let names = names.with("SCALE", float(self.scale)).with("CAPPED", capped);
        let (start, end) = match self.out {
            AttentionOut::States => (SPLIT_START, SPLIT_END),
            AttentionOut::Rows { .. } => (WALK_START, WALK_END),
        };
        let operands = self.out == AttentionOut::Rows { operands: true };
        let names = names.with("STORED", stored(operands));
        let signature = Kernel::signature(&self.name(), THREADS, &self.params());
        let body = [start, SCORES, SOFTMAX, VALUES, end].map(|part| names.fill(part));
        format!("{functions}{signature}{}}}\n", body.concat())
    }
}

/// The first position that a row at `position` sees.
pub(super) fn first_position(window: u32) -> String {
    match window {
        0 => "0u".to_owned(),
        window => format!("(position >= {window}u ? position - {}u : 0u)", window - 1),
    }
}

/// The state of what was seen, and that of a segment, become one: factors of the sums of either.
const MERGE: &str = "DEV void merge(float& top, float& total, float m, float l, float& before, float& now) {
    const float most = fmaxf(top, m);
    before = expf(top - most);
    now = expf(m - most);
    total = fmaf(total, before, __fmul_rn(l, now));
    top = most;
}
";

const SPLIT_START: &str = "    __shared__ float p[$GC][$SEG], sums[$WARPS][$GC][$D], m_of[$GC], l_of[$GC];
    const u32 row = blockIdx.z, seg = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = $FIRST;
    if (seg > position / $SEG || seg < first / $SEG) return;
    const u32 kvh = blockIdx.y / $CHUNKS, g0 = blockIdx.y % $CHUNKS * $GC;
    const u32 heads = $G - g0 < $GC ? $G - g0 : $GC, head0 = kvh * $G + g0;
    const int* blocks = tables + (u64)seqs[row] * $TABLE;
    {
";

const WALK_START: &str = "    __shared__ float p[$GC][$SEG], sums[$WARPS][$GC][$D], m_of[$GC], l_of[$GC];
    __shared__ float walked[$GC][$D], top_of[$GC], total_of[$GC];
    const u32 row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = $FIRST;
    const u32 kvh = blockIdx.y / $CHUNKS, g0 = blockIdx.y % $CHUNKS * $GC;
    const u32 heads = $G - g0 < $GC ? $G - g0 : $GC, head0 = kvh * $G + g0;
    const int* blocks = tables + (u64)seqs[row] * $TABLE;
    for (u32 i = threadIdx.x; i < $GC * $D; i += 32 * $WARPS) walked[i / $D][i % $D] = 0.0f;
    if (threadIdx.x < $GC) {
        top_of[threadIdx.x] = __uint_as_float(0xff800000u);
        total_of[threadIdx.x] = 0.0f;
    }
    __syncthreads();
    for (u32 seg = first / $SEG; seg <= position / $SEG; ++seg) {
";

/// Lanes share a key; a warp takes several keys at once.
const SCORES: &str = "        {
            const u32 sub = lane % $KL;
            float q_of[$GC][$KI][$KV];
#pragma unroll
            for (u32 g = 0; g < $GC; ++g) {
                const float* from = q + ((u64)row * $H + head0 + (g < heads ? g : 0)) * $D;
#pragma unroll
                for (u32 k = 0; k < $KI; ++k) {
                    const u32 d = (k * $KL + sub) * $KV;
#pragma unroll
                    for (u32 i = 0; i < $KV; ++i) q_of[g][k][i] = d < $D ? from[d + i] : 0.0f;
                }
            }
#pragma unroll $KU
            for (u32 j = warp * (32 / $KL) + lane / $KL; j < $SEG; j += $WARPS * (32 / $KL)) {
                const u32 at = seg * $SEG + j;
                const bool seen = at <= position && at >= first;
                // What is not seen is read as the row's own position is: loads need not wait for one another.
                const u32 from_at = seen ? at : position;
                float dots[$GC] = {};
                const u8* head = keys + ((u64)(u32)blocks[from_at / 32] * $KVH + kvh) * $KB;
#pragma unroll
                for (u32 k = 0; k < $KI; ++k) {
                    const u32 d = (k * $KL + sub) * $KV;
                    if (d >= $D) continue;
                    float f[$KV];
                    load_k(head, from_at % 32, d, f);
#pragma unroll
                    for (u32 g = 0; g < $GC; ++g) {
#pragma unroll
                        for (u32 i = 0; i < $KV; ++i) dots[g] = fmaf(q_of[g][k][i], f[i], dots[g]);
                    }
                }
#pragma unroll
                for (u32 g = 0; g < $GC; ++g) {
                    float x = dots[g];
#pragma unroll
                    for (u32 o = $KL / 2; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                    x *= $SCALE;
                    if (sub == 0) p[g][j] = seen ? $CAPPED : __uint_as_float(0xff800000u);
                }
            }
        }
        __syncthreads();
";

/// A warp a head.
const SOFTMAX: &str = "        for (u32 g = warp; g < $GC; g += $WARPS) {
            float most = __uint_as_float(0xff800000u), sum = 0.0f;
            for (u32 j = lane; j < $SEG; j += 32) most = fmaxf(most, p[g][j]);
            most = warp_max(most);
            for (u32 j = lane; j < $SEG; j += 32) {
                const float e = expf(p[g][j] - most);
                p[g][j] = e;
                sum += e;
            }
            sum = warp_sum(sum);
            if (lane == 0) {
                m_of[g] = most;
                l_of[g] = sum;
            }
        }
        __syncthreads();
";

/// Lanes share a value; sums of warps meet in shared memory.
const VALUES: &str = "        {
            const u32 sub = lane % $VL;
            float mix[$GC][$VI][$VV] = {};
#pragma unroll $VU
            for (u32 j = warp * (32 / $VL) + lane / $VL; j < $SEG; j += $WARPS * (32 / $VL)) {
                const u32 at = seg * $SEG + j;
                // The weight of what is not seen is zero.
                const u32 from_at = at <= position && at >= first ? at : position;
                const u8* head = values + ((u64)(u32)blocks[from_at / 32] * $KVH + kvh) * $VB;
#pragma unroll
                for (u32 k = 0; k < $VI; ++k) {
                    const u32 d = (k * $VL + sub) * $VV;
                    if (d >= $D) continue;
                    float f[$VV];
                    load_v(head, from_at % 32, d, f);
#pragma unroll
                    for (u32 g = 0; g < $GC; ++g) {
#pragma unroll
                        for (u32 i = 0; i < $VV; ++i) mix[g][k][i] = fmaf(p[g][j], f[i], mix[g][k][i]);
                    }
                }
            }
            __syncwarp();
#pragma unroll
            for (u32 g = 0; g < $GC; ++g) {
#pragma unroll
                for (u32 k = 0; k < $VI; ++k) {
                    const u32 d = (k * $VL + sub) * $VV;
#pragma unroll
                    for (u32 i = 0; i < $VV; ++i) {
                        float x = mix[g][k][i];
#pragma unroll
                        for (u32 o = $VL; o < 32; o *= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                        if (lane < $VL && d < $D) sums[warp][g][d + i] = x;
                    }
                }
            }
        }
        __syncthreads();
";

const SPLIT_END: &str = "        float* states = out + (u64)row * $H * $SEGS * $STATE;
        for (u32 i = threadIdx.x; i < heads * $D; i += 32 * $WARPS) {
            const u32 g = i / $D, d = i % $D;
            float x = 0.0f;
#pragma unroll
            for (u32 w = 0; w < $WARPS; ++w) x += sums[w][g][d];
            float* state = states + ((u64)(head0 + g) * $SEGS + seg) * $STATE;
            state[2 + d] = x;
            if (d == 0) {
                state[0] = m_of[g];
                state[1] = l_of[g];
            }
        }
    }
";

const WALK_END: &str = "        for (u32 i = threadIdx.x; i < heads * $D; i += 32 * $WARPS) {
            const u32 g = i / $D, d = i % $D;
            float x = 0.0f;
#pragma unroll
            for (u32 w = 0; w < $WARPS; ++w) x += sums[w][g][d];
            float top = top_of[g], total = total_of[g], before, now;
            merge(top, total, m_of[g], l_of[g], before, now);
            walked[g][d] = fmaf(walked[g][d], before, __fmul_rn(x, now));
        }
        __syncthreads();
        if (threadIdx.x < heads) {
            const u32 g = threadIdx.x;
            float before, now;
            merge(top_of[g], total_of[g], m_of[g], l_of[g], before, now);
        }
        __syncthreads();
    }
    for (u32 i = threadIdx.x; i < heads * $D; i += 32 * $WARPS) {
        const u32 g = i / $D, d = i % $D;
        const float v = __fdiv_rn(walked[g][d], total_of[g]);
        out[((u64)row * $H + head0 + g) * $D + d] = $STORED;
    }
";

/// The merge of the states that [`AttentionOut::States`] are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Combine {
    /// Query heads.
    pub heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// As in [`Attention`].
    pub window: u32,
    /// As in [`Attention`].
    pub blocks_per_seq: u32,
    /// Whether rows are operands of products rather than f32.
    pub operands: bool,
}

impl Combine {
    pub(super) fn name(&self) -> String {
        let window = match self.window {
            0 => String::new(),
            window => format!("_w{window}"),
        };
        format!(
            "combine_{}x{}{window}_t{}{}",
            self.heads,
            self.head_dim,
            self.blocks_per_seq,
            if self.operands { "_op" } else { "" }
        )
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let states = u64::from(self.heads) * u64::from(segments(self.blocks_per_seq));
        let states = 4 * states * u64::from(state_floats(self.head_dim));
        vec![
            Param::rows("states", ParamType::F32, states),
            Param::rows("positions", ParamType::I32, 4),
            rows_of(self.operands, self.heads * self.head_dim).written(),
        ]
    }

    pub(super) fn source(&self) -> String {
        let names = Names::new()
            .with("H", self.heads)
            .with("D", self.head_dim)
            .with("SEG", SEGMENT)
            .with("SEGS", segments(self.blocks_per_seq))
            .with("STATE", state_floats(self.head_dim))
            .with("FIRST", first_position(self.window))
            .with("STORED", stored(self.operands));
        let signature = Kernel::signature(&self.name(), 128, &self.params());
        format!("{MERGE}{signature}{}}}\n", names.fill(COMBINE))
    }
}

const COMBINE: &str = "    const u32 head = blockIdx.x, row = blockIdx.y;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = $FIRST;
    const float* from = states + ((u64)row * $H + head) * $SEGS * $STATE;
    for (u32 d = threadIdx.x; d < $D; d += 128) {
        float top = __uint_as_float(0xff800000u), total = 0.0f, walked = 0.0f, before, now;
#pragma unroll 4
        for (u32 seg = first / $SEG; seg <= position / $SEG; ++seg) {
            const float* state = from + seg * $STATE;
            merge(top, total, state[0], state[1], before, now);
            walked = fmaf(walked, before, __fmul_rn(state[2 + d], now));
        }
        const float v = __fdiv_rn(walked, total);
        out[((u64)row * $H + head) * $D + d] = $STORED;
    }
";
