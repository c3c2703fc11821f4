#!/usr/bin/env python3
"""Adds up aggregates: by default each record counts for its own hour, where the reference puts a whole purge into the hour of its first record.

  sums.py COMMON DEFAULT     folders of deliberate differences: of both modes, and of the default mode alone

For every case that DEFAULT has counters for, the figures of each key are added up over hours, tables and calls, in what the case
expects with COMMON and in what it expects with both; the sums must be the same. Ends with "N passed, M failed".
"""
import collections, json, re, sys
from golden import CORPUS, expected, label, override

SQL = ["counter_hits", "counter_success", "counter_error", "counter_total_request_time", "counter_total_latency", "counter_total_upstream_latency",
       "counter_open_connections", "counter_closed_connections"]
SUMS = ["hits", "success", "errortotal", "error", "totalrequesttime", "total_request_time", "totallatency", "total_latency", "totalupstreamlatency",
        "total_upstream_latency"]
EXACT = 2**50  # beyond it doubles round and sums of integers wrap, in another way for each order
# The calls that MDCB refuses are aggregates, too; a refusal that comes again is waited for longer than the case lasts.
NO_SUM = ["hybrid/mcp-method-unknown", "mongo/aggregate-self-healing", "mongo/aggregate-self-healing-to-1"]


def rows(name, text):
    """(key, figures) of every counter in a file."""
    if re.search(r"(aggregated|uptime_analytics)[^/]*\.jsonl$", name):
        for line in filter(None, text.split("\n")):
            if not line.startswith("{"):
                continue
            row = json.loads(line)
            table = re.sub(r"_(\d{8}|<[^>]*>)\.jsonl$", ".jsonl", name)
            owner = row.get("api_id") or row.get("org_id")  # an API that organisations share has the first one's of each hour
            yield (table, owner, row.get("dimension"), row.get("dimension_value")), {k: row.get(k, 0) or 0 for k in SQL + [c for c in row if c.startswith("code_")]}
    elif re.search(r"aggregate[^/]*\.txt$", name):
        for line in filter(None, text.split("\n")):
            found = re.match(r" (?!lists\.)(\S.*?) (\{.*\})$", line)
            if found and '"hits"' in found[2]:
                figures = re.sub(r"Date\(([^)]*)\)", r'"\1"', found[2])
                figures = json.loads(re.sub(r"(?<=: )(-?\d+)L(?=[,}])", r"\1", figures))
                yield ("each" if "/z_" in name else "all", found[1]), {k: figures[k] for k in SUMS if k in figures}
    elif name.endswith("calls.jsonl"):
        for line in filter(None, text.split("\n")):
            call = json.loads(line)
            if "Aggregated" in call["call"]:
                for owner, aggregate in json.loads(call["argument"]).items():
                    yield from counters((call["call"], owner), aggregate)


def counters(path, value):
    """Counters of an aggregate for MDCB, at any depth; its lists say the same again."""
    if isinstance(value, dict) and "hits" in value and "identifier" in value:
        yield path, {k: value[k] for k in SUMS if k in value}
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "Lists":
                yield from counters((*path, key), inner)


def sums(files):
    added = collections.defaultdict(lambda: collections.Counter())
    for name, text in files.items():
        for key, figures in rows(name, text):
            for figure, number in figures.items():
                added[key][figure] += number
    return {key: {f: round(n, 6) for f, n in figures.items() if n and abs(n) < EXACT} for key, figures in added.items()}


def is_whole(files):
    """Whether the counters are there row by row, not as a digest of many lines."""
    return not any(re.search(r"^\W*\d+ lines that match", text, re.M) for text in files.values())


def differ(one, other):
    """Where one sum is beyond what is exact, neither says anything."""
    return set(one) & set(other) != set(one) | set(other) and "hits" not in set(one) & set(other) or any(one[f] != other[f] for f in set(one) & set(other))


def main():
    common, default = sys.argv[1:]
    good = bad = 0
    for case in sorted(c.parent for c in (CORPUS / "cases").rglob("case.json")):
        if not override(case, [default]):
            continue
        files = [expected(case, override(case, folders)) for folders in ([common], [common, default])]
        if label(case) in NO_SUM or not all(map(is_whole, files)):
            continue
        theirs, ours = map(sums, files)
        if not theirs and not ours:
            continue
        different = [key for key in sorted(set(theirs) | set(ours), key=str) if differ(theirs.get(key, {}), ours.get(key, {}))]
        good, bad = good + (not different), bad + bool(different)
        for key in different[:5]:
            print(f"DIFF {label(case)}: {key}: {theirs.get(key)} is {ours.get(key)}")
    print(f"{good} passed, {bad} failed")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
