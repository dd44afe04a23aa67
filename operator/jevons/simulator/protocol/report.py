"""What a study has found, as rows of JSON and as ratios with intervals.

Two kinds of rows, told apart by `attainment_target`:
* null: one setting on one seed's window, as it was run (or the setting along the knob that everybody can look up).
* 0.90, 0.95, 0.99: the cost at that attainment by interpolation over all seeds; `ci_low` and `ci_high` are the 95 % interval of `usd_per_1k_offered`.
  A target that is not reached has null there and `"setting": "unreached"`.

A row has the columns that the benchmark's design names and no others (`peer_tier` is "default" for who has no tiers: Jevons, and reference points);
`details` has, row by row, what else there is to know of it. Ratios are ours over theirs, below 1 we are cheaper; null stands for what JSON has no
number for, `unreached` says by whom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jevons.simulator.protocol import mixed
from jevons.simulator.protocol.bootstrap import Interval, cost_interval, ratio_interval, whole
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.front import TARGETS, effective, neighbours
from jevons.simulator.protocol.policies import ARMS, FORESIGHT, JEVONS, LARGE, ROUTED, Tier
from jevons.simulator.protocol.router import CLASSIFIER
from jevons.simulator.protocol.splits import Split
from jevons.simulator.protocol.study import Entry, Floor, Found

BOUNDS = ("lp", "c-lo")
COLUMNS = (
    *("trace", "fleet", "startup_s", "policy", "peer_tier", "setting", "split", "seed", "attainment_target", "attainment", "offered", "shed", "usd"),
    *("usd_per_1k_offered", "usd_per_slo_answer", "usd_per_correct_slo_answer", "gpu_hours", "starting_gpu_hours", "ttft_p50_s", "ttft_p95_s"),
    *("ttft_p99_s", "scale_events", "quality", "ci_low", "ci_high"),
)
DETAILS = ("worst_window_attainment", "worst_class_attainment", "strict_attainment", "largest_gap_p99_s", "mean_replicas")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Jevons over another at a target. worst_window: whether worst windows and classes bind (the rule) or not (beside it)."""

    cell: Cell
    policy: str
    tier: Tier | None
    target: float
    worst_window: bool
    interval: Interval
    theirs: Interval


def ratios(found: Found) -> list[Ratio]:
    """Against every peer and tier, and against foresight, with the worst window binding and without."""
    made = []
    for entry in found.entries:
        ours = found.of(entry.cell, JEVONS, None)
        if entry.policy in (JEVONS, *ARMS) or ours is None:
            continue
        for target in TARGETS:
            for worst_window in (True, False):
                interval = ratio_interval(ours.points, entry.points, target, worst_window=worst_window)
                theirs = cost_interval(entry.points, target, worst_window=worst_window)
                made.append(Ratio(entry.cell, entry.policy, entry.tier, target, worst_window, interval, theirs))
    return made


@dataclass(frozen=True, slots=True)
class Routing:
    """An arm that routes beside the large model alone, at a target: both in USD per 1,000 right answers in time.

    quality: over all its runs at the setting that just reaches the target; NaN where none does.
    """

    cell: Cell
    router: str
    target: float
    ours: Interval
    large: Interval
    ratio: Interval
    quality: float


def routings(found: Found) -> list[Routing]:
    """What every router is worth."""
    made = []
    for entry in found.entries:
        large = found.of(entry.cell, LARGE, None)
        if entry.policy != ROUTED or large is None:
            continue
        for target in TARGETS:
            ours, theirs = (cost_interval(one.points, target, per_correct=True) for one in (entry, large))
            ratio = ratio_interval(entry.points, large.points, target, per_correct=True)
            made.append(Routing(entry.cell, entry.router, target, ours, theirs, ratio, _quality(entry, target)))
    return made


def _quality(entry: Entry, target: float) -> float:
    attainment, worst, cost = (column[0] for column in entry.points.at(whole(len(entry.points.offered))))
    between = neighbours(effective(attainment, worst), cost, target)
    return math.nan if between is None else float(np.mean([one.quality for one in entry.runs[between[1]]]))


