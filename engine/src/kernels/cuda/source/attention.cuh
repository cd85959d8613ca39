// Who sees whom in attention, shared by the plain and the tensor-core kernels.
//
// Every mask of the model is an interval of keys per query, so no kernel ever reads a mask tensor.
#pragma once
#include "common.cuh"

// Sizes of an attention. Queries of a sequence stand at positions query_start.. of its keys 0..keys.
// q, out: (sequences, queries, heads, D), k, v: (sequences, keys, kv_heads, D), lse: (sequences, queries, heads).
// Doubled: the first half of the sequences is noisy, the second half their clean copies, and queries == keys.
struct AttentionShape {
    int sequences; // of both halves together
    int queries;
    int keys;
    int query_start;
    int heads;
    int kv_heads;
    int block;   // N; 1 is causal, `keys` is full
    int doubled; // 0 or 1
    float scale;
};

// Which keys a query sees of one run of keys.
enum View {
    UP_TO_OWN_BLOCK,  // a sequence's own keys
    BEFORE_OWN_BLOCK, // a noisy query on the clean keys
    OWN_BLOCK,        // a noisy query on the noisy keys
};

struct Interval {
    int from, to;
};

static __device__ __forceinline__ Interval visible(const AttentionShape& shape, View view, int query) {
    int start = (shape.query_start + query) / shape.block * shape.block;
    int end = min(start + shape.block, shape.keys);
    if (view == UP_TO_OWN_BLOCK) return {0, end};
    if (view == BEFORE_OWN_BLOCK) return {0, start};
    return {start, end};
}

// One run of keys that the queries of a sequence look at.
struct Run {
    View view;
    int sequence; // whose keys
};

// The runs of a query sequence; returns how many there are.
static __device__ __forceinline__ int runs_of(const AttentionShape& shape, int sequence, Run (&runs)[2]) {
    int half = shape.sequences / 2;
    if (shape.doubled && sequence < half) {
        runs[0] = {BEFORE_OWN_BLOCK, sequence + half};
        runs[1] = {OWN_BLOCK, sequence};
        return 2;
    }
    runs[0] = {UP_TO_OWN_BLOCK, sequence};
    return 1;
}

// The query sequences that look at the keys of a sequence, as runs seen from the keys; returns how many there are.
static __device__ __forceinline__ int lookers_of(const AttentionShape& shape, int sequence, Run (&runs)[2]) {
    int half = shape.sequences / 2;
    if (shape.doubled && sequence < half) {
        runs[0] = {OWN_BLOCK, sequence};
        return 1;
    }
    runs[0] = {UP_TO_OWN_BLOCK, sequence};
    if (!shape.doubled) return 1;
    runs[1] = {BEFORE_OWN_BLOCK, sequence - half};
    return 2;
}

// An interval of queries that holds all those that see one of the keys from..to (to exclusive, from < to).
static __device__ __forceinline__ Interval lookers(const AttentionShape& shape, View view, int from, int to) {
    int start = from / shape.block * shape.block;
    int first = view == BEFORE_OWN_BLOCK ? start + shape.block : start;
    int last = view == OWN_BLOCK ? (to - 1) / shape.block * shape.block + shape.block : shape.keys;
    return {max(first - shape.query_start, 0), min(last - shape.query_start, shape.queries)};
}

static __device__ __forceinline__ size_t query_at(const AttentionShape& shape, int sequence, int query, int head) {
    return (size_t(sequence) * shape.queries + query) * shape.heads + head;
}

static __device__ __forceinline__ size_t key_at(const AttentionShape& shape, int sequence, int key, int kv_head) {
    return (size_t(sequence) * shape.keys + key) * shape.kv_heads + kv_head;
}
