// All kernels behind one entry point that looks like the driver's: a name, a grid, addresses of the arguments.
#include "common.cuh"

#include "adamw.cu"
#include "attention_plain.cu"
#include "attention_tiled.cu"
#include "cross_entropy.cu"
#include "elementwise.cu"
#include "muon.cu"
#include "norm.cu"
#include "rope.cu"

#define BOTH(NAME) ENTRY(NAME##_f32) ENTRY(NAME##_bf16)
#define ALL(NAME) BOTH(NAME) ENTRY(NAME##_f32_packed) ENTRY(NAME##_bf16_packed)

#define KERNELS                                                                                                            \
    ALL(rms_norm) ALL(rms_norm_backward) ALL(swiglu) ALL(swiglu_backward) ALL(add) ALL(gather_rows) ALL(put_rows)          \
    BOTH(head_rope) BOTH(head_rope_backward) BOTH(scatter_add_rows) BOTH(softmax_gradient) BOTH(attention)                 \
    BOTH(out_dot_dout) BOTH(attention_dq) BOTH(attention_dkv) ENTRY(sum_parts) ENTRY(round_to_bf16) ENTRY(row_nll)         \
    ENTRY(weighted_sum) ENTRY(sum_of_squares) ENTRY(begin_update) ENTRY(adamw) ENTRY(merge_splits)                         \
    ENTRY(tiled_attention_64) ENTRY(tiled_attention_128) ENTRY(tiled_dq_64) ENTRY(tiled_dq_128) ENTRY(tiled_dkv_64)        \
    ENTRY(tiled_dkv_128) ENTRY(muon_look_ahead) ENTRY(muon_normalise) ENTRY(muon_polynomial) ENTRY(muon_combine)            \
    ENTRY(muon_update)

// 0: done, 1: no such kernel, 2: the threads of a block wait for each other.
extern "C" int emulate(const char* name, const uint32_t* grid, const uint32_t* size, uint32_t shared, void** arguments) {
    emulator::Index blocks = {grid[0], grid[1], grid[2]}, threads = {size[0], size[1], size[2]};
#define ENTRY(NAME)                                                                                                        \
    if (strcmp(name, #NAME) == 0) return emulator::launch(emulator::Entry<NAME>::run, arguments, blocks, threads, shared);
    KERNELS
    return 1;
}