def rows(found: Found) -> list[dict[str, Any]]:
    """All rows, each with `COLUMNS` and `DETAILS`."""
    made: list[dict[str, Any]] = []
    for entry in found.entries:
        for setting, seeds in zip(entry.settings, entry.runs, strict=True):
            made.extend(_row(entry, mixed.described(entry.cell, entry.policy, setting), seed, [figures]) for seed, figures in enumerate(seeds))
        made.extend(_matched(entry, target) for target in TARGETS)
    for floor in found.floors:
        made.extend(_bound(floor, name, at) for name in BOUNDS for at in range(len(TARGETS)))
    return made


def _row(entry: Entry, setting: str, seed: int | None, runs: Sequence[Figures]) -> dict[str, Any]:
    """Sums and means of `runs`: one seed's, or all."""
    offered, hits, usd = (sum(getattr(one, name) for one in runs) for name in ("offered", "met", "usd"))
    return (
        _base(entry.cell, entry.policy, entry.tier)
        | {
            "setting": _marked(entry.cell, setting),
            "seed": seed,
            "attainment": _ratio(hits, offered),
            "offered": offered,
            "shed": sum(one.shed for one in runs),
            "usd": usd,
            "usd_per_1k_offered": _ratio(1000.0 * usd, offered),
            "usd_per_slo_answer": _ratio(usd, hits),
            "usd_per_correct_slo_answer": _ratio(usd, sum(one.correct for one in runs)),
            "quality": float(np.mean([one.quality for one in runs])),
            "gpu_hours": sum(one.gpu_hours for one in runs),
            "starting_gpu_hours": sum(one.starting_gpu_hours for one in runs),
            "scale_events": sum(one.scale_events for one in runs),
            "worst_window_attainment": min(one.worst_window for one in runs),
            "worst_class_attainment": min(one.worst_class for one in runs),
            "strict_attainment": _ratio(sum(one.strict * one.offered for one in runs), offered),
            "largest_gap_p99_s": _number(float(np.mean([one.largest_gap_p99_s for one in runs]))),
            "mean_replicas": _number(float(np.mean([one.mean_replicas for one in runs]))),
        }
        | {f"ttft_{point}_s": _number(float(np.mean([getattr(one, f"ttft_{point}_s") for one in runs]))) for point in ("p50", "p95", "p99")}
    )


def _matched(entry: Entry, target: float) -> dict[str, Any]:
    """The cost at a target, with the figures of the two settings it lies between mixed in the same proportion."""
    attainment, worst, cost = (column[0] for column in entry.points.at(whole(len(entry.points.offered))))
    reached = effective(attainment, worst)
    between = neighbours(reached, cost, target)
    interval = cost_interval(entry.points, target)
    if between is None:
        blank = _row(entry, "", None, entry.runs[int(np.argmax(reached))])
        setting = f"unreached (router={entry.router})" if entry.router not in ("", CLASSIFIER) else "unreached"
        return (
            dict.fromkeys(blank)
            | _base(entry.cell, entry.policy, entry.tier)
            | {"setting": _marked(entry.cell, setting), "attainment_target": target}
        )
    low, high = between
    share = (target - reached[low]) / (reached[high] - reached[low]) if high != low else 1.0
    names = [mixed.described(entry.cell, entry.policy, entry.settings[at]) for at in between]
    one, other = (_row(entry, "", None, entry.runs[at]) for at in between)
    blend = {name: _mix(one[name], other[name], share) for name in other}
    return blend | {
        "setting": _marked(entry.cell, names[1] if low == high else f"{1 - share:.2f} x ({names[0]}) + {share:.2f} x ({names[1]})"),
        "attainment_target": target,
        "usd_per_1k_offered": _number(interval.value),
        "ci_low": _number(interval.low),
        "ci_high": _number(interval.high),
    }


def _marked(cell: Cell, setting: str) -> str:
    """With what is special about its cell in front."""
    return ": ".join(word for word in ("mixed" if cell.mix else "", cell.condition, setting) if word)


def _bound(floor: Floor, name: str, at: int) -> dict[str, Any]:
    """A lower bound's cost over all seeds."""
    of = [getattr(bounds, name.replace("-", "_"))[at] for bounds in floor.bounds]
    offered, usd = sum(one.offered for one in of), sum(one.usd for one in of)
    row = dict.fromkeys((*COLUMNS, *DETAILS)) | _base(floor.cell, name, None)
    gaps = [one.duality_gap for one in of if math.isfinite(one.duality_gap)]
    return row | {
        "setting": f"duality gap {max(gaps):.1%}" if gaps else "proven",
        "attainment_target": TARGETS[at],
        "attainment": TARGETS[at],
        "offered": offered,
        "usd": _number(usd),
        "usd_per_1k_offered": _ratio(1000.0 * usd, offered),
    }


