// Runs kernels on the host, one after the other. Each is asked for on standard input: its name, the grid's two
// sizes and the block's on a line, then the arguments in the order of the kernel's own: of a pointer the number
// of bytes as u64 and the bytes, of a number its bytes. Standard output gets the bytes behind every pointer that
// is not const.
#define RIBFLOW_ON_HOST
#include "common.cuh"

#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>

namespace of_batch_norm {
#include "batch_norm.cu"
}
namespace of_columns {
#include "columns.cu"
}
namespace of_cross_entropy {
#include "cross_entropy.cu"
}
namespace of_layer_norm {
#include "layer_norm.cu"
}
namespace of_linear {
#include "linear.cu"
}
namespace of_optimiser {
#include "optimiser.cu"
}
namespace of_pixels {
#include "pixels.cu"
}
namespace of_softmax {
#include "softmax.cu"
}
namespace of_windows {
#include "windows.cu"
}

using of_optimiser::Parameter;
using of_optimiser::Piece;

// Of the optimiser's kernels, whose table holds pointers: one parameter.
void sgd_of_one(float *values, const float *gradient, float *memory, const Piece *pieces, u64 count, float decay,
                int deep, float rate, float momentum) {
    Parameter one{values, gradient, memory, count, decay, 0};
    of_optimiser::sgd(&one, pieces, deep, rate, momentum);
}

void adamw_of_one(float *values, const float *gradient, float *memory, const Piece *pieces, u64 count, float decay,
                  int deep, float rate, float beta1, float beta2, float rest1, float rest2, float stride,
                  float scale, float eps) {
    Parameter one{values, gradient, memory, count, decay, 0};
    of_optimiser::adamw(&one, pieces, deep, rate, beta1, beta2, rest1, rest2, stride, scale, eps);
}

void take(void *to, size_t bytes) {
    if (bytes && fread(to, bytes, 1, stdin) != 1) exit(2);
}

struct Arguments {
    // Of u64, so that they are aligned.
    std::deque<std::vector<u64>> buffers;
    std::vector<std::pair<const void *, size_t>> results;

    template <class T> T next() {
        if constexpr (std::is_pointer_v<T>) {
            u64 bytes;
            take(&bytes, sizeof bytes);
            auto &buffer = buffers.emplace_back(bytes / 8 + 1);
            take(buffer.data(), bytes);
            if (!std::is_const_v<std::remove_pointer_t<T>>) results.emplace_back(buffer.data(), bytes);
            return reinterpret_cast<T>(buffer.data());
        } else {
            T value;
            take(&value, sizeof value);
            return value;
        }
    }
};

std::function<void()> bound;

template <class... A> std::function<void(dim3, unsigned)> asked(void (*kernel)(A...)) {
    return [kernel](dim3 grid, unsigned block) {
        Arguments arguments;
        // Between braces they are taken from left to right.
        std::tuple<A...> values{arguments.next<A>()...};
        bound = [&] { std::apply(kernel, values); };
        host::launch(grid, block, [] { bound(); });
        for (auto [from, bytes] : arguments.results) fwrite(from, bytes, 1, stdout);
    };
}

int main() {
#define KERNEL(NAME) {#NAME, asked(NAME)}
    using namespace of_batch_norm;
    using namespace of_columns;
    using namespace of_cross_entropy;
    using namespace of_layer_norm;
    using namespace of_linear;
    using namespace of_pixels;
    using namespace of_softmax;
    using namespace of_windows;
    std::map<std::string, std::function<void(dim3, unsigned)>> kernels{
        KERNEL(activate_bf16), KERNEL(activate_f32), KERNEL(adamw_of_one), KERNEL(batch_norm),
        KERNEL(batch_norm_to_x), KERNEL(channel_gradients), KERNEL(channel_sums), KERNEL(rectifier_back),
        KERNEL(columns_bf16),
        KERNEL(columns_f32), KERNEL(cross_entropy_back_bf16), KERNEL(cross_entropy_back_f32),
        KERNEL(cross_entropy_bf16), KERNEL(cross_entropy_f32), KERNEL(fold), KERNEL(layer_norm_f32),
        KERNEL(layer_norm_mixed), KERNEL(layer_norm_to_parameters_f32), KERNEL(layer_norm_to_parameters_mixed),
        KERNEL(layer_norm_to_x_f32), KERNEL(layer_norm_to_x_mixed), KERNEL(normalise), KERNEL(residual_bf16),
        KERNEL(residual_f32), KERNEL(sgd_of_one), KERNEL(softmax_back_bf16), KERNEL(softmax_back_f32),
        KERNEL(softmax_bf16), KERNEL(softmax_f32), KERNEL(through_bf16), KERNEL(through_f32),
        KERNEL(unfold_back_bf16), KERNEL(unfold_back_f32), KERNEL(unfold_bf16), KERNEL(unfold_f32),
    };
    char name[64];
    unsigned x, y, block;
    while (scanf("%63s %u %u %u", name, &x, &y, &block) == 4) {
        getchar();
        auto found = kernels.find(name);
        if (found == kernels.end()) return 3;
        found->second({x, y, 1}, block);
        fflush(stdout);
    }
}
