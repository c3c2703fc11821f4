#!/usr/bin/env python3
"""Run golden cases: feed a pump binary known records through a real Redis, collect all it wrote, compare with what is expected.

  golden.py list  [CASE…]                       cases and the servers they need
  golden.py run   --pump BIN [CASE…]            run and compare; exit 1 when a case differs
  golden.py record --pump BIN [CASE…]           run and store the result as expected (only ever done with the reference binary)

A CASE is a path to a folder with case.json, or a prefix below cases/ (default: all). See README.md.
Needs python3 ≥ 3.11 and redis-server on PATH; other servers by --server name=url (a case whose server is missing is skipped by name).
"""
import argparse, base64, concurrent.futures, contextlib, difflib, importlib, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE
sys.path.insert(0, str(HERE))
from ports import free_port  # noqa: E402 (found on the path that was set just now)


class Redis:
    """A private redis-server and just enough RESP to fill and inspect it."""

    def __init__(self, directory):
        while True:
            self.port = free_port()
            self.proc = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory), "--loglevel", "warning"],
                stdout=subprocess.DEVNULL)
            for _ in range(200):
                with contextlib.suppress(OSError):
                    self.sock = socket.create_connection(("127.0.0.1", self.port))
                    break
                time.sleep(0.02)
            self.file = self.sock.makefile("rb")
            if b"process_id:%d\r" % self.proc.pid in self.call("INFO", "server"):
                return
            self.stop()  # two took the same port at the same time, and this is the other's server

    def call(self, *args):
        self.sock.sendall(self._encoded(args))
        return self._reply()

    def transaction(self, commands):
        """Run commands as one: no other client sees the state between them."""
        for reply in self.call("MULTI"), *(self.call(*c) for c in commands):
            assert reply in (b"OK", b"QUEUED"), reply
        return self.call("EXEC")

    @staticmethod
    def _encoded(args):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def _reply(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest

    def leftovers(self):
        """Every key left with its type, size and time to live; the ids of claims, new in each run, are blanked."""
        out = {}
        for key in sorted(self.call("KEYS", "*")):
            kind = self.call("TYPE", key).decode()
            name = re.sub(r"[0-9A-HJKMNP-TV-Z]{26}", "<ulid>", key.decode("utf-8", "backslashreplace"))
            if re.search(r"(pumps:\{|fleet|instance)", name):  # heartbeats and ids of our delivery
                continue
            out[name] = {"type": kind, "size": self.call("LLEN", key) if kind == "list" else 1}
            if (left := self.call("PTTL", key)) > 0:  # rounded up, so that some seconds of waiting do not show
                out[name]["expires_in_s_rounded"] = -(-left // 20000) * 20
        return out

    def stop(self):
        self.proc.terminate()
        self.proc.wait()


def fill(value, names):
    """Replace {{name}} in every string of a JSON value; a string that is only {{name}} takes the value's own type."""
    if isinstance(value, dict):
        return {fill(k, names): fill(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, names) for v in value]
    if isinstance(value, str):
        whole = re.fullmatch(r"\{\{([\w.]+)\}\}", value)
        if whole:
            return names[whole[1]]
        return re.sub(r"\{\{([\w.]+)\}\}", lambda m: str(names[m[1]]), value)
    return value


def plain(file):
    """The text of a file with its line ends as they are (CR matters)."""
    return file.read_bytes().decode("utf-8", "backslashreplace")


def module(kind):
    return importlib.import_module(f"collect.{kind}")


def leave_room_in_the_hour():
    """Waits for the next hour where this one ends within a minute: files and counters are named by the hour of the clock, and a
    case that goes on in the next hour writes two where it is expected to write one. Quarters: not all zones keep full hours."""
    left = 900 - time.time() % 900
    if left < 60:
        time.sleep(left + 1)


def run_case(case, pump, servers, keep=None, compat=True):
    """Run one case; returns {relative file name: text} of everything the pump wrote."""
    leave_room_in_the_hour()
    spec = json.loads((case / "case.json").read_text())
    work = pathlib.Path(keep or tempfile.mkdtemp(prefix="golden-"))
    out = work / "out"
    out.mkdir(parents=True, exist_ok=True)
    redis = Redis(work)
    names = {"redis.port": redis.port, "out": str(out), "pump.port": free_port()}
    sources = []
    try:
        for name, options in spec.get("sources", {}).items():
            source = module(options["kind"]).Source(name, fill(options, names), work, servers.get(options["kind"]))
            sources.append(source)
            names.update({f"{name}.{k}": v for k, v in source.names().items()})
        for item in spec.get("prepare", []):
            redis.call(*item)
        push(case, redis, spec.get("deck"))
        for item in spec.get("after_deck", []):  # Redis commands on the filled lists
            redis.call(*item)
        conf = work / "pump.conf"
        if "conf_text" in spec:
            conf.write_text(fill(spec["conf_text"], names))
        else:
            conf.write_text(json.dumps(fill(spec["conf"], names), indent=1))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TYK_", "PMP_"))}
        env["TZ"] = "UTC"
        if compat and spec.get("compat", True):  # values that ours corrects by default are compared as the reference writes them
            env["TYK_PMP_COMPAT"] = "true"
        if "health" not in json.dumps(spec).lower():  # the default port would make pumps that run at the same time end each other
            env["TYK_PMP_HEALTHCHECKENDPOINTPORT"] = str(names["pump.port"])
        env.update({k: str(v) for k, v in fill(spec.get("env", {}), names).items()})
        argv = [pump, *fill(spec.get("args", ["-c", str(conf)]), {**names, "conf": str(conf)})]
        settle = spec.get("settle", {})

        def start():
            with open(work / "stdout.txt", "ab") as so, open(work / "stderr.txt", "ab") as se:
                return subprocess.Popen(argv, env=env, cwd=out, stdout=so, stderr=se)

        proc = start()
        for step in [{}, *spec.get("then", [])]:  # each further step: another deck once the first has settled, after a restart if it says so
            if step.get("restart"):
                proc.send_signal(signal.SIGTERM)
                proc.wait()
            push(case, redis, step.get("deck"))
            if step.get("restart"):
                proc = start()
            began = last_change = time.time()
            state = None
            while time.time() - began < settle.get("timeout_s", 20):
                if proc.poll() is not None:
                    break
                lists = [k for k, v in redis.leftovers().items() if v["type"] == "list" and "claim" not in k]
                now = (len(lists), [s.size() for s in sources], sum(f.stat().st_size for f in out.rglob("*") if f.is_file()), (work / "stdout.txt").stat().st_size)
                if now != state:
                    state, last_change = now, time.time()
                if not lists and time.time() - last_change > settle.get("quiet_s", 2.5):
                    break
                time.sleep(0.1)
        result = {}
        for i, request in enumerate(spec.get("ask", [])):
            result[f"ask/{i}.txt"] = ask(fill(request, names))
        exited = proc.poll()
        if exited is None:
            proc.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                proc.wait(settle.get("stop_s", 15))
            if proc.poll() is None:
                proc.kill()
                proc.wait()
        for source in sources:
            for name, text in source.collect().items():
                result[f"{source.name}/{name}"] = text
        for item in spec.get("collect", []):
            if item == "stdout":
                result["stdout.txt"] = plain(work / "stdout.txt")
            elif item == "stderr":
                result["stderr.txt"] = plain(work / "stderr.txt")
            elif item == "redis":
                result["redis.json"] = json.dumps(redis.leftovers(), indent=1, sort_keys=True) + "\n"
            elif item == "exit":
                result["exit.txt"] = f"exited early with {exited}\n" if exited is not None else "kept running until stopped\n"
            else:  # a glob below the output folder
                for f in sorted(out.glob(item)):
                    if f.is_file():
                        result["files/" + str(f.relative_to(out))] = plain(f)
        return {normal_name(spec, n): normalise(spec, n, t, names) for n, t in result.items()}
    finally:
        for source in sources:
            source.stop()
        redis.stop()
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def push(case, redis, decks):
    """Push whole decks in one transaction: a pump that is already running finds all of their records or none, never a part of them."""
    elements = []
    for d in [decks] if isinstance(decks, str) else decks or []:
        for line in (case_file(case, f"decks/{d}.jsonl")).read_text().splitlines():
            element = json.loads(line)
            elements.append(("RPUSH", element["key"], base64.b64decode(element["b64"])))
    if elements:
        redis.transaction(elements)


def ask(request):
    import urllib.request, urllib.error
    method, url = request.split(" ", 1)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as r:
            return f"{r.status} {r.headers.get('Content-Type')}\n{r.read().decode()}"
    except urllib.error.HTTPError as e:
        return f"{e.code} {e.headers.get('Content-Type')}\n{e.read().decode()}"
    except OSError as e:
        return f"no answer: {e.__class__.__name__}\n"


def normal_name(spec, name):
    for rule in spec.get("normalise", []):
        if "name" in rule:
            name = re.sub(rule["name"], rule["to"], name)
    return name


# Differences that are ours by decision and change nothing for a reader of the back-end.
EQUIVALENT = [
    # Elasticsearch bulk: a deterministic id (24 to 40 lower-case hex digits) with `create` makes a replay harmless; the reference leaves the id to the server
    ("requests", r'\{\\"(?:create|index)\\":\{(\\"_index\\":\\"[^"\\]*\\"(?:,\\"_type\\":\\"[^"\\]*\\")?),\\"_id\\":\\"[0-9a-f]{24,40}\\"\}\}', r'{\\"index\\":{\1}}'),
    # One request a document: the same id in the path; that it is there shows.
    ("requests", r'/[0-9a-f]{32}\?op_type=create"', r'/<row>?op_type=create"'),
]


def normalise(spec, name, text, names):
    """Blank what differs from run to run (rules of the case), sort what has no order."""
    for where, find, to in EQUIVALENT:
        if where in name:
            text = re.sub(find, to, text)
    for key, value in names.items():
        if key == "out" or (key.endswith((".url", ".dsn")) and len(str(value)) > 3):
            text = text.replace(str(value), "{{%s}}" % key)
        elif key.endswith(".port") and len(str(value)) > 3:  # not inside a longer number or name
            text = re.sub(rf"(?<![0-9A-Za-z]){value}(?![0-9A-Za-z])", "{{%s}}" % key, text)
    for rule in spec.get("normalise", []):
        if "find" in rule and re.search(rule.get("in", ""), name):
            text = re.sub(rule["find"], rule["to"], text)
    if any(re.search(p, name) for p in spec.get("unordered", [])):
        text = "".join(sorted(text.splitlines(keepends=True)))
    return text


def without_repeats(spec, name, text):
    """With a faulty receiver, how often a request is repeated is a matter of retry: repeats in a row count once."""
    if not (name.endswith("requests.jsonl") and re.search(r'"(status|hangup|delay_s)"', json.dumps(spec.get("sources", {})))):
        return text
    requests = []
    for line in text.splitlines(keepends=True):
        if line.startswith("  ") and requests:  # an entry of the request above it
            requests[-1] += line
        else:
            requests.append(line)
    return "".join(r for i, r in enumerate(requests) if i == 0 or r != requests[i - 1])


def case_file(case, relative):
    """A file of the corpus that the case belongs to: the nearest folder above that has it."""
    for folder in [case, *case.parents]:
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} (for {case})")


ANYTHING = "(anything)\n"  # in an override: a file that is different every time, such as the start of a TLS connection


def override(case, overrides):
    """The folders of the case's deliberate differences, in order. Each WHY.md says why."""
    folders = [pathlib.Path(folder) / label(case) for folder in overrides]
    return [folder for folder in folders if (folder / "WHY.md").exists()]


def expected(case, ours):
    """What the case expects; a file below the folder of an override takes the place of an earlier one or the reference's (an empty one: no such file)."""
    found = {}
    for root in [case / "expected", *ours]:
        found.update({str(f.relative_to(root)): plain(f) for f in sorted(root.rglob("*")) if f.is_file() and f.name != "WHY.md"})
    return {name: text for name, text in found.items() if text}


def cases(prefixes):
    found = []
    for p in prefixes or [""]:
        root = pathlib.Path(p)
        if not (p and root.exists()):
            root = CORPUS / "cases"
            hits = [c.parent for c in root.rglob("case.json") if str(c.parent.relative_to(root)).startswith(p)]
        else:
            hits = [c.parent for c in root.rglob("case.json")]
        found += hits
    return sorted(set(found))


def label(case):
    parts = case.resolve().parts
    return "/".join(parts[parts.index("cases") + 1:]) if "cases" in parts else case.name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["list", "run", "record"])
    parser.add_argument("case", nargs="*")
    parser.add_argument("--pump")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--keep", help="keep the working folders below this one")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="cases side by side")
    parser.add_argument("--overrides", action="append", default=[], metavar="FOLDER", help="deliberate differences: <family>/<case>/<file> replaces the expected file; a folder given later goes before an earlier one")
    parser.add_argument("--mode", choices=["compat", "default"], default="compat", help="default: without TYK_PMP_COMPAT, as users run it; give the overrides of that mode, too")
    parser.add_argument("--reference", action="store_true", help="the binary is the reference itself: defects do not count as failed")
    parser.add_argument("--full", action="store_true", help="whole diffs")
    a = parser.parse_intermixed_args()
    servers = dict(s.split("=", 1) for s in a.server)
    good = bad = skipped = open_ = 0
    todo = []
    for case in cases(a.case):
        spec = json.loads((case / "case.json").read_text())
        needs = sorted({o["kind"] for o in spec.get("sources", {}).values() if getattr(module(o["kind"]), "SERVER", False)})
        if a.action == "list":
            print(f"{label(case):40} {spec['title']}" + (f"  [{', '.join(needs)}]" if needs else ""))
            continue
        missing = [n for n in needs if n not in servers]
        if missing:
            skipped += 1
            print(f"SKIP {label(case)}: no {', '.join(missing)} server given")
            continue
        keep = None
        if a.keep:
            keep = pathlib.Path(a.keep).resolve() / label(case)
            shutil.rmtree(keep, ignore_errors=True)
        todo.append((case, spec, keep))
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        results = [(case, spec, pool.submit(run_case, case, os.path.abspath(a.pump), servers, keep, a.mode == "compat")) for case, spec, keep in todo]
        for case, spec, result in results:
            try:
                got = result.result()
            except Exception as e:  # a case that cannot even be run is a failed case, and the others still count
                bad += 1
                print(f"FAIL {label(case)}: {type(e).__name__}: {e}")
                continue
            if a.action == "record":
                shutil.rmtree(case / "expected", ignore_errors=True)
                for name, text in got.items():
                    f = case / "expected" / name
                    f.parent.mkdir(parents=True, exist_ok=True)
                    f.write_text(text, newline="")
                print(f"REC  {label(case)}: {len(got)} files, {sum(map(len, got.values()))} characters")
                good += 1
                continue
            ours = override(case, a.overrides)
            want = {name: without_repeats(spec, name, text) for name, text in expected(case, ours).items()}
            got = {name: without_repeats(spec, name, text) for name, text in got.items() if text}
            lines = []
            judged = lambda name: any(re.search(p, name) for p in spec.get("judge", ["^(?!stderr|.*/commands)"]))  # by default all but the log and the commands sent to a database
            for name in sorted(set(want) | set(got)):
                if judged(name) and want.get(name) != got.get(name) and not (name in got and want.get(name) == ANYTHING):
                    lines += difflib.unified_diff(want.get(name, "").splitlines(), got.get(name, "").splitlines(), f"expected/{name}", f"got/{name}", lineterm="", n=1)
            if "upstream_defect" in spec and not ours:
                open_ += 1
                print(f"{'OTHER' if lines else 'EQUAL'} {label(case)}: the reference {spec['upstream_defect']}; ours: {spec.get('ours')}")
            elif lines:
                bad += 1
                print(f"DIFF {label(case)}: {spec['title']}")
            else:
                good += 1
                print(f"OK   {label(case)}")
            if lines:
                shown = lines if a.full else lines[:20]
                print("\n".join("     " + (l if a.full else l[:400]) for l in shown))
                if len(shown) < len(lines):
                    print(f"     … {len(lines) - len(shown)} more lines (--full)")
    if a.action != "list":
        if open_:
            print(f"{open_} open: they show a defect of the reference and have no override (WHY.md) yet. OTHER is not the defect, EQUAL is (or it shows in the log alone)")
        print(f"{good} passed, {bad + (0 if a.reference else open_)} failed, {skipped} skipped")
        sys.exit(1 if bad or (open_ and not a.reference) else 0)


if __name__ == "__main__":
    main()