def _base(cell: Cell, policy: str, tier: Tier | None) -> dict[str, Any]:
    return {
        "trace": cell.trace,
        "fleet": cell.fleet,
        "startup_s": cell.startup_s,
        "policy": policy,
        "peer_tier": (tier or Tier.DEFAULT).value,
        "split": Split.TEST.value,
        "attainment_target": None,
        "seed": None,
        "ci_low": None,
        "ci_high": None,
    }


def document(found: Found, made: Iterable[Ratio], notes: dict[str, Any]) -> dict[str, Any]:
    """Everything, ready for JSON."""
    cells = list(dict.fromkeys(entry.cell for entry in found.entries))
    every = rows(found)
    return {
        "benchmark": "autoscale",
        **notes,
        "cells": [_cell(cell) for cell in cells],
        "rows": [{name: row[name] for name in COLUMNS} for row in every],
        "details": [{name: row[name] for name in DETAILS} for row in every],
        "ratios": [
            {
                **{
                    name: value
                    for name, value in _base(one.cell, one.policy, one.tier).items()
                    if name in ("trace", "fleet", "startup_s", "policy", "peer_tier")
                },
                "condition": one.cell.condition or None,
                "attainment_target": one.target,
                "worst_window_binds": one.worst_window,
                "ratio": _number(one.interval.value),
                "ci_low": _number(one.interval.low),
                "ci_high": _number(one.interval.high),
                "unreached": unreached(one.interval.value),
            }
            for one in made
        ],
        "routing": [
            {
                "trace": one.cell.trace,
                "fleet": one.cell.fleet,
                "startup_s": one.cell.startup_s,
                "router": one.router,
                "attainment_target": one.target,
                "usd_per_1k_correct_slo_answers": _number(one.ours.value),
                "always_large_usd_per_1k_correct_slo_answers": _number(one.large.value),
                "ratio": _number(one.ratio.value),
                "ci_low": _number(one.ratio.low),
                "ci_high": _number(one.ratio.high),
                "quality": _number(one.quality),
            }
            for one in routings(found)
        ],
    }


def unreached(ratio: float) -> str | None:
    """Who does not reach the target, by the ratio: `peer`, `jevons`, `both`, or nobody."""
    if math.isnan(ratio):
        return "both"
    return "peer" if ratio == 0 else "jevons" if math.isinf(ratio) else None


def _cell(cell: Cell) -> dict[str, Any]:
    """How the cell was made."""
    machine = cell.machine
    return {
        "trace": cell.trace,
        "fleet": cell.fleet,
        "startup_s": cell.startup_s,
        "needed_static_at_95": cell.needed,
        "max_replicas": cell.max_replicas,
        "burn_in_s": cell.burn_in_s,
        "machine": machine.name,
        "profile": asdict(machine.profile),
        "usd_per_replica_hour": machine.usd_per_h,
        "ttft_s": cell.objectives.ttft_s,
        "itl_s": cell.objectives.itl_s,
        "slowdown": cell.slowdown,
        "condition": cell.condition or None,
        "mix": {one.name: one.usd_per_h for one in cell.mix} or None,
        "clients": len(cell.clients) or None,
        "large": cell.pair.large.name if cell.pair else None,
        "small": cell.pair.small.name if cell.pair else None,
        "note": cell.note,
    }


def _mix(low: Any, high: Any, share: float) -> Any:
    """Between two figures; a name stays a name."""
    if isinstance(low, int | float) and isinstance(high, int | float):
        return low + share * (high - low)
    return high


def _ratio(above: float, below: float) -> float | None:
    return _number(above / below) if below else None


def _number(value: float) -> float | None:
    """A number JSON can hold."""
    return value if math.isfinite(value) else None


def tier_name(policy: str, tier: Tier | None) -> str:
    """The tier's name; what it means for those that have none."""
    return tier.value if tier is not None else {FORESIGHT: "knows the future", JEVONS: "fixed"}.get(policy, "")
