// Sums of columns in two steps, so that no atomic operation is needed: over `deep` rows each, then over
// those parts.
#include "common.cuh"

template <class In>
__device__ void part(const In *x, float *parts, int rows, int width, int deep) {
    __shared__ float sums[8][WARP];
    int across = threadIdx.x % WARP, down = threadIdx.x / WARP, column = blockIdx.x * WARP + across;
    size_t from = blockIdx.y * (size_t)deep, to = from + deep < rows ? from + deep : rows;
    float sum = 0;
    for (size_t row = from + down; row < to && column < width; row += 8) sum += float(x[row * width + column]);
    sums[down][across] = sum;
    __syncthreads();
    if (down > 0 || column >= width) return;
    sum = 0;
    for (int i = 0; i < 8; i++) sum += sums[i][across];
    parts[blockIdx.y * (size_t)width + column] = sum;
}

extern "C" __global__ void columns_f32(const float *x, float *parts, int rows, int width, int deep) {
    part<float>(x, parts, rows, width, deep);
}
extern "C" __global__ void columns_bf16(const bf16 *x, float *parts, int rows, int width, int deep) {
    part<bf16>(x, parts, rows, width, deep);
}

// parts [chunks, width] -> sum [width]
extern "C" __global__ void fold(const float *parts, float *sum, int chunks, int width) {
    size_t column = place();
    if (column >= width) return;
    float total = 0;
    for (int chunk = 0; chunk < chunks; chunk++) total += parts[chunk * (size_t)width + column];
    sum[column] = total;
}
