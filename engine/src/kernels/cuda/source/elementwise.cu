// The gated activation, table lookup, sums and casts: one thread per pack of neighbours.
#include "common.cuh"

static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static __device__ __forceinline__ int64_t pack_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// y = gate * sigmoid(gate) * up
template <typename T, int N> static __device__ void swiglu(const T* gate, const T* up, T* y, int64_t packs) {
    int64_t index = pack_index();
    if (index >= packs) return;
    float g[N], u[N];
    load_pack<T, N>(gate + index * N, g);
    load_pack<T, N>(up + index * N, u);
#pragma unroll
    for (int i = 0; i < N; i++) u[i] *= g[i] * sigmoid(g[i]);
    store_pack<T, N>(y + index * N, u);
}

template <typename T, int N>
static __device__ void swiglu_backward(const T* gate, const T* up, const T* dy, T* dgate, T* dup, int64_t packs) {
    int64_t index = pack_index();
    if (index >= packs) return;
    float g[N], u[N], d[N];
    load_pack<T, N>(gate + index * N, g);
    load_pack<T, N>(up + index * N, u);
    load_pack<T, N>(dy + index * N, d);
#pragma unroll
    for (int i = 0; i < N; i++) {
        float sig = sigmoid(g[i]), silu = g[i] * sig;
        g[i] = d[i] * u[i] * (sig + silu * (1.0f - sig));
        u[i] = d[i] * silu;
    }
    store_pack<T, N>(dgate + index * N, g);
    store_pack<T, N>(dup + index * N, u);
}

// y = a + b
template <typename T, int N> static __device__ void add(const T* a, const T* b, T* y, int64_t packs) {
    int64_t index = pack_index();
    if (index >= packs) return;
    float p[N], q[N];
    load_pack<T, N>(a + index * N, p);
    load_pack<T, N>(b + index * N, q);
#pragma unroll
    for (int i = 0; i < N; i++) p[i] += q[i];
    store_pack<T, N>(y + index * N, p);
}

// out[r] = table[ids[r]]. table: (V, width), out: (rows, width); width counts packs.
template <typename T, int N>
static __device__ void gather_rows(const T* table, const uint32_t* ids, T* out, int64_t packs, int width) {
    int64_t index = pack_index();
    if (index >= packs) return;
    size_t from = size_t(ids[index / width]) * width + index % width;
    reinterpret_cast<Pack<T, N>*>(out)[index] = reinterpret_cast<const Pack<T, N>*>(table)[from];
}

// out[ids[r]] = rows[r]; the ids are distinct. The other rows of out are left alone.
template <typename T, int N>
static __device__ void put_rows(const T* rows, const uint32_t* ids, T* out, int64_t packs, int width) {
    int64_t index = pack_index();
    if (index >= packs) return;
    size_t to = size_t(ids[index / width]) * width + index % width;
    reinterpret_cast<Pack<T, N>*>(out)[to] = reinterpret_cast<const Pack<T, N>*>(rows)[index];
}

// dtable[ids[r]] += grad[r] in f32. Rows of one id meet in atomic sums, whose order, and so the last bit, may change.
template <typename T> static __device__ void scatter_add_rows(const T* grad, const uint32_t* ids, float* dtable, int64_t count, int width) {
    int64_t index = pack_index();
    if (index >= count) return;
    atomicAdd(dtable + size_t(ids[index / width]) * width + index % width, to_float(grad[index]));
}

#define ELEMENTWISE(NAME, T, N)                                                                                            \
    KERNEL swiglu_##NAME(const T* gate, const T* up, T* y, int64_t packs) { swiglu<T, N>(gate, up, y, packs); }            \
    KERNEL swiglu_backward_##NAME(const T* gate, const T* up, const T* dy, T* dgate, T* dup, int64_t packs) {              \
        swiglu_backward<T, N>(gate, up, dy, dgate, dup, packs);                                                            \
    }                                                                                                                      \
    KERNEL add_##NAME(const T* a, const T* b, T* y, int64_t packs) { add<T, N>(a, b, y, packs); }                          \
    KERNEL gather_rows_##NAME(const T* table, const uint32_t* ids, T* out, int64_t packs, int width) {                     \
        gather_rows<T, N>(table, ids, out, packs, width);                                                                  \
    }                                                                                                                      \
    KERNEL put_rows_##NAME(const T* rows, const uint32_t* ids, T* out, int64_t packs, int width) {                         \
        put_rows<T, N>(rows, ids, out, packs, width);                                                                      \
    }
ELEMENTWISE(f32, float, 1)
ELEMENTWISE(f32_packed, float, 4)
ELEMENTWISE(bf16, bf16, 1)
ELEMENTWISE(bf16_packed, bf16, 8)

KERNEL scatter_add_rows_f32(const float* grad, const uint32_t* ids, float* dtable, int64_t count, int width) {
    scatter_add_rows<float>(grad, ids, dtable, count, width);
}
KERNEL scatter_add_rows_bf16(const bf16* grad, const uint32_t* ids, float* dtable, int64_t count, int width) {
    scatter_add_rows<bf16>(grad, ids, dtable, count, width);
}

// y = x rounded to bf16.
KERNEL round_to_bf16(const float* x, bf16* y, int64_t count) {
    int64_t index = pack_index();
    if (index < count) y[index] = from_float<bf16>(x[index]);
}
