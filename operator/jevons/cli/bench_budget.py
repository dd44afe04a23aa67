"""`jevons bench budget`: a month's money when demand doubles and prices rise half way: overspent, forfeited, and what it bought (benchmark B3)."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jevons.cli.bench_machine import Cluster, Jobs, need_extra, pool
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from jevons.simulator.protocol.budget_study import Summary

TIGHTNESS = (0.6, 0.75, 0.9)
ASSUMPTIONS = (
    "steps of 5 min: a decision each, its ledger billed every minute; counts Poisson in a step, days busier or calmer by 10 %",
    "all arrivals of a variant in a step meet one mean load; answers in time at a load by core.usable; more than the best load is refused",
    "no queue from step to step; a new replica serves 2 min later and is paid at once",
    "useful: in time, weighted with how likely the answer is right over always-best, by the packaged classifier's calibration",
    "Llama-3.1-70B on 4 A100 and 8B on 1 A100 at 3.673 USD per GPU-hour; 10 requests/s before the demand doubles",
    "the price step is known when it comes, not before",
    "the best constant price knows every step's arrivals, starts and stops at no cost and needs no headroom",
)


def budget(  # noqa: PLR0917  # options of a command
    json_file: Annotated[Path, typer.Option("--json", help="rows, summaries and assumptions go here")],
    data: Annotated[Path | None, typer.Option(help="folder with a client model, for its season; default: a synthetic week", file_okay=False)] = None,
    seeds: Annotated[int, typer.Option(help="months", min=1)] = 3,
    tightness: Annotated[list[float] | None, typer.Option(help="amount over the month's cost without a budget (may be repeated)", min=0.05)] = None,
    period: Annotated[str, typer.Option(help="Day, Week or Month: the budget's period, its steps in the middle")] = "Month",
    past_days: Annotated[int, typer.Option(help="days before the period that Jevons has seen, at the first demand and price", min=0, max=60)] = 0,
    jobs: Jobs = None,
    cluster: Cluster = "",
) -> None:
    """Compare Jevons under a budget (Cap) with linear pacing, no pacing, and the best constant shadow price in hindsight."""
    from rich.console import Console

    from jevons.cli.bench_zoo import wide
    from jevons.cli.simulate import curve_of_the_router
    from jevons.core.spec import Period
    from jevons.simulator.protocol import budget_study

    need_extra()
    if period not in {"Day", "Week", "Month"}:
        raise typer.BadParameter(f"--period {period}: Day, Week or Month")
    console, began = wide(Console()), time.monotonic()
    levels = tuple(sorted(tightness or TIGHTNESS))
    try:
        source = budget_study.season(data)[1]
    except ValueError as error:
        raise typer.BadParameter(f"--data {data}: {error}") from error
    router = curve_of_the_router()
    work = [budget_study.BudgetJob(data, router, seed, levels, Period(period), past_days) for seed in range(seeds)]
    with pool(jobs, cluster, folders=[data] if data is not None else [], most=len(work)) as runner:
        rows = [row for found in runner(budget_study.work, work, lambda: None) for row in found]
    summed = budget_study.summaries(rows)
    _print(console, summed, f"{period} after {past_days} days, {seeds} seeds, season: {source}")
    document: dict[str, Any] = {
        "benchmark": "B3",
        "assumptions": [f"season: {source}", f"{past_days} days seen before the period", *ASSUMPTIONS],
        "targets": {"missed": budget_study.MAX_MISSED, "overspent": budget_study.MAX_OVERSPENT, "over_constant": budget_study.MIN_USEFUL},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "summaries": [{**asdict(one), "met": one.met} for one in summed],
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(json_file, document)
    console.print(f"written to {json_file} after {document['seconds']:.0f} s")


def _print(console: Any, summed: list[Summary], title: str) -> None:
    from rich.table import Table

    table = Table(title=f"Budget: {title}; mean (worst seed)")
    for name in (
        "amount / wanted",
        "policy",
        "overspent + forfeited",
        "overspent",
        "useful / constant price",
        "useful / asked",
        "hours dark",
        "targets",
    ):
        table.add_column(name, justify="right")
    for one in summed:
        verdict = "" if one.policy != "jevons" else "met" if one.met else "MISSED"
        table.add_row(
            f"{one.tightness:g}",
            one.policy,
            f"{100 * one.missed:.1f} % ({100 * one.worst_missed:.1f})",
            f"{100 * one.overspent:.2f} % ({100 * one.worst_overspent:.2f})",
            f"{100 * one.over_constant:.1f} % ({100 * one.worst_over_constant:.1f})",
            f"{100 * one.useful_share:.1f} %",
            f"{one.dark_hours:.1f}",
            verdict,
        )
    console.print(table)
