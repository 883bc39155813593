#!/usr/bin/env bash
# Prints the cargo flags of the compute backend this machine can build, and says why.
set -euo pipefail
say() { printf '%s\n' "$*" >&2; }
if [ "$(uname -s)" = Darwin ]; then
  say "compute: Metal (macOS)"
  echo "--features metal"
elif command -v nvcc >/dev/null; then
  say "compute: CUDA ($(nvcc --version | tail -n1))"
  echo "--features cuda"
else
  say "compute: CPU (no CUDA toolkit: nvcc is not on the PATH)"
fi
