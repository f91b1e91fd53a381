
// Matrices in shared memory, and copies to it that run beside a block.
#ifndef LATHE_EMULATOR
// Four matrices of 8 rows of 16 bytes: lane i has the address of row i % 8 of matrix i / 8.
DEV void load_matrices(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}
DEV void load_matrices_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}
// Of a matrix of 8 by 8, a lane has row lane/4, columns 2t and 2t+1 with t = lane%4: the same of the transpose.
DEV u32 transposed(u32 pair) {
    u32 r;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(pair));
    return r;
}
// Copies 16 bytes to shared memory, or zeros where `there` is false; `wait_copies` waits for all but the last N groups.
DEV void copy16(void* to, const void* from, bool there) {
    const u32 bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
DEV void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEV void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// Two f16, the first in the low bits.
DEV u32 half_pair(float low, float high) {
    u32 bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
DEV float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// Four warps in a row multiply matrices in shared memory: rows of 128 bytes, their runs of 16 bytes as panels have them.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
DEV u64 tile_descriptor(const u8* tile, u32 k) {
    const u32 at = shared_address(tile) + 32 * k;
    return (u64)((at & 0x3ffffu) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
DEV void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEV void wait_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// Sums are not read before they were waited for.
template <int R> DEV void settle(float (&d)[R][4]) {
#pragma unroll
    for (int i = 0; i < R; ++i) asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])::"memory");
}
// Writes of this thread to shared memory are seen by products that follow.
DEV void show_to_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Warps that copy leave registers to those that multiply.
template <int N> DEV void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEV void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
#endif
DEV bool warp_any(bool x) { return __any_sync(0xffffffffu, x); }
#endif
DEV float saturated(float x) { return fminf(fmaxf(x, -65504.0f), 65504.0f); }
DEV u32 operand_pair(float low, float high) {
    return half_pair(saturated(low * (1.0f / OPERAND_UNIT)), saturated(high * (1.0f / OPERAND_UNIT)));
}
// Two floats as two f16, and as two of what their rounding left.
DEV void split_pair(float a, float b, u32& high, u32& low) {
    high = half_pair(saturated(a), saturated(b));
    low = half_pair(saturated(a - from_half(high & 0xffffu)), saturated(b - from_half(high >> 16)));
}
// Four elements of a row of floats that ends somewhere.
DEV void put4(float* to, u32 at, u32 end, float a, float b, float c, float d) {
    if (at < end) to[at] = a;
    if (at + 1 < end) to[at + 1] = b;
    if (at + 2 < end) to[at + 2] = c;
    if (at + 3 < end) to[at + 3] = d;
}
// For a of 16 rows and 16 columns as `load_matrices` gives it.
DEV void mma_f16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { mma_f16(c, a[0], a[1], a[2], a[3], b0, b1); }
