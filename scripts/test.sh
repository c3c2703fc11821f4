#!/usr/bin/env bash
# Everything that must hold, in one command: formatting, lints, tests against real servers, documentation, dependencies, and the
# golden corpus against a binary without debug assertions. Installs what it needs. Ends with what each step took and
# "N passed, N failed"; logs are in target/test-logs.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

export CARGO_TERM_COLOR=never
target=${CARGO_TARGET_DIR:-target}
logs=$PWD/target/test-logs
passed=0
failed=0
broken=()
took=()
number=0
steps=$(grep -c '^ *step "' "$0")

need_cargo
install_missing redis-server redis-server redis-cli redis-tools openssl openssl python3 python3 git git faketime faketime perl perl make make kcat kcat
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11"
rustfmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
mkdir -p "$logs"
rm -f "$logs"/*.log
mkdir -p "$target"
echo "An empty $target grows to about 10 GB, the servers take 3 GB more; it has $(du -sh "$target" | cut -f1) now, and $(df -h --output=avail "$target" | tail -n 1 | tr -d ' ') are free."

# Add up the pairs "N passed, M failed" that a log reports, or count the step itself when it reports none.
count() { # count LOG STATUS
  local ok bad
  read -r ok bad < <(sed -nE 's/^(test result: [a-zA-Z]+\. )?([0-9]+) passed[;,] ([0-9]+) failed.*/\2 \3/p' "$1" |
    awk '{ok += $1; bad += $2; n++} END {print (n ? ok : -1), bad + 0}') || true
  if [ "$ok" -lt 0 ]; then
    ok=$(($2 == 0)) bad=$(($2 != 0))
  elif [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 # it ended before it could count
  fi
  passed=$((passed + ok))
  failed=$((failed + bad))
}

