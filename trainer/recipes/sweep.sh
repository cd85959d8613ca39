#!/bin/sh
# Trains and measures recipes at a tenth of the budget, one after the other; what is there already stays:
#   trainer/recipes/sweep.sh DATA OUT [ARM ...]
# DATA is a corpus folder (mini-data.toml), OUT gets a folder for each arm with the run and eval-*.json. Without arms, all.
# Run it from the repository's root; TRAIN names another diffcoder-train.
set -eu

train=${TRAIN:-target/release/diffcoder-train}
tokenizer=engine/models/default
[ $# -ge 2 ] || { echo "usage: trainer/recipes/sweep.sh DATA OUT [ARM ...]" >&2; exit 2; }
data=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- ar75 ar30 ar60 ar90 ar100 adamw-25 adamw-50 muon-25 muon-100 infill50 infill95 multi0 multi60 \
    one one-random right \
    ar75-seed2 ar75-seed3 ar100-seed2 ar100-seed3

# All of the compute on next-token prediction.
next_token="stage.kind=ar stage.3.steps=135 schedule.decay_steps=150"

# Blocks of one token instead of next-token prediction, then blocks masked from the right; or without the latter.
one="stage.1.kind=cpt stage.1.block=1 stage.1.steps=225 stage.2.kind=cpt stage.2.steps=15 schedule.decay_steps=75"
from_right="stage.2.left_to_right_rate=0.7 stage.3.left_to_right_rate=0.7"

for arm in "$@"; do
    fills=yes
    case $arm in
        ar75) set_to="" ;;
        ar30) set_to="stage.1.steps=180 stage.2.steps=35 stage.3.steps=175" ;;
        ar60) set_to="stage.1.steps=360 stage.2.steps=20 stage.3.steps=100 schedule.decay_steps=62" ;;
        ar90) set_to="stage.1.steps=540 stage.2.steps=6 stage.3.steps=24 schedule.decay_steps=120" ;;
        ar100) set_to="$next_token" fills=no ;;
        adamw-25) set_to="optimizer.kind=adamw optimizer.lr=2.5e-3" ;;
        adamw-50) set_to="optimizer.kind=adamw" ;;
        muon-25) set_to="optimizer.lr=2.5e-3" ;;
        muon-100) set_to="optimizer.lr=1e-2" ;;
        infill50) set_to="stage.infill_rate=0.5" ;;
        infill95) set_to="stage.infill_rate=0.95" ;;
        multi0) set_to="stage.multi_hole_rate=0.0" ;;
        multi60) set_to="stage.multi_hole_rate=0.6" ;;
        one) set_to="$one $from_right" ;;
        one-random) set_to="$one" ;;
        right) set_to="stage.3.left_to_right_rate=0.7" ;;
        ar75-seed[0-9]) set_to="run.seed=${arm#*seed}" ;;
        ar100-seed[0-9]) set_to="$next_token run.seed=${arm#*seed}" fills=no ;;
        *) echo "no arm $arm: see the list in this script" >&2; exit 2 ;;
    esac
    folder=$out/$arm
    mkdir -p "$folder"
    if [ ! -e "$folder/trained" ]; then
        rm -rf "$folder/run"
        sets=""
        for value in $set_to; do sets="$sets --set $value"; done
        # The words of $sets hold no blanks.
        # shellcheck disable=SC2086
        "$train" train trainer/recipes/sweep.toml --out "$folder/run" --data "$data" --tokenizer "$tokenizer" $sets \
            2> "$folder/train.log"
        touch "$folder/trained"
    fi
    if [ ! -d "$folder/model" ]; then
        last=$(ls -d "$folder"/run/checkpoints/step-* | tail -n 1)
        "$train" export "$last" --tokenizer "$tokenizer" --out "$folder/model"
    fi
    measure() {
        suite=$1
        shift
        [ -s "$folder/eval-$suite.json" ] || "$train" eval --model "$folder/model" --data "$data" --suite "$suite" "$@" --json \
            > "$folder/eval-$suite.json"
    }
    measure bpb --count 20
    measure fill-likelihood --count 400
    # A model that knows next tokens alone fills no masks.
    [ $fills = no ] || measure infill --holes single-line --count 500
    echo "$arm done"
done
