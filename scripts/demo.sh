#!/usr/bin/env bash
# The main job in one command: records as a Tyk gateway writes them, over the wire into a pump with a store of its own, into SQLite and CSV.
#   scripts/demo.sh [RECORDS]          default: 10000
# Leaves everything in target/demo, and nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_cargo
cargo run --locked --profile quickstart -p tyk-pump -- quickstart target/demo --records "${1:-10000}" --once
