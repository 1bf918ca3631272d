// Layer normalisation over rows of `width` values (Ba, Kiros, Hinton 2016), one warp per row.
//
//   y = (x - mean)·scale·weight + bias,   scale = 1/√(variance + eps), the variance the biased one
//
// Backward pass, with h = (x - mean)·scale and g' = g·weight:
//
//   dx = scale·(g' - mean(g') - h·mean(g'·h)),   dweight = Σ g·h,   dbias = Σ g over the rows
#include "common.cuh"

template <class In, class Out>
__device__ void forward(const In *x, const float *weight, const float *bias, Out *y, float *moments, int rows,
                        int width, float eps) {
    size_t row = row_of_warp();
    if (row >= rows) return;
    x += row * width, y += row * width;
    float sum = 0;
    for (int i = lane(); i < width; i += WARP) sum += float(x[i]);
    float mean = warp_sum(sum) / width, squares = 0;
    for (int i = lane(); i < width; i += WARP) {
        float centred = float(x[i]) - mean;
        squares += centred * centred;
    }
    float scale = 1 / sqrtf(warp_sum(squares) / width + eps);
    for (int i = lane(); i < width; i += WARP) y[i] = Out((float(x[i]) - mean) * scale * weight[i] + bias[i]);
    if (lane() == 0) moments[2 * row] = mean, moments[2 * row + 1] = scale;
}

template <class In, class Grad>
__device__ void to_x(const Grad *gradient, const In *x, const float *weight, const float *moments, In *result,
                     int rows, int width) {
    size_t row = row_of_warp();
    if (row >= rows) return;
    gradient += row * width, x += row * width, result += row * width;
    float mean = moments[2 * row], scale = moments[2 * row + 1], plain = 0, along = 0;
    for (int i = lane(); i < width; i += WARP) {
        float scaled = float(gradient[i]) * weight[i];
        plain += scaled;
        along += scaled * (float(x[i]) - mean) * scale;
    }
    plain = warp_sum(plain) / width, along = warp_sum(along) / width;
    for (int i = lane(); i < width; i += WARP) {
        float normal = (float(x[i]) - mean) * scale;
        result[i] = In(scale * (float(gradient[i]) * weight[i] - plain - normal * along));
    }
}

// Sums over `deep` rows, one block of 32 × 8 threads for 32 columns; `fold` of columns.cu adds them.
// `parts` is [chunks, 2, width]: of the weight, of the bias.
template <class In, class Grad>
__device__ void to_parameters(const Grad *gradient, const In *x, const float *moments, float *parts, int rows,
                              int width, int deep) {
    __shared__ float sums[2][8][WARP];
    int across = threadIdx.x % WARP, down = threadIdx.x / WARP, column = blockIdx.x * WARP + across;
    size_t from = blockIdx.y * (size_t)deep, to = from + deep < rows ? from + deep : rows;
    float weight = 0, bias = 0;
    for (size_t row = from + down; row < to && column < width; row += 8) {
        float g = float(gradient[row * width + column]);
        weight += g * (float(x[row * width + column]) - moments[2 * row]) * moments[2 * row + 1];
        bias += g;
    }
    sums[0][down][across] = weight, sums[1][down][across] = bias;
    __syncthreads();
    if (down > 1 || column >= width) return;
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += sums[down][i][across];
    parts[(2 * (size_t)blockIdx.y + down) * width + column] = sum;
}

#define LAYER_NORM(In, Out, NAME)                                                                             \
    extern "C" __global__ void layer_norm_##NAME(const In *x, const float *weight, const float *bias, Out *y, \
                                                 float *moments, int rows, int width, float eps) {            \
        forward<In, Out>(x, weight, bias, y, moments, rows, width, eps);                                      \
    }                                                                                                         \
    extern "C" __global__ void layer_norm_to_x_##NAME(const Out *gradient, const In *x, const float *weight,  \
                                                      const float *moments, In *result, int rows, int width) {\
        to_x<In, Out>(gradient, x, weight, moments, result, rows, width);                                     \
    }                                                                                                         \
    extern "C" __global__ void layer_norm_to_parameters_##NAME(const Out *gradient, const In *x,              \
                                                               const float *moments, float *parts, int rows,  \
                                                               int width, int deep) {                         \
        to_parameters<In, Out>(gradient, x, moments, parts, rows, width, deep);                               \
    }
LAYER_NORM(float, float, f32)
LAYER_NORM(float, bf16, mixed)
