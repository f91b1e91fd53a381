cuda plan "tiny-llama" {
  limits tokens=150 outputs=24 seqs=3 ctx=320
  vocab 320
  kv 0: heads=2 dim=64 k=f16 v=f16
  kv 1: heads=2 dim=64 k=f16 v=f16
  section s0: matrix @token_embd [320, 256]q4_k
  section s1: vector @blk.0.attn_norm [256]f32
  section s2: matrix @blk.0.attn_q [256, 256]q4_k rope_half(heads=4, dims=64)
  section s3: matrix @blk.0.attn_k [128, 256]q4_k rope_half(heads=2, dims=64)
  section s4: matrix @blk.0.attn_v [128, 256]q4_k
  section s5: matrix @blk.0.attn_output [256, 256]q4_k
  section s6: vector @blk.0.ffn_norm [256]f32
  section s7: matrix @blk.0.ffn_gate [512, 256]q4_k
  section s8: matrix @blk.0.ffn_up [512, 256]q4_k
  section s9: matrix @blk.0.ffn_down [256, 512]q4_k
  section s10: vector @blk.1.attn_norm [256]f32
  section s11: matrix @blk.1.attn_q [256, 256]q4_k rope_half(heads=4, dims=64)
  section s12: matrix @blk.1.attn_k [128, 256]q4_k rope_half(heads=2, dims=64)
  section s13: matrix @blk.1.attn_v [128, 256]q4_k
  section s14: matrix @blk.1.attn_output [256, 256]q4_k
  section s15: vector @blk.1.ffn_norm [256]f32
  section s16: matrix @blk.1.ffn_gate [512, 256]q4_k
  section s17: matrix @blk.1.ffn_up [512, 256]q4_k
  section s18: matrix @blk.1.ffn_down [256, 512]q4_k
  section s19: vector @output_norm [256]f32
  rope r0: half dims=64 base=100000.0 freq_scale=1.0 magnitude=1.0
  arena 556800
  buffer b0 "embed": 153600 at 0
  buffer b1 "norm_quant": 57600 at 460800
  buffer b2 "linear": 153600 at 153600
  buffer b3 "rope": 38400 at 518400
  buffer b4 "heads": 76800 at 307200
  buffer b5 "heads": 76800 at 384000
  buffer b6 "attention states": 25344 at 460800
  buffer b7 "attention.paged": 153600 at 307200
  buffer b8 "quantize": 57600 at 460800
  buffer b9 "linear": 153600 at 153600
  buffer b10 "norm_quant": 57600 at 0
  buffer b11 "linear": 115200 at 307200
  buffer b12 "linear": 153600 at 0
  buffer b13 "norm_quant": 57600 at 460800
  buffer b14 "linear": 153600 at 153600
  buffer b15 "heads": 76800 at 307200
  buffer b16 "heads": 76800 at 384000
  buffer b17 "attention states": 25344 at 460800
  buffer b18 "attention.paged": 153600 at 307200
  buffer b19 "gather_rows": 24576 at 153600
  buffer b20 "gather_rows": 24576 at 178176
  buffer b21 "quantize": 9216 at 24576
  buffer b22 "linear": 24576 at 0
  buffer b23 "norm_quant": 9216 at 24576
  buffer b24 "linear": 18432 at 49152
  buffer b25 "linear": 24576 at 24576
  buffer b26 "norm_quant": 9216 at 49152
  buffer b27 "linear": 30720 at 0
  logits b27
  launch 0 "embed @token_embd" over tokens {
    embed_q4_k_320x256(s0, in.tokens, b0) grid=tokensx1x1 threads=128
  }
  launch 1 "norm_quant @blk.0.attn_norm" over tokens {
    norm_q8a_1em5_256(s1, b0, b1) grid=tokensx1x1 threads=512
  }
  launch 2 "linear @blk.0.attn_q" over tokens {
    rope_table_64_1p0(r0, in.positions, b3) grid=tokensx1x1 threads=128
  }
  launch 3 "linear @blk.0.attn_q" over tokens {
    1: product_1r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, b2, s3, b4, s4, b5) grid=tokensx64x1 threads=256
    2: product_2r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, b2, s3, b4, s4, b5) grid=tokens/2x64x1 threads=256
    3..4: product_4r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, b2, s3, b4, s4, b5) grid=tokens/4x16x1 threads=512
    5..: product_8r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b1, s2, b2, s3, b4, s4, b5) grid=tokens/8x16x1 threads=512
  }
  launch 4 "linear @blk.0.attn_q" over tokens {
    heads_4x64_half64__2x64_half64_kf16__2x64_vf16_t10(in.positions, in.seqs, in.block_tables, b2, b3, b4, kv.k.0, b3, b5, kv.v.0) grid=2xtokensx1 threads=128
  }
  launch 5 "attention.paged layer 0" over tokens {
    1..8: attention_split_4x2x64_kf16_vf16_0p125_t10(b2, kv.k.0, kv.v.0, in.positions, in.seqs, in.block_tables, b6) grid=segmentsx2xtokens threads=128
    9..: attention_walk_4x2x64_kf16_vf16_0p125_t10(b2, kv.k.0, kv.v.0, in.positions, in.seqs, in.block_tables, b7) grid=tokensx2x1 threads=128
  }
  launch 6 "attention.paged layer 0" over tokens {
    1..8: combine_4x64_t10(b6, in.positions, b7) grid=4xtokensx1 threads=128
  }
  launch 7 "quantize" over tokens {
    quantize_256(b7, b8) grid=1xtokensx1 threads=256
  }
  launch 8 "linear @blk.0.attn_output" over tokens {
    1: product_1r_q8a_256_q4_k_256_add(b8, s5, b0, b9) grid=tokensx32x1 threads=256
    2: product_2r_q8a_256_q4_k_256_add(b8, s5, b0, b9) grid=tokens/2x32x1 threads=256
    3..4: product_4r_q8a_256_q4_k_256_add(b8, s5, b0, b9) grid=tokens/4x8x1 threads=512
    5..: product_8r_q8a_256_q4_k_256_add(b8, s5, b0, b9) grid=tokens/8x8x1 threads=512
  }
  launch 9 "norm_quant @blk.0.ffn_norm" over tokens {
    norm_q8a_1em5_256(s6, b9, b10) grid=tokensx1x1 threads=512
  }
  launch 10 "linear @blk.0.ffn_gate" over tokens {
    1: product_1r_q8a_256_q4_k_512_glusilu_q8a(b10, s7, s8, b11) grid=tokensx16x1 threads=512
    2: product_2r_q8a_256_q4_k_512_glusilu_q8a(b10, s7, s8, b11) grid=tokens/2x16x1 threads=512
    3..4: product_4r_q8a_256_q4_k_512_glusilu_q8a(b10, s7, s8, b11) grid=tokens/4x16x1 threads=512
    5..: product_8r_q8a_256_q4_k_512_glusilu_q8a(b10, s7, s8, b11) grid=tokens/8x16x1 threads=512
  }
  launch 11 "linear @blk.0.ffn_down" over tokens {
    1: product_1r_q8a_512_q4_k_256_add(b11, s9, b9, b12) grid=tokensx32x1 threads=256
    2: product_2r_q8a_512_q4_k_256_add(b11, s9, b9, b12) grid=tokens/2x32x1 threads=256
    3..4: product_4r_q8a_512_q4_k_256_add(b11, s9, b9, b12) grid=tokens/4x8x1 threads=512
    5..: product_8r_q8a_512_q4_k_256_add(b11, s9, b9, b12) grid=tokens/8x8x1 threads=512
  }
  launch 12 "norm_quant @blk.1.attn_norm" over tokens {
    norm_q8a_1em5_256(s10, b12, b13) grid=tokensx1x1 threads=512
  }
  launch 13 "linear @blk.1.attn_q" over tokens {
    1: product_1r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b13, s11, b14, s12, b15, s13, b16) grid=tokensx64x1 threads=256
    2: product_2r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b13, s11, b14, s12, b15, s13, b16) grid=tokens/2x64x1 threads=256
    3..4: product_4r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b13, s11, b14, s12, b15, s13, b16) grid=tokens/4x16x1 threads=512
    5..: product_8r_q8a_256_q4_k_256__q4_k_128__q4_k_128(b13, s11, b14, s12, b15, s13, b16) grid=tokens/8x16x1 threads=512
  }
  launch 14 "linear @blk.1.attn_q" over tokens {
    heads_4x64_half64__2x64_half64_kf16__2x64_vf16_t10(in.positions, in.seqs, in.block_tables, b14, b3, b15, kv.k.1, b3, b16, kv.v.1) grid=2xtokensx1 threads=128
  }
  launch 15 "attention.paged layer 1" over tokens {
    1..8: attention_split_4x2x64_kf16_vf16_0p125_t10(b14, kv.k.1, kv.v.1, in.positions, in.seqs, in.block_tables, b17) grid=segmentsx2xtokens threads=128
    9..: attention_walk_4x2x64_kf16_vf16_0p125_t10(b14, kv.k.1, kv.v.1, in.positions, in.seqs, in.block_tables, b18) grid=tokensx2x1 threads=128
  }
  launch 16 "attention.paged layer 1" over tokens {
    1..8: combine_4x64_t10(b17, in.positions, b18) grid=4xtokensx1 threads=128
  }
  launch 17 "gather_rows" over outputs {
    gather_256(b18, in.outputs, b19) grid=1xoutputsx1 threads=256
  }
  launch 18 "gather_rows" over outputs {
    gather_256(b12, in.outputs, b20) grid=1xoutputsx1 threads=256
  }
  launch 19 "quantize" over outputs {
    quantize_256(b19, b21) grid=1xoutputsx1 threads=256
  }
  launch 20 "linear @blk.1.attn_output" over outputs {
    1: product_1r_q8a_256_q4_k_256_add(b21, s14, b20, b22) grid=outputsx32x1 threads=256
    2: product_2r_q8a_256_q4_k_256_add(b21, s14, b20, b22) grid=outputs/2x32x1 threads=256
    3..4: product_4r_q8a_256_q4_k_256_add(b21, s14, b20, b22) grid=outputs/4x8x1 threads=512
    5..: product_8r_q8a_256_q4_k_256_add(b21, s14, b20, b22) grid=outputs/8x8x1 threads=512
  }
  launch 21 "norm_quant @blk.1.ffn_norm" over outputs {
    norm_q8a_1em5_256(s15, b22, b23) grid=outputsx1x1 threads=512
  }
  launch 22 "linear @blk.1.ffn_gate" over outputs {
    1: product_1r_q8a_256_q4_k_512_glusilu_q8a(b23, s16, s17, b24) grid=outputsx16x1 threads=512
    2: product_2r_q8a_256_q4_k_512_glusilu_q8a(b23, s16, s17, b24) grid=outputs/2x16x1 threads=512
    3..4: product_4r_q8a_256_q4_k_512_glusilu_q8a(b23, s16, s17, b24) grid=outputs/4x16x1 threads=512
    5..: product_8r_q8a_256_q4_k_512_glusilu_q8a(b23, s16, s17, b24) grid=outputs/8x16x1 threads=512
  }
  launch 23 "linear @blk.1.ffn_down" over outputs {
    1: product_1r_q8a_512_q4_k_256_add(b24, s18, b22, b25) grid=outputsx32x1 threads=256
    2: product_2r_q8a_512_q4_k_256_add(b24, s18, b22, b25) grid=outputs/2x32x1 threads=256
    3..4: product_4r_q8a_512_q4_k_256_add(b24, s18, b22, b25) grid=outputs/4x8x1 threads=512
    5..: product_8r_q8a_512_q4_k_256_add(b24, s18, b22, b25) grid=outputs/8x8x1 threads=512
  }
  launch 24 "norm_quant @output_norm" over outputs {
    norm_q8a_1em5_256(s19, b25, b26) grid=outputsx1x1 threads=512
  }
  launch 25 "linear @token_embd" over outputs {
    1: product_1r_q8a_256_q4_k_320(b26, s0, b27) grid=outputsx40x1 threads=256
    2: product_2r_q8a_256_q4_k_320(b26, s0, b27) grid=outputs/2x40x1 threads=256
    3..4: product_4r_q8a_256_q4_k_320(b26, s0, b27) grid=outputs/4x10x1 threads=512
    5..: product_8r_q8a_256_q4_k_320(b26, s0, b27) grid=outputs/8x10x1 threads=512
  }
}


