#!/usr/bin/env bash
# statsd_exporter 0.28 on 127.0.0.1:PORT: StatsD and DogStatsD over UDP and at DIR/dsd, its own figures over HTTP.
#   statsd-exporter.sh fetch     once: builds the Go module into $TEST_SERVICES_CACHE/statsd-exporter
#   statsd-exporter.sh start DIR PORT
#   statsd-exporter.sh stop DIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
base=${TEST_SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/test-services}/statsd-exporter

case ${1:-} in
fetch)
  need go golang-go
  [ -x "$base/statsd_exporter" ] || GOBIN=$base go install github.com/prometheus/statsd_exporter@v0.28.0
  ;;
start)
  [ $# -eq 3 ] || die "usage: start DIR PORT"
  [ -x "$base/statsd_exporter" ] || die "not fetched, run '$0 fetch'"
  open_dir "$2"
  rm -f "$DIR/dsd"
  spawn statsd-exporter "$base/statsd_exporter" --web.listen-address="127.0.0.1:$3" --statsd.listen-udp="127.0.0.1:$3" \
    --statsd.listen-tcp= --statsd.listen-unixgram="$DIR/dsd"
  wait_ready statsd-exporter 30 tcp_open "$3"
  ;;
stop) stop_all "${2:?DIR}" ;;
*) die "usage: fetch | start DIR PORT | stop DIR" ;;
esac
