"""PyTorch eager on the shape that `gpu serve-shape` times: an 8B Llama of random bf16 weights, batch 1.

    python3 tests/gpu/peer.py [--rehearse]

--rehearse runs a toy on the processor, or says that there is no PyTorch.
"""

import sys
import time

REHEARSE = "--rehearse" in sys.argv[1:]
try:
    import torch
    import torch.nn.functional as F
except ImportError:
    if REHEARSE:
        print("no PyTorch here: the peer was not rehearsed")
        sys.exit(0)
    raise

DEVICE = "cpu" if REHEARSE else "cuda"
if REHEARSE:
    WIDTH, MLP, LAYERS, HEADS, KV_HEADS, VOCAB, PROMPT, REPEATS = 64, 96, 2, 2, 1, 256, 68, 2
else:
    WIDTH, MLP, LAYERS, HEADS, KV_HEADS, VOCAB, PROMPT, REPEATS = 4096, 14336, 32, 32, 8, 155_136, 2048, 20
SIZE = 128
EPS = 1e-6


def matrix(rows, columns):
    return (torch.randn(rows, columns, device=DEVICE) * 0.02).to(torch.bfloat16)


def norm_weight():
    return torch.ones(WIDTH, device=DEVICE, dtype=torch.bfloat16)


class Layer:
    def __init__(self):
        self.q, self.k, self.v = matrix(HEADS * SIZE, WIDTH), matrix(KV_HEADS * SIZE, WIDTH), matrix(KV_HEADS * SIZE, WIDTH)
        self.o = matrix(WIDTH, HEADS * SIZE)
        self.gate, self.up, self.down = matrix(MLP, WIDTH), matrix(MLP, WIDTH), matrix(WIDTH, MLP)
        self.before, self.between = norm_weight(), norm_weight()


def rotate(x, cos, sin):
    low, high = x.chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


@torch.inference_mode()
def forward(model, ids, start, cache, wanted):
    layers, embedding, last, head, cos, sin = model
    rows = len(ids)
    x = embedding[ids]
    c, s = cos[start : start + rows], sin[start : start + rows]
    keys = start + rows
    # Blocks of four see themselves and everything before.
    position = torch.arange(keys, device=DEVICE)
    mask = position[None, :] // 4 <= position[start:, None] // 4
    for layer, (k_cache, v_cache) in zip(layers, cache):
        y = F.rms_norm(x, (WIDTH,), layer.before, EPS)
        q = rotate((y @ layer.q.T).view(rows, HEADS, SIZE).transpose(0, 1), c, s)
        k_cache[:, start:keys] = rotate((y @ layer.k.T).view(rows, KV_HEADS, SIZE).transpose(0, 1), c, s)
        v_cache[:, start:keys] = (y @ layer.v.T).view(rows, KV_HEADS, SIZE).transpose(0, 1)
        mixed = F.scaled_dot_product_attention(
            q[None], k_cache[None, :, :keys], v_cache[None, :, :keys], attn_mask=mask, enable_gqa=True)
        x = x + mixed[0].transpose(0, 1).reshape(rows, HEADS * SIZE) @ layer.o.T
        y = F.rms_norm(x, (WIDTH,), layer.between, EPS)
        x = x + (F.silu(y @ layer.gate.T) * (y @ layer.up.T)) @ layer.down.T
    return (F.rms_norm(x[wanted:], (WIDTH,), last, EPS) @ head.T).float()


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def times(work):
    work()
    wait()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        wait()
        found.append((time.perf_counter() - started) * 1e3)
    return sorted(found)


def main():
    angles = torch.outer(torch.arange(PROMPT + 64).float(), 500_000.0 ** (-torch.arange(0, SIZE, 2).float() / SIZE))
    cos, sin = angles.cos().to(DEVICE, torch.bfloat16), angles.sin().to(DEVICE, torch.bfloat16)
    model = ([Layer() for _ in range(LAYERS)], matrix(VOCAB, WIDTH), norm_weight(), matrix(VOCAB, WIDTH), cos, sin)
    empty = lambda: torch.zeros(KV_HEADS, PROMPT + 64, SIZE, device=DEVICE, dtype=torch.bfloat16)
    cache = [(empty(), empty()) for _ in range(LAYERS)]
    ids = torch.arange(PROMPT, device=DEVICE) * 7919 % VOCAB
    found = times(lambda: forward(model, ids, 0, cache, PROMPT - 1))
    print(f"PyTorch {torch.__version__} eager, prefill of {PROMPT} rows: {found[0]:.2f} ms")
    for context in (0, PROMPT):
        for rows in (4, 8, 16, 32):
            found = times(lambda: forward(model, ids[:rows], context, cache, 0))
            print(f"PyTorch eager, forward of {rows:2} rows behind {context:4} tokens: "
                  f"median {found[len(found) // 2]:.3f} ms, best {found[0]:.3f} ms")


main()
