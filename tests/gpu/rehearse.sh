#!/usr/bin/env bash
# Runs what a GPU machine will run, on this processor, with a hundredth of the corpus: no GPU minute is lost to a slip.
#   tests/gpu/rehearse.sh DATA TOKENIZER
set -euo pipefail
data=$(cd "${1:?usage: tests/gpu/rehearse.sh DATA TOKENIZER}" && pwd)
tokenizer=$(cd "${2:?usage: tests/gpu/rehearse.sh DATA TOKENIZER}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo xtask gpu-bundle "$folder/bundle" "$data" "$tokenizer" --rehearse
export WORK=$folder/work OUT=$folder/out
mkdir -p "$OUT"
tests/gpu/run.sh "$folder/bundle" --rehearse
# The first command ends before the run does, the second resumes it.
MINUTES=0.0001 tests/gpu/train.sh "$folder/bundle" --rehearse | tee "$folder/first"
grep -q '^not finished' "$folder/first" || { echo "the first command was to run out of time" >&2; exit 1; }
tests/gpu/train.sh "$folder/bundle" --rehearse | tee "$folder/second"
grep -q '^finished: ' "$folder/second" || { echo "the second command was to finish the run" >&2; exit 1; }
cat "$OUT"/model.safetensors.?? > "$folder/model.safetensors"
(cd "$folder" && sha256sum -c "$OUT/model.sha256")
[ "$(wc -l < "$OUT/metrics.jsonl")" -eq 12 ] || { echo "metrics.jsonl has not one line per step" >&2; exit 1; }
[ "$(find "$OUT" -type f | wc -l)" -le 16 ]
echo "rehearsal: all good"
