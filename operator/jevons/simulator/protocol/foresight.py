"""What knowing the future achieves (C_up): plans made from the window's own requests and replayed in the simulator, the cheapest that reaches A.

Not a bound: it can be done, by somebody who knows. There are three kinds of plans, each with a margin:
* priced: the n_t that a dynamic programme finds in the relaxed world of `reference.misses` for a price of misses. That world starts every bin empty,
  so the plan is held for some bins before and after;
* load: the replicas that the arrivals around each bin keep busy;
* static: a fleet of one size, because the best constant is also known to who knows the future.
Replicas are ordered a startup time ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jevons.simulator import competitors
from jevons.simulator.protocol.cell import Machine
from jevons.simulator.protocol.reference import BIN_S, misses, plan
from jevons.simulator.scenario import Controller, Floats, Scenario

EARLY_S = BIN_S + 5.0
"""Ordered so much before a startup time ahead: the schedule moves at multiples of a bin."""
MISS_S = 120.0
"""A miss of cost 1 is worth so many replica-seconds."""


class Kind(StrEnum):
    """How a plan is made."""

    PRICED = "priced"
    LOAD = "load"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class Plan:
    """priced: `level` is the cost of a miss, `hold` bins it is held; load: averaged over `hold` bins each way; static: `level` of the bound."""

    kind: Kind
    level: float = 0.0
    hold: int = 0
    margin: float = 1.0


SETTINGS = (
    *(Plan(Kind.PRICED, cost, hold, margin) for cost in (0.003, 0.02, 0.1, 0.6, 4.0) for hold in (1, 3, 8) for margin in (1.0, 1.25, 1.6)),
    *(Plan(Kind.LOAD, 0.0, hold, margin) for hold in (4, 20) for margin in (0.8, 1.0, 1.2, 1.4, 1.7, 2.2)),
    *(Plan(Kind.STATIC, share) for share in (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)),
)
FEW = (
    *(Plan(Kind.PRICED, cost, 3, margin) for cost in (0.02, 0.6) for margin in (1.0, 1.4)),
    *(Plan(Kind.LOAD, 0.0, 8, margin) for margin in (0.9, 1.2, 1.6, 2.2)),
    *(Plan(Kind.STATIC, share) for share in (0.2, 0.3, 0.4, 0.5)),
)


def controllers(scenario: Scenario, settings: Sequence[Plan]) -> list[Controller]:
    """One schedule per setting, for this scenario only."""
    end_s = float(scenario.requests.at_s[-1]) + 1e-6
    missed = misses(scenario, scenario.requests, from_s=0.0, to_s=end_s)
    work = busy(scenario, bins=len(missed))
    return [_controller(scenario, _levels(scenario, missed, work, setting), setting.margin) for setting in settings]


def busy(scenario: Scenario, *, bins: int) -> Floats:
    """Replicas that each bin's arrivals keep busy for a bin (fluid)."""
    requests, variant = scenario.requests, scenario.variants[0]
    profile = variant.physics.profile
    k_in, outputs = requests.input_tokens / 1000.0, requests.output_tokens
    prefill_s = profile.prefill_p0_s + profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in**2
    each_s = Machine("", profile, 1, 0.0).seconds(1000.0 * float(k_in.mean()), float(outputs.mean()), scenario.objectives.itl_s)
    token_s = max(0.0, each_s - float(prefill_s.mean())) / float(outputs.mean())
    seconds = variant.physics.slowdown * (prefill_s + outputs * token_s)
    at = np.minimum((requests.at_s / BIN_S).astype(np.int64), bins - 1)
    return np.asarray(np.bincount(at, weights=seconds, minlength=bins) / BIN_S, np.float64)


def _levels(scenario: Scenario, missed: Floats, work: Floats, setting: Plan) -> Floats:
    """Replicas wanted in each bin, before the margin."""
    variant = scenario.variants[0]
    if setting.kind is Kind.STATIC:
        return np.full(len(work), setting.level * variant.max_replicas)
    if setting.kind is Kind.LOAD:
        width = 2 * setting.hold + 1
        around = np.convolve(np.pad(work, setting.hold, mode="edge"), np.full(width, 1.0 / width), mode="valid")
        return np.asarray(around, np.float64)
    per_s = variant.usd_per_h / 3600.0
    start = per_s * variant.startup.median_s
    chosen, _ = plan(missed, price=per_s * BIN_S, start=start, mu=setting.level * per_s * MISS_S)
    return spread(chosen, before=setting.hold // 2, after=setting.hold).astype(np.float64)


def _controller(scenario: Scenario, levels: Floats, margin: float) -> Controller:
    """The schedule that has these replicas ready in time."""
    variant = scenario.variants[0]
    wanted = np.clip(np.ceil(levels * margin - 1e-9), 1, variant.max_replicas).astype(np.int64)
    ordered = spread(wanted, before=math.ceil((variant.startup.median_s + EARLY_S) / BIN_S), after=0)
    changes = np.flatnonzero(np.diff(ordered, prepend=-1))
    return competitors.schedule([float(at) * BIN_S for at in changes], [int(ordered[at]) for at in changes])


def spread(levels: NDArray[np.int64], *, before: int, after: int) -> NDArray[np.int64]:
    """Each bin's highest level from `after` bins back to `before` bins ahead. Example: 0 0 3 0, one before -> 0 3 3 0."""
    padded = np.concatenate([np.full(after, levels[0]), levels, np.full(before, levels[-1])])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, before + after + 1).max(axis=1), np.int64)
