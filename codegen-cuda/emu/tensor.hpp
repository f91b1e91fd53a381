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

// Every f16 as an f32.
static const float* halves() {
    static std::vector<float> all;
    for (uint32_t bits = (uint32_t)all.size(); bits < 0x10000; ++bits) all.push_back(from_half(bits));
    return all.data();
}

}  // namespace emulator

inline void load_matrices(uint32_t (&r)[4], const void* row) { emulator::load(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) { emulator::load(r, row, true); }
inline uint32_t transposed(uint32_t pair) {
    static uint32_t pairs[32][32];
    const uint32_t lane = emulator::current % 32, t = lane % 4, shift = lane / 4 % 2 * 16;
    uint32_t* mine = pairs[emulator::current / 32];
    mine[lane] = pair;
    emulator::wait(emulator::State::Warp);
    const auto element = [&](uint32_t row) { return mine[4 * row + lane / 8] >> shift & 0xffffu; };
    const uint32_t turned = element(2 * t) | element(2 * t + 1) << 16;
    emulator::wait(emulator::State::Warp);
    return turned;
}
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

struct alignas(8) float2 { float x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline void begin_products() {}
inline void commit_products() {}
template <int N> void wait_products() {}
template <int R> void settle(float (&)[R][4]) {}
inline void show_to_copies() {}
template <int N> void give_registers() {}
template <int N> void take_registers() {}
// Every thread computes its own sums.
template <int R> void multiply_tiles(float (&d)[R][4], const uint8_t* a, const uint8_t* b, uint32_t k, bool add) {
    if ((uintptr_t)a % 128 != 0 || (uintptr_t)b % 128 != 0) emulator::fail("a tile is not aligned");
    const uint32_t t = emulator::current % 128, lane = t % 32;
    const auto element = [=](const uint8_t* tile, uint32_t row, uint32_t i) {
        const uint32_t run = (2 * k + i / 8) ^ row % 8;
        return emulator::halves()[*(const uint16_t*)(tile + row * 128 + run * 16 + i % 8 * 2)];
    };
    for (uint32_t h = 0; h < 2; ++h) {
        float left[16];
        for (uint32_t i = 0; i < 16; ++i) left[i] = element(a, t / 32 * 16 + lane / 4 + 8 * h, i);
        for (uint32_t n = 0; n < 2 * R; ++n) {
            float& sum = d[n / 2][2 * h + n % 2];
            if (!add) sum = 0.0f;
            for (uint32_t i = 0; i < 16; ++i) sum += left[i] * element(b, n / 2 * 8 + lane % 4 * 2 + n % 2, i);
        }
    }
}
// A lane gives eight columns of 16 rows of values as it would give them of a matrix on the right.
template <int R>
void multiply_transposed(float (&d)[R][4], const uint32_t (&a)[4], const uint8_t* values, uint32_t k, uint32_t keys) {
    const uint32_t lane = emulator::current % 32;
    for (uint32_t n = 0; n < R; ++n) {
        uint32_t b[2] = {};
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t key = 16 * k + i / 2 * 8 + lane % 4 * 2 + i % 2, column = 8 * n + lane / 4;
            const uint8_t* row = values + column / 64 * keys * 128 + key * 128;
            const uint32_t element = *(const uint16_t*)(row + (column % 64 / 8 ^ key % 8) * 16 + column % 8 * 2);
            b[i / 2] |= element << 16 * (i % 2);
        }
        mma_f16(d[n], a[0], a[1], a[2], a[3], b[0], b[1]);
    }
}
