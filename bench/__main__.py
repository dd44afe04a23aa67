"""Every benchmark with its baseline, one table, one JSON file.

    python -m bench [NAME...] [--json FILE] [--quick] [--no-save]

Each benchmark runs as a process of its own, one after the other, so that none warms or burdens another. Results go to
bench/results/<date>-<machine>.json (a second run on the same day and machine replaces what it measured again) and docs/benchmarks.md is written anew.
Quick runs are for looking: they are not stored. Exits 1 when a benchmark failed or a gated figure misses its target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import report

ROOT = Path(__file__).parents[1]
BENCHES: dict[str, tuple[str, ...]] = {
    "decide": ("--passes", "8"),
    "plan": (),
    "gateway": ("--seconds", "5"),
    "classifier": (),
    "controller": ("--quick",),
    "wake": ("--quick",),
    "simulator": ("--quick",),
}
"""Every benchmark, and what makes it quick."""
TRACES, PERF = (ROOT.parent / "shared" / "data" / folder for folder in ("traces/azure_llm_2023", "perf"))
COMMANDS: dict[str, tuple[str, ...]] = {
    "controller": (),
    "simulator": (*(("--data", str(TRACES)) if TRACES.exists() else ()), *(("--perf", str(PERF)) if PERF.exists() else ())),
}
"""Those that are commands of `jevons bench`, with what is read beside the checkout if it is there."""


def run(name: str, *, quick: bool) -> dict[str, Any]:
    """One benchmark's figures, empty when it failed; its own words go to the terminal as they come."""
    print(f"== {name}", flush=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        program = ("jevons", "bench", name, *COMMANDS[name]) if name in COMMANDS else (f"bench.{name}",)
        command = [sys.executable, "-m", *program, "--json", str(result), *(BENCHES[name] if quick else ())]
        subprocess.run(command, cwd=ROOT, check=False)
        figures = json.loads(result.read_text()) if result.exists() else {}
    return {"at": now(), "commit": commit(), "load": round(load, 2), "figures": figures}


def now() -> str:
    """The minute, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cpu = found[1] if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = re.sub(r"[^a-z0-9]+", "-", f"{cpu} {cores} cores".lower()).strip("-")
    return {"name": name, "cpu": cpu, "cores": cores, "python": platform.python_version()}


def commit() -> str:
    """The checkout's commit, with a plus when something is changed."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed else head


def save(results: dict[str, Any]) -> Path:
    """Store a run, keeping what an earlier one of the day measured and this one did not; write the page."""
    report.RESULTS.mkdir(exist_ok=True)
    path = report.RESULTS / f"{results['at'][:10]}-{results['machine']['name']}.json"
    if path.exists():
        results = {**results, "benches": {**json.loads(path.read_text())["benches"], **results["benches"]}}
    path.write_text(json.dumps(results, indent=1) + "\n")
    report.PAGE.write_text(report.page())
    return path


def main() -> int:
    """Run, print, store."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="the benchmarks, each with its baseline")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHES)} (all)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, nothing stored")
    parser.add_argument("--no-save", action="store_true", help="leave bench/results and docs/benchmarks.md as they are")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHES.keys():
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    results: dict[str, Any] = {"at": now(), "quick": options.quick, "machine": machine()}
    results["benches"] = {name: run(name, quick=options.quick) for name in options.names or BENCHES}
    rows = report.rows(results)
    print(f"\n{report.described(results)}\n\n{report.table(rows)}")
    if options.json:
        options.json.write_text(json.dumps({**results, "rows": [report.cells(row) for row in rows]}, indent=1) + "\n")
    if not (options.quick or options.no_save):
        print(f"\nstored in {save(results).relative_to(ROOT)}")
    failed = [name for name, ran in results["benches"].items() if not ran["figures"]]
    return int(bool(failed) or any(row.met is False and row.gate for row in rows))


if __name__ == "__main__":
    sys.exit(main())
