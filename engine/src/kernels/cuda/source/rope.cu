// Rotary positions with the per-head normalisation in front of them, and their gradient. One warp per head of a row.
#include "common.cuh"

// weight: (head_size), or null for no norm. cos, sin: (positions, head_size / 2).
// x, y: (rows, heads, head_size); element i turns with element i + head_size / 2.
template <typename T>
static __device__ void head_rope(const T* x, const T* weight, const float* cos, const float* sin, const uint32_t* positions,
                                 T* y, int rows, int heads, int head_size, float eps) {
    int lane = threadIdx.x, half = head_size / 2;
    int64_t head = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
    if (head >= int64_t(rows) * heads) return;
    size_t at = size_t(head) * head_size, angle = size_t(positions[head / heads]) * half;
    float inverse = 1.0f;
    if (weight) {
        float square = 0.0f;
        for (int i = lane; i < head_size; i += 32) {
            float value = to_float(x[at + i]);
            square += value * value;
        }
        inverse = 1.0f / sqrtf(warp_sum(square) / head_size + eps);
    }
    for (int i = lane; i < half; i += 32) {
        float low = to_float(x[at + i]) * inverse, high = to_float(x[at + half + i]) * inverse;
        if (weight) {
            low *= to_float(weight[i]);
            high *= to_float(weight[half + i]);
        }
        float c = cos[angle + i], s = sin[angle + i];
        y[at + i] = from_float<T>(low * c - high * s);
        y[at + half + i] = from_float<T>(high * c + low * s);
    }
}

// dx as the gradient of head_rope; with a norm each block writes its part of the weight's gradient,
// (gridDim.x, head_size) f32. Dynamic shared memory: blockDim.y * head_size floats with a norm, else none.
template <typename T>
static __device__ void head_rope_backward(const T* x, const T* weight, const float* cos, const float* sin,
                                          const uint32_t* positions, const T* dy, T* dx, float* parts, int rows, int heads,
                                          int head_size, float eps) {
    DYNAMIC_SHARED(float, memory);
    int lane = threadIdx.x, half = head_size / 2;
    float* mine = memory + threadIdx.y * head_size;
    if (weight)
        for (int i = lane; i < head_size; i += 32) mine[i] = 0.0f;
    int64_t count = int64_t(rows) * heads, stride = int64_t(gridDim.x) * blockDim.y;
    for (int64_t head = int64_t(blockIdx.x) * blockDim.y + threadIdx.y; head < count; head += stride) {
        size_t at = size_t(head) * head_size, angle = size_t(positions[head / heads]) * half;
        float inverse = 1.0f, pull = 0.0f;
        if (weight) {
            float square = 0.0f, product = 0.0f;
            for (int i = lane; i < half; i += 32) {
                float low = to_float(x[at + i]), high = to_float(x[at + half + i]);
                float dlow = to_float(dy[at + i]), dhigh = to_float(dy[at + half + i]);
                float c = cos[angle + i], s = sin[angle + i];
                square += low * low + high * high;
                product += (dlow * c + dhigh * s) * to_float(weight[i]) * low;
                product += (dhigh * c - dlow * s) * to_float(weight[half + i]) * high;
            }
            inverse = 1.0f / sqrtf(warp_sum(square) / head_size + eps);
            pull = warp_sum(product) / head_size * inverse * inverse * inverse;
        }
        for (int i = lane; i < half; i += 32) {
            float dlow = to_float(dy[at + i]), dhigh = to_float(dy[at + half + i]);
            float c = cos[angle + i], s = sin[angle + i];
            float back_low = dlow * c + dhigh * s, back_high = dhigh * c - dlow * s;
            if (weight) {
                float low = to_float(x[at + i]), high = to_float(x[at + half + i]);
                mine[i] += back_low * inverse * low;
                mine[half + i] += back_high * inverse * high;
                back_low = back_low * to_float(weight[i]) * inverse - low * pull;
                back_high = back_high * to_float(weight[half + i]) * inverse - high * pull;
            }
            dx[at + i] = from_float<T>(back_low);
            dx[at + half + i] = from_float<T>(back_high);
        }
    }
    if (!weight) return;
    __syncthreads();
    int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + lane;
    for (int i = thread; i < head_size; i += threads) {
        float total = 0.0f;
        for (int y = 0; y < int(blockDim.y); y++) total += memory[y * head_size + i];
        parts[size_t(blockIdx.x) * head_size + i] = total;
    }
}

#define HEAD_ROPE(NAME, T)                                                                                                 \
    KERNEL head_rope_##NAME(const T* x, const T* weight, const float* cos, const float* sin, const uint32_t* positions,    \
                            T* y, int rows, int heads, int head_size, float eps) {                                         \
        head_rope<T>(x, weight, cos, sin, positions, y, rows, heads, head_size, eps);                                      \
    }                                                                                                                      \
    KERNEL head_rope_backward_##NAME(const T* x, const T* weight, const float* cos, const float* sin,                      \
                                     const uint32_t* positions, const T* dy, T* dx, float* parts, int rows, int heads,     \
                                     int head_size, float eps) {                                                           \
        head_rope_backward<T>(x, weight, cos, sin, positions, dy, dx, parts, rows, heads, head_size, eps);                 \
    }
HEAD_ROPE(f32, float)
HEAD_ROPE(bf16, bf16)
