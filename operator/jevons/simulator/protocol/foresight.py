"""What knowing the future achieves (C_up): plans made from the window's own requests and replayed in the simulator, the cheapest that reaches A.

Not a bound: it can be done, by somebody who knows. Plans come from the relaxed world of `reference.misses`: the n_t that a dynamic programme
finds for a price of misses. That world starts every bin empty, so a plan is held for some bins before and after, and raised by a margin. Replicas are ordered
a startup time ahead. Prices, holds and margins are the settings; static fleets are plans too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jevons.simulator import competitors
from jevons.simulator.protocol.reference import BIN_S, misses, plan
from jevons.simulator.scenario import Controller, Floats, Scenario

EARLY_S = BIN_S + 5.0
"""Ordered so much before a startup time ahead: the schedule moves at multiples of a bin."""


@dataclass(frozen=True, slots=True)
class Plan:
    """USD a miss is taken to cost, in starts of a replica; bins that each n_t is held around its own; margin on top."""

    miss_cost: float
    hold: int
    margin: float


SETTINGS = tuple(Plan(cost, hold, margin) for cost in (0.003, 0.02, 0.1, 0.6, 4.0) for hold in (1, 3, 8) for margin in (1.0, 1.25, 1.6))
FEW = SETTINGS[1::4]


def controllers(scenario: Scenario, settings: tuple[Plan, ...]) -> list[Controller]:
    """One schedule per setting, for this scenario only."""
    variant = scenario.variants[0]
    end_s = float(scenario.requests.at_s[-1]) + 1e-6
    missed = misses(scenario, scenario.requests, from_s=0.0, to_s=end_s)
    return [_controller(scenario, missed, setting, variant.startup.median_s) for setting in settings]


def _controller(scenario: Scenario, missed: Floats, setting: Plan, startup_s: float) -> Controller:
    variant = scenario.variants[0]
    per_s = variant.usd_per_h / 3600.0
    start = per_s * startup_s
    chosen, _ = plan(missed, price=per_s * BIN_S, start=start, mu=setting.miss_cost * per_s * 120.0)
    held = spread(chosen, before=setting.hold // 2, after=setting.hold)
    wanted = np.minimum(np.ceil(held * setting.margin - 1e-9), variant.max_replicas).astype(np.int64)
    ahead = math.ceil((startup_s + EARLY_S) / BIN_S)
    ordered = spread(wanted, before=ahead, after=0)
    changes = np.flatnonzero(np.diff(ordered, prepend=-1))
    return competitors.schedule([float(at) * BIN_S for at in changes], [int(ordered[at]) for at in changes])


def spread(levels: NDArray[np.int64], *, before: int, after: int) -> NDArray[np.int64]:
    """Each bin's highest level from `after` bins back to `before` bins ahead. Example: 0 0 3 0, one before -> 0 3 3 0."""
    padded = np.concatenate([np.full(after, levels[0]), levels, np.full(before, levels[-1])])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, before + after + 1).max(axis=1), np.int64)
