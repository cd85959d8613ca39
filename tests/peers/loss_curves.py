#!/usr/bin/env python3
"""Draws the loss of several runs of `diffcoder-train train` over each other: loss_curves.py OUT.svg NAME=RUN_FOLDER...

Each line is the mean cross-entropy per predicted token over 10 steps; a table of windows goes to stdout as Markdown.
"""
import json
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, SMOOTH = 720, 380, 50, 40, 10
COLOURS = ["#1f77b4", "#d62728", "#7fb2d9", "#f0908f", "#2ca02c", "#9467bd"]


def losses(folder):
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    steps = map(json.loads, lines)
    return [step["ce_per_masked"] for step in steps if step["ce_per_masked"] is not None]


def mean(values):
    return sum(values) / len(values)


def draw(runs):
    smooth = {name: [mean(run[max(0, i + 1 - SMOOTH) : i + 1]) for i in range(len(run))] for name, run in runs.items()}
    steps = max(map(len, runs.values()))
    low, high = min(map(min, smooth.values())), max(map(max, smooth.values()))
    x = lambda step: LEFT + step / (steps - 1) * (WIDTH - LEFT - 10)
    y = lambda loss: 10 + (high - loss) / (high - low) * (HEIGHT - BOTTOM - 10)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    for tick in range(int(low) + 1, int(high) + 1):
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - 10}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    for step in range(0, steps + 1, 50):
        parts.append(f'<text x="{x(min(step, steps - 1)):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 5}" text-anchor="middle">step; cross-entropy per predicted token, nats</text>')
    for index, (name, run) in enumerate(smooth.items()):
        points = " ".join(f"{x(i):.1f},{y(loss):.1f}" for i, loss in enumerate(run))
        colour = COLOURS[index % len(COLOURS)]
        dash = ' stroke-dasharray="5 3"' if index % 2 else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
        parts.append(f'<text x="{WIDTH - 120}" y="{30 + 16 * index}" fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    runs = {name: losses(folder) for name, folder in (argument.split("=", 1) for argument in sys.argv[2:])}
    Path(sys.argv[1]).write_text(draw(runs))
    steps = min(map(len, runs.values()))
    print("| steps | " + " | ".join(runs) + " |\n|---" + "|---" * len(runs) + "|")
    for first in range(0, steps, 50):
        last = min(first + 50, steps)
        print(f"| {first} to {last} | " + " | ".join(f"{mean(run[first:last]):.3f}" for run in runs.values()) + " |")


if __name__ == "__main__":
    main()
