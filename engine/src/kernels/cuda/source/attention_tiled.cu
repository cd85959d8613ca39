// Attention on tensor cores: bf16 operands, f32 sums, head sizes 64 and 128; the scores never leave the registers.
//
// A block of four warps owns 64 queries (forward, dq) or 64 keys (dk, dv) and walks over tiles of the other side. Each
// warp owns 16 rows. Backward recomputes the weights from the log-sum-exp of the forward; the two backward kernels share
// no sums, so every result is written by one block in a fixed order: the same bits in every run.
#include "attention.cuh"

static const int TILE = 64;
static const int THREADS = 128;
static const float LOG2_E = 1.4426950408889634f;

// Rows of a tile in shared memory are 16 bytes longer than a head, so that ldmatrix finds no two rows in one bank.
template <int D> struct Tile {
    static const int ROW = D + 8;
    bf16* at;
    __device__ __forceinline__ bf16* row(int i) const { return at + i * ROW; }
};

// Rows first..first + count of one head, zeros past `end`. from: row 0 of that head, rows `stride` elements apart.
template <int D> static __device__ __forceinline__ void load_tile(Tile<D> tile, const bf16* from, int first, int count, int end, size_t stride) {
    const int PACKS = D / 8;
    for (int i = threadIdx.x; i < count * PACKS; i += THREADS) {
        int row = i / PACKS, column = i % PACKS * 8;
        uint4 pack = {0, 0, 0, 0};
        if (first + row < end) pack = *reinterpret_cast<const uint4*>(from + size_t(first + row) * stride + column);
        *reinterpret_cast<uint4*>(tile.row(row) + column) = pack;
    }
}

// The 16 rows from `first` on as left operands, D / 16 fragments.
template <int D> static __device__ __forceinline__ void load_left(uint32_t (&fragments)[D / 16][4], Tile<D> tile, int first) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < D / 16; k++) ldmatrix(fragments[k], tile.row(first + lane % 16) + k * 16 + lane / 16 * 8);
}

// c (16 x 8 N) = left (16 x D) times rows first..first + 8 N of the tile, transposed.
template <int D, int N>
static __device__ __forceinline__ void times_transposed(float (&c)[N][4], const uint32_t (&left)[D / 16][4], Tile<D> tile, int first) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) c[n][i] = 0.0f;
#pragma unroll
        for (int k = 0; k < D / 16; k += 2) {
            uint32_t b[4];
            ldmatrix(b, tile.row(first + n * 8 + lane % 8) + k * 16 + lane / 8 * 8);
            mma_bf16(c[n], left[k], b[0], b[1]);
            mma_bf16(c[n], left[k + 1], b[2], b[3]);
        }
    }
}

// c (16 x D) += weights (16 x 8 N, accumulator layout) times rows first..first + 8 N of the tile.
template <int D, int N>
static __device__ __forceinline__ void add_times(float (&c)[D / 8][4], const float (&weights)[N][4], Tile<D> tile, int first) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        const float(&low)[4] = weights[2 * k];
        const float(&high)[4] = weights[2 * k + 1];
        uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t b[4];
            ldmatrix_transposed(b, tile.row(first + k * 16 + lane % 16) + n * 8 + lane / 16 * 8);
            mma_bf16(c[n], a, b[0], b[1]);
            mma_bf16(c[n + 1], a, b[2], b[3]);
        }
    }
}

static __device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

static __device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Writes the warp's 16 rows, as far as they lie before `end`. to: row 0 of the head.
template <int D> static __device__ __forceinline__ void store_rows(bf16* to, const float (&c)[D / 8][4], int first, int end, size_t stride) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int row = first + lane / 4 + 8 * r;
        if (row >= end) continue;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            *reinterpret_cast<uint32_t*>(to + size_t(row) * stride + n * 8 + lane % 4 * 2) = pack_bf16(c[n][2 * r], c[n][2 * r + 1]);
    }
}

