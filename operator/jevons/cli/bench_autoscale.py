"""`jevons bench autoscale`: dollars per 1,000 requests at equal attainment, against every peer, on a folder of traces (benchmark B1)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jevons.cli.bench_machine import cores, need_extra

if TYPE_CHECKING:
    from jevons.core.spec import Objectives
    from jevons.simulator.protocol.cell import Cell, Machine
    from jevons.simulator.protocol.study import Effort, Found, Progress

USD_PER_GPU_H = {"h100_sxm": 6.88, "a100_sxm": 3.673, "l40s": 1.861, "l4": 0.8048}
"""On demand, by the year 2026; GPUs without a list price of the same kind are left out."""
LEGEND = (
    "$ = USD per 1,000 offered requests at that attainment, - = unreached; ours/it below 1: jevons is cheaper, [95 % interval]; "
    "plain: worst 10-minute windows do not bind"
)
TIERS = ("default", "other-traces", "this-trace")


def autoscale(  # noqa: PLR0917  # options of a command
    data: Annotated[Path, typer.Option(help="folder of traces: CSV files, known by their columns", exists=True, file_okay=False)],
    json_file: Annotated[Path, typer.Option("--json", help="rows, ratios and settings go here")],
    trace: Annotated[
        list[str] | None, typer.Option(help="only this trace, or a shape: step, spike, ramp, on-off, silent-then-burst (may be repeated)")
    ] = None,
    fleet: Annotated[list[int] | None, typer.Option(help="replicas the trace shall need (may be repeated); default 10, quick 4", min=1)] = None,
    startup: Annotated[list[float] | None, typer.Option(help="seconds a replica takes to start (may be repeated); default 120", min=1)] = None,
    policy: Annotated[list[str] | None, typer.Option(help="only this peer (may be repeated); default all")] = None,
    tier: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TIERS)} (may be repeated); default all, quick without other-traces")] = None,
    seeds: Annotated[int | None, typer.Option(help="windows of the test part; default 10, quick 3", min=1)] = None,
    jobs: Annotated[int | None, typer.Option(help="processes; default one per core", min=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a rough answer in about five minutes on two cores")] = False,
    plots: Annotated[Path | None, typer.Option(help="folder for Pareto plots, PNG and SVG", file_okay=False)] = None,
    ttft: Annotated[float, typer.Option(help="seconds to the first token that still count as met")] = 2.0,
    itl: Annotated[float, typer.Option(help="seconds between tokens, on average over an answer, that still count")] = 0.060,
    slowdown: Annotated[float, typer.Option(help="replicas take so many times as long as their profile says; no competitor is told")] = 1.0,
    chunk: Annotated[int, typer.Option(help="prefill chunk of the engine, tokens", min=16)] = 2048,
    prior: Annotated[float, typer.Option(help="Jevons is told a profile so many times as slow as the profile says")] = 1.0,
    reference: Annotated[bool, typer.Option(help="lower bounds and foresight")] = True,
) -> None:
    """Compare Jevons with every peer at equal attainment.

    Default tier: documented defaults. other-traces: tuned on the other traces of the folder. this-trace: tuned on the part of the trace that the test
    does not use. For the whole protocol: --fleet 4 --fleet 10 --fleet 30 --startup 30 --startup 120 --startup 300 (hours).
    """
    from jevons.core.spec import Objectives

    need_extra()
    began = time.monotonic()
    effort = _effort(quick=quick, seeds=seeds)
    objectives = Objectives(ttft_s=ttft, itl_s=itl)
    names, others = _traces(data, trace or [])
    fleets, startups = fleet or [4 if quick else 10], startup or [120.0]
    rivals = _policies(policy or [])
    tiers = _tiers(tier or (["default", "this-trace"] if quick else list(TIERS)))
    machines = [replace(one, profile=replace(one.profile, chunk_tokens=chunk)) for one in catalogue()]

    from rich.console import Console

    from jevons.simulator.protocol.pool import local
    from jevons.simulator.protocol.report import document, ratios
    from jevons.simulator.protocol.study import Study

    console = Console()
    if not console.is_terminal:
        console.width = 150
    with _progress(console) as progress, local(jobs or cores()) as pool:
        wanted = [*names, *(others if "other-traces" in {one.value for one in tiers} else [])]
        work = [(data, name, tuple(machines), size, objectives, slowdown) for name in wanted for size in fleets]
        sized = pool(size_one, work, progress("sizing", len(work)))
        skipped = [one for one in sized if isinstance(one, str)]
        cells = [replace(one, startup_s=seconds) for one in sized if not isinstance(one, str) for seconds in startups]
        study = Study(
            data=data,
            cells=[cell for cell in cells if cell.trace in names],
            others=[cell for cell in cells if cell.trace not in names],
            effort=effort,
            competitors=rivals,
            tiers=tiers,
            reference=reference,
            prior_scale=prior,
        )
        if not study.cells:
            raise typer.BadParameter("; ".join(skipped) or "nothing to run", param_hint="--trace")
        found = study.run(pool, progress)
    made = ratios(found)
    notes = {"quick": quick, "seeds": effort.seeds, "window_s": effort.test_s, "slowdown": slowdown, "chunk_tokens": chunk, "prior_scale": prior}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(document(found, made, notes), indent=1) + "\n")
    show(console, found, made)
    for one in skipped:
        console.print(f"skipped: {one}", markup=False)
    for file in draw(found, plots) if plots is not None else ():
        console.print(f"plot {file}", markup=False)
    console.print(f"{json_file}: {effort.seeds} seeds x {effort.test_s / 60:g} min, {time.monotonic() - began:.0f} s", markup=False)


def catalogue() -> list[Machine]:
    """Rows of the profile table whose GPU has a price."""
    from jevons.api.profiles import table
    from jevons.simulator.protocol.cell import Machine

    made = []
    for name, profile in table().items():
        _, _, gpu, count, _ = name.split("/")
        if gpu in USD_PER_GPU_H:
            made.append(Machine(name, profile, int(count), int(count) * USD_PER_GPU_H[gpu]))
    return made


def size_one(given: tuple[Path, str, tuple[Machine, ...], int, Objectives, float]) -> Cell | str:
    """A cell, its startup still to be set; or why there is none."""
    from jevons.simulator.protocol.jobs import traces_of
    from jevons.simulator.protocol.sizing import sized

    data, name, machines, fleet, objectives, slowdown = given
    try:
        cell = sized(traces_of(data)[name], machines, name=name, fleet=fleet, startup_s=0.0, objectives=objectives)
    except ValueError as error:
        return str(error)
    return replace(cell, slowdown=slowdown)


def _effort(*, quick: bool, seeds: int | None) -> Effort:
    from jevons.simulator.protocol.study import QUICK, Effort

    effort = QUICK if quick else Effort()
    return effort if seeds is None else replace(effort, seeds=seeds)


def _traces(data: Path, asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the traces to compare on, and of the others. Raises BadParameter for one that is not there."""
    from jevons.simulator.protocol.jobs import traces_of
    from jevons.simulator.traces import Zoo
    from jevons.simulator.traces_synthetic import Synthetic

    try:
        found = traces_of(data)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error
    shapes = [name for name, trace in found.items() if isinstance(trace, Synthetic)]
    able = [name for name, trace in found.items() if not isinstance(trace, Zoo | Synthetic)]
    for name in asked:
        if name not in (*able, *shapes):
            raise typer.BadParameter(f"no LLM trace named {name} in {data}; there are {', '.join((*able, *shapes))}", param_hint="--trace")
    names = [name for name in (*able, *shapes) if name in (asked or able)]
    return names, [name for name in able if name not in names]


