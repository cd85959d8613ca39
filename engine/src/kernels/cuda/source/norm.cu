// Root-mean-square normalisation, with an optional sum in front of it, and its gradient.
#include "common.cuh"

// sum = x + other (if other is given); y = sum / sqrt(mean(sum^2) + eps) * weight, row by row.
// x, other, sum, y: (rows, width), weight: (width). blockDim: (threads of a row, rows of a block).
template <typename T, int N>
static __device__ void rms_norm(const T* x, const T* other, const T* weight, T* sum, T* y, int rows, int width, float eps) {
    DYNAMIC_SHARED(float, scratch);
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    bool inside = row < rows;
    size_t at = size_t(inside ? row : 0) * width;
    float square = 0.0f;
    for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
        float value[N];
        load_pack<T, N>(x + at + i, value);
        if (other) {
            float more[N];
            load_pack<T, N>(other + at + i, more);
#pragma unroll
            for (int j = 0; j < N; j++) value[j] = to_float(from_float<T>(value[j] + more[j]));
            if (inside) store_pack<T, N>(sum + at + i, value);
        }
#pragma unroll
        for (int j = 0; j < N; j++) square += value[j] * value[j];
    }
    float inverse = 1.0f / sqrtf(row_sum(square, scratch) / width + eps);
    if (!inside) return;
    const T* from = other ? sum : x;
    for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
        float value[N], scale[N];
        load_pack<T, N>(from + at + i, value);
        load_pack<T, N>(weight + i, scale);
#pragma unroll
        for (int j = 0; j < N; j++) value[j] = value[j] * inverse * scale[j];
        store_pack<T, N>(y + at + i, value);
    }
}

// dx = gradient through the norm (+ dsum, the gradient that reaches the sum on another way, if given); each block of
// rows writes its part of the weight's gradient, (gridDim.x, width) f32, to be added up by sum_parts.
// Dynamic shared memory: blockDim.y * width + blockDim.y * blockDim.x / 32 floats.
template <typename T, int N>
static __device__ void rms_norm_backward(const T* x, const T* weight, const T* dy, const T* dsum, T* dx, float* parts,
                                         int rows, int width, float eps) {
    DYNAMIC_SHARED(float, memory);
    float* mine = memory + threadIdx.y * width;
    float* scratch = memory + blockDim.y * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) mine[i] = 0.0f;
    __syncthreads();
    int stride = gridDim.x * blockDim.y;
    for (int first = blockIdx.x * blockDim.y; first < rows; first += stride) {
        int row = first + threadIdx.y;
        bool inside = row < rows;
        size_t at = size_t(inside ? row : 0) * width;
        float square = 0.0f, product = 0.0f;
        for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
            float value[N], grad[N], scale[N];
            load_pack<T, N>(x + at + i, value);
            load_pack<T, N>(dy + at + i, grad);
            load_pack<T, N>(weight + i, scale);
#pragma unroll
            for (int j = 0; j < N; j++) {
                square += value[j] * value[j];
                product += grad[j] * scale[j] * value[j];
            }
        }
        float inverse = 1.0f / sqrtf(row_sum(square, scratch) / width + eps);
        float pull = row_sum(product, scratch) / width * inverse * inverse * inverse;
        if (!inside) continue;
        for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
            float value[N], grad[N], scale[N], out[N];
            load_pack<T, N>(x + at + i, value);
            load_pack<T, N>(dy + at + i, grad);
            load_pack<T, N>(weight + i, scale);
#pragma unroll
            for (int j = 0; j < N; j++) out[j] = grad[j] * scale[j] * inverse - value[j] * pull;
            if (dsum) {
                float more[N];
                load_pack<T, N>(dsum + at + i, more);
#pragma unroll
                for (int j = 0; j < N; j++) out[j] += more[j];
            }
            store_pack<T, N>(dx + at + i, out);
#pragma unroll
            for (int j = 0; j < N; j++) mine[i + j] += grad[j] * inverse * value[j];
        }
    }
    __syncthreads();
    int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int i = thread; i < width; i += threads) {
        float total = 0.0f;
        for (int y = 0; y < int(blockDim.y); y++) total += memory[y * width + i];
        parts[size_t(blockIdx.x) * width + i] = total;
    }
}

// total[i] += sum over n of parts[n][i], in the order of n. parts: (count, width).
KERNEL sum_parts(const float* parts, float* total, int count, int width) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width) return;
    float sum = 0.0f;
    for (int n = 0; n < count; n++) sum += parts[size_t(n) * width + i];
    total[i] += sum;
}

#define RMS_NORM(NAME, T, N)                                                                                              \
    KERNEL rms_norm_##NAME(const T* x, const T* other, const T* weight, T* sum, T* y, int rows, int width, float eps) {    \
        rms_norm<T, N>(x, other, weight, sum, y, rows, width, eps);                                                        \
    }                                                                                                                      \
    KERNEL rms_norm_backward_##NAME(const T* x, const T* weight, const T* dy, const T* dsum, T* dx, float* parts,          \
                                    int rows, int width, float eps) {                                                      \
        rms_norm_backward<T, N>(x, weight, dy, dsum, dx, parts, rows, width, eps);                                         \
    }
RMS_NORM(f32, float, 1)
RMS_NORM(f32_packed, float, 4)
RMS_NORM(bf16, bf16, 1)
RMS_NORM(bf16_packed, bf16, 8)
