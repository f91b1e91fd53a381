// Runs kernels on a CPU: blocks one after another, a fiber for each thread, warps that wait for all of their lanes where CUDA
// makes them wait. It sees no limit of registers, and none of shared memory.
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define LATHE_EMULATOR 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static

struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct Dim { uint32_t x, y, z; };

namespace emulator {

enum class State { Ready, Warp, Block, Done };
// A context makes a fiber; from then on it is left and entered by jumps, which ask nothing of the system.
struct Fiber {
    ucontext_t context;
    jmp_buf place;
    bool entered;
    State state;
};
struct Exchange {
    // Two sets of slots in turn, so that a lane that runs ahead does not overwrite what another still reads.
    uint64_t slots[2][32];
    uint32_t turn[32];
};

static std::vector<Fiber> fibers;
static std::vector<Exchange> warps;
static std::vector<char> stacks;
static jmp_buf scheduler;
static uint32_t current;
static void (*body)(const uint64_t*);
static const uint64_t* arguments;
constexpr size_t STACK = 128 * 1024;

[[noreturn]] static void fail(const char* what) {
    fprintf(stderr, "emulator: %s\n", what);
    exit(1);
}

static void entry() {
    body(arguments);
    fibers[current].state = State::Done;
    _longjmp(scheduler, 1);
}

static void wait(State state) {
    Fiber& fiber = fibers[current];
    fiber.state = state;
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler, 1);
}

// Lets others go on, and comes back when they did.
static uint64_t yields;
static void fail_if_stuck() {
    if (++yields > 400000000) fail("threads wait for one another");
}
static void yield() {
    fail_if_stuck();
    wait(State::Ready);
}

alignas(128) static unsigned char shared_bytes[256 * 1024];

static void enter(Fiber& fiber) {
    if (_setjmp(scheduler) != 0) return;
    if (fiber.entered) _longjmp(fiber.place, 1);
    fiber.entered = true;
    setcontext(&fiber.context);
}

// Lets those go on who wait for the same, once all do. Threads that are done do not count for a block, and are a mistake in a
// warp that others wait for.
static bool release(uint32_t first, uint32_t last, State state) {
    uint32_t waiting = 0, done = 0;
    for (uint32_t i = first; i < last; ++i) {
        waiting += fibers[i].state == state;
        done += fibers[i].state == State::Done;
    }
    if (waiting == 0 || waiting + done < last - first) return false;
    if (state == State::Warp && done > 0) fail("lanes of a warp ended while others wait for them");
    for (uint32_t i = first; i < last; ++i)
        if (fibers[i].state == state) fibers[i].state = State::Ready;
    return true;
}

static void run_block(uint32_t threads) {
    for (uint32_t i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks.data() + i * STACK;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, entry, 0);
        fiber.state = State::Ready;
        fiber.entered = false;
    }
    for (auto& warp : warps) memset(warp.turn, 0, sizeof warp.turn);
    memset(shared_bytes, 0x7e, sizeof shared_bytes);
    yields = 0;
    for (;;) {
        bool ran = false, all_done = true;
        for (uint32_t warp = 0; warp < threads; warp += 32) {
            do {
                for (uint32_t i = warp; i < warp + 32; ++i) {
                    if (fibers[i].state != State::Ready) continue;
                    current = i;
                    enter(fibers[i]);
                    ran = true;
                }
            } while (release(warp, warp + 32, State::Warp));
            for (uint32_t i = warp; i < warp + 32; ++i) all_done &= fibers[i].state == State::Done;
        }
        if (all_done) return;
        if (!release(0, threads, State::Block) && !ran) fail("threads wait for each other");
    }
}

static Dim block_index, grid_size, block_size;

