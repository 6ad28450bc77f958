#!/bin/sh
# Puts NVIDIA's compiler under target/cuda from its PyPI wheels (about 350 MB) and prints where it is.
# Idempotent: a finished tree carries a stamp with the pinned versions, and is left alone.
# Atomic: the wheels are unpacked beside it and renamed into place, so no build sees half a toolkit.
# The header wheels are needed beside the compiler: runtime (cuda_runtime.h, cuda_bf16.h), crt and cccl.
set -eu

version=13.2.78
wheels="nvidia-cuda-nvcc==$version nvidia-nvvm==$version nvidia-cuda-crt==$version
nvidia-cuda-cuobjdump==$version nvidia-cuda-nvdisasm==13.2.78 nvidia-cuda-runtime==13.2.75 nvidia-cuda-cccl==13.2.75"

root=$(cd "$(dirname "$0")/.." && pwd)
destination=${CUDA_TOOLKIT_DIR:-$root/target/cuda}
stamp=$(echo $wheels)

if [ -f "$destination/stamp" ] && [ "$(cat "$destination/stamp")" = "$stamp" ]; then
    echo "$destination/bin/nvcc"
    exit 0
fi

mkdir -p "$(dirname "$destination")"
staging=$(mktemp -d "$destination.XXXXXX")
trap 'rm -rf "$staging"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$staging/wheels" $wheels >&2

# All the 13.x wheels unpack into one tree laid out like an installed toolkit.
toolkit=$(dirname "$(dirname "$(find "$staging/wheels" -path '*/bin/nvcc' | head -n 1)")")
[ -x "$toolkit/bin/nvcc" ] || { echo "the wheels hold no bin/nvcc" >&2; exit 1; }
chmod -R u+w "$toolkit"
printf '%s\n' "$stamp" > "$toolkit/stamp"

if [ -e "$destination" ]; then
    mv "$destination" "$staging/replaced"
fi
# A second fetch may have finished meanwhile: its tree is as good, so losing the race is not an error.
mv -T "$toolkit" "$destination" 2>/dev/null || [ -f "$destination/stamp" ]
echo "$destination/bin/nvcc"
