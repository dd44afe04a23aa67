"""Pareto plots of a cell: cost over attainment, every setting a dot, every front a line; one picture as PNG and SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jevons.simulator.protocol.bootstrap import whole
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.protocol.front import TARGETS, effective, pareto
from jevons.simulator.protocol.policies import ARMS, JEVONS, LARGE, MIN_QUALITY, ROUTED, Tier
from jevons.simulator.protocol.report import routings, tier_name
from jevons.simulator.protocol.study import Entry, Floor, Found
from jevons.simulator.protocol.tables import routing_title, title

SHOWN = 0.95
STYLES = {Tier.DEFAULT: ":", Tier.OTHER_TRACES: "--", Tier.THIS_TRACE: "-", None: "-"}


def draw(cell: Cell, found: Found, folder: Path) -> list[Path]:
    """The cell's pictures; returns the files. Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    entries = [entry for entry in found.entries if entry.cell == cell and entry.policy not in ARMS]
    names = list(dict.fromkeys(entry.policy for entry in entries))
    for entry in entries:
        _line(axes, entry, "black" if entry.policy == JEVONS else f"C{names.index(entry.policy)}")
    for floor in found.floors:
        if floor.cell == cell:
            _bounds(axes, floor)
    for target in TARGETS:
        axes.axvline(target, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel="attainment (worst 10-minute window within 10 points)", ylabel="USD per 1,000 offered requests", yscale="log", xlim=(0.5, 1.005))
    axes.set_title(title(cell).split("; ")[0], fontsize=8, wrap=True)
    if entries:
        axes.legend(fontsize=7, ncols=2)
    return [*_saved(figure, cell, folder, ""), *_routing(cell, found, folder)]


def _routing(cell: Cell, found: Found, folder: Path) -> list[Path]:
    """What a right answer costs by the router, over the quality that was kept, at `SHOWN`; no files where nothing is routed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = [one for one in routings(found) if one.cell == cell and one.target == SHOWN and math.isfinite(one.quality)]
    if not made or cell.own_dispatcher:
        return []
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([1.0], [made[0].large.value], "s", color="black", label=LARGE)
    for at, one in enumerate(made):
        axes.plot([one.quality], [one.ours.value], "o", color=f"C{at}", label=f"{ROUTED}: {one.router}")
    axes.axvline(MIN_QUALITY, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel="right answers over the large model's", ylabel=f"USD per 1,000 right answers in time, {SHOWN:.0%} inside")
    axes.set_title(routing_title(cell), fontsize=8, wrap=True)
    axes.legend(fontsize=7)
    return _saved(figure, cell, folder, "-routing")


def _saved(figure: Any, cell: Cell, folder: Path, what: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{cell.trace}-fleet{cell.fleet}-startup{cell.startup_s:g}{'-own-dispatcher' if cell.own_dispatcher else ''}{what}"
    stem = re.sub(r"[^A-Za-z0-9.-]+", "-", name)
    files = [folder / f"{stem}.{kind}" for kind in ("png", "svg")]
    for file in files:
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files


def _line(axes: Any, entry: Entry, colour: str) -> None:
    attainment, worst, cost = (column[0] for column in entry.points.at(whole(len(entry.points.offered))))
    reached = effective(attainment, worst)
    front = pareto(reached, cost)
    label = f"{entry.policy} ({tier_name(entry.policy, entry.tier)})"
    wide = 2.2 if entry.policy == JEVONS else 1.1
    axes.plot(reached[front], cost[front], STYLES[entry.tier], color=colour, linewidth=wide, marker="o", markersize=3, label=label)
    axes.plot(reached, cost, ".", color=colour, markersize=2, alpha=0.4)


def _bounds(axes: Any, floor: Floor) -> None:
    for name, marker in (("lp", "v"), ("c_lo", "^")):
        per_1k: Sequence[float] = [
            1000.0 * sum(getattr(one, name)[at].usd for one in floor.bounds) / max(1, sum(getattr(one, name)[at].offered for one in floor.bounds))
            for at in range(len(TARGETS))
        ]
        points = [(target, cost) for target, cost in zip(TARGETS, per_1k, strict=True) if math.isfinite(cost) and cost > 0]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color="0.4", markersize=5, label=f"{name.replace('_', '-')} (lower bound)")
