#!/usr/bin/env bash
# Opens the app on the first bundled clip; without a display does the same job headless.
set -euo pipefail
binary=$1
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname -s)" = Darwin ]; then
  exec "$binary" view sample_videos/studio.mp4
fi
out=${LOC3R_OUT:-runs/tour}
echo "no display: running the tour headless, results go to $out" >&2
exec "$binary" tour --out "$out"