// grid: (tiles of queries * splits, heads, sequences). With splits > 1 each block walks over its share of the key tiles
// and writes out in f32 to (splits, ..) parts, normalised within the share, and its own lse: merge_splits adds them up.
template <int D>
static __device__ void tiled_attention(AttentionShape shape, const bf16* q, const bf16* k, const bf16* v, bf16* out,
                                       float* lse, float* part_out, float* part_lse, int splits) {
    DYNAMIC_SHARED(bf16, memory);
    Tile<D> keys{memory}, values{memory + TILE * Tile<D>::ROW};
    int split = blockIdx.x % splits, tile = gridDim.x / splits - 1 - blockIdx.x / splits; // long rows first
    int head = blockIdx.y, sequence = blockIdx.z, kv_head = head / (shape.heads / shape.kv_heads);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = tile * TILE, last = min(first + TILE, shape.queries) - 1, mine = first + warp * 16 + lane / 4;
    size_t q_stride = size_t(shape.heads) * D, kv_stride = size_t(shape.kv_heads) * D;

    uint32_t left[D / 16][4];
    load_tile<D>(keys, q + query_at(shape, sequence, 0, head) * D, first, TILE, shape.queries, q_stride);
    __syncthreads();
    load_left<D>(left, keys, warp * 16);
    __syncthreads();

    float total[D / 8][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    float scale = shape.scale * LOG2_E;
    Run runs[2];
    int n_runs = runs_of(shape, sequence, runs), step = 0;
    for (int r = 0; r < n_runs; r++) {
        Interval seen[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            seen[i] = visible(shape, runs[r].view, min(mine + 8 * i, last));
        }
        int from = visible(shape, runs[r].view, first).from, to = visible(shape, runs[r].view, last).to;
        size_t at = key_at(shape, runs[r].sequence, 0, kv_head) * D;
        for (int key = from; key < to; key += TILE) {
            if (step++ % splits != split) continue;
            load_tile<D>(keys, k + at, key, TILE, to, kv_stride);
            load_tile<D>(values, v + at, key, TILE, to, kv_stride);
            __syncthreads();
            float weights[TILE / 8][4];
            times_transposed<D, TILE / 8>(weights, left, keys, 0);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float high = -INFINITY;
#pragma unroll
                for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        int column = key + n * 8 + lane % 4 * 2 + j;
                        float& weight = weights[n][2 * i + j];
                        weight = column >= seen[i].from && column < seen[i].to ? weight * scale : -INFINITY;
                        high = fmaxf(high, weight);
                    }
                }
                float next = fmaxf(largest[i], quad_max(high));
                float base = next == -INFINITY ? 0.0f : next; // nothing seen yet
                float keep = exp2f(largest[i] - base), row = 0.0f;
                largest[i] = next;
#pragma unroll
                for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        float& weight = weights[n][2 * i + j];
                        weight = exp2f(weight - base);
                        row += weight;
                    }
                }
                sum[i] = sum[i] * keep + row;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    total[n][2 * i] *= keep;
                    total[n][2 * i + 1] *= keep;
                }
            }
            add_times<D, TILE / 8>(total, weights, values, 0);
            __syncthreads();
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float all = quad_sum(sum[i]), inverse = all > 0.0f ? 1.0f / all : 0.0f;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            total[n][2 * i] *= inverse;
            total[n][2 * i + 1] *= inverse;
        }
        int row = mine + 8 * i;
        if (row > last) continue;
        float log_sum = all > 0.0f ? largest[i] / LOG2_E + logf(all) : -INFINITY;
        size_t at = query_at(shape, sequence, row, head);
        if (splits == 1) {
            if (lane % 4 == 0) lse[at] = log_sum;
            continue;
        }
        size_t part = size_t(split) * shape.sequences * shape.queries * shape.heads + at;
        if (lane % 4 == 0) part_lse[part] = log_sum;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            part_out[part * D + n * 8 + lane % 4 * 2] = total[n][2 * i];
            part_out[part * D + n * 8 + lane % 4 * 2 + 1] = total[n][2 * i + 1];
        }
    }
    if (splits == 1)
        store_rows<D>(out + query_at(shape, sequence, 0, head) * D, total, first + warp * 16, last + 1, q_stride);
}

// out, lse of the shares of a row of a head, which lie `rows` apart. One warp per row.
KERNEL merge_splits(const float* part_out, const float* part_lse, bf16* out, float* lse, int rows, int size, int splits) {
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    float largest = -INFINITY, sum = 0.0f;
    for (int s = 0; s < splits; s++) largest = fmaxf(largest, part_lse[size_t(s) * rows + row]);
    for (int s = 0; s < splits; s++) sum += expf(part_lse[size_t(s) * rows + row] - largest);
    for (int i = threadIdx.x; i < size; i += 32) {
        float total = 0.0f;
        for (int s = 0; s < splits; s++) {
            size_t part = size_t(s) * rows + row;
            total += expf(part_lse[part] - largest) / sum * part_out[part * size + i];
        }
        out[size_t(row) * size + i] = from_float<bf16>(total);
    }
    if (threadIdx.x == 0) lse[row] = largest + logf(sum);
}

