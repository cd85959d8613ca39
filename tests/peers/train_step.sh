#!/usr/bin/env bash
# Our training steps and prefills next to PyTorch's, on the same cores in one run: tests/peers/train_step.sh VENV [STEPS [--f32-only]]
# VENV is a Python environment with PyTorch (python3 -m venv VENV && VENV/bin/pip install torch numpy).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -ge 1 ] || { echo "usage: tests/peers/train_step.sh VENV [STEPS [--f32-only]]" >&2; exit 2; }
venv=$1 steps=${2:-9}
# --f32-only is for processors without bf16.
flags=("${@:3}")
cargo build --release --workspace --example bench_step
peers() { "$venv/bin/python" tests/peers/train_step.py --ours target/release/examples/bench_step --steps "$steps" "${flags[@]}" "$@"; }

"$venv/bin/python" -c 'import os, torch; print(f"PyTorch {torch.__version__}, {os.cpu_count()} threads, medians of '"$steps"' steps")'
echo "| | f32 ours, ms | PyTorch | PyTorch / ours | bf16 ours, ms | PyTorch | PyTorch / ours | ours f32 / bf16 | peak MiB |"
echo "|---|---|---|---|---|---|---|---|---|"
peers --model base --kind ar
peers --model base --kind cpt
peers --model nano --kind ar --rows 8 --len 512
peers --model nano --kind cpt --rows 4 --len 512
for len in 1024 2048; do
  peers --model base --kind prefill --len "$len"
  peers --model nano --kind prefill --len "$len"
done
