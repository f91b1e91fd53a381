// What all kernels share. Floats of 16 bits are bits here, so that no header of the toolkit is needed.
#define DEV static __device__ __forceinline__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef LATHE_EMULATOR
DEV float from_half(u32 bits) {
    float x;
    asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(x) : "r"(bits));
    return x;
}
DEV u32 to_half(float x) {
    u32 bits;
    asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; cvt.u32.u16 %0, h; }" : "=r"(bits) : "f"(x));
    return bits;
}
// The sum of c and four products of unsigned bytes of a with signed bytes of b.
DEV int dot4(u32 a, u32 b, int c) {
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
#endif

DEV float from_bf16(u32 bits) { return __uint_as_float(bits << 16); }
// To the nearest, ties to even; no NaN comes here.
DEV u32 to_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
DEV uint4 load16(const void* p) { return __ldg((const uint4*)p); }
DEV uint2 load8(const void* p) { return __ldg((const uint2*)p); }
DEV u32 load4(const void* p) { return __ldg((const u32*)p); }
DEV u32 load2(const void* p) { return __ldg((const u16*)p); }
DEV float loadf(const void* p) { return __ldg((const float*)p); }

// Sums and maxima of a warp, the same bits in all lanes.
DEV float warp_sum(float x) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}
DEV float warp_max(float x) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
    return x;
}
DEV int half_warp_sum(int x) {
#pragma unroll
    for (int o = 8; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}

DEV float silu(float x) { return x / (1.0f + expf(-x)); }
DEV float gelu(float x) {
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * fmaf(0.044715f * x * x, x, x)));
}
DEV float softcap(float cap, float x) { return cap * tanhf(x / cap); }

// Group g of 32 elements of a q8a row of k, one element a lane: codes, scale, negated sums of 32 and of 16 codes.
DEV void quantize32(float x, u8* row, u32 k, u32 g, u32 lane) {
    const float peak = warp_max(fabsf(x));
    const float inverse = peak == 0.0f ? 0.0f : __fdiv_rn(127.0f, peak);
    const int code = __float2int_rn(__fmul_rn(x, inverse));
    const int sum = half_warp_sum(code);
    const int other = __shfl_xor_sync(0xffffffffu, sum, 16);
    row[32 * g + lane] = (u8)code;
    if (lane == 0) {
        ((float*)(row + k))[g] = __fdiv_rn(peak, 127.0f);
        ((int*)(row + k + k / 8))[g] = -(sum + other);
    }
    if (lane % 16 == 0) ((int*)(row + k + k / 4))[2 * g + lane / 16] = -sum;
}
