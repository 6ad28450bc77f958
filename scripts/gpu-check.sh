#!/bin/sh
# Packs target/gpu-check, and where there is no GPU also target/gpu-check.tar.xz: programs, golden values and PyTorch's side of the timings, which need a driver and nothing else where they run.
# Where there is a GPU they run at once; elsewhere they are rehearsed on the simulator, and how to carry them is printed.
# Arguments go to the check itself (gpu_check --help). BERTSD_CUDA_ARCH narrows what is compiled, as always.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
kit=$root/target/gpu-check
NVCC=$(./scripts/fetch-nvcc.sh)
export NVCC

# cargo names each program that it has built.
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
${CARGO:-cargo} test --release --locked --no-run --test cuda_device --test golden --test train_cuda \
    --message-format=json-render-diagnostics > "$messages"
${CARGO:-cargo} build --release --locked --example gpu_check --example kernel_report --message-format=json-render-diagnostics >> "$messages"

mkdir -p "$kit/bin" "$kit/tests" "$kit/peer"
rm -rf "$kit/tests/golden"
cp -R tests/golden "$kit/tests/golden"
cp benches/peer/gpu.py "$kit/peer/"
mkdir -p "$kit/data/movie-reviews"
cp data/movie-reviews/train.csv "$kit/data/movie-reviews/"
sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$messages" | sort -u | while read -r program; do
    # Tests are named NAME-HASH.
    name=$(basename "$program" | sed 's/-[0-9a-f]\{16\}$//')
    cp "$program" "$kit/bin/$name.new"
    strip "$kit/bin/$name.new" 2> /dev/null || true
    mv "$kit/bin/$name.new" "$kit/bin/$name"
done
# Tests of faults and of older drivers run on the simulator everywhere.
simulator=$(find target/release -maxdepth 2 -name libcuda.so | head -n 1)
cp "${simulator:?cargo has built no libcuda.so}" "$kit/bin/libcuda.so"
strip --strip-unneeded "$kit/bin/libcuda.so" 2> /dev/null || true
for name in bertsd-cuda cuda_device golden train_cuda gpu_check kernel_report libcuda.so; do
    [ -f "$kit/bin/$name" ] || { echo "gpu-check: cargo has built no $name" >&2; exit 1; }
done
{
    commit=$(git rev-parse --short HEAD 2> /dev/null || echo "no commit")
    git diff --quiet HEAD 2> /dev/null || commit="$commit with changes"
    echo "commit $commit"
    "$NVCC" --version | sed -n 's/^Cuda compilation tools, release [0-9.]*, V/nvcc /p'
} > "$kit/manifest"

if "$kit/bin/bertsd-cuda" info --json | grep -q '"cuda:0"'; then
    exec "$kit/bin/gpu_check" "$@"
fi
# One dictionary for all programs, as they share most of what they hold.
tar -C target --exclude=results --exclude=rehearsal -cf - gpu-check | xz --lzma2=preset=1,dict=192MiB > target/gpu-check.tar.xz
echo "gpu-check: there is no GPU here. Carry $kit.tar.xz ($(du -m "$kit.tar.xz" | cut -f 1) MiB) to a machine that has one, and there:" >&2
echo "gpu-check:   tar xJf gpu-check.tar.xz && gpu-check/bin/gpu_check" >&2
echo "gpu-check: now a rehearsal on the simulator" >&2
exec "$kit/bin/gpu_check" --rehearse --out "$kit/rehearsal" "$@"
