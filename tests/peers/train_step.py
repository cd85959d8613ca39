#!/usr/bin/env python3
"""Times training steps and prefills of ours and of PyTorch side by side; train_step.sh runs it.

Every contender is a process of its own that does one step for each line on its stdin and answers with the seconds it
took. The steps take turns, so that a busy machine slows all of them alike; medians are printed as a Markdown table.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

SHAPES = {
    # layers, width, mlp, heads, kv_heads, head_size, vocabulary
    "base": (8, 512, 1536, 8, 4, 64, 8192),
    "nano": (4, 256, 768, 4, 2, 64, 4096),
}
BLOCK = 4


def worker(args):
    """The PyTorch side: the Qwen3 dialect in eager mode."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    layers, width, mlp, heads, kv_heads, dh, vocabulary = SHAPES[args.model]

    class RmsNorm(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))

        def forward(self, x):
            return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)

    def rotate(x, cos, sin):
        low, high = x.chunk(2, dim=-1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            linear = lambda a, b: nn.Linear(a, b, bias=False)
            self.input_norm, self.post_norm = RmsNorm(width), RmsNorm(width)
            self.q, self.k, self.v = (linear(width, n * dh) for n in (heads, kv_heads, kv_heads))
            self.o = linear(heads * dh, width)
            self.q_norm, self.k_norm = RmsNorm(dh), RmsNorm(dh)
            self.gate, self.up, self.down = linear(width, mlp), linear(width, mlp), linear(mlp, width)

        def forward(self, x, cos, sin, mask):
            b, t, _ = x.shape
            h = self.input_norm(x)
            q = self.q_norm(self.q(h).view(b, t, heads, dh)).transpose(1, 2)
            k = self.k_norm(self.k(h).view(b, t, kv_heads, dh)).transpose(1, 2)
            v = self.v(h).view(b, t, kv_heads, dh).transpose(1, 2)
            cos, sin = cos.to(q.dtype), sin.to(q.dtype)
            mixed = F.scaled_dot_product_attention(
                rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
            )
            x = x + self.o(mixed.transpose(1, 2).reshape(b, t, heads * dh))
            h = self.post_norm(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = RmsNorm(width)
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, ids, positions, mask):
            frequencies = 1e6 ** (-torch.arange(0, dh, 2, dtype=torch.float32) / dh)
            angles = positions[:, None].float() * frequencies
            cos, sin = angles.cos(), angles.sin()
            x = self.embedding(ids)
            for layer in self.layers:
                x = layer(x, cos, sin, mask)
            return self.norm(x)

        def logits(self, hidden):
            return F.linear(hidden, self.embedding.weight)

    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    rows, n = args.rows, args.len
    tokens = (torch.arange(rows * n) * 7919 % (vocabulary - 1)).view(rows, n)
    positions = torch.arange(n)
    block = positions // BLOCK
    mask = None
    if args.kind == "cpt":
        same, before = block[:, None] == block[None, :], block[:, None] > block[None, :]
        mask = torch.cat((torch.cat((same, before), 1), torch.cat((torch.zeros(n, n, dtype=bool), same | before), 1)))
    elif args.kind == "prefill":
        mask = block[:, None] >= block[None, :]

    def loss():
        if args.kind == "ar":
            hidden = model(tokens, positions, None)[:, :-1].reshape(-1, width)
            return F.cross_entropy(model.logits(hidden).float(), tokens[:, 1:].reshape(-1))
        rate = torch.rand(rows, n // BLOCK).clamp(min=1 / BLOCK).repeat_interleave(BLOCK, dim=1)
        masked = torch.rand(rows, n) < rate
        ids = torch.cat((tokens.masked_fill(masked, vocabulary - 1), tokens), dim=1)
        hidden = model(ids, positions.repeat(2), mask)[:, :n][masked]
        nll = F.cross_entropy(model.logits(hidden).float(), tokens[masked], reduction="none")
        return (nll / rate[masked]).sum() / (rows * n)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            if args.kind == "prefill":
                with torch.no_grad():
                    model.logits(model(tokens, positions, mask)[:, -1])
                return
            value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for line in sys.stdin:
        if line.strip() == "peak":
            print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), flush=True)
            continue
        start = time.perf_counter()
        step()
        print(f"{time.perf_counter() - start:.6f}", flush=True)


class Contender:
    """A process that answers each line with a number."""

    def __init__(self, command, args, precision):
        flags = ["--model", args.model, "--kind", args.kind, "--precision", precision]
        flags += ["--rows", str(args.rows), "--len", str(args.len)]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(
            command + flags, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def compare(args):
    here = [sys.executable, __file__, "--worker", "--threads", str(args.threads)]
    contenders = {}
    precisions = ("f32",) if args.f32_only else ("f32", "bf16")
    for precision in precisions:
        contenders["ours", precision] = Contender([args.ours], args, precision)
        if not args.alone:
            contenders["PyTorch", precision] = Contender(here, args, precision)
    for contender in contenders.values():
        for _ in range(2):
            contender.ask("step")
    times = {key: [] for key in contenders}
    for _ in range(args.steps):
        for key, contender in contenders.items():
            contender.ask("step")  # caches and threads of the others are cold
            times[key].append(contender.ask("step"))
    median = {key: statistics.median(values) * 1e3 for key, values in times.items()}
    peak = {key: contender.ask("peak") for key, contender in contenders.items()}
    for contender in contenders.values():
        contender.process.stdin.close()
        contender.process.wait()
    row = [f"{args.model} {args.kind} {args.rows} x {args.len}"]
    for precision in precisions:
        ours = median["ours", precision]
        row.append(f"{ours:.1f}")
        if not args.alone:
            row += [f"{median['PyTorch', precision]:.1f}", f"{median['PyTorch', precision] / ours:.2f}"]
    if args.f32_only:
        row += [""] * (2 if args.alone else 4)
    else:
        row.append(f"{median['ours', 'f32'] / median['ours', 'bf16']:.2f}")
    row.append(" / ".join(f"{value:.0f}" for value in peak.values()))
    print("| " + " | ".join(row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--ours", help="the built example bench_step")
    parser.add_argument("--f32-only", action="store_true", help="for processors without bf16, where PyTorch is very slow in it")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--model", choices=SHAPES, default="base")
    parser.add_argument("--kind", choices=("ar", "cpt", "prefill"), default="ar")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--len", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    worker(args) if args.worker else compare(args)


if __name__ == "__main__":
    main()
