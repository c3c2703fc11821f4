#!/usr/bin/env bash
# InfluxDB 1 as Debian has it.
#   influxdb.sh start DIR PORT     HTTP on PORT, its own backup port on PORT+1
#   influxdb.sh stop DIR
# INFLUXD: another influxd, such as 1.8, which has the write endpoint of version 2 too.
set -euo pipefail
# shellcheck source=tests/services/lib.sh
. "$(dirname "$0")/lib.sh"

start() {
  local port=$2 influxd=${INFLUXD:-influxd}
  need "$influxd" influxdb
  open_dir "$1"
  cat >"$DIR/influxdb.conf" <<CONF
reporting-disabled = true
bind-address = "127.0.0.1:$((port + 1))"
[meta]
  dir = "$DIR/meta"
[data]
  dir = "$DIR/data"
  wal-dir = "$DIR/wal"
[http]
  bind-address = "127.0.0.1:$port"
  log-enabled = false
CONF
  spawn influxd "$influxd" -config "$DIR/influxdb.conf"
  wait_ready influxd 60 curl -sf -m 2 -o /dev/null "http://127.0.0.1:$port/ping"
}

case ${1:-} in
start) start "$2" "$3" ;;
stop) stop_all "$2" ;;
*)
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