static void launch(void (*kernel)(const uint64_t*), const uint32_t grid[3], uint32_t threads, const uint64_t* args) {
    if (threads == 0 || threads % 32 != 0 || threads > 1024) fail("a block is 1 to 32 whole warps");
    if (grid[1] > 65535 || grid[2] > 65535) fail("a grid has 65535 blocks at most in y and z");
    if (fibers.size() < threads) {
        fibers.resize(threads);
        stacks.resize(threads * STACK);
        warps.resize(threads / 32);
    }
    body = kernel;
    arguments = args;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {threads, 1, 1};
    for (uint32_t z = 0; z < grid[2]; ++z)
        for (uint32_t y = 0; y < grid[1]; ++y)
            for (uint32_t x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                run_block(threads);
            }
}

template <class T> T shuffle(T value, uint32_t lane_mask) {
    static_assert(sizeof(T) <= 8, "");
    const uint32_t lane = current % 32;
    Exchange& exchange = warps[current / 32];
    const uint32_t turn = exchange.turn[lane] ^= 1;
    memcpy(&exchange.slots[turn][lane], &value, sizeof value);
    wait(State::Warp);
    T other;
    memcpy(&other, &exchange.slots[turn][lane ^ lane_mask], sizeof other);
    return other;
}

static Dim thread_index() { return {current, 0, 0}; }

}  // namespace emulator

#define threadIdx (emulator::thread_index())
#define blockIdx (emulator::block_index)
#define gridDim (emulator::grid_size)
#define blockDim (emulator::block_size)

inline void __syncthreads() { emulator::wait(emulator::State::Block); }
inline void __syncwarp() { emulator::wait(emulator::State::Warp); }
template <class T> T __shfl_xor_sync(uint32_t, T value, int mask) { return emulator::shuffle(value, (uint32_t)mask); }
inline void atomicMax(unsigned long long* at, unsigned long long value) { if (value > *at) *at = value; }
inline float __uint_as_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
inline uint32_t __float_as_uint(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t both = ((uint64_t)b << 32) | a;
    uint32_t out = 0;
    for (int i = 0; i < 4; ++i) out |= (uint32_t)(both >> (8 * ((selector >> (4 * i)) & 7)) & 255) << (8 * i);
    return out;
}
inline float from_half(uint32_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    const float x = exponent == 0 ? ldexpf((float)mantissa, -24) : ldexpf((float)(mantissa | 1024), (int)exponent - 25);
    return sign ? -x : x;
}
inline uint32_t to_half(float x) {
    const uint32_t sign = __float_as_uint(x) >> 16 & 0x8000u;
    const float a = fabsf(x);
    if (!(a < 65520.0f)) return sign | (a == a ? 0x7c00u : 0x7e00u);
    if (a < 6.103515625e-05f) return sign | (uint32_t)nearbyintf(ldexpf(a, 24));
    int exponent;
    const float fraction = frexpf(a, &exponent);
    // The mantissa with its hidden bit: where it is rounded up to 2048, the sum carries into the exponent as it must.
    return sign | (((uint32_t)(exponent + 14) << 10) + (uint32_t)nearbyintf(ldexpf(fraction, 11)) - 1024);
}

inline uint32_t and_or(uint32_t a, uint32_t mask, uint32_t b) { return (a & mask) | b; }
template <class F> uint32_t half2(uint32_t a, uint32_t b, uint32_t c, F f) {
    const auto part = [&](int s) {
        return to_half(f(from_half(a >> s & 0xffffu), from_half(b >> s & 0xffffu), from_half(c >> s & 0xffffu)));
    };
    return part(0) | part(16) << 16;
}
inline uint32_t half2_sub(uint32_t a, uint32_t b) {
    return half2(a, b, 0, [](float x, float y, float) { return x - y; });
}
inline uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
    return half2(a, b, c, [](float x, float y, float z) { return fmaf(x, y, z); });
}
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline float bf16_value(uint32_t bits) { return __uint_as_float(bits << 16); }

