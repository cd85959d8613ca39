// Attention of any head size up to 256 in f32 arithmetic, one warp per query or key: the reference for the tensor-core
// kernels, and what f32 tensors and unusual head sizes run on.
#include "attention.cuh"

static const int SLOTS = 8; // dimensions of a head per lane, at most

template <typename T> static __device__ __forceinline__ void load_head(const T* from, int size, float (&to)[SLOTS]) {
#pragma unroll
    for (int n = 0; n < SLOTS; n++) {
        int i = threadIdx.x + 32 * n;
        to[n] = i < size ? to_float(from[i]) : 0.0f;
    }
}

template <typename T> static __device__ __forceinline__ void store_head(T* to, int size, const float (&from)[SLOTS]) {
#pragma unroll
    for (int n = 0; n < SLOTS; n++) {
        int i = threadIdx.x + 32 * n;
        if (i < size) to[i] = from_float<T>(from[n]);
    }
}

static __device__ __forceinline__ float head_dot(const float (&a)[SLOTS], const float (&b)[SLOTS]) {
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < SLOTS; n++) sum += a[n] * b[n];
    return warp_sum(sum);
}

// grid: (queries, heads, sequences), one warp each.
template <typename T>
static __device__ void attention(AttentionShape shape, int size, const T* q, const T* k, const T* v, T* out, float* lse) {
    int query = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z, kv_head = head / (shape.heads / shape.kv_heads);
    size_t at = query_at(shape, sequence, query, head);
    float mine[SLOTS], value[SLOTS], total[SLOTS] = {};
    load_head(q + at * size, size, mine);
    float largest = -INFINITY, sum = 0.0f;
    Run runs[2];
    int n_runs = runs_of(shape, sequence, runs);
    for (int r = 0; r < n_runs; r++) {
        Interval keys = visible(shape, runs[r].view, query);
        for (int key = keys.from; key < keys.to; key++) {
            size_t from = key_at(shape, runs[r].sequence, key, kv_head) * size;
            load_head(k + from, size, value);
            float score = head_dot(mine, value) * shape.scale;
            float next = fmaxf(largest, score), keep = expf(largest - next), weight = expf(score - next);
            load_head(v + from, size, value);
#pragma unroll
            for (int n = 0; n < SLOTS; n++) total[n] = total[n] * keep + weight * value[n];
            sum = sum * keep + weight;
            largest = next;
        }
    }
#pragma unroll
    for (int n = 0; n < SLOTS; n++) total[n] /= sum;
    store_head(out + at * size, size, total);
    if (threadIdx.x == 0) lse[at] = largest + logf(sum);
}

// delta[query, head] = out . dout. grid: (rows of heads / blockDim.y).
template <typename T> static __device__ void out_dot_dout(const T* out, const T* dout, float* delta, int64_t count, int size) {
    int64_t row = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= count) return;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < size; i += 32) sum += to_float(out[row * size + i]) * to_float(dout[row * size + i]);
    sum = warp_sum(sum);
    if (threadIdx.x == 0) delta[row] = sum;
}

// grid as attention.
template <typename T>
static __device__ void attention_dq(AttentionShape shape, int size, const T* q, const T* k, const T* v, const T* dout,
                                    const float* lse, const float* delta, T* dq) {
    int query = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z, kv_head = head / (shape.heads / shape.kv_heads);
    size_t at = query_at(shape, sequence, query, head);
    float mine[SLOTS], grad[SLOTS], key_values[SLOTS], value[SLOTS], total[SLOTS] = {};
    load_head(q + at * size, size, mine);
    load_head(dout + at * size, size, grad);
    Run runs[2];
    int n_runs = runs_of(shape, sequence, runs);
    for (int r = 0; r < n_runs; r++) {
        Interval keys = visible(shape, runs[r].view, query);
        for (int key = keys.from; key < keys.to; key++) {
            size_t from = key_at(shape, runs[r].sequence, key, kv_head) * size;
            load_head(k + from, size, key_values);
            load_head(v + from, size, value);
            float weight = expf(head_dot(mine, key_values) * shape.scale - lse[at]);
            float pull = weight * (head_dot(grad, value) - delta[at]) * shape.scale;
#pragma unroll
            for (int n = 0; n < SLOTS; n++) total[n] += pull * key_values[n];
        }
    }
    store_head(dq + at * size, size, total);
}

// grid: (keys, kv_heads, sequences), one warp each.
template <typename T>
static __device__ void attention_dkv(AttentionShape shape, int size, const T* q, const T* k, const T* v, const T* dout,
                                     const float* lse, const float* delta, T* dk, T* dv) {
    int key = blockIdx.x, kv_head = blockIdx.y, sequence = blockIdx.z, group = shape.heads / shape.kv_heads;
    size_t at = key_at(shape, sequence, key, kv_head) * size;
    float key_values[SLOTS], value[SLOTS], mine[SLOTS], grad[SLOTS], dkey[SLOTS] = {}, dvalue[SLOTS] = {};
    load_head(k + at, size, key_values);
    load_head(v + at, size, value);
    Run runs[2];
    int n_runs = lookers_of(shape, sequence, runs);
    for (int r = 0; r < n_runs; r++) {
        Interval queries = lookers(shape, runs[r].view, key, key + 1);
        for (int query = queries.from; query < queries.to; query++) {
            Interval seen = visible(shape, runs[r].view, query);
            if (key < seen.from || key >= seen.to) continue;
            for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
                size_t row = query_at(shape, runs[r].sequence, query, head);
                load_head(q + row * size, size, mine);
                load_head(dout + row * size, size, grad);
                float weight = expf(head_dot(mine, key_values) * shape.scale - lse[row]);
                float pull = weight * (head_dot(grad, value) - delta[row]) * shape.scale;
#pragma unroll
                for (int n = 0; n < SLOTS; n++) {
                    dvalue[n] += weight * grad[n];
                    dkey[n] += pull * mine[n];
                }
            }
        }
    }
    store_head(dk + at, size, dkey);
    store_head(dv + at, size, dvalue);
}

#define ATTENTION_PLAIN(NAME, T)                                                                                           \
    KERNEL attention_##NAME(AttentionShape shape, int size, const T* q, const T* k, const T* v, T* out, float* lse) {      \
        attention<T>(shape, size, q, k, v, out, lse);                                                                      \
    }                                                                                                                      \
    KERNEL out_dot_dout_##NAME(const T* out, const T* dout, float* delta, int64_t count, int size) {                       \
        out_dot_dout<T>(out, dout, delta, count, size);                                                                    \
    }                                                                                                                      \
    KERNEL attention_dq_##NAME(AttentionShape shape, int size, const T* q, const T* k, const T* v, const T* dout,          \
                               const float* lse, const float* delta, T* dq) {                                              \
        attention_dq<T>(shape, size, q, k, v, dout, lse, delta, dq);                                                       \
    }                                                                                                                      \
    KERNEL attention_dkv_##NAME(AttentionShape shape, int size, const T* q, const T* k, const T* v, const T* dout,         \
                                const float* lse, const float* delta, T* dk, T* dv) {                                      \
        attention_dkv<T>(shape, size, q, k, v, dout, lse, delta, dk, dv);                                                  \
    }
ATTENTION_PLAIN(f32, float)
ATTENTION_PLAIN(bf16, bf16)
