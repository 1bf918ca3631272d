// u8 pixels [batch, height, width, 3] to normalised values [batch, 3, height, width]:
// (pixel/255 - mean)/deviation of each channel, one rounding after the other, as a CPU's table has them.
#include "common.cuh"

// `scales` has the three means and the three deviations, `size` is height·width.
extern "C" __global__ void normalise(const unsigned char *pixels, const float *scales, float *values, u64 count,
                                     int size) {
    size_t at = place();
    if (at >= count) return;
    size_t channel = at / size % 3, image = at / size / 3;
    float value = pixels[(image * size + at % size) * 3 + channel] / 255.0f;
    values[at] = (value - scales[channel]) / scales[3 + channel];
}
