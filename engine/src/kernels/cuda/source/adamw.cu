// AdamW over all parameters at once, which lie in one flat array; gradient norm and clipping stay on the device.
#include "common.cuh"

// What a step leaves for the host to read later. Every field is a double, so that the host sees an array.
struct StepRecord {
    double loss;          // summed over the micro-batches before the update
    double cross_entropy; // likewise, without weights
    double grad_norm;     // before clipping
    double skipped;       // 1 where loss or gradient was not finite and no update was made
};

// What one step hands to the next. Doubles for the same reason.
struct OptimizerState {
    double updates; // made so far
    double scale;   // of the gradient in this step
    double bias1;   // 1 - beta1^updates
    double bias2;   // 1 - beta2^updates
    double apply;   // 1 or 0
};

// parts[b] = sum of squares of block b's share. 256 threads.
KERNEL sum_of_squares(const float* x, int64_t count, double* parts) {
    SHARED double partial[256];
    double sum = 0.0;
    int64_t stride = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) sum += double(x[i]) * double(x[i]);
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        if (int(threadIdx.x) < step) partial[threadIdx.x] += partial[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) parts[blockIdx.x] = partial[0];
}

// Ends the norm and decides on the update. One thread.
KERNEL begin_update(const double* parts, int n_parts, double max_norm, double beta1, double beta2, StepRecord* record, OptimizerState* state) {
    double sum = 0.0;
    for (int i = 0; i < n_parts; i++) sum += parts[i];
    double norm = sqrt(sum);
    bool finite = norm < INFINITY && fabs(record->loss) < INFINITY; // false for NaN too
    record->grad_norm = norm;
    record->skipped = finite ? 0.0 : 1.0;
    state->apply = finite ? 1.0 : 0.0;
    if (!finite) return;
    state->updates += 1.0;
    double scale = max_norm / (norm + 1e-6);
    state->scale = scale < 1.0 ? scale : 1.0;
    state->bias1 = 1.0 - pow(beta1, state->updates);
    state->bias2 = 1.0 - pow(beta2, state->updates);
}

// p, m, v by gradient g as PyTorch's AdamW does; low, if given, gets p rounded to bf16. Elements from `decayed` on are
// not pulled towards zero. The formulas and their roundings are those of the CPU kernel.
KERNEL adamw(float* p, const float* g, float* m, float* v, bf16* low, int64_t count, int64_t decayed, float lr, float beta1,
             float beta2, float eps, float weight_decay, const OptimizerState* state) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count || state->apply == 0.0) return;
    float keep = i < decayed ? float(1.0 - double(lr) * double(weight_decay)) : 1.0f;
    float rest1 = float(1.0 - double(beta1)), rest2 = float(1.0 - double(beta2));
    float step_size = float(double(lr) / double(float(state->bias1)));
    float inverse_root = float(1.0 / sqrt(double(float(state->bias2))));
    float gradient = g[i] * float(state->scale);
    float first = m[i] + (gradient - m[i]) * rest1;
    float second = v[i] * beta2 + gradient * gradient * rest2;
    float value = p[i] * keep - step_size * (first / (sqrtf(second) * inverse_root + eps));
    m[i] = first;
    v[i] = second;
    p[i] = value;
    if (low) low[i] = from_float<bf16>(value);
}
