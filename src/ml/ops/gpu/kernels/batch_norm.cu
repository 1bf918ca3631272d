// Batch normalisation of x [batch, channels, pixels] with the addition and the ReLU that follow it.
//
//   y = max(0, (x - mean)·inverse·weight + bias + residual),   inverse = 1/√(variance + eps)
//
// Backward pass, where g is the gradient before the ReLU, h = (x - mean)·inverse and n = batch·pixels:
//
//   dweight = Σ g·h,   dbias = Σ g,   dx = weight·inverse·(g - dbias/n - h·dweight/n)
//
// without the two sums if mean and variance are given. Everything is f32.
#include "common.cuh"

// The sum over a block of 256 threads, returned to the first thread.
__device__ inline float block_sum(float value, float *shared) {
    value = warp_sum(value);
    __syncthreads();
    if (lane() == 0) shared[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += shared[i];
    return sum;
}

// One block for each channel and `deep` images: sums of (x - shift), or of their squares; `fold` of columns.cu
// adds them up. `parts` is [chunks, channels].
extern "C" __global__ void channel_sums(const float *x, const float *shifts, float *parts, int batch,
                                        int channels, int pixels, int deep, int squares) {
    __shared__ float shared[8];
    int channel = blockIdx.x, from = blockIdx.y * deep, to = from + deep < batch ? from + deep : batch;
    float shift = shifts[channel], sum = 0;
    for (int image = from; image < to; image++) {
        const float *plane = x + (image * (size_t)channels + channel) * pixels;
        for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
            float value = plane[i] - shift;
            sum += squares ? value * value : value;
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) parts[blockIdx.y * (size_t)channels + channel] = sum;
}

// `residual` is read only if `adds`.
extern "C" __global__ void batch_norm(const float *x, const float *mean, const float *inverse,
                                      const float *weight, const float *bias, const float *residual, float *y,
                                      u64 count, int channels, int pixels, int adds, int rectify) {
    size_t at = place();
    if (at >= count) return;
    int channel = at / pixels % channels;
    float value = (x[at] - mean[channel]) * inverse[channel] * weight[channel] + bias[channel];
    if (adds) value += residual[at];
    y[at] = rectify ? fmaxf(value, 0) : value;
}

// The gradient before a ReLU with the output y.
extern "C" __global__ void rectifier_back(const float *gradient, const float *y, float *result, u64 count) {
    size_t at = place();
    if (at < count) result[at] = y[at] > 0 ? gradient[at] : 0;
}

// As `channel_sums`, for g·h and for g: `parts` is [chunks, 2, channels].
extern "C" __global__ void channel_gradients(const float *gradient, const float *x, const float *mean,
                                             const float *inverse, float *parts, int batch, int channels,
                                             int pixels, int deep) {
    __shared__ float shared[8];
    int channel = blockIdx.x, from = blockIdx.y * deep, to = from + deep < batch ? from + deep : batch;
    float along = 0, plain = 0;
    for (int image = from; image < to; image++) {
        size_t begin = (image * (size_t)channels + channel) * pixels;
        for (int i = threadIdx.x; i < pixels; i += blockDim.x) {
            float g = gradient[begin + i];
            along += g * (x[begin + i] - mean[channel]) * inverse[channel];
            plain += g;
        }
    }
    along = block_sum(along, shared);
    plain = block_sum(plain, shared);
    if (threadIdx.x != 0) return;
    parts[2 * blockIdx.y * (size_t)channels + channel] = along;
    parts[(2 * blockIdx.y + 1) * (size_t)channels + channel] = plain;
}

// `sums` has the channels' Σ g·h and then their Σ g; read only if `own`.
extern "C" __global__ void batch_norm_to_x(const float *gradient, const float *x, const float *mean,
                                           const float *inverse, const float *weight, const float *sums,
                                           float *result, u64 count, int channels, int pixels, int own) {
    size_t at = place();
    if (at >= count) return;
    int channel = at / pixels % channels;
    float value = gradient[at];
    if (own) {
        float share = 1.0f / (count / channels), normal = (x[at] - mean[channel]) * inverse[channel];
        value -= sums[channels + channel] * share + normal * sums[channel] * share;
    }
    result[at] = value * weight[channel] * inverse[channel];
}
