#!/usr/bin/env bash
# Trains base on a GPU in back-to-back commands of at most ten minutes: call it again until it says "finished".
#   tests/gpu/train.sh BUNDLE [--rehearse]
# The run lives in an ignored folder of the machine; metrics, the log and, at the end, the weights come back in pieces of
# at most 15 MiB: cat model.safetensors.?? > model.safetensors.
set -euo pipefail
BUNDLE=$(cd "${1:?usage: tests/gpu/train.sh BUNDLE [--rehearse]}" && pwd)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
name=base device=cuda minutes=${MINUTES:-8.5}
if [ "${2:-}" = --rehearse ]; then
  name=rehearsal device=cpu minutes=${MINUTES:-0.5}
fi
unpack
find_libraries
run=$WORK/$name
resume=()
if compgen -G "$run/checkpoints/step-*/manifest.json" > /dev/null; then resume=(--resume); fi
log=$WORK/$name.log
train=$WORK/programs/diffcoder-train
status=0
"$train" train "$BUNDLE/recipes/$name.toml" --out "$run" --data "$WORK/corpus" --tokenizer "$BUNDLE/tokenizer" \
  --device "$device" --max-minutes "$minutes" "${resume[@]}" 2>&1 | tee -a "$log" | tail -n 40 || status=$?
tail -c 4000000 "$log" > "$RESULTS/train.log"
cp "$run/metrics.jsonl" "$RESULTS/" 2> /dev/null || true
[ "$status" -eq 0 ] || exit "$status"
finished=$(sed -n 's/^finished: //p' "$log" | tail -n 1)
if [ -z "$finished" ]; then
  echo "not finished: run the same command again"
  exit 0
fi
rm -rf "$WORK/model"
"$train" export "$finished" --tokenizer "$BUNDLE/tokenizer" --out "$WORK/model" --dtype bf16 --data "$WORK/corpus"
(cd "$WORK/model" && sha256sum model.safetensors) > "$RESULTS/model.sha256"
split -b 15M "$WORK/model/model.safetensors" "$RESULTS/model.safetensors."
cp "$WORK/model/config.json" "$RESULTS/"
echo "finished: $(ls "$RESULTS" | tr '\n' ' ')"