// embed_q4_k_320x256
namespace n_embed_q4_k_320x256 {
DEV void codes_t(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_t(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 40960ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

extern "C" __global__ void __launch_bounds__(128) embed_q4_k_320x256(
    const int* __restrict__ count
    , const u8* __restrict__ w
    , const int* __restrict__ ids
    , float* out
) {
    const u32 row = blockIdx.x;
    if (row >= *count) return;
    const u32 n = (u32)ids[row];
    for (u32 b = threadIdx.x; b < 8; b += 128) {
        u32 c[8];
        float s[1], m[1];
        codes_t(w, n * 8 + b, c);
        scales_t(w, n * 8 + b, s, m);
        float* to = out + (u64)row * 256 + 32 * b;
#pragma unroll
        for (int t = 0; t < 8; ++t) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float level = (float)((int)((c[t] >> (8 * i)) & 255u) - 0);
                to[4 * t + i] = s[t / 8] * level - m[t / 8];
            }
        }
    }
}
}


// norm_q8a_1em5_256
namespace n_norm_q8a_1em5_256 {
constexpr u32 N = 256;
extern "C" __global__ void __launch_bounds__(512) norm_q8a_1em5_256(
    const int* __restrict__ count
    , const float* __restrict__ w
    , const float* __restrict__ x
    , u8* out
) {
    __shared__ float sums[16];
    const u32 row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const float* from = x + (u64)row * N;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < N; i += 512) sum = fmaf(from[i], from[i], sum);
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (u32 i = 0; i < 16; ++i) sum += sums[i];
    const float by = __fdiv_rn(1.0f, sqrtf(fmaf(sum, 0.00390625f, 1e-5f)));
    for (u32 g = warp; g < N / 32; g += 16) {
        const u32 i = 32 * g + lane;
        quantize32(from[i] * by * w[i], out + (u64)row * (N + N / 2), N, g, lane);
    }
}
}


