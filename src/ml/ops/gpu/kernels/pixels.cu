// u8 pixels to normalised values: (p/255 - mean)/deviation, for planes of `size` pixels in the order of the
// channels.
#include "common.cuh"

extern "C" __global__ void normalise(const unsigned char *pixels, const float *means, const float *deviations,
                                     float *values, u64 count, int size, int channels) {
    size_t at = place();
    if (at >= count) return;
    int channel = at / size % channels;
    values[at] = (float(pixels[at]) / 255 - means[channel]) / deviations[channel];
}
