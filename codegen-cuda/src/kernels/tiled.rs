//! Attention of steps of many rows, on tensor cores, after FlashAttention-2.
//!
//! A block has a tile of rows of one sequence ([`crate::tiles`] lists them) with
//! query heads of one KV head, row by row and head by head the rows of its matrices. It walks the context in steps of
//! [`keys`](TiledAttention::keys) positions counted from 0: scores, softmax over what was seen so far, weighted values, in registers. The keys and
//! values of the next step are on their way meanwhile. What a row does not see adds nothing to it, to the bit: it is free
//! which rows share a tile. Queries, keys, weights of values are rounded to f16, sums are f32.

use super::attention::{Attention, AttentionOut, first_position};
use super::text::{Names, float, float_name};
use super::{Kernel, Param, ParamType};
use crate::layout::KvHead;
use lathe_ir::layout::KvType;

/// Positions that a block takes at once, where its shared memory holds so many.
const KEYS: [u32; 2] = [64, 32];
/// Rows of the matrices of a block: rows of the step times heads.
const MATRIX_ROWS: u32 = 128;
/// Most elements of a head with 32 rows a warp; more have 16, since sums are in registers.
const WIDE_WARPS: u32 = 128;
/// Most elements of a head.
const MOST_DIM: u32 = 256;

/// Attention of one layer, for tiles of rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TiledAttention {
    /// What is computed.
    pub of: Attention,
    /// Rows of the step in a tile, at most [`MATRIX_ROWS`].
    pub rows: u32,
    /// Positions that a block takes at once.
    pub keys: u32,
}

/// Rows of a tile that suit attention with groups of so many query heads.
pub fn tile_rows(group: u32) -> u32 {
    MATRIX_ROWS / group.min(MATRIX_ROWS / 8)
}

impl TiledAttention {
    /// The kernel for blocks with so much shared memory; `None` where they hold too little, or heads are of a size that no
    /// matrices are cut to.
    pub fn new(of: Attention, rows: u32, shared_bytes: u32) -> Option<TiledAttention> {
        let cut = of.head_dim.is_multiple_of(16) && of.head_dim <= MOST_DIM;
        let mut all = KEYS.map(|keys| TiledAttention { of, rows, keys }).into_iter();
        all.find(|kernel| cut && kernel.dynamic_shared() <= shared_bytes)
    }

    /// Query heads of a KV head that a block has.
    fn together(&self) -> u32 {
        self.of.group().min(MATRIX_ROWS / self.rows)
    }

    /// Blocks of a tile.
    pub fn blocks(&self) -> u32 {
        self.of.kv_heads * self.of.group().div_ceil(self.together())
    }

    /// Matrices of 16 rows that a warp has.
    fn matrices(&self) -> u32 {
        if self.of.head_dim > WIDE_WARPS { 1 } else { 2 }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        32 * MATRIX_ROWS / (16 * self.matrices())
    }

    /// f16 of a row in shared memory: 16 bytes more than it has, so that eight rows lie in different banks.
    fn stride(&self) -> u32 {
        self.of.head_dim + 8
    }

    /// Bytes of shared memory: queries, and two steps of keys and of values.
    pub(super) fn dynamic_shared(&self) -> u32 {
        2 * self.stride() * (MATRIX_ROWS + 4 * self.keys)
    }

    /// Whether rows are stored as operands of products.
    fn operands(&self) -> bool {
        self.of.out == AttentionOut::Rows { operands: true }
    }

    pub(super) fn name(&self) -> String {
        let of = &self.of;
        let cap = match of.cap {
            0.0 => String::new(),
            cap => format!("_cap{}", float_name(cap)),
        };
        let out = if self.operands() { "_op" } else { "" };
        let window = match of.window {
            0 => String::new(),
            window => format!("_w{window}"),
        };
        format!(
            "attention_tiles{}_{}{out}_{}x{}x{}_k{}_v{}_{}{cap}{window}_t{}",
            self.rows,
            self.keys,
            of.heads,
            of.kv_heads,
            of.head_dim,
            of.types.k,
            of.types.v,
            float_name(of.scale),
            of.blocks_per_seq,
        )
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let mut params = self.of.params();
        let out = params.len() - 1;
        params.insert(out, Param::whole("tiles", ParamType::I32, 0));
        params
    }

