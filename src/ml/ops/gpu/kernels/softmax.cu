// Softmax over rows of `width` scores, one warp per row: attention weights.
//
//   shares = softmax(scale·scores),   dscores = scale·shares·(g - Σ g·shares)
#include "common.cuh"

template <class T>
__device__ void forward(const T *scores, T *shares, int rows, int width, float scale) {
    size_t row = row_of_warp();
    if (row >= rows) return;
    scores += row * width, shares += row * width;
    float largest = -INFINITY, total = 0;
    for (int i = lane(); i < width; i += WARP) largest = fmaxf(largest, float(scores[i]) * scale);
    largest = warp_largest(largest);
    for (int i = lane(); i < width; i += WARP) total += expf(float(scores[i]) * scale - largest);
    float share = 1 / warp_sum(total);
    for (int i = lane(); i < width; i += WARP) shares[i] = T(expf(float(scores[i]) * scale - largest) * share);
}

template <class T>
__device__ void backward(const T *gradient, const T *shares, T *result, int rows, int width, float scale) {
    size_t row = row_of_warp();
    if (row >= rows) return;
    gradient += row * width, shares += row * width, result += row * width;
    float sum = 0;
    for (int i = lane(); i < width; i += WARP) sum += float(gradient[i]) * float(shares[i]);
    sum = warp_sum(sum);
    for (int i = lane(); i < width; i += WARP)
        result[i] = T(scale * float(shares[i]) * (float(gradient[i]) - sum));
}

#define SOFTMAX(T, NAME)                                                                                   \
    extern "C" __global__ void softmax_##NAME(const T *scores, T *shares, int rows, int width,             \
                                              float scale) {                                               \
        forward<T>(scores, shares, rows, width, scale);                                                    \
    }                                                                                                      \
    extern "C" __global__ void softmax_back_##NAME(const T *gradient, const T *shares, T *result, int rows,\
                                                   int width, float scale) {                               \
        backward<T>(gradient, shares, result, rows, width, scale);                                         \
    }
SOFTMAX(float, f32)
SOFTMAX(bf16, bf16)
