#!/usr/bin/env bash
# The main job in one command: records as a Tyk gateway writes them go into a private Redis, tyk-pump drains them into CSV files.
#   scripts/demo.sh [RECORDS]          default: 10000
# Leaves the files in target/demo/csv, and nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

records=${1:-10000}
target=${CARGO_TARGET_DIR:-target}
pump=$target/release/tyk-pump
dir=$PWD/target/demo
pids=()

stop_all() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap stop_all EXIT

need_cargo
install_missing redis-server redis-server

say "Building the release binary (some minutes the first time)"
cargo build --release --locked -p tyk-pump --bin tyk-pump

rm -rf "$dir"
mkdir -p "$dir/redis"
redis_port=$(free_port)
health_port=$(free_port)

say "Starting a private Redis on port $redis_port"
redis-server --port "$redis_port" --bind 127.0.0.1 --save "" --dir "$dir/redis" >"$dir/redis.log" 2>&1 &
pids+=($!)
redis_answers() { [ "$(redis-cli -p "$redis_port" ping 2>/dev/null)" = PONG ]; }
wait_until 20 "Redis (see $dir/redis.log)" redis_answers

cat >"$dir/pump.conf" <<CONF
{
  "analytics_storage_type": "redis",
  "analytics_storage_config": {"type": "redis", "host": "127.0.0.1", "port": $redis_port},
  "purge_delay": 1,
  "dont_purge_uptime_data": true,
  "health_check_endpoint_port": $health_port,
  "pumps": {"csv": {"type": "csv", "meta": {"csv_dir": "$dir/csv"}}}
}
CONF

say "Pushing $records records as a gateway does"
"$pump" load --conf "$dir/pump.conf" --records "$records" --keys 10

say "Draining them into CSV files"
"$pump" --conf "$dir/pump.conf" 2>"$dir/pump.log" &
pids+=($!)
pump_pid=$!
rows() {
  local files=("$dir"/csv/*.csv)
  [ -e "${files[0]}" ] || { echo 0; return; }
  cat "${files[@]}" | grep -vc '^Method,Host,' || true
}
all_rows() {
  kill -0 "$pump_pid" 2>/dev/null || { tail -n 20 "$dir/pump.log" >&2; die "tyk-pump ended; the log is $dir/pump.log"; }
  [ "$(rows)" -ge "$records" ]
}
wait_until 120 "the CSV files (log: $dir/pump.log)" all_rows
kill "$pump_pid"
wait "$pump_pid"

say "Done"
left=$(redis-cli -p "$redis_port" --scan --pattern '*tyk-system-analytics*' | wc -l)
echo "$records records pushed, $(rows) rows written, $left lists or claims left in Redis"
for file in "$dir"/csv/*.csv; do
  echo
  echo "$file"
  head -n 4 "$file" | cut -c 1-150
done
echo
echo "log: $dir/pump.log, configuration: $dir/pump.conf"
