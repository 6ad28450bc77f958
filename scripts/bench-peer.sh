#!/usr/bin/env bash
# Times this project against transformers and PyTorch on this machine: builds, makes a Python environment of its own under
# target/peer-venv, and runs benches/peer/peer.py.
#
#   PEER_PYTHON=FILE      a Python that has torch, transformers and tokenizers already; nothing is installed
#   PEER_PIP_ARGS=ARGS    for pip, where the environment is made; an index of CPU builds saves gigabytes of CUDA libraries
#   PEER_ARGS=ARGS        for peer.py, such as --no-assert or --cases ft
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
readonly venv=target/peer-venv requirements=benches/peer/requirements.txt
read -r -a pip_args <<<"${PEER_PIP_ARGS:-}"
read -r -a args <<<"${PEER_ARGS:-}"

"${CARGO:-cargo}" build --release --locked --bin bertsd-cuda --example tokenize
./scripts/fetch-demo-model.sh

python=${PEER_PYTHON:-}
if [[ -z $python ]]; then
    python=$venv/bin/python
    # The requirements are copied in last: an environment that holds them is whole.
    if ! cmp -s "$requirements" "$venv/requirements.txt"; then
        command -v python3 >/dev/null || {
            printf 'bench-peer: python3 is needed; or name a Python that has torch and transformers with PEER_PYTHON=\n' >&2
            exit 2
        }
        printf 'making %s with PyTorch and transformers\n' "$venv" >&2
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$python" -m pip install --quiet --disable-pip-version-check "${pip_args[@]}" -r "$requirements"
        cp "$requirements" "$venv/requirements.txt"
    fi
fi
exec "$python" benches/peer/peer.py "${args[@]}"