// The operands of a product of a warp, lane by lane.
struct Operands {
    uint32_t a[4], b[2];
};
namespace emulator {
static Operands products[2][32][32];
template <class F> void multiply(float (&c)[4], const Operands& mine, F value) {
    const uint32_t warp = current / 32, lane = current % 32;
    const uint32_t turn = warps[warp].turn[lane] ^= 1;
    products[turn][warp][lane] = mine;
    wait(State::Warp);
    const Operands* all = products[turn][warp];
    for (int n = 0; n < 4; ++n) {
        const uint32_t row = lane / 4, half = n / 2, column = 2 * (lane % 4) + n % 2;
        float sum = c[n];
        for (uint32_t k = 0; k < 16; ++k) {
            const uint32_t t = k % 8 / 2, word = k / 8, shift = k % 2 * 16;
            const uint32_t a = all[4 * row + t].a[2 * word + half] >> shift & 0xffffu;
            const uint32_t b = all[4 * column + t].b[word] >> shift & 0xffffu;
            sum = fmaf(value(a), value(b), sum);
        }
        c[n] = sum;
    }
}
}  // namespace emulator
inline void mma_f16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    emulator::multiply(c, {{a0, a1, a2, a3}, {b0, b1}}, from_half);
}
inline void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    emulator::multiply(c, {{a0, a1, a2, a3}, {b0, b1}}, bf16_value);
}

inline void let_next_begin() {}
inline void wait_for_previous() {}

#define SHARED_BYTES(name) unsigned char* const name = emulator::shared_bytes
typedef uint64_t shared_t;
inline shared_t shared_address(const void* p) { return (shared_t)p; }
// A barrier in the eight bytes that it has: arrivals of a phase, those still missing, bytes still to come, parity.
struct Barrier {
    uint16_t arrivals, missing;
    int32_t bytes : 31;
    uint32_t parity : 1;
};
static_assert(sizeof(Barrier) == 8, "");
inline void end_phase(Barrier& b) {
    if (b.missing > 0 || b.bytes != 0) return;
    b.parity ^= 1;
    b.missing = b.arrivals;
}
inline void barrier_init(shared_t bar, uint32_t arrivals) {
    *(Barrier*)bar = {(uint16_t)arrivals, (uint16_t)arrivals, 0, 0};
}
inline void barriers_ready() {}
inline void barrier_arrive(shared_t bar) {
    Barrier& b = *(Barrier*)bar;
    if (b.missing == 0) emulator::fail("more arrive at a barrier than it is for");
    --b.missing;
    end_phase(b);
}
inline void barrier_wait(shared_t bar, uint32_t parity) {
    while (((Barrier*)bar)->parity == parity) emulator::yield();
}
#define COPY_ARRIVALS 1
inline uint64_t read_once() { return 0; }
inline uint64_t read_often() { return 0; }
inline void copy_begin(shared_t bar, uint32_t bytes, uint32_t lane) {
    if (lane != 0) return;
    ((Barrier*)bar)->bytes = ((Barrier*)bar)->bytes + (int32_t)bytes;
    barrier_arrive(bar);
}
inline void copy_piece(unsigned char* to, const unsigned char* from, uint32_t bytes, shared_t bar, uint32_t lane, uint64_t) {
    if (lane != 0) return;
    if (bytes % 16 != 0 || (uintptr_t)to % 16 != 0 || (uintptr_t)from % 16 != 0) emulator::fail("a copy is not aligned");
    memcpy(to, from, bytes);
    Barrier& b = *(Barrier*)bar;
    b.bytes = b.bytes - (int32_t)bytes;
    end_phase(b);
}
inline void copy_pieces(unsigned char* to, uint32_t to_step, const unsigned char* from, uint32_t from_step, uint32_t n,
                        uint32_t bytes, shared_t bar, uint32_t lane, uint64_t policy) {
    for (uint32_t i = 0; i < n; ++i) copy_piece(to + i * to_step, from + (uint64_t)i * from_step, bytes, bar, lane, policy);
}
inline void copy_end(shared_t, uint32_t) {}
