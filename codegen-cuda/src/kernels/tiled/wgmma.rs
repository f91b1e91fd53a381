//! [`super::TiledAttention`] with the tensor cores of sm_90: keys and values are multiplied where they lie.
//!
//! Four warps copy keys, then values, of a step at a time into a ring in shared memory, in runs of 16 bytes as panels have
//! them; two groups of four warps have half of the rows each, and go their own way: while one is at its softmax, the other
//! multiplies.

use super::{MATRIX_ROWS, TiledAttention};
use crate::kernels::attention::Attention;
use crate::kernels::text::Names;
use crate::kernels::wide::{multiply_tiles, registers};
use lathe_ir::layout::KvType;

/// Threads of a block.
pub const THREADS: u32 = 384;
/// Positions that a block takes at once.
pub const KEYS: u32 = 128;
/// Slots of the ring: keys and values of two steps.
pub const SLOTS: u32 = 4;

/// Whether there is a kernel for such heads.
pub fn fits(of: &Attention) -> bool {
    matches!(of.head_dim, 64 | 128) && [of.types.k, of.types.v] == [KvType::F16; 2]
}

/// Bytes of a slot.
pub fn slot(head_dim: u32) -> u32 {
    2 * KEYS * head_dim
}

/// Bytes of shared memory: queries, the ring, barriers, and what it takes to begin at a multiple of 1024.
pub fn shared(head_dim: u32) -> u32 {
    2 * MATRIX_ROWS * head_dim + SLOTS * slot(head_dim) + 2048
}

/// Functions that multiply.
pub fn functions(tiled: &TiledAttention) -> String {
    let head_dim = tiled.of.head_dim;
    let (list, outputs) = registers(head_dim);
    let operand = |n: u32| format!("%{}", head_dim / 2 + n);
    let values = Names::new()
        .with("RUNS", head_dim / 8)
        .with("KEYS", KEYS)
        .with("SHAPE", format!("m64n{head_dim}k16"))
        .with("LIST", list)
        .with("A0", operand(0))
        .with("A1", operand(1))
        .with("A2", operand(2))
        .with("A3", operand(3))
        .with("B", operand(4))
        .with("ADD", operand(5))
        .with("OUTPUTS", outputs)
        .fill(MULTIPLY);
    multiply_tiles(KEYS) + &values
}

/// Rows and heads that are not there are zeros; then whoever copies goes away.
pub const QUERIES: &str =
    "    u8* const queries = shared + (1024 - ((u32)shared_address(shared) & 1023)) % 1024;
    u8* const ring = queries + $M * $D * 2;
    const shared_t full = shared_address(ring + $SLOTS * $SLOT), empty = full + 8 * $SLOTS;
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < $SLOTS; ++i) {
            barrier_init(full + 8 * i, 4);
            barrier_init(empty + 8 * i, 8);
        }
        barriers_ready();
    }
    for (u32 i = threadIdx.x; i < $M * ($D / 8); i += $THREADS) {
        const u32 m = i / ($D / 8), run = i % ($D / 8), r = m / $GC, g = m % $GC;
        uint4 pairs = {0, 0, 0, 0};
        if (r < tall && g < heads) {
            const float* from = q + ((u64)(row0 + r) * $H + head0 + g) * $D + 8 * run;
            const float4 a = *(const float4*)from, b = *(const float4*)(from + 4);
            pairs.x = half_pair(saturated(a.x * $SCALE), saturated(a.y * $SCALE));
            pairs.y = half_pair(saturated(a.z * $SCALE), saturated(a.w * $SCALE));
            pairs.z = half_pair(saturated(b.x * $SCALE), saturated(b.y * $SCALE));
            pairs.w = half_pair(saturated(b.z * $SCALE), saturated(b.w * $SCALE));
        }
        *(uint4*)(queries + run / 8 * ($M * 128) + m * 128 + (run % 8 ^ m % 8) * 16) = pairs;
    }
    show_to_copies();
    __syncthreads();
";

