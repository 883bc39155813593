#!/usr/bin/env bash
# Prints the cargo flags of the compute backend this machine can build, and says why.
set -euo pipefail
say() { printf '%s\n' "$*" >&2; }
driver() { grep -q 'libcuda\.so\.1' <<<"$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)"; }
if [ "$(uname -s)" = Darwin ]; then
  say "compute: Metal (macOS)"
  echo "--features metal"
elif command -v nvcc >/dev/null && ! driver; then
  # A binary with CUDA does not even start without the driver's library.
  say "compute: CPU (there is a CUDA toolkit but no NVIDIA driver: libcuda.so.1 is missing)"
elif command -v nvcc >/dev/null; then
  say "compute: CUDA ($(nvcc --version | tail -n1))"
  echo "--features cuda"
else
  say "compute: CPU (no CUDA toolkit: nvcc is not on the PATH)"
fi
