// Runs CUDA kernels on the processor: every thread of a block is a fiber, barriers and warp operations are meeting
// points. Slow and sequential, but it executes the kernels' own source, indices and masks included.
//
// Not modelled: memory that several blocks write without atomics, bank conflicts, alignment faults of plain loads.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define KERNEL extern "C" void
#define SHARED static
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::dynamic_shared())
#define __global__
#define __device__
#define __forceinline__ inline

using std::max;
using std::min;

struct uint4 {
    uint32_t x, y, z, w;
};

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline __nv_bfloat16 __float2bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return {0x7fff};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// Saves the running fiber's registers and stack pointer and goes on with another's. The library's own switch would ask
// the kernel for the signal mask each time.
extern "C" void emulator_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
)");
static const int SAVED_WORDS = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, %function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#else
#error "the emulator switches fibers on x86-64 and 64-bit Arm"
#endif

namespace emulator {

struct Index {
    unsigned x, y, z;
};

struct Fiber {
    void* sp;
    std::vector<char> stack;
    Index thread;
    int warp, lane;
    int meetings = 0; // warp operations so far
    enum { Ready, AtWarp, AtBlock, Done } state = Ready;
};

// What the lanes of a warp lay down for each other, for two operations in turn.
struct Meeting {
    uint32_t words[32][8];
    const void* pointers[32];
};

struct Warp {
    Meeting meetings[2];
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    void* scheduler = nullptr; // its stack pointer
    Fiber* current = nullptr;
    Index index, size, grid;
    void (*run)(void**) = nullptr;
    void** arguments = nullptr;
};

inline Block block;

inline unsigned char* dynamic_shared() { return block.shared.data() + (64 - reinterpret_cast<uintptr_t>(block.shared.data()) % 64) % 64; }

inline void wait(decltype(Fiber::state) state) {
    Fiber* me = block.current;
    me->state = state;
    emulator_switch(&me->sp, block.scheduler);
}

inline void enter() {
    block.run(block.arguments);
    block.current->state = Fiber::Done;
    emulator_switch(&block.current->sp, block.scheduler);
}

inline Meeting& meet_before() { return block.warps[block.current->warp].meetings[block.current->meetings % 2]; }

inline Meeting& meet() {
    Meeting& meeting = meet_before();
    block.current->meetings++;
    wait(Fiber::AtWarp);
    return meeting;
}

// Lets those go on whose warp or block has arrived as a whole. False if nobody can go on.
inline bool release() {
    bool all_at_block = true, any = false;
    for (Fiber& fiber : block.fibers) all_at_block &= fiber.state == Fiber::AtBlock || fiber.state == Fiber::Done;
    if (all_at_block) {
        for (Fiber& fiber : block.fibers)
            if (fiber.state == Fiber::AtBlock) fiber.state = Fiber::Ready, any = true;
        return any;
    }
    for (size_t first = 0; first < block.fibers.size(); first += 32) {
        size_t last = min(first + 32, block.fibers.size());
        bool together = true;
        for (size_t i = first; i < last; i++) together &= block.fibers[i].state == Fiber::AtWarp || block.fibers[i].state == Fiber::Done;
        for (size_t i = first; together && i < last; i++)
            if (block.fibers[i].state == Fiber::AtWarp) block.fibers[i].state = Fiber::Ready, any = true;
    }
    return any;
}

// A stack from which the first switch lands in `enter`.
inline void* first_stack(std::vector<char>& stack) {
    uintptr_t top = reinterpret_cast<uintptr_t>(stack.data() + stack.size()) & ~uintptr_t(15);
    void** words = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
    words -= 2; // entered by a return, a function finds its stack pointer 8 off a multiple of 16
    words[0] = reinterpret_cast<void*>(&enter);
    words -= SAVED_WORDS;
    std::fill(words, words + SAVED_WORDS, nullptr);
#else
    words -= 20;
    std::fill(words, words + 20, nullptr);
    words[11] = reinterpret_cast<void*>(&enter); // the link register
#endif
    return words;
}

inline int run_block() {
    size_t threads = size_t(block.size.x) * block.size.y * block.size.z;
    block.fibers.resize(threads);
    block.warps.assign((threads + 31) / 32, Warp());
    for (size_t i = 0; i < threads; i++) {
        Fiber& fiber = block.fibers[i];
        fiber.thread = {unsigned(i % block.size.x), unsigned(i / block.size.x % block.size.y), unsigned(i / block.size.x / block.size.y)};
        fiber.warp = int(i / 32);
        fiber.lane = int(i % 32);
        fiber.meetings = 0;
        fiber.state = Fiber::Ready;
        fiber.stack.resize(64 * 1024);
        fiber.sp = first_stack(fiber.stack);
    }
    for (;;) {
        size_t done = 0;
        for (Fiber& fiber : block.fibers) {
            if (fiber.state == Fiber::Ready) {
                block.current = &fiber;
                emulator_switch(&block.scheduler, fiber.sp);
            }
            done += fiber.state == Fiber::Done;
        }
        if (done == threads) return 0;
        bool ready = false;
        for (Fiber& fiber : block.fibers) ready |= fiber.state == Fiber::Ready;
        if (!ready && !release()) return 2; // some wait for their warp, others for their block
    }
}

inline int launch(void (*run)(void**), void** arguments, Index grid, Index size, size_t shared) {
    block.run = run;
    block.arguments = arguments;
    block.grid = grid;
    block.size = size;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block.index = {x, y, z};
                block.shared.assign(shared + 64, 0xff); // NaN as f32 and as bf16
                if (int failed = run_block()) return failed;
            }
    return 0;
}

