// The operations around the product of a linear layer: bias, activation, residual.
//
//   GELU: x·Φ(x), slope Φ(x) + x·φ(x);   quick GELU: x·σ(1.702 x), slope σ·(1 + 1.702 x·(1 - σ))
#include "common.cuh"

enum { NONE, GELU, QUICK_GELU };

__device__ inline float activated(float x, int kind) {
    if (kind == GELU) return x * 0.5f * (1 + erff(x * 0.70710678118654752f));
    if (kind == QUICK_GELU) return x / (1 + expf(-1.702f * x));
    return x;
}

__device__ inline float slope(float x, int kind) {
    if (kind == GELU)
        return 0.5f * (1 + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
    if (kind == QUICK_GELU) {
        float gate = 1 / (1 + expf(-1.702f * x));
        return gate * (1 + 1.702f * x * (1 - gate));
    }
    return 1;
}

// y = activation(x + bias), over `count` values in rows of `width`.
template <class T>
__device__ void activate(const T *x, const float *bias, T *y, u64 count, int width, int kind) {
    size_t at = place();
    if (at < count) y[at] = T(activated(float(x[at]) + bias[at % width], kind));
}

// The gradient of x above, from that of y.
template <class T>
__device__ void through(const T *gradient, const T *x, const float *bias, T *result, u64 count, int width,
                        int kind) {
    size_t at = place();
    if (at < count) result[at] = T(float(gradient[at]) * slope(float(x[at]) + bias[at % width], kind));
}

// y = residual + x + bias
template <class T>
__device__ void residual(const T *x, const float *bias, const float *residual, float *y, u64 count, int width) {
    size_t at = place();
    if (at < count) y[at] = residual[at] + float(x[at]) + bias[at % width];
}

#define LINEAR(T, NAME)                                                                                       \
    extern "C" __global__ void activate_##NAME(const T *x, const float *bias, T *y, u64 count, int width,     \
                                               int kind) {                                                    \
        activate<T>(x, bias, y, count, width, kind);                                                          \
    }                                                                                                         \
    extern "C" __global__ void through_##NAME(const T *gradient, const T *x, const float *bias, T *result,    \
                                              u64 count, int width, int kind) {                               \
        through<T>(gradient, x, bias, result, count, width, kind);                                            \
    }                                                                                                         \
    extern "C" __global__ void residual_##NAME(const T *x, const float *bias, const float *before, float *y,  \
                                               u64 count, int width) {                                        \
        residual<T>(x, bias, before, y, count, width);                                                        \
    }
LINEAR(float, f32)
LINEAR(bf16, bf16)
