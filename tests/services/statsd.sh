#!/usr/bin/env bash
# Etsy's StatsD 0.9.0 on 127.0.0.1:PORT: metrics over UDP, its management over TCP. It keeps what it gets for an hour.
#   statsd.sh fetch              once: npm package statsd into $TEST_SERVICES_CACHE/statsd
#   statsd.sh start DIR PORT
#   statsd.sh stop DIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
base=${TEST_SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/test-services}/statsd

case ${1:-} in
fetch)
  need npm npm
  [ -e "$base/package/stats.js" ] || {
    tmp=$(mktemp -d)
    # The packages that it depends on are for other back-ends than its console.
    (cd "$tmp" && npm pack --silent statsd@0.9.0 >/dev/null && tar -xzf ./*.tgz)
    mkdir -p "$base"
    cp -r "$tmp/package" "$base"
    rm -rf "$tmp"
  }
  ;;
start)
  [ $# -eq 3 ] || die "usage: start DIR PORT"
  [ -e "$base/package/stats.js" ] || die "not fetched, run '$0 fetch'"
  open_dir "$2"
  cat >"$DIR/statsd.js" <<C
{ port: $3, address: "127.0.0.1", mgmt_port: $3, mgmt_address: "127.0.0.1", flushInterval: 3600000, backends: ["./backends/console"] }
C
  spawn statsd node "$base/package/stats.js" "$DIR/statsd.js"
  wait_ready statsd 30 tcp_open "$3"
  ;;
stop) stop_all "${2:?DIR}" ;;
*) die "usage: fetch | start DIR PORT | stop DIR" ;;
esac