    pub(super) fn source(&self) -> String {
        let of = &self.of;
        let head = |ty| KvHead {
            head_dim: of.head_dim,
            ty,
        };
        let capped = match of.cap {
            0.0 => String::new(),
            cap => format!("x = softcap({}, x);", float(cap)),
        };
        let seen = match of.window {
            0 => "at <= position".to_owned(),
            window => format!("at <= position && at + {window}u > position"),
        };
        let unseen_before = match of.window {
            0 => "false".to_owned(),
            window => format!("base + {window}u <= last"),
        };
        let names = Names::new()
            .with("H", of.heads)
            .with("KVH", of.kv_heads)
            .with("G", of.group())
            .with("GC", self.together())
            .with("CHUNKS", of.group().div_ceil(self.together()))
            .with("D", of.head_dim)
            .with("STRIDE", self.stride())
            .with("KEYS", self.keys)
            .with("M", MATRIX_ROWS)
            .with("MT", self.matrices())
            .with("THREADS", self.threads())
            .with("TABLE", of.blocks_per_seq)
            .with("KB", head(of.types.k).bytes())
            .with("VB", head(of.types.v).bytes())
            .with("SCALE", float(of.scale))
            .with("CAPPED", capped)
            .with("SEEN", seen)
            .with("UNSEEN_BEFORE", unseen_before)
            .with("FIRST", first_position(of.window));
        let loads = [("keys", of.types.k), ("values", of.types.v)].map(|(name, ty)| {
            let head = head(ty);
            let names = Names::new()
                .with("NAME", name)
                .with("D", of.head_dim)
                .with("STRIDE", self.stride())
                .with("KEYS", self.keys)
                .with("THREADS", self.threads())
                .with("SCALES", head.code_bytes())
                .with("GROUPS", head.groups());
            let names = match ty {
                KvType::F16 => names.with("COPY", COPY_F16),
                KvType::F32 => names.with("COPY", COPY_F32),
                KvType::Bf16 => names.with("COPY", COPY_BF16),
                KvType::Q8_0 => {
                    let copy = names.fill(COPY_CODES);
                    names.with("COPY", copy)
                }
            };
            names.fill(LOAD)
        });
        let store = match self.operands() {
            true => STORE_OPERANDS,
            false => STORE_FLOATS,
        };
        let names = names.with("STORED", store);
        let signature = Kernel::signature(&self.name(), self.threads(), &self.params());
        let body = [START, QUERIES, WALK, SCORES, SOFTMAX, VALUES, STORE].map(|part| names.fill(part));
        format!("{}{signature}{}}}\n", loads.concat(), body.concat())
    }
}

/// Rows of keys or values to shared memory: `first` and `second` are the heads in the two blocks of the step.
const LOAD: &str = "DEV void load_$NAME(u16* to, const u8* first, const u8* second, u32 there) {
#pragma unroll
    for (u32 i = threadIdx.x; i < $KEYS * ($D / 8); i += $THREADS) {
        const u32 row = i / ($D / 8), d = i % ($D / 8) * 8, at = row % 32 * $D + d;
        const u8* head = row < 32 ? first : second;
        u16* out = to + row * $STRIDE + d;
$COPY    }
}
";

const COPY_F16: &str = "        copy16(out, head + 2 * at, row < there);
";

const COPY_F32: &str = "        uint4 pairs = {0, 0, 0, 0};
        if (row < there) {
            const uint4 a = load16(head + 4 * at), b = load16(head + 4 * at + 16);
            pairs.x = half_pair(saturated(__uint_as_float(a.x)), saturated(__uint_as_float(a.y)));
            pairs.y = half_pair(saturated(__uint_as_float(a.z)), saturated(__uint_as_float(a.w)));
            pairs.z = half_pair(saturated(__uint_as_float(b.x)), saturated(__uint_as_float(b.y)));
            pairs.w = half_pair(saturated(__uint_as_float(b.z)), saturated(__uint_as_float(b.w)));
        }
        *(uint4*)out = pairs;
";

const COPY_BF16: &str = "        uint4 pairs = {0, 0, 0, 0};
        if (row < there) {
            const uint4 a = load16(head + 2 * at);
            pairs.x = half_pair(saturated(from_bf16(a.x & 0xffffu)), saturated(from_bf16(a.x >> 16)));
            pairs.y = half_pair(saturated(from_bf16(a.y & 0xffffu)), saturated(from_bf16(a.y >> 16)));
            pairs.z = half_pair(saturated(from_bf16(a.z & 0xffffu)), saturated(from_bf16(a.z >> 16)));
            pairs.w = half_pair(saturated(from_bf16(a.w & 0xffffu)), saturated(from_bf16(a.w >> 16)));
        }
        *(uint4*)out = pairs;
