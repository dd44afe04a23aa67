"""`jevons bench autoscale`: dollars per 1,000 requests at equal attainment, against every peer, on a folder of traces (benchmark B1)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from jevons.cli.bench_cells import MIXED_MODEL, TIERS, Ask, catalogue, cells_of, policies_of, tiers_of, traces
from jevons.cli.bench_machine import Cluster, Jobs, need_extra, pool
from jevons.cli.bench_show import console as console_of
from jevons.cli.bench_show import draw, progress, show
from jevons.cli.written import write_json

LARGEST = 3600.0
"""Of all options that are seconds or factors."""


def autoscale(  # noqa: PLR0917  # options of a command
    data: Annotated[Path, typer.Option(help="folder of traces: CSV files, known by their columns", exists=True, file_okay=False)],
    json_file: Annotated[Path, typer.Option("--json", help="rows, ratios and settings go here")],
    trace: Annotated[
        list[str] | None,
        typer.Option(
            help="only this trace, or a shape: step, spike, ramp, on-off, silent-then-burst, price-shock, inventory-shock (may be repeated)"
        ),
    ] = None,
    fleet: Annotated[list[int] | None, typer.Option(help="replicas the trace shall need (may be repeated); default 10, quick 4", min=1)] = None,
    startup: Annotated[list[float] | None, typer.Option(help="seconds a replica takes to start (may be repeated); default 120", min=1)] = None,
    policy: Annotated[list[str] | None, typer.Option(help="beside jevons only this one (may be repeated); default all")] = None,
    tier: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TIERS)} (may be repeated); default all")] = None,
    seeds: Annotated[int | None, typer.Option(help="windows of the test part; default 10, quick 3", min=1)] = None,
    jobs: Jobs = None,
    cluster: Cluster = "",
    quick: Annotated[bool, typer.Option("--quick", help="a rough answer in about five minutes on two cores")] = False,
    plots: Annotated[Path | None, typer.Option(help="folder for Pareto plots, PNG and SVG", file_okay=False)] = None,
    ttft: Annotated[float, typer.Option(help="seconds to the first token that still count as met")] = 2.0,
    itl: Annotated[float, typer.Option(help="seconds between tokens, on average over an answer, that still count")] = 0.060,
    slowdown: Annotated[float, typer.Option(help="replicas take so many times as long as their profile says; no competitor is told")] = 1.0,
    chunk: Annotated[int, typer.Option(help="prefill chunk of the engine, tokens", min=16)] = 2048,
    prior: Annotated[float, typer.Option(help="Jevons is told a profile so many times as slow as the profile says")] = 1.0,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="everybody again on wrong physics, ours on wrong priors; settings as before")
    ] = False,
    own_dispatcher: Annotated[
        bool, typer.Option("--own-dispatcher", help="a second table: each system sends requests by its own dispatcher")
    ] = False,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="a model on several accelerators and precisions at once, everybody given all of them")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="labelled prompts for jevons-routed, as for `jevons train`; default: those of the package", exists=True, dir_okay=False),
    ] = None,
    reference: Annotated[bool, typer.Option(help="lower bounds and foresight")] = True,
) -> None:
    """Compare Jevons with every peer at equal attainment.

    Default tier: documented defaults. other-traces: tuned on the other traces of the folder. this-trace: tuned on the part of the trace that the test
    does not use. For the whole protocol: --fleet 4 --fleet 10 --fleet 30 --startup 30 --startup 120 --startup 300 (hours).
    """
    need_extra()
    began = time.monotonic()
    from jevons.core.spec import Objectives
    from jevons.simulator.protocol.policies import ARMS, REFERENCES, Tier
    from jevons.simulator.protocol.report import document, ratios
    from jevons.simulator.protocol.study import QUICK, Effort, Study
    from jevons.simulator.traces_synthetic import Shape

    _check_output(json_file)
    _check_numbers(startup=startup or (), ttft=(ttft,), itl=(itl,), slowdown=(slowdown,), prior=(prior,))
    effort = QUICK if quick else Effort()
    effort = effort if seeds is None else replace(effort, seeds=seeds)
    rivals, tiers = policies_of(policy or []), tiers_of(tier or TIERS)
    names, others, notes = traces(data, trace or [])
    fleets, startups = fleet or [4 if quick else 10], tuple(dict.fromkeys(startup or [120.0]))
    machines = tuple(replace(one, profile=replace(one.profile, chunk_tokens=chunk)) for one in catalogue())
    machines = tuple(one for one in machines if one.name.startswith(MIXED_MODEL)) if mixed else machines
    elsewhere = others if Tier.OTHER_TRACES in tiers else []
    if Tier.OTHER_TRACES in tiers and len(names) + len(elsewhere) < 2:
        elsewhere = [shape.value for shape in Shape if shape.value not in names]
        notes = (*notes, f"no other trace in {data}: the tier other-traces is tuned on the shapes {', '.join(elsewhere)}")
    console = console_of()
    with (
        TemporaryDirectory(dir=json_file.parent if cluster else None) as folder,  # of a cluster, every worker reads it
        pool(jobs, cluster, folders=[data, *([Path(folder)] if labels is not None else [])]) as runner,
        progress(console) as bars,
    ):
        objectives = Objectives(ttft_s=ttft, itl_s=itl)
        wanted = [(name, size) for name in (*names, *elsewhere) for size in dict.fromkeys(fleets)]
        asks = [Ask(data, name, machines, size, startups, objectives, slowdown, effort, mixed) for name, size in wanted]
        sized = runner(cells_of, asks, bars("sizing", len(asks)))
        notes = (*notes, *(f"left out: {one}" for one in dict.fromkeys(one for one in sized if isinstance(one, str))))
        outcomes = _outcomes(labels, Path(folder)) if labels is not None else None
        cells = [replace(cell, outcomes=outcomes) for some in sized if not isinstance(some, str) for cell in some]
        study = Study(
            data=data,
            cells=[cell for cell in cells if cell.trace in names],
            others=[cell for cell in cells if cell.trace not in names],
            effort=effort,
            competitors=[name for name in rivals if name not in (*REFERENCES, *ARMS)],
            arms=not policy or bool(set(rivals) & set(ARMS)),
            tiers=tiers,
            reference=reference or bool(set(rivals) & set(REFERENCES)),
            robustness=robustness,
            own_dispatcher=own_dispatcher,
            prior_scale=prior,
        )
        if not study.cells:
            raise typer.BadParameter("; ".join(notes) or "nothing to run", param_hint="--data")
        found = study.run(runner, bars)
    made = ratios(found)
    told = {
        "quick": quick,
        "seeds": effort.seeds,
        "window_s": effort.test_s,
        "slowdown": slowdown,
        "chunk_tokens": chunk,
        "prior_scale": prior,
        "mixed": mixed,
    }
    write_json(json_file, document(found, made, {**told, "notes": list(notes)}))
    show(console, found, made)
    for one in notes:
        console.print(one, markup=False)
    for file in draw(found, plots) if plots is not None else ():
        console.print(f"plot {file}", markup=False)
    console.print(f"{json_file}: {effort.seeds} seeds x up to {effort.test_s / 60:g} min, {time.monotonic() - began:.0f} s", markup=False)


def _check_output(file: Path) -> None:
    """Raises BadParameter when the result cannot be written there: better now than in an hour."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = not file.exists()
        with file.open("a"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}; name another file", param_hint="--json") from error


def _outcomes(file: Path, folder: Path) -> Path:
    """Labels as the simulator reads them. Raises BadParameter for a file that has none."""
    from jevons.cli.bench_labels import written

    try:
        return written(file, folder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--labels") from error


def _check_numbers(**given: Iterable[float]) -> None:
    """Raises BadParameter for an option that is no number above 0, or out of all reason."""
    for name, values in given.items():
        for value in values:
            if not 0.0 < value <= LARGEST:
                raise typer.BadParameter(f"{value:g} is not a number above 0 and up to {LARGEST:g}; give another", param_hint=f"--{name}")
