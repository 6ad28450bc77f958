#!/bin/sh
# Prints where nvcc is: $NVCC, $CUDA_HOME, PATH, /usr/local/cuda, or target/cuda, where it is put from NVIDIA's PyPI wheels
# (130 MB, 350 MB unpacked) if it is nowhere else. The tests and build.rs look in the same places in the same order.
# Idempotent: a finished tree carries a stamp with the pinned versions, and is left alone. An older tree is replaced if the
# wheels can be had and kept if they cannot, so nothing here needs a network twice.
# Atomic: the wheels are unpacked beside it and renamed into place, so no build sees half a toolkit.
# The header wheels are needed beside the compiler: runtime (cuda_runtime.h, cuda_bf16.h), crt and cccl.
set -eu

version=13.5.37
wheels="nvidia-cuda-nvcc==$version nvidia-nvvm==$version nvidia-cuda-crt==$version nvidia-cuda-runtime==$version
nvidia-cuda-cuobjdump==$version nvidia-cuda-nvdisasm==$version nvidia-cuda-cccl==13.3.5.0.6"

for installed in "${NVCC:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [ -n "$installed" ] && [ -x "$installed" ]; then
        echo "$installed"
        exit 0
    fi
done

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
if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$staging/wheels" $wheels >&2
then
    if [ -x "$destination/bin/nvcc" ]; then
        echo "fetch-nvcc: the wheels cannot be had; going on with the older toolkit in $destination" >&2
        echo "$destination/bin/nvcc"
        exit 0
    fi
    echo "fetch-nvcc: no nvcc is installed and its wheels cannot be had: set NVCC or CUDA_HOME, or let python3 -m pip reach its index" >&2
    exit 1
fi

# All the 13.x wheels unpack into one tree laid out like an installed toolkit.
toolkit=$(dirname "$(dirname "$(find "$staging/wheels" -path '*/bin/nvcc' | head -n 1)")")
[ -x "$toolkit/bin/nvcc" ] || { echo "fetch-nvcc: the wheels hold no bin/nvcc" >&2; exit 1; }
chmod -R u+w "$toolkit"
printf '%s\n' "$stamp" > "$toolkit/stamp"

if [ -e "$destination" ]; then
    mv "$destination" "$staging/replaced"
fi
# A second fetch may have finished meanwhile: its tree is as good, so losing the race is not an error.
mv -T "$toolkit" "$destination" 2>/dev/null || [ -f "$destination/stamp" ]
echo "$destination/bin/nvcc"
