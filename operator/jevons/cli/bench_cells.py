"""Which traces, machines and policies `jevons bench autoscale` was asked for; what cannot be used is said in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from jevons.core.spec import Objectives
    from jevons.simulator.protocol.cell import Cell, Machine
    from jevons.simulator.protocol.study import Effort

USD_PER_GPU_H = {"h100_sxm": 6.88, "a100_sxm": 3.673, "l40s": 1.861, "l4": 0.8048}
"""On demand, by the year 2026; GPUs without a list price of the same kind are left out."""
TIERS = ("default", "other-traces", "this-trace")
SHORTEST_S = 900.0
"""A window that is scored has at least this."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One comparison to be made: a trace that shall need about `fleet` replicas, at each of `startups`."""

    data: Path
    name: str
    machines: tuple[Machine, ...]
    fleet: int
    startups: tuple[float, ...]
    objectives: Objectives
    slowdown: float
    effort: Effort
    mixed: bool = False


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


MIXED_MODEL = "llama-3.1-70b/"
"""The one that the profile table has on most accelerators and in most precisions."""


def cells_of(ask: Ask) -> list[Cell] | str:
    """A cell per startup time, whose windows can all be had; or why there is none, in a sentence."""
    from jevons.simulator.protocol.jobs import traces_of
    from jevons.simulator.protocol.sizing import mix_of, sized
    from jevons.simulator.protocol.splits import Split, requests_of

    trace = traces_of(ask.data)[ask.name]
    try:
        cell = sized(trace, ask.machines, name=ask.name, fleet=ask.fleet, startup_s=0.0, objectives=ask.objectives)
        cell = mix_of(trace, cell, ask.machines) if ask.mixed else cell
        made = [replace(cell, startup_s=seconds, slowdown=ask.slowdown) for seconds in ask.startups]
        longest = max(made, key=lambda one: one.burn_in_s)
        for split, seeds in ((Split.FIT, (100, 101)), (Split.TEST, range(ask.effort.seeds))):
            if (room_s := cell.fit_s if split is Split.FIT else cell.test_s) < longest.burn_in_s + SHORTEST_S:
                least = longest.burn_in_s + SHORTEST_S
                return f"{ask.name}: its {split} part has {room_s / 60:.0f} min without gaps, {least / 60:.0f} are needed; take a longer recording"
            for seed in seeds:
                window = longest.window(split, seed, ask.effort.test_s if split is Split.TEST else ask.effort.fit_s)
                requests_of(trace, cell.clients, window, burn_in_s=longest.burn_in_s, peak_rps=cell.peak_rps)
    except ValueError as error:
        return str(error)
    return made


def traces(data: Path, asked: Sequence[str]) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Names of the traces to compare on, those of the others, and sentences about what could not be read.

    A name may be given by a part of it that no other has. Raises BadParameter for one that is not there.
    """
    from jevons.simulator.protocol.jobs import complaints_of, traces_of
    from jevons.simulator.traces import Zoo
    from jevons.simulator.traces_synthetic import Synthetic

    try:
        found = traces_of(data)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error
    shapes = [name for name, trace in found.items() if isinstance(trace, Synthetic)]
    able = [name for name, trace in found.items() if not isinstance(trace, Zoo | Synthetic)]
    chosen = []
    for name in asked:
        close = [one for one in (*able, *shapes) if one == name] or [one for one in (*able, *shapes) if name.lower() in one.lower()]
        if len(close) != 1:
            raise typer.BadParameter(f"no LLM trace named {name} in {data}; there are {', '.join((*able, *shapes))}", param_hint="--trace")
        chosen += close
    if not able and not asked:
        raise typer.BadParameter(
            "; ".join((f"{data}: no log of LLM requests and no client model in it; put one there", *complaints_of(data))), param_hint="--data"
        )
    names = [name for name in (*able, *shapes) if name in (chosen or able)]
    return names, [name for name in able if name not in names], complaints_of(data)


def tiers_of(asked: Sequence[str]) -> list[Any]:
    """In the order of the tiers. Raises BadParameter for what is none."""
    from jevons.simulator.protocol.policies import Tier

    if unknown := set(asked) - set(TIERS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(TIERS)}", param_hint="--tier")
    return [tier for tier in Tier if tier.value in asked]


def policies_of(asked: Sequence[str]) -> list[str]:
    """Everybody who shall run beside Jevons; all when nobody is named. Raises BadParameter for a name that is none."""
    from jevons.simulator.protocol.policies import COMPETITORS, EVERYBODY, JEVONS

    if unknown := set(asked) - set(EVERYBODY):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(EVERYBODY)}", param_hint="--policy")
    return [name for name in EVERYBODY if name in asked and name != JEVONS] if asked else list(COMPETITORS)
