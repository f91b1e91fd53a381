// Matrices in shared memory and copies to it, as `tensor.cuh` names them. Copies are done when they are begun.
namespace emulator {

static const uint16_t* rows[32][32];

static void load(uint32_t (&r)[4], const void* row, bool transposed) {
    const uint32_t lane = current % 32;
    if ((uintptr_t)row % 16 != 0) fail("a row of a matrix is not aligned");
    const uint16_t** mine = rows[current / 32];
    mine[lane] = (const uint16_t*)row;
    wait(State::Warp);
    for (uint32_t m = 0; m < 4; ++m) {
        uint32_t pair[2];
        for (uint32_t i = 0; i < 2; ++i) {
            const uint32_t a = lane / 4, b = lane % 4 * 2 + i;
            pair[i] = transposed ? mine[8 * m + b][a] : mine[8 * m + a][b];
        }
        r[m] = pair[0] | pair[1] << 16;
    }
    wait(State::Warp);
}

}  // namespace emulator

inline void load_matrices(uint32_t (&r)[4], const void* row) { emulator::load(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) { emulator::load(r, row, true); }
inline void copy16(void* to, const void* from, bool there) {
    if ((uintptr_t)to % 16 != 0 || (there && (uintptr_t)from % 16 != 0)) emulator::fail("a copy is not aligned");
    there ? memcpy(to, from, 16) : memset(to, 0, 16);
}
inline void commit_copies() {}
template <int N> void wait_copies() {}
inline uint32_t half_pair(float low, float high) { return to_half(low) | to_half(high) << 16; }
inline float power_of_two(float x) { return exp2f(x); }
inline bool warp_any(bool x) {
    uint32_t any = x;
    for (int o = 16; o > 0; o >>= 1) any |= emulator::shuffle(any, o);
    return any;
}