";

const COPY_CODES: &str = "        u32 pairs[4] = {0, 0, 0, 0};
        if (row < there) {
            const float scale = loadf(head + $SCALES + 4 * (row % 32 * $GROUPS + d / 32));
            const uint2 codes = load8(head + at);
#pragma unroll
            for (u32 j = 0; j < 4; ++j) {
                const u32 two = (j < 2 ? codes.x : codes.y) >> (j % 2 * 16);
                const float low = scale * (float)(signed char)two, high = scale * (float)(signed char)(two >> 8);
                pairs[j] = half_pair(saturated(low), saturated(high));
            }
        }
        *(uint4*)out = {pairs[0], pairs[1], pairs[2], pairs[3]};
";

const START: &str = "    SHARED_BYTES(shared);
    u16* const queries = (u16*)shared;
    u16* const stages = queries + $M * $STRIDE;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 row0 = (u32)tiles[2 * blockIdx.y], tall = (u32)tiles[2 * blockIdx.y + 1];
    if (row0 >= *count) return;
    const u32 kvh = blockIdx.x / $CHUNKS, g0 = blockIdx.x % $CHUNKS * $GC;
    const u32 head0 = kvh * $G + g0, heads = $G - g0 < $GC ? $G - g0 : $GC;
    const u32 start = (u32)positions[row0], last = start + tall - 1;
    const int* blocks = tables + (u64)seqs[row0] * $TABLE;
    const u32 bottom = warp * 16 * $MT;
    const bool works = bottom < tall * $GC;
";

/// Rows and heads that are not there are zeros.
const QUERIES: &str = "    for (u32 i = threadIdx.x; i < $M * ($D / 4); i += $THREADS) {
        const u32 m = i / ($D / 4), d = i % ($D / 4) * 4, r = m / $GC, g = m % $GC;
        uint2 pairs = {0, 0};
        if (r < tall && g < heads) {
            const uint4 from = load16(q + ((u64)(row0 + r) * $H + head0 + g) * $D + d);
            const float x = __uint_as_float(from.x) * $SCALE, y = __uint_as_float(from.y) * $SCALE;
            const float z = __uint_as_float(from.z) * $SCALE, w = __uint_as_float(from.w) * $SCALE;
            pairs.x = half_pair(saturated(x), saturated(y));
            pairs.y = half_pair(saturated(z), saturated(w));
        }
        *(uint2*)(queries + m * $STRIDE + d) = pairs;
    }
";

const WALK: &str = "    const float nothing = __uint_as_float(0xff800000u);
    float sums[$MT][$D / 8][4] = {}, top[$MT][2], total[$MT][2] = {};
