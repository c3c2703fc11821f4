# shellcheck shell=bash
# Sourced by the scripts next to it.

say() {
  printf '\n== %s\n' "$*"
}

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Install the Debian packages whose command is missing: install_missing COMMAND PACKAGE [COMMAND PACKAGE ...]
install_missing() {
  local packages=() as_root=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null 2>&1 || packages+=("$2")
    shift 2
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  local hint="install by hand what is missing: ${packages[*]} (Debian, Ubuntu: apt-get install ${packages[*]})"
  command -v apt-get >/dev/null 2>&1 || die "no apt-get here; $hint"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "not root, and no sudo; $hint"
    as_root=(sudo)
  fi
  say "Installing ${packages[*]}"
  # RUNLEVEL=1 keeps the package from starting a service of its own: every test starts private servers.
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${packages[@]}")
  "${install[@]}" || { "${as_root[@]}" apt-get update -q && "${install[@]}"; } || die "apt-get failed; $hint"
}

# cargo, also where its folder is not on the PATH yet.
need_cargo() {
  command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null 2>&1 || die "cargo not found; install Rust 1.95 or later: https://rustup.rs"
  command -v cc >/dev/null 2>&1 || install_missing cc gcc
}

# A port of 127.0.0.1 that nobody listens on, below those that the kernel gives to connections.
free_port() {
  local port
  while port=$((RANDOM % 20000 + 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# Repeat a command until it succeeds: wait_until SECONDS WHAT COMMAND...
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || die "gave up waiting for $what"
    sleep 0.1
  done
}
