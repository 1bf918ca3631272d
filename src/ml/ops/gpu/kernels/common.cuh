// Shared by all kernels: numbers of two types, and sums in a fixed order.
//
// No kernel uses an atomic operation, and every sum is divided by shape only, so equal input gives
// equal bits on one type of GPU.
#pragma once
#ifdef RIBFLOW_ON_HOST
#include "host.h"
#else
#include <cuda_bf16.h>
#endif

typedef __nv_bfloat16 bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr int WARP = 32;

// The sum over the 32 lanes of a warp; returned to every lane.
__device__ inline float warp_sum(float value) {
    for (int distance = WARP / 2; distance; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
    return value;
}

__device__ inline float warp_largest(float value) {
    for (int distance = WARP / 2; distance; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
    return value;
}

// For kernels with one warp per row: the row of this warp.
__device__ inline size_t row_of_warp() {
    return blockIdx.x * (size_t)(blockDim.x / WARP) + threadIdx.x / WARP;
}

__device__ inline int lane() { return threadIdx.x % WARP; }

// The index of this thread in the grid.
__device__ inline size_t place() { return blockIdx.x * (size_t)blockDim.x + threadIdx.x; }
