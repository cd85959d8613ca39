// Muon's work between its matrix products (trainer/src/optim/muon.rs has the formulas), one matrix at a time: one thread
// per number. Scale of the gradient and verdict on the step come from `begin_update` of adamw.cu, in `state`: the doubles
// of its OptimizerState.
#include "common.cuh"

#define STATE_SCALE 1
#define STATE_APPLY 4

static __device__ __forceinline__ int64_t number_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// low, where it is not null, gets the number as the products read it.
static __device__ __forceinline__ void put(float value, float* to, bf16* low, int64_t index) {
    to[index] = value;
    if (low) low[index] = from_float<bf16>(value);
}

// Adds the gradient to the momentum and looks one step ahead along it: x.
KERNEL muon_look_ahead(const float* gradient, float* momentum, float* x, int64_t count, float mu, const double* state) {
    int64_t i = number_index();
    if (i >= count) return;
    if (state[STATE_APPLY] == 0.0) {
        x[i] = 0.0f;
        return;
    }
    float g = gradient[i] * float(state[STATE_SCALE]);
    float m = mu * momentum[i] + (1.0f - mu) * g;
    momentum[i] = m;
    x[i] = mu * m + (1.0f - mu) * g;
}

// Divides x by its norm, whose squares are summed in parts.
KERNEL muon_normalise(float* x, bf16* low, int64_t count, const double* parts, int n_parts) {
    SHARED float scale;
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int i = 0; i < n_parts; i++) sum += parts[i];
        scale = float(1.0 / (sqrt(sum) + 1e-7));
    }
    __syncthreads();
    int64_t i = number_index();
    if (i < count) put(x[i] * scale, x, low, i);
}

// square = b gram + c square
KERNEL muon_polynomial(const float* gram, float* square, bf16* low, int64_t count, float b, float c) {
    int64_t i = number_index();
    if (i < count) put(b * gram[i] + c * square[i], square, low, i);
}

// x = a x + product
KERNEL muon_combine(float* x, const float* product, bf16* low, int64_t count, float a) {
    int64_t i = number_index();
    if (i < count) put(a * x[i] + product[i], x, low, i);
}

// weight = keep weight - size x, unless the step is skipped.
KERNEL muon_update(float* weight, const float* x, bf16* low, int64_t count, float keep, float size, const double* state) {
    int64_t i = number_index();
    if (i >= count || state[STATE_APPLY] == 0.0) return;
    put(weight[i] * keep - size * x[i], weight, low, i);
}