// rope_table_64_1p0
namespace n_rope_table_64_1p0 {
extern "C" __global__ void __launch_bounds__(128) rope_table_64_1p0(
    const int* __restrict__ count
    , const double* __restrict__ angles
    , const int* __restrict__ positions
    , float* out
) {
    const u32 row = blockIdx.x;
    if (row >= *count) return;
    float* to = out + (u64)row * 2 * 32;
    for (u32 i = threadIdx.x; i < 32; i += 128) {
        double sine, cosine;
        sincos((double)positions[row] * angles[i], &sine, &cosine);
        to[i] = (float)(cosine * (double)1.0f);
        to[32 + i] = (float)(sine * (double)1.0f);
    }
}
}


// product_1r_q8a_256_q4_k_256__q4_k_128__q4_k_128
namespace n_product_1r_q8a_256_q4_k_256__q4_k_128__q4_k_128 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_1(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_1(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_1(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_1(w[r], n[r] * 8 + b, c[r]);
            scales_1(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_2(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_2(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_2(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_2(w[r], n[r] * 8 + b, c[r]);
            scales_2(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_1r_q8a_256_q4_k_256__q4_k_128__q4_k_128(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
    , const u8* __restrict__ w1
    , float* out1
    , const u8* __restrict__ w2
    , float* out2
) {
    __shared__ float sums[1][1][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 1, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[1];
#pragma unroll
    for (u32 t = 0; t < 1; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
    if (tile < 48) {
        const u32 n0 = (tile - 32) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w1};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_1(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out1[(u64)row * 128 + col] = v;
        }
        return;
    }
    if (tile < 64) {
        const u32 n0 = (tile - 48) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w2};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_2(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out2[(u64)row * 128 + col] = v;
        }
        return;
    }
}
}


// product_2r_q8a_256_q4_k_256__q4_k_128__q4_k_128
namespace n_product_2r_q8a_256_q4_k_256__q4_k_128__q4_k_128 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_1(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_1(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_1(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_1(w[r], n[r] * 8 + b, c[r]);
            scales_1(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_2(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_2(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_2(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_2(w[r], n[r] * 8 + b, c[r]);
            scales_2(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_2r_q8a_256_q4_k_256__q4_k_128__q4_k_128(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
    , const u8* __restrict__ w1
    , float* out1
    , const u8* __restrict__ w2
    , float* out2
) {
    __shared__ float sums[1][2][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 2, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[2];
#pragma unroll
    for (u32 t = 0; t < 2; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
    if (tile < 48) {
        const u32 n0 = (tile - 32) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w1};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_1(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out1[(u64)row * 128 + col] = v;
        }
        return;
    }
    if (tile < 64) {
        const u32 n0 = (tile - 48) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w2};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_2(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out2[(u64)row * 128 + col] = v;
        }
        return;
    }
}
}


// product_4r_q8a_256_q4_k_256__q4_k_128__q4_k_128
namespace n_product_4r_q8a_256_q4_k_256__q4_k_128__q4_k_128 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_1(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_1(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_1(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_1(w[r], n[r] * 8 + b, c[r]);
            scales_1(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_2(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_2(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_2(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_2(w[r], n[r] * 8 + b, c[r]);
            scales_2(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_4r_q8a_256_q4_k_256__q4_k_128__q4_k_128(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
    , const u8* __restrict__ w1
    , float* out1
    , const u8* __restrict__ w2
    , float* out2
) {
    __shared__ float sums[1][4][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 4, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[4];
#pragma unroll
    for (u32 t = 0; t < 4; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
    if (tile < 12) {
        const u32 n0 = (tile - 8) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w1};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_1(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out1[(u64)row * 128 + col] = v;
        }
        return;
    }
    if (tile < 16) {
        const u32 n0 = (tile - 12) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w2};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_2(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out2[(u64)row * 128 + col] = v;
        }
        return;
    }
}
}


// product_8r_q8a_256_q4_k_256__q4_k_128__q4_k_128
namespace n_product_8r_q8a_256_q4_k_256__q4_k_128__q4_k_128 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_1(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_1(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_1(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_1(w[r], n[r] * 8 + b, c[r]);
            scales_1(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

DEV void codes_2(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_2(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 16384ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_2(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_2(w[r], n[r] * 8 + b, c[r]);
            scales_2(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_8r_q8a_256_q4_k_256__q4_k_128__q4_k_128(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
    , const u8* __restrict__ w1
    , float* out1
    , const u8* __restrict__ w2
    , float* out2
) {
    __shared__ float sums[1][8][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 8, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[8];
#pragma unroll
    for (u32 t = 0; t < 8; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w0, w0};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
    if (tile < 12) {
        const u32 n0 = (tile - 8) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w1, w1};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_1(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out1[(u64)row * 128 + col] = v;
        }
        return;
    }
    if (tile < 16) {
        const u32 n0 = (tile - 12) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w2, w2};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 128 ? n0 + o + r : 128 - 1;
            dot_2(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 128) continue;
            float v = sums[0][t][o];
            out2[(u64)row * 128 + col] = v;
        }
        return;
    }
}
}


// heads_4x64_half64__2x64_half64_kf16__2x64_vf16_t10
namespace n_heads_4x64_half64__2x64_half64_kf16__2x64_vf16_t10 {
extern "C" __global__ void __launch_bounds__(128) heads_4x64_half64__2x64_half64_kf16__2x64_vf16_t10(
    const int* __restrict__ count
    , const int* __restrict__ positions
    , const int* __restrict__ seqs
    , const int* __restrict__ tables
    , float* x0
    , const float* __restrict__ rope0
    , const float* __restrict__ x1
    , u8* kv1
    , const float* __restrict__ rope1
    , const float* __restrict__ x2
    , u8* kv2
) {
    __shared__ float heads[4][64];
    const u32 row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 unit = blockIdx.x * 4 + warp;
    if (row >= *count || unit >= 8) return;
    float* h = heads[warp];
    if (unit < 4) {
        const u32 head = unit - 0;
        const float* from = x0 + (u64)row * 256 + head * 64;
        for (u32 i = lane; i < 64; i += 32) h[i] = from[i];
        __syncwarp();
        {
            const float* turn = rope0 + (u64)row * 2 * 32;
            for (u32 i = lane; i < 32; i += 32) {
                const float a = h[i], b = h[i + 32], c = turn[i], s = turn[32 + i];
                h[i] = fmaf(a, c, -(b * s));
                h[i + 32] = fmaf(a, s, b * c);
            }
            __syncwarp();
        }
        for (u32 i = lane; i < 64; i += 32) x0[(u64)row * 256 + head * 64 + i] = h[i];
        return;
    }
    if (unit < 6) {
        const u32 head = unit - 4;
        const float* from = x1 + (u64)row * 128 + head * 64;
        for (u32 i = lane; i < 64; i += 32) h[i] = from[i];
        __syncwarp();
        {
            const float* turn = rope1 + (u64)row * 2 * 32;
            for (u32 i = lane; i < 32; i += 32) {
                const float a = h[i], b = h[i + 32], c = turn[i], s = turn[32 + i];
                h[i] = fmaf(a, c, -(b * s));
                h[i + 32] = fmaf(a, s, b * c);
            }
            __syncwarp();
        }
        const u32 position = (u32)positions[row];
        const u32 block = (u32)tables[(u64)seqs[row] * 10 + position / 32];
        u8* to = kv1 + ((u64)block * 2 + head) * 4096;
        u16* out = (u16*)to + (position % 32) * 64;
        for (u32 i = lane; i < 64; i += 32) out[i] = (u16)to_half(fminf(fmaxf(h[i], -65504.0f), 65504.0f));
        return;
    }
    if (unit < 8) {
        const u32 head = unit - 6;
        const float* from = x2 + (u64)row * 128 + head * 64;
        for (u32 i = lane; i < 64; i += 32) h[i] = from[i];
        __syncwarp();
        const u32 position = (u32)positions[row];
        const u32 block = (u32)tables[(u64)seqs[row] * 10 + position / 32];
        u8* to = kv2 + ((u64)block * 2 + head) * 4096;
        u16* out = (u16*)to + (position % 32) * 64;
        for (u32 i = lane; i < 64; i += 32) out[i] = (u16)to_half(fminf(fmaxf(h[i], -65504.0f), 65504.0f));
        return;
    }
}
}


// attention_split_4x2x64_kf16_vf16_0p125_t10
namespace n_attention_split_4x2x64_kf16_vf16_0p125_t10 {
DEV void merge(float& top, float& total, float m, float l, float& before, float& now) {
    const float most = fmaxf(top, m);
    before = expf(top - most);
    now = expf(m - most);
    total = fmaf(total, before, __fmul_rn(l, now));
    top = most;
}
DEV void load_k(const u8* head, u32 position, u32 d, float (&f)[8]) {
    const u8* p = head + (position * 64 + d) * 2;
    const uint4 l = load16(p);
    f[0] = from_half(l.x & 0xffffu);
    f[1] = from_half(l.x >> 16);
    f[2] = from_half(l.y & 0xffffu);
    f[3] = from_half(l.y >> 16);
    f[4] = from_half(l.z & 0xffffu);
    f[5] = from_half(l.z >> 16);
    f[6] = from_half(l.w & 0xffffu);
    f[7] = from_half(l.w >> 16);
}
DEV void load_v(const u8* head, u32 position, u32 d, float (&f)[8]) {
    const u8* p = head + (position * 64 + d) * 2;
    const uint4 l = load16(p);
    f[0] = from_half(l.x & 0xffffu);
    f[1] = from_half(l.x >> 16);
    f[2] = from_half(l.y & 0xffffu);
    f[3] = from_half(l.y >> 16);
    f[4] = from_half(l.z & 0xffffu);
    f[5] = from_half(l.z >> 16);
    f[6] = from_half(l.w & 0xffffu);
    f[7] = from_half(l.w >> 16);
}
extern "C" __global__ void __launch_bounds__(128) attention_split_4x2x64_kf16_vf16_0p125_t10(
    const int* __restrict__ count
    , const float* __restrict__ q
    , const u8* __restrict__ keys
    , const u8* __restrict__ values
    , const int* __restrict__ positions
    , const int* __restrict__ seqs
    , const int* __restrict__ tables
    , float* out
) {
    __shared__ float p[2][128], sums[4][2][64], m_of[2], l_of[2];
    const u32 row = blockIdx.z, seg = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = 0u;
    if (seg > position / 128 || seg < first / 128) return;
    const u32 kvh = blockIdx.y / 1, g0 = blockIdx.y % 1 * 2;
    const u32 heads = 2 - g0 < 2 ? 2 - g0 : 2, head0 = kvh * 2 + g0;
    const int* blocks = tables + (u64)seqs[row] * 10;
    {
        {
            const u32 sub = lane % 8;
            float q_of[2][1][8];
#pragma unroll
            for (u32 g = 0; g < 2; ++g) {
                const float* from = q + ((u64)row * 4 + head0 + (g < heads ? g : 0)) * 64;
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
#pragma unroll
                    for (u32 i = 0; i < 8; ++i) q_of[g][k][i] = d < 64 ? from[d + i] : 0.0f;
                }
            }
            for (u32 j = warp * (32 / 8) + lane / 8; j < 128; j += 4 * (32 / 8)) {
                const u32 at = seg * 128 + j;
                const bool seen = at <= position && at >= first;
                float dots[2] = {};
                if (seen) {
                    const u8* head = keys + ((u64)(u32)blocks[at / 32] * 2 + kvh) * 4096;
#pragma unroll
                    for (u32 k = 0; k < 1; ++k) {
                        const u32 d = (k * 8 + sub) * 8;
                        if (d >= 64) continue;
                        float f[8];
                        load_k(head, at % 32, d, f);
#pragma unroll
                        for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                            for (u32 i = 0; i < 8; ++i) dots[g] = fmaf(q_of[g][k][i], f[i], dots[g]);
                        }
                    }
                }
#pragma unroll
                for (u32 g = 0; g < 2; ++g) {
                    float x = dots[g];
#pragma unroll
                    for (u32 o = 8 / 2; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                    x *= 0.125f;
                    if (sub == 0) p[g][j] = seen ? x : __uint_as_float(0xff800000u);
                }
            }
        }
        __syncthreads();
        for (u32 g = warp; g < 2; g += 4) {
            float most = __uint_as_float(0xff800000u), sum = 0.0f;
            for (u32 j = lane; j < 128; j += 32) most = fmaxf(most, p[g][j]);
            most = warp_max(most);
            for (u32 j = lane; j < 128; j += 32) {
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
        {
            const u32 sub = lane % 8;
            float mix[2][1][8] = {};
            for (u32 j = warp * (32 / 8) + lane / 8; j < 128; j += 4 * (32 / 8)) {
                const u32 at = seg * 128 + j;
                if (at > position || at < first) continue;
                const u8* head = values + ((u64)(u32)blocks[at / 32] * 2 + kvh) * 4096;
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
                    if (d >= 64) continue;
                    float f[8];
                    load_v(head, at % 32, d, f);
#pragma unroll
                    for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                        for (u32 i = 0; i < 8; ++i) mix[g][k][i] = fmaf(p[g][j], f[i], mix[g][k][i]);
                    }
                }
            }
            __syncwarp();
#pragma unroll
            for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
#pragma unroll
                    for (u32 i = 0; i < 8; ++i) {
                        float x = mix[g][k][i];
#pragma unroll
                        for (u32 o = 8; o < 32; o *= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                        if (lane < 8 && d < 64) sums[warp][g][d + i] = x;
                    }
                }
            }
        }
        __syncthreads();
        float* states = out + (u64)row * 4 * 3 * 66;
        for (u32 i = threadIdx.x; i < heads * 64; i += 32 * 4) {
            const u32 g = i / 64, d = i % 64;
            float x = 0.0f;
#pragma unroll
            for (u32 w = 0; w < 4; ++w) x += sums[w][g][d];
            float* state = states + ((u64)(head0 + g) * 3 + seg) * 66;
            state[2 + d] = x;
            if (d == 0) {
                state[0] = m_of[g];
                state[1] = l_of[g];
            }
        }
    }
}
}


// attention_walk_4x2x64_kf16_vf16_0p125_t10
namespace n_attention_walk_4x2x64_kf16_vf16_0p125_t10 {
DEV void merge(float& top, float& total, float m, float l, float& before, float& now) {
    const float most = fmaxf(top, m);
    before = expf(top - most);
    now = expf(m - most);
    total = fmaf(total, before, __fmul_rn(l, now));
    top = most;
}
DEV void load_k(const u8* head, u32 position, u32 d, float (&f)[8]) {
    const u8* p = head + (position * 64 + d) * 2;
    const uint4 l = load16(p);
    f[0] = from_half(l.x & 0xffffu);
    f[1] = from_half(l.x >> 16);
    f[2] = from_half(l.y & 0xffffu);
    f[3] = from_half(l.y >> 16);
    f[4] = from_half(l.z & 0xffffu);
    f[5] = from_half(l.z >> 16);
    f[6] = from_half(l.w & 0xffffu);
    f[7] = from_half(l.w >> 16);
}
DEV void load_v(const u8* head, u32 position, u32 d, float (&f)[8]) {
    const u8* p = head + (position * 64 + d) * 2;
    const uint4 l = load16(p);
    f[0] = from_half(l.x & 0xffffu);
    f[1] = from_half(l.x >> 16);
    f[2] = from_half(l.y & 0xffffu);
    f[3] = from_half(l.y >> 16);
    f[4] = from_half(l.z & 0xffffu);
    f[5] = from_half(l.z >> 16);
    f[6] = from_half(l.w & 0xffffu);
    f[7] = from_half(l.w >> 16);
}
extern "C" __global__ void __launch_bounds__(128) attention_walk_4x2x64_kf16_vf16_0p125_t10(
    const int* __restrict__ count
    , const float* __restrict__ q
    , const u8* __restrict__ keys
    , const u8* __restrict__ values
    , const int* __restrict__ positions
    , const int* __restrict__ seqs
    , const int* __restrict__ tables
    , float* out
) {
    __shared__ float p[2][128], sums[4][2][64], m_of[2], l_of[2];
    __shared__ float walked[2][64], top_of[2], total_of[2];
    const u32 row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = 0u;
    const u32 kvh = blockIdx.y / 1, g0 = blockIdx.y % 1 * 2;
    const u32 heads = 2 - g0 < 2 ? 2 - g0 : 2, head0 = kvh * 2 + g0;
    const int* blocks = tables + (u64)seqs[row] * 10;
    for (u32 i = threadIdx.x; i < 2 * 64; i += 32 * 4) walked[i / 64][i % 64] = 0.0f;
    if (threadIdx.x < 2) {
        top_of[threadIdx.x] = __uint_as_float(0xff800000u);
        total_of[threadIdx.x] = 0.0f;
    }
    __syncthreads();
    for (u32 seg = first / 128; seg <= position / 128; ++seg) {
        {
            const u32 sub = lane % 8;
            float q_of[2][1][8];
#pragma unroll
            for (u32 g = 0; g < 2; ++g) {
                const float* from = q + ((u64)row * 4 + head0 + (g < heads ? g : 0)) * 64;
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
#pragma unroll
                    for (u32 i = 0; i < 8; ++i) q_of[g][k][i] = d < 64 ? from[d + i] : 0.0f;
                }
            }
            for (u32 j = warp * (32 / 8) + lane / 8; j < 128; j += 4 * (32 / 8)) {
                const u32 at = seg * 128 + j;
                const bool seen = at <= position && at >= first;
                float dots[2] = {};
                if (seen) {
                    const u8* head = keys + ((u64)(u32)blocks[at / 32] * 2 + kvh) * 4096;
#pragma unroll
                    for (u32 k = 0; k < 1; ++k) {
                        const u32 d = (k * 8 + sub) * 8;
                        if (d >= 64) continue;
                        float f[8];
                        load_k(head, at % 32, d, f);
#pragma unroll
                        for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                            for (u32 i = 0; i < 8; ++i) dots[g] = fmaf(q_of[g][k][i], f[i], dots[g]);
                        }
                    }
                }
#pragma unroll
                for (u32 g = 0; g < 2; ++g) {
                    float x = dots[g];
#pragma unroll
                    for (u32 o = 8 / 2; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                    x *= 0.125f;
                    if (sub == 0) p[g][j] = seen ? x : __uint_as_float(0xff800000u);
                }
            }
        }
        __syncthreads();
        for (u32 g = warp; g < 2; g += 4) {
            float most = __uint_as_float(0xff800000u), sum = 0.0f;
            for (u32 j = lane; j < 128; j += 32) most = fmaxf(most, p[g][j]);
            most = warp_max(most);
            for (u32 j = lane; j < 128; j += 32) {
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
        {
            const u32 sub = lane % 8;
            float mix[2][1][8] = {};
            for (u32 j = warp * (32 / 8) + lane / 8; j < 128; j += 4 * (32 / 8)) {
                const u32 at = seg * 128 + j;
                if (at > position || at < first) continue;
                const u8* head = values + ((u64)(u32)blocks[at / 32] * 2 + kvh) * 4096;
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
                    if (d >= 64) continue;
                    float f[8];
                    load_v(head, at % 32, d, f);
#pragma unroll
                    for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                        for (u32 i = 0; i < 8; ++i) mix[g][k][i] = fmaf(p[g][j], f[i], mix[g][k][i]);
                    }
                }
            }
            __syncwarp();
#pragma unroll
            for (u32 g = 0; g < 2; ++g) {
#pragma unroll
                for (u32 k = 0; k < 1; ++k) {
                    const u32 d = (k * 8 + sub) * 8;
#pragma unroll
                    for (u32 i = 0; i < 8; ++i) {
                        float x = mix[g][k][i];
#pragma unroll
                        for (u32 o = 8; o < 32; o *= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
                        if (lane < 8 && d < 64) sums[warp][g][d + i] = x;
                    }
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < heads * 64; i += 32 * 4) {
            const u32 g = i / 64, d = i % 64;
            float x = 0.0f;
#pragma unroll
            for (u32 w = 0; w < 4; ++w) x += sums[w][g][d];
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
    for (u32 i = threadIdx.x; i < heads * 64; i += 32 * 4) {
        const u32 g = i / 64, d = i % 64;
        out[((u64)row * 4 + head0 + g) * 64 + d] = __fdiv_rn(walked[g][d], total_of[g]);
    }
}
}


// combine_4x64_t10
namespace n_combine_4x64_t10 {
DEV void merge(float& top, float& total, float m, float l, float& before, float& now) {
    const float most = fmaxf(top, m);
    before = expf(top - most);
    now = expf(m - most);
    total = fmaf(total, before, __fmul_rn(l, now));
    top = most;
}
extern "C" __global__ void __launch_bounds__(128) combine_4x64_t10(
    const int* __restrict__ count
    , const float* __restrict__ states
    , const int* __restrict__ positions
    , float* out
) {
    const u32 head = blockIdx.x, row = blockIdx.y;
    if (row >= *count) return;
    const u32 position = (u32)positions[row], first = 0u;
    const float* from = states + ((u64)row * 4 + head) * 3 * 66;
    for (u32 d = threadIdx.x; d < 64; d += 128) {
        float top = __uint_as_float(0xff800000u), total = 0.0f, walked = 0.0f, before, now;
#pragma unroll 4
        for (u32 seg = first / 128; seg <= position / 128; ++seg) {
            const float* state = from + seg * 66;
            merge(top, total, state[0], state[1], before, now);
            walked = fmaf(walked, before, __fmul_rn(state[2 + d], now));
        }
        out[((u64)row * 4 + head) * 64 + d] = __fdiv_rn(walked, total);
    }
}
}


// quantize_256
namespace n_quantize_256 {
constexpr u32 N = 256;
extern "C" __global__ void __launch_bounds__(256) quantize_256(
    const int* __restrict__ count
    , const float* __restrict__ x
    , u8* out
) {
    const u32 row = blockIdx.y, lane = threadIdx.x % 32;
    const u32 g = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= *count || g >= N / 32) return;
    quantize32(x[(u64)row * N + 32 * g + lane], out + (u64)row * (N + N / 2), N, g, lane);
}
}


// product_1r_q8a_256_q4_k_256_add
namespace n_product_1r_q8a_256_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_1r_q8a_256_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][1][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 1, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[1];
#pragma unroll
    for (u32 t = 0; t < 1; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_2r_q8a_256_q4_k_256_add
namespace n_product_2r_q8a_256_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_2r_q8a_256_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][2][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 2, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[2];
#pragma unroll
    for (u32 t = 0; t < 2; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_4r_q8a_256_q4_k_256_add
namespace n_product_4r_q8a_256_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_4r_q8a_256_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][4][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 4, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[4];
#pragma unroll
    for (u32 t = 0; t < 4; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_8r_q8a_256_q4_k_256_add
namespace n_product_8r_q8a_256_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 32768ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_8r_q8a_256_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][8][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 8, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[8];
#pragma unroll
    for (u32 t = 0; t < 8; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w0, w0};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_1r_q8a_256_q4_k_512_glusilu_q8a
namespace n_product_1r_q8a_256_q4_k_512_glusilu_q8a {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[2][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_1r_q8a_256_q4_k_512_glusilu_q8a(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const u8* __restrict__ second0
    , u8* out0
) {
    __shared__ float sums[2][1][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 1, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[1];
#pragma unroll
    for (u32 t = 0; t < 1; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 16) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp; o < 32; o += 16) {
            const u8* const w[2] = {w0, second0};
            const u32 row = n0 + o < 512 ? n0 + o : 512 - 1;
            const u32 n[2] = {row, row};
            float acc[2][1] = {};
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 t = 0; t < 1; ++t) {
                const float one = warp_sum(acc[0][t]), two = warp_sum(acc[1][t]);
                if (lane == 0) sums[0][t][o] = one;
                if (lane == 0) sums[1][t][o] = two;
            }
        }
        __syncthreads();
        for (u32 t = warp; t < 1 && row0 + t < rows; t += 16) {
            const u32 o = lane, row = row0 + t, col = n0 + o;
            float v = sums[0][t][o];
            const float second = sums[1][t][o];
            v = silu(v) * second;
            quantize32(v, out0 + (u64)row * (512 + 512 / 2), 512, n0 / 32, lane);
        }
        return;
    }
}
}


// product_2r_q8a_256_q4_k_512_glusilu_q8a
namespace n_product_2r_q8a_256_q4_k_512_glusilu_q8a {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[2][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_2r_q8a_256_q4_k_512_glusilu_q8a(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const u8* __restrict__ second0
    , u8* out0
) {
    __shared__ float sums[2][2][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 2, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[2];
#pragma unroll
    for (u32 t = 0; t < 2; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 16) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp; o < 32; o += 16) {
            const u8* const w[2] = {w0, second0};
            const u32 row = n0 + o < 512 ? n0 + o : 512 - 1;
            const u32 n[2] = {row, row};
            float acc[2][2] = {};
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 t = 0; t < 2; ++t) {
                const float one = warp_sum(acc[0][t]), two = warp_sum(acc[1][t]);
                if (lane == 0) sums[0][t][o] = one;
                if (lane == 0) sums[1][t][o] = two;
            }
        }
        __syncthreads();
        for (u32 t = warp; t < 2 && row0 + t < rows; t += 16) {
            const u32 o = lane, row = row0 + t, col = n0 + o;
            float v = sums[0][t][o];
            const float second = sums[1][t][o];
            v = silu(v) * second;
            quantize32(v, out0 + (u64)row * (512 + 512 / 2), 512, n0 / 32, lane);
        }
        return;
    }
}
}


// product_4r_q8a_256_q4_k_512_glusilu_q8a
namespace n_product_4r_q8a_256_q4_k_512_glusilu_q8a {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[2][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_4r_q8a_256_q4_k_512_glusilu_q8a(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const u8* __restrict__ second0
    , u8* out0
) {
    __shared__ float sums[2][4][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 4, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[4];
#pragma unroll
    for (u32 t = 0; t < 4; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 16) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp; o < 32; o += 16) {
            const u8* const w[2] = {w0, second0};
            const u32 row = n0 + o < 512 ? n0 + o : 512 - 1;
            const u32 n[2] = {row, row};
            float acc[2][4] = {};
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 t = 0; t < 4; ++t) {
                const float one = warp_sum(acc[0][t]), two = warp_sum(acc[1][t]);
                if (lane == 0) sums[0][t][o] = one;
                if (lane == 0) sums[1][t][o] = two;
            }
        }
        __syncthreads();
        for (u32 t = warp; t < 4 && row0 + t < rows; t += 16) {
            const u32 o = lane, row = row0 + t, col = n0 + o;
            float v = sums[0][t][o];
            const float second = sums[1][t][o];
            v = silu(v) * second;
            quantize32(v, out0 + (u64)row * (512 + 512 / 2), 512, n0 / 32, lane);
        }
        return;
    }
}
}


// product_8r_q8a_256_q4_k_512_glusilu_q8a
namespace n_product_8r_q8a_256_q4_k_512_glusilu_q8a {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_8r_q8a_256_q4_k_512_glusilu_q8a(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const u8* __restrict__ second0
    , u8* out0
) {
    __shared__ float sums[2][8][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 8, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[8];
#pragma unroll
    for (u32 t = 0; t < 8; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 16) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp; o < 32; o += 16) {
            const u8* const w[2] = {w0, second0};
            const u32 row = n0 + o < 512 ? n0 + o : 512 - 1;
            const u32 n[2] = {row, row};
            float acc[2][8] = {};
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 t = 0; t < 8; ++t) {
                const float one = warp_sum(acc[0][t]), two = warp_sum(acc[1][t]);
                if (lane == 0) sums[0][t][o] = one;
                if (lane == 0) sums[1][t][o] = two;
            }
        }
        __syncthreads();
        for (u32 t = warp; t < 8 && row0 + t < rows; t += 16) {
            const u32 o = lane, row = row0 + t, col = n0 + o;
            float v = sums[0][t][o];
            const float second = sums[1][t][o];
            v = silu(v) * second;
            quantize32(v, out0 + (u64)row * (512 + 512 / 2), 512, n0 / 32, lane);
        }
        return;
    }
}
}


// product_1r_q8a_512_q4_k_256_add
namespace n_product_1r_q8a_512_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 16; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 16 + b, c[r]);
            scales_0(w[r], n[r] * 16 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (512 + 512 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 512 + 4 * b);
            const int nx = (int)load4(from + 512 + 512 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_1r_q8a_512_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][1][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 1, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[1];
#pragma unroll
    for (u32 t = 0; t < 1; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_2r_q8a_512_q4_k_256_add
namespace n_product_2r_q8a_512_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 16; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 16 + b, c[r]);
            scales_0(w[r], n[r] * 16 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (512 + 512 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 512 + 4 * b);
            const int nx = (int)load4(from + 512 + 512 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_2r_q8a_512_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][2][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 2, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[2];
#pragma unroll
    for (u32 t = 0; t < 2; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 32) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_4r_q8a_512_q4_k_256_add
namespace n_product_4r_q8a_512_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 16; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 16 + b, c[r]);
            scales_0(w[r], n[r] * 16 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (512 + 512 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 512 + 4 * b);
            const int nx = (int)load4(from + 512 + 512 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_4r_q8a_512_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][4][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 4, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[4];
#pragma unroll
    for (u32 t = 0; t < 4; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// product_8r_q8a_512_q4_k_256_add
namespace n_product_8r_q8a_512_q4_k_256_add {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 65536ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 16; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 16 + b, c[r]);
            scales_0(w[r], n[r] * 16 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (512 + 512 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 512 + 4 * b);
            const int nx = (int)load4(from + 512 + 512 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_8r_q8a_512_q4_k_256_add(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , const float* __restrict__ add0
    , float* out0
) {
    __shared__ float sums[1][8][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 8, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[8];
#pragma unroll
    for (u32 t = 0; t < 8; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 8) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w0, w0};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 256 ? n0 + o + r : 256 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 256) continue;
            float v = sums[0][t][o];
            v += add0[(u64)row * 256 + col];
            out0[(u64)row * 256 + col] = v;
        }
        return;
    }
}
}


// gather_256
namespace n_gather_256 {
constexpr u32 N = 256;
extern "C" __global__ void __launch_bounds__(256) gather_256(
    const int* __restrict__ count
    , const float* __restrict__ x
    , const int* __restrict__ ids
    , float* out
) {
    const u32 row = blockIdx.y;
    const u32 i = blockIdx.x * 256 + threadIdx.x;
    if (row >= *count || i >= N) return;
    const float* from = x + (u64)ids[row] * N;
    out[(u64)row * N + i] = from[i];
}
}


// product_1r_q8a_256_q4_k_320
namespace n_product_1r_q8a_256_q4_k_320 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 40960ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[1], u32 lane, float (&acc)[1][1]) {
#pragma unroll 4
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 1; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_1r_q8a_256_q4_k_320(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
) {
    __shared__ float sums[1][1][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 1, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[1];
#pragma unroll
    for (u32 t = 0; t < 1; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 40) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][1] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 320 ? n0 + o + r : 320 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 1; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 1 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 320) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 320 + col] = v;
        }
        return;
    }
}
}


// product_2r_q8a_256_q4_k_320
namespace n_product_2r_q8a_256_q4_k_320 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 40960ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[2], u32 lane, float (&acc)[1][2]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) product_2r_q8a_256_q4_k_320(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
) {
    __shared__ float sums[1][2][8];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 2, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[2];
#pragma unroll
    for (u32 t = 0; t < 2; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 40) {
        const u32 n0 = (tile - 0) * 8;
        for (u32 o = warp * 1; o < 8; o += 8 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][2] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 320 ? n0 + o + r : 320 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 2; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 2 * 8; i += 32 * 8) {
            const u32 t = i / 8, o = i % 8, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 320) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 320 + col] = v;
        }
        return;
    }
}
}


// product_4r_q8a_256_q4_k_320
namespace n_product_4r_q8a_256_q4_k_320 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 40960ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[1], const u32 (&n)[1], const u8* x, const u32 (&at)[4], u32 lane, float (&acc)[1][4]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[1][8];
        float s[1][1], m[1][1];
#pragma unroll
        for (int r = 0; r < 1; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 1; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_4r_q8a_256_q4_k_320(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
) {
    __shared__ float sums[1][4][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 4, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[4];
#pragma unroll
    for (u32 t = 0; t < 4; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 10) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 1; o < 32; o += 16 * 1) {
            const u8* const w[1] = {w0};
            u32 n[1];
            float acc[1][4] = {};
#pragma unroll
            for (u32 r = 0; r < 1; ++r) n[r] = n0 + o + r < 320 ? n0 + o + r : 320 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 1; ++r) {
#pragma unroll
                for (u32 t = 0; t < 4; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 4 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 320) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 320 + col] = v;
        }
        return;
    }
}
}


// product_8r_q8a_256_q4_k_320
namespace n_product_8r_q8a_256_q4_k_320 {
DEV void codes_0(const u8* w, u32 i, u32 (&c)[8]) {
    const uint4 l0_0 = load16(w + 0ull + (u64)i * 16 + 0);
    const u32 p0_0 = l0_0.x, p0_1 = l0_0.y, p0_2 = l0_0.z, p0_3 = l0_0.w;
    c[0] = (p0_0 & 0x0f0f0f0fu);
    c[1] = (p0_1 & 0x0f0f0f0fu);
    c[2] = (p0_2 & 0x0f0f0f0fu);
    c[3] = (p0_3 & 0x0f0f0f0fu);
    c[4] = ((p0_0 >> 4) & 0x0f0f0f0fu);
    c[5] = ((p0_1 >> 4) & 0x0f0f0f0fu);
    c[6] = ((p0_2 >> 4) & 0x0f0f0f0fu);
    c[7] = ((p0_3 >> 4) & 0x0f0f0f0fu);
}
DEV void scales_0(const u8* w, u32 i, float (&s)[1], float (&m)[1]) {
    const u32 r0 = load4(w + 40960ull + (u64)i * 4);
    s[0] = from_half(r0 & 0xffffu); m[0] = from_half(r0 >> 16);
}

DEV void dot_0(const u8* const (&w)[2], const u32 (&n)[2], const u8* x, const u32 (&at)[8], u32 lane, float (&acc)[2][8]) {
#pragma unroll 1
    for (u32 b = lane; b < 8; b += 32) {
        u32 c[2][8];
        float s[2][1], m[2][1];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes_0(w[r], n[r] * 8 + b, c[r]);
            scales_0(w[r], n[r] * 8 + b, s[r], m[r]);
        }
#pragma unroll
        for (int t = 0; t < 8; ++t) {
            const u8* from = x + (u64)at[t] * (256 + 256 / 2);
            const uint4 x0 = load16(from + 32 * b), x1 = load16(from + 32 * b + 16);
            const float sx = loadf(from + 256 + 4 * b);
            const int nx = (int)load4(from + 256 + 256 / 8 + 4 * b);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int d = dot4(c[r][0 + 3], x0.w, dot4(c[r][0 + 2], x0.z, dot4(c[r][0 + 1], x0.y, dot4(c[r][0], x0.x, 0 * nx))));
                d = dot4(c[r][4 + 3], x1.w, dot4(c[r][4 + 2], x1.z, dot4(c[r][4 + 1], x1.y, dot4(c[r][4], x1.x, d))));
                acc[r][t] = fmaf(sx, fmaf(m[r][0], (float)nx, s[r][0] * (float)d), acc[r][t]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) product_8r_q8a_256_q4_k_320(
    const int* __restrict__ count
    , const u8* __restrict__ x
    , const u8* __restrict__ w0
    , float* out0
) {
    __shared__ float sums[1][8][32];
    const u32 rows = (u32)*count, row0 = blockIdx.x * 8, tile = blockIdx.y;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row0 >= rows) return;
    // Rows beyond the last are computed as the last is, and not stored.
    u32 at[8];
#pragma unroll
    for (u32 t = 0; t < 8; ++t) at[t] = row0 + t < rows ? row0 + t : rows - 1;
    if (tile < 10) {
        const u32 n0 = (tile - 0) * 32;
        for (u32 o = warp * 2; o < 32; o += 16 * 2) {
            const u8* const w[2] = {w0, w0};
            u32 n[2];
            float acc[2][8] = {};
#pragma unroll
            for (u32 r = 0; r < 2; ++r) n[r] = n0 + o + r < 320 ? n0 + o + r : 320 - 1;
            dot_0(w, n, x, at, lane, acc);
#pragma unroll
            for (u32 r = 0; r < 2; ++r) {
#pragma unroll
                for (u32 t = 0; t < 8; ++t) {
                    const float sum = warp_sum(acc[r][t]);
                    if (lane == 0) sums[0][t][o + r] = sum;
                }
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < 8 * 32; i += 32 * 16) {
            const u32 t = i / 32, o = i % 32, row = row0 + t, col = n0 + o;
            if (row >= rows || col >= 320) continue;
            float v = sums[0][t][o];
            out0[(u64)row * 320 + col] = v;
        }
        return;
    }
}
}