pub const COPY: &str = "    if (threadIdx.x < 128) {
        give_registers<56>();
        const u32 run = threadIdx.x % ($D / 8), first = threadIdx.x / ($D / 8);
        constexpr u32 EACH = 128 / ($D / 8);
        const auto arrive = [&](u32 i) {
            show_to_copies();
            __syncwarp();
            if (lane == 0) barrier_arrive(full + 8 * (i % $SLOTS));
        };
        u32 it = 0;
        for (u32 at = base; at <= last; at += $KEYS) {
            u32 block[$KEYS / 32];
#pragma unroll
            for (u32 b = 0; b < $KEYS / 32; ++b) block[b] = (u32)blocks[(at + 32 * b <= last ? at + 32 * b : at) / 32];
#pragma unroll 1
            for (u32 half = 0; half < 2; ++half, ++it) {
                const u32 slot = it % $SLOTS;
                barrier_wait(empty + 8 * slot, (it / $SLOTS & 1) ^ 1);
                u8* const to = ring + slot * $SLOT + run / 8 * ($KEYS * 128);
#pragma unroll
                for (u32 b = 0; b < $KEYS / 32; ++b) {
                    const u8* head = (half == 0 ? keys : values) + ((u64)block[b] * $KVH + kvh) * $KB;
#pragma unroll
                    for (u32 i = 0; i < 32 / EACH; ++i) {
                        const u32 in_block = first + EACH * i, row = 32 * b + in_block;
                        copy16(to + row * 128 + (run % 8 ^ row % 8) * 16, head + (in_block * $D + 8 * run) * 2, at + row <= last);
                    }
                }
                commit_copies();
                if (it == 0) continue;
                wait_copies<1>();
                arrive(it - 1);
            }
        }
        wait_copies<0>();
        arrive(it - 1);
        return;
    }
";

/// A group none of whose rows are there lets the ring go by.
pub const SCORES: &str = "    take_registers<224>();
    const u32 group = threadIdx.x / 128 - 1, bottom = 16 * (threadIdx.x / 32 - 4);
    const bool works = group * 64 < tall * $GC;
    u32 it = 0;
    const auto taken = [&]() {
        __syncwarp();
        if (lane == 0) barrier_arrive(empty + 8 * (it % $SLOTS));
        ++it;
    };
    for (; base <= last; base += $KEYS) {
        if (!works) {
            for (u32 half = 0; half < 2; ++half) {
                barrier_wait(full + 8 * (it % $SLOTS), it / $SLOTS & 1);
                taken();
            }
            continue;
        }
        float s[1][$KEYS / 8][4];
        barrier_wait(full + 8 * (it % $SLOTS), it / $SLOTS & 1);
        begin_products();
#pragma unroll
        for (u32 k = 0; k < $D / 16; ++k)
            multiply_tiles(s[0], queries + k / 4 * ($M * 128) + group * 8192, ring + it % $SLOTS * $SLOT + k / 4 * ($KEYS * 128),
                           k % 4, k > 0);
        commit_products();
        wait_products<0>();
        settle(s[0]);
        taken();
";

pub const VALUES: &str = "        u32 weights[$KEYS / 16][4];
#pragma unroll
        for (u32 k = 0; k < $KEYS / 16; ++k) {
#pragma unroll
            for (u32 i = 0; i < 4; ++i)
                weights[k][i] = half_pair(s[0][2 * k + i / 2][i % 2 * 2], s[0][2 * k + i / 2][i % 2 * 2 + 1]);
        }
        barrier_wait(full + 8 * (it % $SLOTS), it / $SLOTS & 1);
        settle(sums[0]);
        begin_products();
#pragma unroll
        for (u32 k = 0; k < $KEYS / 16; ++k) multiply_values(sums[0], weights[k], ring + it % $SLOTS * $SLOT, k);
        commit_products();
        wait_products<0>();
        settle(sums[0]);
        taken();
    }
";

/// `multiply_values`: adds the products of 64 rows, 16 of each warp, with 16 rows of values.
const MULTIPLY: &str = "#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV void multiply_values(float (&d)[$RUNS][4], const u32 (&a)[4], const u8* values, u32 k) {
    const u64 at = (shared_address(values) + 2048 * k & 0x3ffffu) >> 4;
    const u64 b = at | (u64)($KEYS * 128 / 16) << 16 | 64ull << 32 | 1ull << 62;
    asm volatile(\"{ .reg .pred p; setp.ne.b32 p, $ADD, 0; \"
                 \"wgmma.mma_async.sync.aligned.$SHAPE.f32.f16.f16 {$LIST}, {$A0,$A1,$A2,$A3}, $B, p, 1, 1, 1; }\"
                 : $OUTPUTS
                 : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"l\"(b), \"r\"(1));
}
#elif defined(LATHE_EMULATOR)
template <int R> DEV void multiply_values(float (&d)[R][4], const u32 (&a)[4], const u8* values, u32 k) {
    multiply_transposed(d, a, values, k, $KEYS);
}
#endif
";
