// Softmax cross-entropy with label smoothing, one warp per row of logits.
//
//   loss = log Σ exp(z) - (1 - smoothing)·z[label] - smoothing·mean(z)
//   dz = (softmax(z) - target)·seed/rows,   target = smoothing/classes + (1 - smoothing)·[label]
#include "common.cuh"

// `logs` receives log Σ exp of each row, `losses` its loss.
template <class T>
__device__ void forward(const T *logits, const u32 *labels, float *logs, float *losses, int rows, int classes,
                        float smoothing) {
    size_t row = row_of_warp();
    if (row >= rows) return;
    logits += row * classes;
    float largest = -INFINITY, total = 0, sum = 0;
    for (int i = lane(); i < classes; i += WARP) largest = fmaxf(largest, float(logits[i]));
    largest = warp_largest(largest);
    // Of differences, so that large logits do not cancel.
    for (int i = lane(); i < classes; i += WARP) {
        float shifted = float(logits[i]) - largest;
        total += expf(shifted);
        sum += shifted;
    }
    float log = logf(warp_sum(total)), mean = warp_sum(sum) / classes;
    if (lane() != 0) return;
    logs[row] = largest + log;
    losses[row] = log - (1 - smoothing) * (float(logits[labels[row]]) - largest) - smoothing * mean;
}

template <class T>
__device__ void backward(const float *seed, const T *logits, const u32 *labels, const float *logs, T *result,
                         int rows, int classes, float smoothing) {
    size_t at = place(), row = at / classes;
    if (row >= rows) return;
    float target = smoothing / classes + (at % classes == labels[row] ? 1 - smoothing : 0);
    result[at] = T((expf(float(logits[at]) - logs[row]) - target) * seed[0] / rows);
}

#define CROSS_ENTROPY(T, NAME)                                                                               \
    extern "C" __global__ void cross_entropy_##NAME(const T *logits, const u32 *labels, float *logs,         \
                                                    float *losses, int rows, int classes, float smoothing) { \
        forward<T>(logits, labels, logs, losses, rows, classes, smoothing);                                  \
    }                                                                                                        \
    extern "C" __global__ void cross_entropy_back_##NAME(const float *seed, const T *logits,                 \
                                                         const u32 *labels, const float *logs, T *result,    \
                                                         int rows, int classes, float smoothing) {           \
        backward<T>(seed, logits, labels, logs, result, rows, classes, smoothing);                           \
    }
CROSS_ENTROPY(float, f32)
CROSS_ENTROPY(bf16, bf16)