// grid: (tiles of queries, heads, sequences). Keys are walked over W at a time within their tile.
template <int D, int W>
static __device__ void tiled_dq(AttentionShape shape, const bf16* q, const bf16* k, const bf16* v, const bf16* dout,
                                const float* lse, const float* delta, bf16* dq) {
    DYNAMIC_SHARED(bf16, memory);
    Tile<D> keys{memory}, values{memory + TILE * Tile<D>::ROW};
    int tile = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    int kv_head = head / (shape.heads / shape.kv_heads), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = tile * TILE, last = min(first + TILE, shape.queries) - 1, mine = first + warp * 16 + lane / 4;
    size_t q_stride = size_t(shape.heads) * D, kv_stride = size_t(shape.kv_heads) * D;
    size_t at = query_at(shape, sequence, 0, head);

    uint32_t left[D / 16][4], grad[D / 16][4];
    load_tile<D>(keys, q + at * D, first, TILE, shape.queries, q_stride);
    load_tile<D>(values, dout + at * D, first, TILE, shape.queries, q_stride);
    __syncthreads();
    load_left<D>(left, keys, warp * 16);
    load_left<D>(grad, values, warp * 16);
    __syncthreads();

    float log_sum[2], pull[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        size_t row = query_at(shape, sequence, min(mine + 8 * i, last), head);
        log_sum[i] = lse[row] * LOG2_E;
        pull[i] = delta[row];
    }
    float total[D / 8][4] = {};
    float scale = shape.scale * LOG2_E;
    Run runs[2];
    int n_runs = runs_of(shape, sequence, runs);
    for (int r = 0; r < n_runs; r++) {
        Interval seen[2];
#pragma unroll
        for (int i = 0; i < 2; i++) seen[i] = visible(shape, runs[r].view, min(mine + 8 * i, last));
        int from = visible(shape, runs[r].view, first).from, to = visible(shape, runs[r].view, last).to;
        size_t base = key_at(shape, runs[r].sequence, 0, kv_head) * D;
        for (int key = from; key < to; key += TILE) {
            load_tile<D>(keys, k + base, key, TILE, to, kv_stride);
            load_tile<D>(values, v + base, key, TILE, to, kv_stride);
            __syncthreads();
            for (int part = 0; part < TILE; part += W) {
                float weights[W / 8][4], dweights[W / 8][4];
                times_transposed<D, W / 8>(weights, left, keys, part);
                times_transposed<D, W / 8>(dweights, grad, values, part);
#pragma unroll
                for (int n = 0; n < W / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        int i = e / 2, column = key + part + n * 8 + lane % 4 * 2 + e % 2;
                        bool sees = column >= seen[i].from && column < seen[i].to;
                        float weight = sees ? exp2f(weights[n][e] * scale - log_sum[i]) : 0.0f;
                        weights[n][e] = weight * (dweights[n][e] - pull[i]) * shape.scale;
                    }
                }
                add_times<D, W / 8>(total, weights, keys, part);
            }
            __syncthreads();
        }
    }
    store_rows<D>(dq + at * D, total, first + warp * 16, last + 1, q_stride);
}

