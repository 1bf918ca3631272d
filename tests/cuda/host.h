// Enough of CUDA on the host to run kernels on it: every thread of a block is a fiber, which runs until the
// next barrier. Blocks come one after the other, so what is shared in a block may be static.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct dim3 {
    unsigned x, y, z;
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

// bf16 with rounding to the nearest, ties to even.
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        uint32_t word;
        memcpy(&word, &value, 4);
        bits = std::isnan(value) ? 0x7fff : (word + 0x7fff + (word >> 16 & 1)) >> 16;
    }
    operator float() const {
        uint32_t word = uint32_t(bits) << 16;
        float value;
        memcpy(&value, &word, 4);
        return value;
    }
};

namespace host {
enum State { RUNS, AT_WARP, AT_BLOCK, ENDED };
struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    State state;
    float given;
};
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline unsigned current;
inline void (*body)();

inline void wait(State state) {
    Fiber &fiber = fibers[current];
    fiber.state = state;
    swapcontext(&fiber.context, &scheduler);
}

inline void enter() {
    body();
    fibers[current].state = ENDED;
}

// Lets fibers `from` to `to` go on if none of them runs and all that have not ended wait at `state`.
inline bool release(unsigned from, unsigned to, State state) {
    bool any = false;
    for (unsigned i = from; i < to; i++) {
        if (fibers[i].state == ENDED) continue;
        if (fibers[i].state != state) return false;
        any = true;
    }
    for (unsigned i = from; i < to; i++)
        if (fibers[i].state == state) fibers[i].state = RUNS;
    return any;
}

inline void run_block() {
    unsigned count = blockDim.x;
    for (unsigned i = 0; i < count; i++) {
        Fiber &fiber = fibers[i];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, enter, 0);
        fiber.state = RUNS;
    }
    for (;;) {
        bool ran = false;
        for (current = 0; current < count; current++) {
            if (fibers[current].state != RUNS) continue;
            ran = true;
            threadIdx.x = current;
            swapcontext(&scheduler, &fibers[current].context);
        }
        bool released = release(0, count, AT_BLOCK);
        for (unsigned i = 0; i < count; i += 32) released |= release(i, i + 32 < count ? i + 32 : count, AT_WARP);
        if (ran || released) continue;
        for (unsigned i = 0; i < count; i++)
            if (fibers[i].state != ENDED) abort(); // Some threads wait for others that ended or went elsewhere.
        return;
    }
}

inline void launch(dim3 grid, unsigned block, void (*kernel)()) {
    body = kernel, gridDim = grid, blockDim = {block, 1, 1};
    if (fibers.size() < block) fibers.resize(block);
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block();
}
} // namespace host

inline void __syncthreads() { host::wait(host::AT_BLOCK); }

inline float __shfl_xor_sync(unsigned, float value, int distance) {
    unsigned me = host::current;
    host::fibers[me].given = value;
    host::wait(host::AT_WARP);
    float other = host::fibers[me ^ distance].given;
    host::wait(host::AT_WARP);
    threadIdx.x = me;
    return other;
}
