// What all kernels share: storage types, 16-byte packs, reductions, and the three tensor-core instructions.
//
// With EMULATE defined the same sources compile as C++ for the processor (engine/tests/cuda_kernels/emulator.hpp).
#pragma once

#ifdef EMULATE
#include "emulator.hpp"
#else
#include <cuda_bf16.h>
#include <stdint.h>
#define KERNEL extern "C" __global__ void
#define SHARED __shared__
extern __shared__ __align__(16) unsigned char shared_memory[];
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(shared_memory)
#endif

typedef __nv_bfloat16 bf16;

static __device__ __forceinline__ float to_float(float x) { return x; }
static __device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16(x); }

// N neighbours that are loaded or stored at once; N * sizeof(T) is 16 bytes, or N is 1.
template <typename T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

template <typename T, int N> static __device__ __forceinline__ void load_pack(const T* from, float (&to)[N]) {
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = to_float(pack.at[i]);
}

template <typename T, int N> static __device__ __forceinline__ void store_pack(T* to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) pack.at[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

static __device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

static __device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// Sum over the blockDim.x threads of a row; `scratch` holds blockDim.x / 32 numbers per row (threadIdx.y) of the block.
// Every thread of the block must call it.
static __device__ __forceinline__ float row_sum(float x, float* scratch) {
    x = warp_sum(x);
    int warps = blockDim.x / 32;
    if (warps == 1) return x;
    float* mine = scratch + threadIdx.y * warps;
    __syncthreads();
    if (threadIdx.x % 32 == 0) mine[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < warps; i++) sum += mine[i];
    return sum;
}

static __device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    Pack<bf16, 2> pair;
    pair.at[0] = from_float<bf16>(low);
    pair.at[1] = from_float<bf16>(high);
    uint32_t word;
    memcpy(&word, &pair, 4);
    return word;
}

#ifndef EMULATE
// c += a b for 16x16 a (rows), 16x8 b (columns); fragments as in the PTX manual, section mma.m16n8k16.
static __device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8x8 matrices from shared memory; lane l gives the address of row l % 8 of matrix l / 8.
static __device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const bf16* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// As ldmatrix, each matrix transposed.
static __device__ __forceinline__ void ldmatrix_transposed(uint32_t (&r)[4], const bf16* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
#endif
