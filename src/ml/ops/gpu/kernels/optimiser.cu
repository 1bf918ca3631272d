// One launch for all parameters: each block updates `deep` values of one of them, which a table lists.
//
//   SGD: v = momentum·v + (g + decay·p), p = p - rate·v
//   AdamW (Loshchilov, Hutter 2019): m and v the running means of g and g²,
//     p = keep·p - stride·m/(√v·scale + eps)
//
// A rate of 0 leaves the parameters as they are, bit for bit.
#include "common.cuh"

struct Parameter {
    float *values;
    const float *gradient;
    // The velocity, or both running means one after the other.
    float *memory;
    u64 count;
    float decay;
    u32 unused;
};

struct Piece {
    u32 parameter;
    u32 index;
};

extern "C" __global__ void sgd(const Parameter *parameters, const Piece *pieces, int deep, float rate,
                               float momentum) {
    Piece piece = pieces[blockIdx.x];
    Parameter p = parameters[piece.parameter];
    u64 from = piece.index * (u64)deep, to = from + deep < p.count ? from + deep : p.count;
    for (u64 at = from + threadIdx.x; at < to; at += blockDim.x) {
        float velocity = momentum * p.memory[at] + (p.gradient[at] + p.decay * p.values[at]);
        p.memory[at] = velocity;
        if (rate != 0) p.values[at] -= rate * velocity;
    }
}

extern "C" __global__ void adamw(const Parameter *parameters, const Piece *pieces, int deep, float rate,
                                 float beta1, float beta2, float rest1, float rest2, float stride, float scale,
                                 float eps) {
    Piece piece = pieces[blockIdx.x];
    Parameter p = parameters[piece.parameter];
    u64 from = piece.index * (u64)deep, to = from + deep < p.count ? from + deep : p.count;
    for (u64 at = from + threadIdx.x; at < to; at += blockDim.x) {
        float g = p.gradient[at];
        float first = beta1 * p.memory[at] + rest1 * g;
        float second = beta2 * p.memory[p.count + at] + rest2 * (g * g);
        p.memory[at] = first, p.memory[p.count + at] = second;
        if (rate != 0)
            p.values[at] = (1 - rate * p.decay) * p.values[at] - stride * first / (sqrtf(second) * scale + eps);
    }
}
