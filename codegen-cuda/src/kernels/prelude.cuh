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
// (a & mask) | b in one instruction; as an expression it is two.
DEV u32 and_or(u32 a, u32 mask, u32 b) {
    u32 d;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(d) : "r"(a), "r"(mask), "r"(b));
    return d;
}
// Pairs of f16.
DEV u32 half2_sub(u32 a, u32 b) {
    u32 d;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
DEV u32 half2_fma(u32 a, u32 b, u32 c) {
    u32 d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
// c += a·b of a warp: a is 16 by 16, b 16 by 8, c 16 by 8. With i = lane/4 and t = lane%4, a lane has of a rows i, i+8, i,
// i+8, columns 2t.. of either half; of b column i, rows 2t.. of either half; of c rows i, i, i+8, i+8, columns 2t, 2t+1.
DEV void mma_f16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DEV void mma_bf16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Launches overlap: the next may begin now, and nothing that the one before writes is touched until it is done.
DEV void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
DEV void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Shared memory that the launch asks for.
#define SHARED_BYTES(name) extern __shared__ __align__(128) u8 name[]
typedef u32 shared_t;
DEV shared_t shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Barriers in shared memory: a phase ends when so many have arrived and what was announced has been copied.
DEV void barrier_init(shared_t bar, u32 arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" :: "r"(bar), "r"(arrivals) : "memory");
}
DEV void barriers_ready() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
DEV void barrier_arrive(shared_t bar) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" :: "r"(bar) : "memory");
}
DEV void barrier_wait(shared_t bar, u32 parity) {
    u32 done;
    do {
#if __CUDA_ARCH__ >= 900
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(bar), "r"(parity) : "memory");
#else
        asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(bar), "r"(parity) : "memory");
#endif
    } while (!done);
}

// Copies to shared memory by one warp, in multiples of 16 bytes; the barrier's phase ends when all pieces are there.
#if __CUDA_ARCH__ >= 900
#define COPY_ARRIVALS 1
DEV u64 read_once() {
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
DEV u64 read_often() {
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
DEV void copy_begin(shared_t bar, u32 bytes, u32 lane) {
    if (lane == 0)
        asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared.b64 state, [%0], %1; }" :: "r"(bar), "r"(bytes) : "memory");
}
DEV void copy_piece(u8* to, const u8* from, u32 bytes, shared_t bar, u32 lane, u64 policy) {
    if (lane == 0 && bytes > 0)
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
                     :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(bar), "l"(policy) : "memory");
}
// `n` pieces, each so far from the one before.
DEV void copy_pieces(u8* to, u32 to_step, const u8* from, u32 from_step, u32 n, u32 bytes, shared_t bar, u32 lane, u64 policy) {
    __syncwarp();
    for (u32 i = lane; i < n; i += 32) copy_piece(to + i * to_step, from + (u64)i * from_step, bytes, bar, 0, policy);
}
DEV void copy_end(shared_t, u32) {}
#else
#define COPY_ARRIVALS 32
DEV u64 read_once() { return 0; }
DEV u64 read_often() { return 0; }
DEV void copy_begin(shared_t, u32, u32) {}
DEV void copy_piece(u8* to, const u8* from, u32 bytes, shared_t, u32 lane, u64) {
    for (u32 i = 16 * lane; i < bytes; i += 512)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(shared_address(to + i)), "l"(from + i) : "memory");
}
DEV void copy_pieces(u8* to, u32 to_step, const u8* from, u32 from_step, u32 n, u32 bytes, shared_t bar, u32 lane, u64 policy) {
    for (u32 i = 0; i < n; ++i) copy_piece(to + i * to_step, from + (u64)i * from_step, bytes, bar, lane, policy);
}
DEV void copy_end(shared_t bar, u32) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" :: "r"(bar) : "memory");
}
#endif
#endif

DEV float from_bf16(u32 bits) { return __uint_as_float(bits << 16); }
// To the nearest, ties to even; no NaN comes here.
DEV u32 to_bf16(float x) {
    const u32 bits = __float_as_uint(x);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
DEV uint4 load16(const void* p) { return *(const uint4*)p; }
DEV uint2 load8(const void* p) { return *(const uint2*)p; }
DEV u32 load4(const void* p) { return *(const u32*)p; }
DEV u32 load2(const void* p) { return *(const u16*)p; }
DEV float loadf(const void* p) { return *(const float*)p; }

// Operands of products are a 32nd of the values, so that f16 holds what models come to; what is larger is cut off.
#define OPERAND_UNIT 32.0f
DEV u32 to_operand(float x) {
    x *= 1.0f / OPERAND_UNIT;
    x = x > 65504.0f ? 65504.0f : x;
    return to_half(x < -65504.0f ? -65504.0f : x);
}
// Two f16 as two bfloat16, and as two of what their rounding left.
DEV void bf16_parts(u32 pair, u32& high, u32& low) {
    const float a = from_half(pair & 0xffffu), b = from_half(pair >> 16);
    const u32 ha = to_bf16(a), hb = to_bf16(b);
    high = ha | hb << 16;
    low = to_bf16(a - from_bf16(ha)) | to_bf16(b - from_bf16(hb)) << 16;
}
// Of `units` units of so many bytes, the first of which begins at `start`, those that begin before `at`.
DEV u32 units_before(u64 at, u64 start, u64 bytes, u32 units) {
    if (at <= start) return 0;
    const u64 n = (at - start + bytes - 1) / bytes;
    return n < units ? (u32)n : units;
}

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
DEV float silu(float x) { return x / (1.0f + expf(-x)); }
DEV float gelu(float x) {
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * fmaf(0.044715f * x * x, x, x)));
}
DEV float softcap(float cap, float x) { return cap * tanhf(x / cap); }
