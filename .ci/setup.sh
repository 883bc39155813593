#!/usr/bin/env bash
# Installs what building and testing need, after saying what it is about to do.
#   setup.sh build   libraries and compilers for `make run`
#   setup.sh test    also Xvfb and a software Vulkan driver for `make test`
# Debian and Ubuntu: installs by apt-get (with sudo unless root).
# Elsewhere: checks, and prints the commands to run when something is missing.
set -euo pipefail

purpose=${1:-build}
build_packages=(
  build-essential pkg-config clang libclang-dev cmake nasm ffmpeg
  libavcodec-dev libavformat-dev libavutil-dev libswscale-dev
  libavfilter-dev libavdevice-dev libswresample-dev
  libasound2-dev libudev-dev libwayland-dev libxkbcommon-dev
  libxkbcommon-x11-0 libdbus-1-dev libvulkan1
)
# A software Vulkan driver lets the app start on machines without a GPU driver.
build_packages+=(mesa-vulkan-drivers)
test_packages=(xvfb)

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

install_debian() {
  local wanted=("${build_packages[@]}") missing=() package
  [ "$purpose" = test ] && wanted+=("${test_packages[@]}")
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing and sudo is not here: ${missing[*]}; install them as root"
    root=(sudo)
  fi
  say "loc3r needs ${#missing[@]} system packages. About to run:"
  say "  ${root[*]} apt-get update"
  say "  ${root[*]} apt-get install ${missing[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
}

print_instructions() {
  case "$(uname -s)-$(. /etc/os-release 2>/dev/null && echo "${ID:-}")" in
    Linux-fedora*) say "  sudo dnf install @development-tools pkgconf clang clang-devel cmake nasm ffmpeg-free-devel alsa-lib-devel systemd-devel wayland-devel libxkbcommon-devel libxkbcommon-x11 dbus-devel vulkan-loader mesa-vulkan-drivers ffmpeg-free xorg-x11-server-Xvfb" ;;
    Linux-arch*) say "  sudo pacman -S --needed base-devel pkgconf clang cmake nasm ffmpeg alsa-lib systemd-libs wayland libxkbcommon libxkbcommon-x11 dbus vulkan-icd-loader vulkan-swrast xorg-server-xvfb" ;;
    Darwin-*) say "  xcode-select --install; brew install pkg-config ffmpeg llvm cmake nasm" ;;
    *) say "  FFmpeg 5.1 or newer with headers, clang with libclang, pkg-config, cmake, nasm, and the headers of ALSA, udev, Wayland, xkbcommon and D-Bus" ;;
  esac
}

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  install_debian
else
  if ! pkg-config --exists libavformat libswscale 2>/dev/null || ! command -v clang >/dev/null; then
    say "loc3r needs system libraries that this script installs on Debian and Ubuntu only. Please run:"
    print_instructions
    exit 1
  fi
fi

pkg-config --atleast-version=59.37 libavcodec || fail "FFmpeg 5.1 or newer is needed, found libavcodec $(pkg-config --modversion libavcodec 2>/dev/null || echo none)"
command -v cargo >/dev/null || fail "Rust 1.95 or newer is needed: install rustup (https://rustup.rs), then run this again"
rust=$(rustc --version | cut -d' ' -f2)
[ "$(printf '1.95.0\n%s\n' "$rust" | sort -V | head -n1)" = 1.95.0 ] || fail "Rust 1.95 or newer is needed, found $rust: run 'rustup update'"

# Clones share the target folder, and cargo tells their files apart by modification time
# alone: when another clone built last, this one's crate is built again.
stamp="${CARGO_TARGET_DIR:-target}/loc3r-clone"
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD" ]; then
  touch src/lib.rs src/main.rs tests/integration/main.rs
  mkdir -p "$(dirname "$stamp")"
  printf '%s\n' "$PWD" >"$stamp"
fi
