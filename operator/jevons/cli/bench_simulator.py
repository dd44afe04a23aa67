"""`jevons bench simulator`: how fast the simulator is, and how far from the engine it stands for and from rows that were measured (benchmark B7)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jevons.cli.bench_machine import JsonFile, need_extra
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from rich.console import Console

PROFILE = "llama-3.1-8b/bf16/a100_sxm/1/vllm"
SAMPLE = Path(__file__).parents[3] / "examples" / "data"
"""In a checkout."""


def simulator(
    json_file: JsonFile = None,
    data: Annotated[
        Path | None, typer.Option(help="folder with the Azure conversation trace; default: a checkout's examples/data", file_okay=False)
    ] = None,
    perf: Annotated[
        Path | None, typer.Option(help="folder with aiconfigurator/aic_grid.csv and splitwise/perf_model.csv", exists=True, file_okay=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="fewer requests and seeds")] = False,
) -> None:
    """Measure the simulator: speed of one core, equality with the token-level engine, fidelity with jitter, and to measured rows (--perf)."""
    need_extra()
    from jevons.api.profiles import table
    from jevons.cli.bench_show import console as console_of
    from jevons.cli.bench_show import progress
    from jevons.simulator.protocol import exactness, fidelity

    if data is None and not SAMPLE.exists():
        raise typer.BadParameter("no checkout here, so no sample: give --data, a folder with the Azure conversation trace (*conv*.csv)")
    console, began, profiles = console_of(), time.monotonic(), table()
    try:
        with progress(console) as bars:
            results: dict[str, Any] = {"compile_or_load_s": exactness.first_request_s(profiles[PROFILE])}
            bench = exactness.Bench.of(exactness.conv(data or SAMPLE), profiles[PROFILE])
            results["capacity_per_s"] = bench.capacity_per_s
            results["speed"] = exactness.speed(bench, 5 if quick else 30, bars("speed", len(exactness.REPLICAS)))
            most, points = 600 if quick else 4000, len(exactness.UTILISATIONS)
            results["equality"] = exactness.equality(bench, most, bars("equality", points))
            seeds = 2 if quick else 40
            results["jitter"] = exactness.jittered(bench, most, seeds, bars("fidelity", seeds * points))
            results["scrape_us"] = exactness.scrape_us(profiles[PROFILE])
            if perf is not None:
                done = bars("measured rows", 1)
                results["measured"] = fidelity.measured(perf, profiles)
                done()
    except (OSError, ValueError, KeyError) as error:
        raise typer.BadParameter(str(error)) from error
    _show(console, results)
    if json_file is not None:
        write_json(json_file, results)
        console.print(f"{json_file}: {time.monotonic() - began:.0f} s", markup=False)


def _show(console: Console, results: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", "measured", "target", ""):
        table.add_column(title, justify="right" if title == "measured" else "left")
    for row in rows(results):
        table.add_row(*row)
    console.print(table, highlight=False)
    if "measured" not in results:
        console.print("rows that were measured on machines: not compared; give --perf DIR", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("source", "what", "mean absolute error", "mean error", "90 % below", "rows"):
        table.add_column(title, justify="left" if title in {"source", "what"} else "right")
    for source, found in results["measured"].items():
        for name, one in found.items():
            table.add_row(source, name, f"{one['mape']:.1f} %", f"{one['bias']:+.1f} %", f"{one['p90']:.1f} %", str(one["rows"]))
    console.print(table, highlight=False)


def rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Every figure beside its target of benchmarks.md B7."""
    for name, speed in results["speed"].items():
        for key, what in (("per_min", ""), ("jitter_per_min", ", jitter")):
            millions = speed[key] / 1e6
            yield f"requests a minute of one core, {name.replace('_', ' ')}{what}", f"{millions:.1f} M", ">= 10 M", _met(millions >= 10.0)
    worst = results["equality"]["worst_s"]
    yield "largest difference of any time from the token-level engine, no jitter", f"{worst:.1e} s", "<= 1e-6 s", _met(worst <= 1e-6)
    jitter = results["jitter"]
    for name, one in jitter.items():
        if not name.startswith("at_"):
            continue
        utilisation = name.removeprefix("at_").replace("_", ".")
        percent = max(value for key, value in one.items() if key.endswith("_percent"))
        yield (
            f"p50, p95, p99 of TTFT and pace at utilisation {utilisation}",
            f"{percent:.2f} %",
            "<= 5 %",
            _told(percent, 5.0, jitter["chance_percent"]),
        )
        yield (
            f"attainment at utilisation {utilisation}",
            f"{one['attainment_points']:.2f} points",
            "<= 1 point",
            _told(one["attainment_points"], 1.0, jitter["chance_points"]),
        )
    yield "the engine with other seeds differs from itself by", f"{jitter['chance_percent']:.2f} %", "", "chance"


def _told(off: float, most: float, chance: float) -> str:
    """With few seeds a difference may be no larger than the engine's own from itself: that says nothing either way."""
    return "within chance: more seeds are needed" if most < off <= chance else _met(off <= most)


def _met(met: bool) -> str:
    return "met" if met else "MISSED"
