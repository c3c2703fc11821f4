# Shortcuts; scripts/ works without just.

# everything that CI runs
test:
    scripts/test.sh

# the whole way of made-up records, into SQLite and CSV
demo:
    scripts/demo.sh

# reference pages from the table of sinks
docs:
    cargo run -p sinks --bin reference -- docs/sinks

# golden corpus, e.g. `just golden core/purge-chunk`
golden *CASES="files core":
    cargo build --profile golden -p tyk-pump
    tests/golden/golden.py run --pump "${CARGO_TARGET_DIR:-target}/golden/tyk-pump" --overrides tests/golden-overrides -j 6 {{CASES}}
