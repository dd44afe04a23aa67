"""`jevons bench zoo`: idle and starting GPU-hours of a zoo of models at equal cold starts, against everybody who scales to zero (benchmark B2)."""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jevons.cli.bench_machine import Cluster, Jobs, need_extra, pool
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from jevons.simulator.protocol.zoo_study import MemberJob, Ratio, Runs

QUICK_MEMBERS, QUICK_PAIRS, PAIRS = 40, 10, 40
CHAIN_STARTUP_S = 120.0
WIDTH = 150
TABLED = (("stretches", "starts"), ("stretches", "rate"), ("all", "starts"))
"""How idleness is measured, and what is held equal; the first is the headline."""


def zoo(  # noqa: PLR0917  # options of a command
    data: Annotated[Path, typer.Option(help="folder with a table model_id,minute,count and a log of LLM requests", exists=True, file_okay=False)],
    json_file: Annotated[Path, typer.Option("--json", help="rows, ratios and assumptions go here")],
    startup: Annotated[
        list[float] | None, typer.Option(help="seconds a replica takes to start (may be repeated); default: 30 120 300", min=1)
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="placements of the calls in their minutes; default: 3, quick 1", min=1)] = None,
    policy: Annotated[list[str] | None, typer.Option(help="only this policy beside keda and always-on (may be repeated); default: all")] = None,
    members: Annotated[int | None, typer.Option(help="so many members, evenly spread over the zoo; default: all, quick 40", min=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="40 members, one seed, few settings")] = False,
    scored_from: Annotated[float, typer.Option(help="hours of the day from which on figures count; policies learn before", min=0, max=23)] = 12.0,
    sleep: Annotated[
        list[float] | None,
        typer.Option(help="also Jevons with replicas that sleep in host memory at this share of their price (may be repeated)", min=0, max=1),
    ] = None,
    wake: Annotated[float, typer.Option(help="seconds that waking takes, with --sleep", min=0.1)] = 5.0,
    chains: Annotated[bool, typer.Option(help="agent chains as a second input")] = True,
    only_chains: Annotated[bool, typer.Option("--only-chains", help="nothing but agent chains")] = False,
    by_gaps: Annotated[
        bool, typer.Option("--by-gaps", help="all members in minutes: Jevons and KEDA by the gaps between calls, without engines and passes")
    ] = False,
    jobs: Jobs = None,
    cluster: Cluster = "",
) -> None:
    """Compare Jevons' sleep with KEDA, Knative, KubeAI, the hybrid histogram and no sleep at all, at equal cold starts."""
    need_extra()
    from rich.console import Console

    from jevons.simulator.protocol import zoo_policies, zoo_study

    console, began = wide(Console()), time.monotonic()
    knobs = zoo_policies.BY_GAPS if by_gaps else zoo_policies.QUICK if quick else zoo_policies.KNOBS
    known = [name for name in knobs if name not in zoo_policies.CHAINED]
    unknown = sorted(set(policy or []) - set(known))
    if unknown:
        raise typer.BadParameter(f"--policy {unknown[0]}: known are {', '.join(known)}")
    names = [name for name in known if not policy or name in policy or name in {"keda", "always-on"}]
    if by_gaps and only_chains:
        raise typer.BadParameter("--by-gaps knows no chains: leave out --only-chains")
    settings = tuple((name, knob) for name in names for knob in sorted({*knobs[name], zoo_policies.DEFAULTS[name]}))
    sleepers = [zoo_policies.sleeping(holding, wake) for holding in sleep or []]
    settings += tuple((name, knob) for name in sleepers for knob in sorted({*knobs["jevons"], zoo_policies.AUTO}))
    names += sleepers
    startups = tuple(startup or (30.0, 120.0, 300.0))
    try:
        everybody = zoo_study.member_count(data)
    except ValueError as error:
        raise typer.BadParameter(f"--data {data}: {error}") from error
    count = min(everybody, members or (QUICK_MEMBERS if quick else everybody))
    chosen = [] if only_chains else sorted({round(place * everybody / count) for place in range(count)})
    numbers = range(seeds or (1 if quick else 3))
    work = [
        zoo_study.MemberJob(data, member, seed, startups, settings, since_s=3600.0 * scored_from, by_gaps=by_gaps)
        for member in chosen
        for seed in numbers
    ]
    told = [name for name in ("jevons", "jevons-alone", "keda", "hybrid", "co-wake") if name in names or name in zoo_policies.CHAINED]
    pairs = range((QUICK_PAIRS if quick else PAIRS) if (chains or only_chains) and not by_gaps else 0)
    chained = tuple((name, zoo_policies.DEFAULTS[name]) for name in told)
    work += [zoo_study.MemberJob(data, pair, seed, (CHAIN_STARTUP_S,), chained, chained=True) for pair in pairs for seed in numbers]
    with pool(jobs, cluster, folders=[data]) as runner:
        results = runner(zoo_study.work, work, _counter(console, len(work)))
    split = len(chosen) * len(numbers)
    document: dict[str, Any] = {
        "benchmark": "B2",
        "assumptions": (*ASSUMPTIONS, *(BY_GAPS if by_gaps else ())),
        "scored_from_h": scored_from,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if chosen:
        console.print(f"scored from hour {scored_from:g} of the day on; before that policies learn", style="dim")
        document |= _members(console, zoo_study.gathered(work[:split], results[:split]), startups, settings, names)
    if pairs:
        document["chains"] = _chains(console, work[split:], results[split:])
    document["seconds"] = round(time.monotonic() - began, 1)
    write_json(json_file, document)
    console.print(f"written to {json_file} after {document['seconds']:.0f} s")


ASSUMPTIONS = (
    "each call at a random instant of its minute; tokens of a random request of the folder's largest log; at most 20 calls a minute and member",
    "one replica of Llama-3.1-8B on one A100 per member at 3.67 USD/h, startup lognormal with sigma 0.1; asleep at the start",
    "every request is held until a replica is ready, whoever competes; a cold start is a start that at least one request waited for",
    "asleep in host memory: its hours count by the share of the price that it costs; a request that waits for a wake is woken, not cold",
    "equal cold-start rate: as many cold starts for the same calls (starts); beside it a member's share of cold requests, mean over members (rate)",
    "idle: stretches of more than 60 s without a request in the system (`idle_gpu_hours` is all of it); Knative at 5 s ticks",
)
BY_GAPS = ("by gaps: no engines, queues and passes; the operator's rule on the calls its passes would see, KEDA's poll, query and cooldown",)


def _members(
    console: Any, runs: Runs, startups: tuple[float, ...], settings: tuple[tuple[str, float], ...], names: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """The zoo's tables, printed and as documents."""
    from jevons.simulator.protocol import zoo_study

    rows = [zoo_study.row(runs, "zoo200", startup_s, setting) for startup_s in startups for setting in settings]
    found = [
        zoo_study.ratios(runs, startup_s, name, measure=measure, match=match) for startup_s in startups for name in names for measure, match in TABLED
    ]
    perfect = [
        {"startup_s": startup_s, "measure": measure, "ratio": zoo_study.perfect(runs, startup_s, measure)}
        for startup_s in startups
        for measure in zoo_study.MEASURES
    ]
    _print(console, runs, found, rows, perfect)
    return {"rows": rows, "ratios": [_ratio_row(one) for one in found], "perfect_prewarm": perfect}


def wide(console: Console) -> Console:
    """Room for a table of thirteen columns where the output is no terminal."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    return console


def _counter(console: Any, total: int) -> Any:
    """Says every tenth of the jobs."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done * 10 // total != (done - 1) * 10 // total:
            console.print(f"{done} of {total} member-days", style="dim")

    return count


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _ratio_row(one: Ratio) -> dict[str, Any]:
    """NaN and infinity are None: unreached."""
    return {
        "startup_s": one.startup_s,
        "policy": one.policy,
        "measure": one.measure,
        "equal": one.match,
        "gpu_hours": _finite(one.hours),
        "ratio": _finite(one.over.value),
        "ci_low": _finite(one.over.low),
        "ci_high": _finite(one.over.high),
        "target": one.target,
        "met": one.met,
    }


def _print(console: Any, runs: Runs, found: list[Ratio], rows: list[dict[str, Any]], known: list[dict[str, Any]]) -> None:
    from rich.table import Table

    points = Table(title=f"Zoo: {runs.members} members, {runs.seeds} seeds, one day")
    for name in (
        "startup s",
        "policy",
        "knob",
        "cold starts",
        "starts",
        "cold %",
        "rate %",
        "idle h",
        "of it > 1 min",
        "starting h",
        "USD",
        "asleep h",
        "wait p50",
        "wait p95",
    ):
        points.add_column(name, justify="right")
    for one in rows:
        points.add_row(
            f"{one['startup_s']:g}", one["policy"], "auto" if one["policy"].startswith("jevons") and not one["setting"] else f"{one['setting']:g}",
            f"{one['cold_starts']:.0f}", f"{one['starts']:.0f}", f"{100 * one['cold_share']:.2f}", f"{100 * one['cold_rate']:.1f}",
            f"{one['idle_gpu_hours']:.0f}",
            f"{one['idle_stretch_gpu_hours']:.0f}", f"{one['starting_gpu_hours']:.0f}", f"{one['usd']:.0f}", f"{one['resting_hours']:.0f}",
            f"{one['wait_p50_s']:.0f}", f"{one['wait_p95_s']:.0f}",
        )  # fmt: skip
    console.print(points)
    table = Table(title="Idle and starting GPU-hours over KEDA's (300 s) at its cold starts; 95 % intervals over members and seeds")
    for name in ("startup s", "policy", "at its cold starts", "target", "at its mean rate", "target", "all idleness, at its cold starts"):
        table.add_column(name, justify="right")
    for ratio in found:
        if (ratio.measure, ratio.match) == TABLED[0]:
            other, strict = (one for one in found if (one.startup_s, one.policy) == (ratio.startup_s, ratio.policy) and one is not ratio)
            table.add_row(f"{ratio.startup_s:g}", ratio.policy, _said(ratio), _verdict(ratio), _said(other), _verdict(other), _said(strict))
    for startup_s in dict.fromkeys(one["startup_s"] for one in known):
        values = [f"{one['ratio']:.2f}" for one in known if one["startup_s"] == startup_s]
        table.add_row(f"{startup_s:g}", "perfect pre-warm", values[0], "", values[0], "", values[1])
    console.print(table)


def _verdict(one: Ratio) -> str:
    return "" if one.target is None else f"<= {one.target:.2f} {'met' if one.met else 'MISSED'}"


def _said(one: Ratio) -> str:
    if not math.isfinite(one.over.value):
        return "unreached"
    return f"{one.over.value:.2f} ({one.over.low:.2f} .. {'unreached' if not math.isfinite(one.over.high) else format(one.over.high, '.2f')})"


def _chains(console: Any, work: list[MemberJob], results: list[Any]) -> list[dict[str, Any]]:
    """The second table: B of each pair, which A's calls foretell."""
    from rich.table import Table

    from jevons.simulator.protocol import zoo_study

    runs = zoo_study.gathered(work, results)
    rows = [zoo_study.row(runs, "agent-chains", CHAIN_STARTUP_S, setting) for setting in work[0].settings]
    table = Table(
        title=f"B of {runs.members} agent chains, startup {CHAIN_STARTUP_S:g} s. `jevons-alone` does not hear A; `co-wake` is told that A matters"
    )
    for name in ("policy", "knob", "requests", "cold starts", "cold %", "idle + starting h", "wait p50", "wait p95"):
        table.add_column(name, justify="right")
    for one in rows:
        hours = float(one["idle_stretch_gpu_hours"]) + float(one["starting_gpu_hours"])
        table.add_row(
            str(one["policy"]), f"{one['setting']:g}", f"{one['requests']:.0f}", f"{one['cold_starts']:.0f}", f"{100 * float(one['cold_share']):.1f}",
            f"{hours:.1f}", f"{one['wait_p50_s']:.0f}", f"{one['wait_p95_s']:.0f}",
        )  # fmt: skip
    console.print(table)
    return rows
