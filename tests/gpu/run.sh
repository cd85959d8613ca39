#!/usr/bin/env bash
# Checks and timings on a machine with a GPU, at most ten minutes for all of them: parity, train-speed, serve-shape, peer.
#   tests/gpu/run.sh BUNDLE [--rehearse] [PART ...]
# --rehearse runs the same parts at tiny sizes without a GPU; their timings mean nothing.
set -euo pipefail
BUNDLE=$(cd "${1:?usage: tests/gpu/run.sh BUNDLE [--rehearse] [PART ...]}" && pwd)
shift
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
rehearse=()
recipe=$BUNDLE/recipes/base.toml
if [ "${1:-}" = --rehearse ]; then
  rehearse=(--rehearse)
  recipe=$BUNDLE/recipes/rehearsal.toml
  shift
fi
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(parity train-speed serve-shape peer)

unpack
find_libraries
cd "$repository"
gpu=$WORK/programs/gpu
failed=()
part() {
  local name=$1 limit=$2
  shift 2
  printf '\n== %s\n' "$name"
  [ ${#rehearse[@]} -eq 0 ] || limit=1800 # an emulator on a busy machine
  # A part that fails or takes too long must not cost the others their time.
  if ! timeout "$limit" "$@" 2>&1 | tee "$RESULTS/$name.log"; then failed+=("$name"); fi
}
[ ${#rehearse[@]} -gt 0 ] || nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader
for name in "${parts[@]}"; do
  case $name in
    parity) part parity 150 "$gpu" "${rehearse[@]}" parity tests/golden ;;
    train-speed) part train-speed 180 "$gpu" "${rehearse[@]}" train-speed "$recipe" ;;
    serve-shape) part serve-shape 120 "$gpu" "${rehearse[@]}" serve-shape ;;
    peer) part peer 120 python3 tests/gpu/peer.py "${rehearse[@]}" ;;
    *) echo "there is no part $name: parity, train-speed, serve-shape, peer" >&2; exit 2 ;;
  esac
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