def _tiers(asked: Sequence[str]) -> list[Any]:
    from jevons.simulator.protocol.policies import Tier

    if unknown := set(asked) - set(TIERS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(TIERS)}", param_hint="--tier")
    return [tier for tier in Tier if tier.value in asked]


def _policies(asked: Sequence[str]) -> list[str]:
    from jevons.simulator.protocol.policies import COMPETITORS, FORESIGHT, JEVONS

    allowed = (*COMPETITORS, "aibrix-kpa")
    if unknown := set(asked) - {*allowed, JEVONS, FORESIGHT}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join((JEVONS, *allowed))}", param_hint="--policy")
    return [name for name in allowed if name in asked] if asked else list(COMPETITORS)


@contextmanager
def _progress(console: Any) -> Iterator[Progress]:
    """Bars that say what runs now, on a terminal; a line per stage elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
    )

    def stage(what: str, total: int) -> Callable[[], None]:
        if not console.is_terminal:
            console.print(f"{what}: {total} jobs", markup=False)
        task = bars.add_task(what, total=total)
        return lambda: bars.advance(task)

    if not console.is_terminal:
        bars.disable = True
    with bars:
        yield stage


def show(console: Any, found: Found, made: Sequence[Any]) -> None:
    """A table per cell."""
    from rich.box import SIMPLE
    from rich.table import Table

    from jevons.simulator.protocol.tables import headings, lines, title

    for cell in dict.fromkeys(entry.cell for entry in found.entries):
        console.print(title(cell), markup=False)
        table = Table(box=SIMPLE, caption=LEGEND, caption_justify="left")
        for at, heading in enumerate(headings()):
            table.add_column(heading, justify="left" if at < 2 else "right", no_wrap=True)
        for line in lines(cell, found, made):
            table.add_row(*line)
        console.print(table)


def draw(found: Found, folder: Path) -> list[Path]:
    """The pictures of every cell."""
    from jevons.simulator.protocol.plots import draw as draw_one

    return [file for cell in dict.fromkeys(entry.cell for entry in found.entries) for file in draw_one(cell, found, folder)]