step() { # step NAME COMMAND...
  local name=$1 log=$logs/${1// /-}.log status=0 start=$SECONDS
  shift
  number=$((number + 1))
  say "$name (step $number of $steps, after $((SECONDS / 60)) min $((SECONDS % 60)) s)"
  "$@" >"$log" 2>&1 || status=$?
  count "$log" "$status"
  if [ "$status" -ne 0 ]; then
    broken+=("$name")
    grep -vE '^OK |^test .* \.\.\. ok$|^running [0-9]+ test|^ +Compiling |^$' "$log" | tail -n 200 || true
  else
    tail -n 1 "$log"
  fi
  took+=("$(printf '%-22s %5d s' "$name" $((SECONDS - start)))")
  echo "${took[-1]}"
}

formatting() { git -c safe.directory="$PWD" ls-files -z '*.rs' | xargs -0 rustfmt --check --edition 2024; }
documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }
dependencies() {
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check licenses bans sources
  else
    scripts/check-licences.py
  fi
}
generated_pages() {
  rm -rf "$logs/sinks"
  "$target/debug/reference" "$logs/sinks" # which the tests have built
  diff -r docs/sinks "$logs/sinks" || { echo "docs/sinks is stale: cargo run -p sinks --bin reference -- docs/sinks"; return 1; }
}
explained_differences() { # every override is a row of docs/differences.md; the row names cases that differ in both modes
  local why title case status=0
  for why in tests/golden-overrides/*/*/WHY.md tests/golden-overrides-default/*/*/WHY.md; do
    title=$(head -n 1 "$why")
    case=${why#tests/golden-overrides*/}
    case=${case%/WHY.md}
    [[ $why == tests/golden-overrides/* ]] || case=
    grep -F "| $title |" docs/differences.md | grep -qF "$case" || { echo "docs/differences.md: no row '$title' for $why" && status=1; }
  done
  return $status
}
servers() { # they start while cargo compiles
  local status=0
  wait "$starting" || status=$?
  cat "$logs/servers-start.txt"
  return $status
}
golden() { # golden MODE: with the values of Tyk Pump (compat), or as users run it (default)
  local overrides=(--overrides tests/golden-overrides)
  [ "$1" = compat ] || overrides+=(--overrides tests/golden-overrides-default)
  local servers=(--server "postgres=$PUMP_TEST_POSTGRES" --server "mysql=$PUMP_TEST_MARIADB" --server "mongo=$PUMP_TEST_MONGO"
    --server "es=$PUMP_TEST_ELASTICSEARCH" --server "es5=$PUMP_TEST_ELASTICSEARCH5" --server "kafka=${PUMP_TEST_KAFKA/ /}")
  tests/golden/golden.py run --pump "$target/golden/tyk-pump" --mode "$1" "${overrides[@]}" "${servers[@]}" -j "${GOLDEN_JOBS:-12}" files core documents sql mongo hybrid metrics streams
}
lean_build() { # README command 1, and what a binary says of what it was built without
  local folder=$logs/lean pump=$target/quickstart/tyk-pump
  rm -rf "$folder" && mkdir -p "$folder"
  cat >"$folder/pump.conf" <<'EOF'
{"pumps": {"docs": {"type": "mongo", "meta": {"mongo_url": "mongodb://localhost/x"}},
  "rows": {"type": "sql", "meta": {"type": "postgres", "connection_string": "host=localhost"}}}}
EOF
  cargo run --profile quickstart --locked -p tyk-pump --no-default-features -- quickstart "$folder/show" --once 2>&1 | tee "$folder/built" || return 1
  ! grep -A 10 '^warning' "$folder/built" || return 1
  "$pump" check -c "$folder/pump.conf" >"$folder/said" 2>&1
  "$pump" migrate --plan -c "$folder/pump.conf" >>"$folder/said" 2>&1
  cat "$folder/said"
  grep -qF 'pump type "mongo" is not in this binary, which was built without the feature "mongo"' "$folder/said" &&
    grep -qF 'meta.type "postgres" is not in this binary, which was built without the feature "postgres"' "$folder/said"
}
disarmed() { # the crash points of the tests are in no release: what the debug binary obeys, this one has not
  local pump=$target/golden/tyk-pump folder=$logs/disarmed
  rm -rf "$folder"
  grep -qa TYK_PMP_FAILPOINT "$target/debug/tyk-pump" || { echo "the debug binary has no crash points: this check proves nothing"; return 1; }
  ! grep -qa TYK_PMP_FAILPOINT "$pump" || { echo "$pump knows TYK_PMP_FAILPOINT"; return 1; }
  TYK_PMP_FAILPOINT=before_write "$pump" quickstart "$folder" --records 1000 --once
}
not_skipped() { # what was skipped is no success
  local found
  found=$(find "$logs" -name '*.log' ! -name nothing-skipped.log -exec grep -hE '^(SKIP|SKIPPED) ' {} + || true)
  echo "$found"
  [ -z "$found" ]
}

scripts/services.sh start >"$logs/servers.env" 2>"$logs/servers-start.txt" &
starting=$!
# One that is just starting would not be stopped.
trap 'wait "$starting" || true; scripts/services.sh stop >/dev/null 2>&1' EXIT
step "formatting" formatting
step "explained differences" explained_differences
step "dependencies" dependencies
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "tests, compiled" cargo test --workspace --locked --no-run
step "servers" servers
# shellcheck disable=SC1091 # made by the step before
. "$logs/servers.env"
step "tests" cargo test --workspace --locked --no-fail-fast
step "documentation" documentation
step "generated pages" generated_pages
step "lean build" lean_build
step "golden build" cargo build --profile golden --locked -p tyk-pump --bin tyk-pump
if [ -x "$target/golden/tyk-pump" ]; then
  step "crash points disarmed" disarmed
  step "golden corpus" golden compat
  step "golden corpus by default" golden default
  step "golden sums" tests/golden/sums.py tests/golden-overrides tests/golden-overrides-default
fi
step "nothing skipped" not_skipped

echo
printf '%s\n' "${took[@]}" "$(printf '%-22s %5d s' "all of it" "$SECONDS")"
echo "$target takes $(du -sh "$target" | cut -f1)"
for name in "${broken[@]}"; do echo "failed: $name (log: $logs/${name// /-}.log)"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