// grid: (tiles of keys, kv_heads, sequences). Queries are walked over W at a time within their tile.
template <int D, int W>
static __device__ void tiled_dkv(AttentionShape shape, const bf16* q, const bf16* k, const bf16* v, const bf16* dout,
                                 const float* lse, const float* delta, bf16* dk, bf16* dv) {
    DYNAMIC_SHARED(bf16, memory);
    Tile<D> queries{memory}, grads{memory + TILE * Tile<D>::ROW};
    SHARED float log_sums[TILE], pulls[TILE];
    SHARED int froms[TILE], tos[TILE];
    int kv_head = blockIdx.y, sequence = blockIdx.z, group = shape.heads / shape.kv_heads;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = blockIdx.x * TILE, end = min(first + TILE, shape.keys), mine = first + warp * 16 + lane / 4;
    size_t q_stride = size_t(shape.heads) * D, kv_stride = size_t(shape.kv_heads) * D;
    size_t at = key_at(shape, sequence, 0, kv_head) * D;

    uint32_t key[D / 16][4], value[D / 16][4];
    load_tile<D>(queries, k + at, first, TILE, shape.keys, kv_stride);
    load_tile<D>(grads, v + at, first, TILE, shape.keys, kv_stride);
    __syncthreads();
    load_left<D>(key, queries, warp * 16);
    load_left<D>(value, grads, warp * 16);
    __syncthreads();

    float dkey[D / 8][4] = {}, dvalue[D / 8][4] = {};
    float scale = shape.scale * LOG2_E;
    Run runs[2];
    int n_runs = lookers_of(shape, sequence, runs);
    for (int r = 0; r < n_runs; r++) {
        Interval range = lookers(shape, runs[r].view, first, end);
        for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
            size_t base = query_at(shape, runs[r].sequence, 0, head);
            for (int start = range.from / TILE * TILE; start < range.to; start += TILE) {
                load_tile<D>(queries, q + base * D, start, TILE, shape.queries, q_stride);
                load_tile<D>(grads, dout + base * D, start, TILE, shape.queries, q_stride);
                if (threadIdx.x < TILE) {
                    int query = start + threadIdx.x;
                    bool inside = query < shape.queries;
                    size_t row = base + size_t(inside ? query : 0) * shape.heads;
                    Interval seen = visible(shape, runs[r].view, inside ? query : 0);
                    log_sums[threadIdx.x] = lse[row] * LOG2_E;
                    pulls[threadIdx.x] = delta[row];
                    froms[threadIdx.x] = seen.from;
                    tos[threadIdx.x] = inside ? seen.to : 0;
                }
                __syncthreads();
                for (int part = 0; part < TILE; part += W) {
                    float weights[W / 8][4], dweights[W / 8][4]; // keys by queries
                    times_transposed<D, W / 8>(weights, key, queries, part);
                    times_transposed<D, W / 8>(dweights, value, grads, part);
#pragma unroll
                    for (int n = 0; n < W / 8; n++) {
#pragma unroll
                        for (int e = 0; e < 4; e++) {
                            int row = mine + 8 * (e / 2), column = part + n * 8 + lane % 4 * 2 + e % 2;
                            bool sees = row >= froms[column] && row < tos[column];
                            float weight = sees ? exp2f(weights[n][e] * scale - log_sums[column]) : 0.0f;
                            weights[n][e] = weight;
                            dweights[n][e] = weight * (dweights[n][e] - pulls[column]) * shape.scale;
                        }
                    }
                    add_times<D, W / 8>(dvalue, weights, grads, part);
                    add_times<D, W / 8>(dkey, dweights, queries, part);
                }
                __syncthreads();
            }
        }
    }
    store_rows<D>(dk + at, dkey, first + warp * 16, end, kv_stride);
    store_rows<D>(dv + at, dvalue, first + warp * 16, end, kv_stride);
}

#ifdef EMULATE
#define OF_128_THREADS
#else
#define OF_128_THREADS __launch_bounds__(128)
#endif

#define ATTENTION_TILED(D, W)                                                                                              \
    extern "C" __global__ void OF_128_THREADS tiled_attention_##D(AttentionShape shape, const bf16* q, const bf16* k,      \
                                                                  const bf16* v, bf16* out, float* lse, float* part_out,  \
                                                                  float* part_lse, int splits) {                           \
        tiled_attention<D>(shape, q, k, v, out, lse, part_out, part_lse, splits);                                          \
    }                                                                                                                      \
    extern "C" __global__ void OF_128_THREADS tiled_dq_##D(AttentionShape shape, const bf16* q, const bf16* k,             \
                                                           const bf16* v, const bf16* dout, const float* lse,             \
                                                           const float* delta, bf16* dq) {                                 \
        tiled_dq<D, W>(shape, q, k, v, dout, lse, delta, dq);                                                              \
    }                                                                                                                      \
    extern "C" __global__ void OF_128_THREADS tiled_dkv_##D(AttentionShape shape, const bf16* q, const bf16* k,            \
                                                            const bf16* v, const bf16* dout, const float* lse,            \
                                                            const float* delta, bf16* dk, bf16* dv) {                      \
        tiled_dkv<D, W>(shape, q, k, v, dout, lse, delta, dk, dv);                                                         \
    }
ATTENTION_TILED(64, 32)
ATTENTION_TILED(128, 16)
