#!/usr/bin/env python3
"""Check every dependency against deny.toml: licence allowed, crate not banned, source crates.io.

The part of `cargo deny check licenses bans sources` that matters here, for machines without cargo-deny. Needs cargo and python3 ≥ 3.11.
"""
import json, pathlib, re, subprocess, sys, tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def host():
    lines = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def packages():
    """All packages of the workspace and its dependencies, as far as this platform uses them, and who depends on each by name."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", host()]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)
    nodes = found["resolve"]["nodes"]
    names = {p["id"]: p["name"] for p in found["packages"]}
    parents = {node["id"]: set() for node in nodes}
    for node in nodes:
        for dependency in node["dependencies"]:
            parents[dependency].add(names[node["id"]])
    return [(p, parents[p["id"]]) for p in found["packages"] if p["id"] in parents]


def allowed(expression, allow):
    """Whether an SPDX expression can be met by the allowed licences; `/` is the old way to write OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        met = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token == "(":
            met = either()
            tokens.pop(0)
            return met
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allow

    return either()


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allow = set(rules["licenses"]["allow"])
    # A banned crate may come in through its wrappers alone.
    banned = {rule["crate"]: set(rule.get("wrappers", [])) for rule in rules["bans"]["deny"]}
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    wrong, others = [], 0
    for package, parents in packages():
        name = f"{package['name']} {package['version']}"
        if package["source"] is None:  # of this workspace
            continue
        others += 1
        if package["source"] not in registries:
            wrong.append(f"{name}: comes from {package['source']}, not from crates.io")
        wrappers = banned.get(package["name"])
        if wrappers is not None and (not wrappers or parents - wrappers):
            through = ", ".join(sorted(parents - wrappers))
            wrong.append(f"{name}: banned in deny.toml, comes in through {through}")
        licence = package["license"]
        if not licence:
            wrong.append(f"{name}: no licence given")
        elif not allowed(licence, allow):
            wrong.append(f"{name}: licence {licence} is not allowed in deny.toml")
    print("\n".join(wrong) if wrong else f"{others} dependencies: licences, bans and sources are in order")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
