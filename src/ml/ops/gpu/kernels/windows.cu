// The pixels under a window at every position of x [batch, channels, height, width], and the reverse operation.
//
//   rows [batch·down·across, channels·size·size], taps in the order of a convolution's weight
//   back: each pixel is the sum of its taps, in their order
#include "common.cuh"

struct Windows {
    int channels, height, width, size, stride, padding, down, across;
};

template <class Out>
__device__ void unfold(const float *x, Out *rows, u64 count, Windows w) {
    size_t at = place();
    if (at >= count) return;
    size_t rest = at;
    int dx = rest % w.size;
    rest /= w.size;
    int dy = rest % w.size;
    rest /= w.size;
    int channel = rest % w.channels;
    rest /= w.channels;
    int across = rest % w.across;
    rest /= w.across;
    int down = rest % w.down;
    size_t image = rest / w.down;
    int i = down * w.stride + dy - w.padding, j = across * w.stride + dx - w.padding;
    bool inside = i >= 0 && i < w.height && j >= 0 && j < w.width;
    rows[at] = Out(inside ? x[((image * w.channels + channel) * w.height + i) * w.width + j] : 0.0f);
}

template <class In>
__device__ void back(const In *rows, float *x, u64 count, Windows w) {
    size_t at = place();
    if (at >= count) return;
    size_t rest = at;
    int j = rest % w.width;
    rest /= w.width;
    int i = rest % w.height;
    rest /= w.height;
    int channel = rest % w.channels;
    size_t image = rest / w.channels;
    float sum = 0;
    for (int dy = 0; dy < w.size; dy++) {
        int down = i + w.padding - dy;
        if (down < 0 || down % w.stride || down / w.stride >= w.down) continue;
        for (int dx = 0; dx < w.size; dx++) {
            int across = j + w.padding - dx;
            if (across < 0 || across % w.stride || across / w.stride >= w.across) continue;
            size_t row = (image * w.down + down / w.stride) * w.across + across / w.stride;
            sum += float(rows[((row * w.channels + channel) * w.size + dy) * w.size + dx]);
        }
    }
    x[at] = sum;
}

#define WINDOWS(T, NAME)                                                                                       \
    extern "C" __global__ void unfold_##NAME(const float *x, T *rows, u64 count, int channels, int height,     \
                                             int width, int size, int stride, int padding, int down,           \
                                             int across) {                                                     \
        unfold<T>(x, rows, count, {channels, height, width, size, stride, padding, down, across});             \
    }                                                                                                          \
    extern "C" __global__ void unfold_back_##NAME(const T *rows, float *x, u64 count, int channels,            \
                                                  int height, int width, int size, int stride, int padding,    \
                                                  int down, int across) {                                      \
        back<T>(rows, x, count, {channels, height, width, size, stride, padding, down, across});               \
    }
WINDOWS(float, f32)
WINDOWS(bf16, bf16)