template <typename... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<A*>(arguments[I])...);
}

template <auto kernel> struct Entry;
template <typename... A, void (*kernel)(A...)> struct Entry<kernel> {
    static void run(void** arguments) { call(kernel, arguments, std::index_sequence_for<A...>()); }
};

} // namespace emulator

#define threadIdx (emulator::block.current->thread)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.size)
#define gridDim (emulator::block.grid)

static inline void __syncthreads() { emulator::wait(emulator::Fiber::AtBlock); }

static inline float __shfl_xor_sync(uint32_t, float x, int mask) {
    int lane = emulator::block.current->lane;
    memcpy(&emulator::meet_before().words[lane][0], &x, 4);
    memcpy(&x, &emulator::meet().words[lane ^ mask][0], 4);
    return x;
}

static inline float atomicAdd(float* to, float x) {
    float before = *to;
    *to += x;
    return before;
}

static inline float half_of(uint32_t word, int high) { return __bfloat162float({uint16_t(high ? word >> 16 : word)}); }

// PTX manual, mma.m16n8k16 with bf16: lane = 4 g + t. a0: (g, 2t..), a1: (g + 8, 2t..), a2: (g, 2t + 8..), a3: (g + 8, 2t + 8..);
// b0: (2t.., g), b1: (2t + 8.., g); c0, c1: (g, 2t..), c2, c3: (g + 8, 2t..).
static inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    int lane = emulator::block.current->lane;
    uint32_t* mine = emulator::meet_before().words[lane];
    for (int i = 0; i < 4; i++) mine[i] = a[i];
    mine[4] = b0;
    mine[5] = b1;
    emulator::Meeting& meeting = emulator::meet();
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float sum = c[i];
        for (int k = 0; k < 16; k++) {
            uint32_t left = meeting.words[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
            uint32_t right = meeting.words[column * 4 + k % 8 / 2][4 + k / 8];
            sum += half_of(left, k % 2) * half_of(right, k % 2);
        }
        c[i] = sum;
    }
}

// PTX manual, ldmatrix.m8n8.x4: lane 8 m + r names row r of matrix m; lane 4 g + t gets elements 2t, 2t + 1 of row g.
static inline void ldmatrix(uint32_t (&r)[4], const __nv_bfloat16* row) {
    int lane = emulator::block.current->lane;
    emulator::meet_before().pointers[lane] = row;
    emulator::Meeting& meeting = emulator::meet();
    for (int m = 0; m < 4; m++)
        memcpy(&r[m], static_cast<const __nv_bfloat16*>(meeting.pointers[m * 8 + lane / 4]) + lane % 4 * 2, 4);
}

static inline void ldmatrix_transposed(uint32_t (&r)[4], const __nv_bfloat16* row) {
    int lane = emulator::block.current->lane;
    emulator::meet_before().pointers[lane] = row;
    emulator::Meeting& meeting = emulator::meet();
    for (int m = 0; m < 4; m++) {
        uint32_t pair[2];
        for (int i = 0; i < 2; i++)
            pair[i] = static_cast<const __nv_bfloat16*>(meeting.pointers[m * 8 + lane % 4 * 2 + i])[lane / 4].bits;
        r[m] = pair[0] | pair[1] << 16;
    }
}
