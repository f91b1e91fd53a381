//! [`super::TiledAttention`] with `mma.sync`: on every GPU, for every type of cache.
//!
//! All warps copy the keys and values of the next step while they work on the last, and have rows of queries each.

use super::{MATRIX_ROWS, TiledAttention};
use crate::kernels::text::Names;
use crate::layout::KvHead;
use lathe_ir::layout::KvType;

/// Most elements of a head with 32 rows a warp; more have 16, since sums are in registers.
const WIDE_WARPS: u32 = 128;

/// Matrices of 16 rows that a warp has.
pub fn matrices(head_dim: u32) -> u32 {
    if head_dim > WIDE_WARPS { 1 } else { 2 }
}

/// Threads of a block.
pub fn threads(head_dim: u32) -> u32 {
    32 * MATRIX_ROWS / (16 * matrices(head_dim))
}

/// f16 of a row in shared memory: 16 bytes more than it has, so that eight rows lie in different banks.
pub fn stride(head_dim: u32) -> u32 {
    head_dim + 8
}

/// Bytes of shared memory: queries, and two steps of keys and of values.
pub fn shared(head_dim: u32, keys: u32) -> u32 {
    2 * stride(head_dim) * (MATRIX_ROWS + 4 * keys)
}

/// Functions that copy keys and values.
pub fn functions(tiled: &TiledAttention) -> String {
    let of = &tiled.of;
    let loads = [("keys", of.types.k), ("values", of.types.v)].map(|(name, ty)| {
        let head = KvHead {
            head_dim: of.head_dim,
            ty,
        };
        let names = Names::new()
            .with("NAME", name)
            .with("D", of.head_dim)
            .with("STRIDE", stride(of.head_dim))
            .with("KEYS", tiled.keys)
            .with("THREADS", threads(of.head_dim))
            .with("SCALES", head.code_bytes())
            .with("GROUPS", head.groups());
        let copy = names.fill(match ty {
            KvType::F16 => COPY_F16,
            KvType::F32 => COPY_F32,
            KvType::Bf16 => COPY_BF16,
            KvType::Q8_0 => COPY_CODES,
            KvType::Q4_0 => unreachable!("refused by the lowering"),
        });
        names.with("COPY", copy).fill(LOAD)
    });
    loads.concat()
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

/// Rows and heads that are not there are zeros.
pub const QUERIES: &str = "    u16* const queries = (u16*)shared;
    u16* const stages = queries + $M * $STRIDE;
    const u32 bottom = threadIdx.x / 32 * 16 * $MT;
    const bool works = bottom < tall * $GC;
    for (u32 i = threadIdx.x; i < $M * ($D / 4); i += $THREADS) {
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

pub const WALK: &str =
    "    // Blocks of the next step; past the last position there are none, and the first stands for them.
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

pub const SCORES: &str = "        float s[$MT][$KEYS / 8][4] = {};
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

/// Scores are where the matrix on the left of values has them.
pub const VALUES: &str = "#pragma unroll
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
