#!/usr/bin/env bash
# From a fresh checkout to a result: builds, fetches a pretrained encoder, fine-tunes it with plain fine-tuning (ft) and with
# self-distillation (sda), same seed and settings, and prints both accuracies side by side.
#
# By environment variable, all optional:
#   MODEL=DIR|NAME   another BERT checkpoint                          [target/demo-model, all-MiniLM-L6-v2, fetched]
#   DATA=FILE|DIR    other examples: one file, or a directory that holds train, dev and test (.csv .tsv .jsonl .parquet);
#                    without dev a tenth of train is kept for it, without test the dev accuracy is what is compared
#                                                                     [data/movie-reviews]
#   TEXT=COL LABEL=COL TEXT_PAIR=COL   their columns                  [text, label, none]
#   EPOCHS=N BATCH_SIZE=N LR=X SEED=N                                 [2, 32, 2e-5, 42]
#   OUT=DIR          where the runs go, replacing those of before     [target/demo]
# Nothing is downloaded when MODEL is a directory and cargo has its crates.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

model=${MODEL:-}
data=${DATA:-data/movie-reviews}
out=${OUT:-target/demo}
readonly binary=${CARGO_TARGET_DIR:-./target}/release/bertsd-cuda

fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 2
}

say() {
    printf '\n== %s\n' "$*"
}

# The file of a split in a directory, whatever its format; nothing if there is none.
split_of() {
    local extension
    for extension in csv tsv jsonl parquet; do
        if [[ -f $1/$2.$extension ]]; then
            printf '%s\n' "$1/$2.$extension"
            return
        fi
    done
}

# find_data: fills train, dev and test.
find_data() {
    train='' dev='' test=''
    if [[ -d $data ]]; then
        train=$(split_of "$data" train)
        dev=$(split_of "$data" dev)
        test=$(split_of "$data" test)
        [[ -n $train ]] || fail "DATA=$data is a directory without train.csv (or .tsv, .jsonl, .parquet)"
    elif [[ -f $data ]]; then
        train=$data
    else
        fail "DATA=$data is neither a file nor a directory"
    fi
    if [[ -n $test ]]; then scored='test'; else scored='dev'; fi
}

# A field of the last evaluation of a split: score DIR SPLIT FIELD.
score() {
    local line
    line=$(grep '"event":"eval"' "$1/metrics.jsonl" | grep "\"split\":\"$2\"" | tail -n 1) || fail "$1/metrics.jsonl has no scores on $2"
    sed -nE 's/.*"'"$3"'":(-?[0-9][0-9.eE+-]*).*/\1/p' <<<"$line"
}

# Trains with one method: train METHOD.
train_with() {
    local method=$1
    local arguments=(--model "$model" --train "$train" --text "${TEXT:-text}" --label "${LABEL:-label}")
    [[ -z ${TEXT_PAIR:-} ]] || arguments+=(--text-pair "$TEXT_PAIR")
    if [[ -n $dev ]]; then arguments+=(--dev "$dev"); else arguments+=(--dev-fraction 0.1); fi
    [[ -z $test ]] || arguments+=(--test "$test")
    arguments+=(--epochs "${EPOCHS:-2}" --batch-size "${BATCH_SIZE:-32}" --order bucketed --lr "${LR:-2e-5}" --seed "${SEED:-42}")
    arguments+=(--method "$method" --out "$out/$method" --overwrite)
    say "bertsd-cuda train --method $method"
    "$binary" train "${arguments[@]}"
}

# One row of the comparison: row METHOD WHAT SECONDS.
row() {
    local accuracy loss examples
    accuracy=$(score "$out/$1" "$scored" accuracy)
    loss=$(score "$out/$1" "$scored" loss)
    examples=$(score "$out/$1" "$scored" examples)
    awk -v method="$1" -v what="$2" -v a="$accuracy" -v loss="$loss" -v n="$examples" -v s="$3" 'BEGIN {
        printf "  %-4s %-34s %6.2f %%  (s.e. %.1f)   loss %.3f   %d:%02d min\n", method, what, 100 * a, 100 * sqrt(a * (1 - a) / n), loss, s / 60, s % 60
    }'
}

# An argument as a shell would need it typed.
quoted() {
    printf '%q' "$1"
}

find_data
say 'building'
"${CARGO:-cargo}" build --release --locked
if [[ -z $model ]]; then
    ./scripts/fetch-demo-model.sh
    model=target/demo-model
fi
mkdir -p "$out"

start=$SECONDS
train_with ft
ft_seconds=$((SECONDS - start))
start=$SECONDS
train_with sda
sda_seconds=$((SECONDS - start))

say 'learning curves'
"$binary" report "$out/ft" "$out/sda" --out "$out/curves.png"

say "accuracy on $scored, $(score "$out/ft" "$scored" examples) examples"
row ft 'plain fine-tuning' "$ft_seconds"
row sda 'self-distillation, mean of 5 steps' "$sda_seconds"
cat <<END

The model lies in $out/sda/model, the curves in $out/curves.png. One seed and one small set: a difference below about
two standard errors says little. To classify a sentence of your own:

  echo "A warm, funny film that never talks down to anyone." | $binary predict --model $(quoted "$out/sda/model") --input - --format lines
END