#pragma unroll
    for (u32 m = 0; m < $MT; ++m) top[m][0] = top[m][1] = nothing;
    u32 base;
    {
        const u32 position = start;
        base = $FIRST / $KEYS * $KEYS;
    }
    // Blocks of the next step; past the last position there are none, and the first stands for them.
    u32 one, two;
    const auto find = [&](u32 at) {
        one = (u32)blocks[(at <= last ? at : base) / 32];
        two = (u32)blocks[(at + 32 <= last ? at + 32 : base) / 32];
    };
    const auto fetch = [&](u32 at, u32 stage) {
        u16* const to = stages + stage * 2 * $KEYS * $STRIDE;
        const u64 first = (u64)one * $KVH + kvh, second = (u64)two * $KVH + kvh;
        const u32 there = last + 1 - at;
        load_keys(to, keys + first * $KB, keys + second * $KB, there);
        load_values(to + $KEYS * $STRIDE, values + first * $VB, values + second * $VB, there);
    };
    find(base);
    fetch(base, 0);
    commit_copies();
    find(base + $KEYS);
    for (u32 stage = 0; base <= last; base += $KEYS, stage ^= 1) {
        wait_copies<0>();
        __syncthreads();
        if (base + $KEYS <= last) {
            fetch(base + $KEYS, stage ^ 1);
            find(base + 2 * $KEYS);
        }
        commit_copies();
        if (!works) continue;
        const u16* const k_rows = stages + stage * 2 * $KEYS * $STRIDE;
        const u16* const v_rows = k_rows + $KEYS * $STRIDE;
";

const SCORES: &str = "        float s[$MT][$KEYS / 8][4] = {};
#pragma unroll
        for (u32 d = 0; d < $D; d += 16) {
            u32 a[$MT][4];
#pragma unroll
            for (u32 m = 0; m < $MT; ++m)
                load_matrices(a[m], queries + (bottom + 16 * m + lane % 16) * $STRIDE + d + lane / 16 * 8);
#pragma unroll
            for (u32 n = 0; n < $KEYS / 16; ++n) {
                u32 b[4];
                load_matrices(b, k_rows + (16 * n + lane % 8 + lane / 16 * 8) * $STRIDE + d + lane / 8 % 2 * 8);
#pragma unroll
                for (u32 m = 0; m < $MT; ++m) {
                    mma_f16(s[m][2 * n], a[m], b[0], b[1]);
                    mma_f16(s[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
";

/// Four lanes share a row.
const SOFTMAX: &str = "        const bool partly = base + $KEYS - 1 > start || $UNSEEN_BEFORE;
        bool higher = false;
        float factor[$MT][2];
#pragma unroll
        for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const u32 position = start + (bottom + 16 * m + 8 * h + lane / 4) / $GC;
                float most = top[m][h];
#pragma unroll
                for (u32 n = 0; n < $KEYS / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) {
                        float& x = s[m][n][2 * h + i];
                        $CAPPED
                        if (partly) {
                            const u32 at = base + 8 * n + lane % 4 * 2 + i;
                            x = $SEEN ? x : nothing;
                        }
                        most = fmaxf(most, x);
                    }
                }
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
                // A row that has seen nothing yet has no maximum to measure from.
                const float from = most == nothing ? 0.0f : most;
                const float low = -1.4426950408889634f * from;
                factor[m][h] = power_of_two(1.4426950408889634f * (top[m][h] - from));
                higher |= most != top[m][h];
                top[m][h] = most;
                float sum = 0.0f;
#pragma unroll
                for (u32 n = 0; n < $KEYS / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 2; ++i) {
                        float& x = s[m][n][2 * h + i];
                        x = power_of_two(fmaf(x, 1.4426950408889634f, low));
                        sum += x;
                    }
                }
                total[m][h] = fmaf(total[m][h], factor[m][h], sum);
            }
        }
        if (warp_any(higher)) {
#pragma unroll
            for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
                for (u32 n = 0; n < $D / 8; ++n) {
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) sums[m][n][i] *= factor[m][i / 2];
                }
            }
        }
";

/// Scores are where the matrix on the left of values has them.
const VALUES: &str = "#pragma unroll
        for (u32 k = 0; k < $KEYS / 16; ++k) {
            u32 a[$MT][4];
#pragma unroll
            for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
                for (u32 i = 0; i < 4; ++i)
                    a[m][i] = half_pair(s[m][2 * k + i / 2][i % 2 * 2], s[m][2 * k + i / 2][i % 2 * 2 + 1]);
            }
#pragma unroll
            for (u32 n = 0; n < $D / 16; ++n) {
                u32 b[4];
                load_matrices_transposed(b, v_rows + (16 * k + lane % 16) * $STRIDE + 16 * n + lane / 16 * 8);
#pragma unroll
                for (u32 m = 0; m < $MT; ++m) {
                    mma_f16(sums[m][2 * n], a[m], b[0], b[1]);
                    mma_f16(sums[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }
";

const STORE: &str = "#pragma unroll
    for (u32 m = 0; m < $MT; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            float all = total[m][h];
            all += __shfl_xor_sync(0xffffffffu, all, 1);
            all += __shfl_xor_sync(0xffffffffu, all, 2);
            const u32 at = bottom + 16 * m + 8 * h + lane / 4, r = at / $GC, g = at % $GC;
            if (r >= tall || g >= heads) continue;
            const float by = __fdiv_rn(1.0f, all);
            auto* to = out + ((u64)(row0 + r) * $H + head0 + g) * $D + lane % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < $D / 8; ++n) {
                const float a = sums[m][n][2 * h] * by, b = sums[m][n][2 * h + 1] * by;
                $STORED
            }
        }
    }
";

const STORE_FLOATS: &str = "*(uint2*)(to + 8 * n) = {__float_as_uint(a), __float_as_uint(b)};";
const STORE_OPERANDS: &str = "*(u32*)(to + 8 * n) = operand_pair(a, b);";
