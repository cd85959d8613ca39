// Cross-entropy of rows of logits, and its gradient in place. One block per row.
#include "common.cuh"

// Largest logit and sum of exp(logit - largest) of a row, the same in every thread. scratch: 2 * blockDim.x / 32 floats.
static __device__ void log_sum(const float* row, int vocabulary, float* scratch, float& largest, float& sum) {
    int warps = blockDim.x / 32, warp = threadIdx.x / 32;
    largest = -INFINITY;
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) largest = fmaxf(largest, row[i]);
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) scratch[warp] = largest;
    __syncthreads();
    for (int i = 0; i < warps; i++) largest = fmaxf(largest, scratch[i]);
    sum = 0.0f;
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) sum += expf(row[i] - largest);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) scratch[warps + warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < warps; i++) sum += scratch[warps + i];
}

// nll[r] = log sum exp(logits[r]) - logits[r][targets[r]]. logits: (rows, vocabulary).
KERNEL row_nll(const float* logits, const uint32_t* targets, float* nll, int vocabulary) {
    DYNAMIC_SHARED(float, scratch);
    const float* row = logits + size_t(blockIdx.x) * vocabulary;
    float largest, sum;
    log_sum(row, vocabulary, scratch, largest, sum);
    if (threadIdx.x == 0) nll[blockIdx.x] = logf(sum) + largest - row[targets[blockIdx.x]];
}

// dlogits[r] = dnll[r] * (softmax(logits[r]) - onehot(targets[r])).
template <typename T>
static __device__ void softmax_gradient(const float* logits, const uint32_t* targets, const float* dnll, T* dlogits, int vocabulary) {
    DYNAMIC_SHARED(float, scratch);
    size_t at = size_t(blockIdx.x) * vocabulary;
    float largest, sum;
    log_sum(logits + at, vocabulary, scratch, largest, sum);
    float scale = dnll[blockIdx.x], factor = scale / sum;
    int target = int(targets[blockIdx.x]);
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        float value = expf(logits[at + i] - largest) * factor;
        dlogits[at + i] = from_float<T>(i == target ? value - scale : value);
    }
}

KERNEL softmax_gradient_f32(const float* logits, const uint32_t* targets, const float* dnll, float* dlogits, int vocabulary) {
    softmax_gradient<float>(logits, targets, dnll, dlogits, vocabulary);
}
KERNEL softmax_gradient_bf16(const float* logits, const uint32_t* targets, const float* dnll, bf16* dlogits, int vocabulary) {
    softmax_gradient<bf16>(logits, targets, dnll, dlogits, vocabulary);
}

// loss += sum of nll[r] * weights[r], cross_entropy += sum of nll[r], in one block and a fixed order.
KERNEL weighted_sum(const float* nll, const float* weights, double* loss, double* cross_entropy, int rows) {
    SHARED double partial[2][256];
    double weighted = 0.0, plain = 0.0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
        weighted += double(nll[i]) * double(weights[i]);
        plain += double(nll[i]);
    }
    partial[0][threadIdx.x] = weighted;
    partial[1][threadIdx.x] = plain;
    __syncthreads();
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        if (int(threadIdx.x) < step) {
            partial[0][threadIdx.x] += partial[0][threadIdx.x + step];
            partial[1][threadIdx.x] += partial[1][threadIdx.x + step];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        *loss += partial[0][0];
        *cross_entropy += partial[1][0];
    }
}
