"""What knowing the future achieves with several variants at once: mixes planned from the window's own requests, replayed in the simulator.

Not a bound: it can be done, by somebody who knows. A mix is a number of replicas of each variant, of at most two kinds. Every mix worth considering
serves the whole window once as a static fleet, which tells what it misses of each 15 seconds' arrivals; a dynamic programme then chooses a mix for
each of them, for a price of misses, with the starts paid that every change takes. The plan is held for some bins before and after, ordered a startup
time ahead, and replayed, requests shared out by capacity over what is ready. `alone` plans know one kind at a time: beside the others they say what
mixing itself is worth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jevons.simulator import competitors
from jevons.simulator.protocol.foresight import EARLY_S, MISS_S, spread
from jevons.simulator.protocol.reference import BIN_S
from jevons.simulator.scenario import Controller, Floats, Scenario, inside
from jevons.simulator.world import simulate

Mix = tuple[int, ...]
"""Replicas by variant."""
ENOUGH = 0.998
"""A mix that meets this share of the requests need not grow."""
LOST = 0.4
"""A mix that meets less than this is nobody's."""
MOST_MIXES = 24
STEPS = 1.3
"""From one number of replicas to the next larger one that is tried, at least one more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """miss: what a miss costs (1 = MISS_S seconds of the cheapest replica); hold: bins that a mix is held; alone: one variant at a time.

    fixed (0..1): instead of all that, one mix throughout, at this place between the cheapest and the dearest of those that are worth their price.
    """

    miss: float = 0.0
    hold: int = 0
    alone: bool = False
    fixed: float | None = None


SETTINGS = (
    *(Plan(miss, hold, alone) for alone in (True, False) for miss in (0.01, 0.04, 0.12, 0.4, 1.2, 4.0) for hold in (1, 4, 12)),
    *(Plan(fixed=at / 9.0) for at in range(10)),
)
FEW = (
    *(Plan(miss, 4, alone) for alone in (True, False) for miss in (0.02, 0.12, 0.6, 3.0)),
    *(Plan(fixed=at / 5.0) for at in range(6)),
)


def controllers(scenario: Scenario, settings: Sequence[Plan]) -> list[Controller]:
    """One schedule per setting, for this scenario only."""
    every = _tried(scenario)
    single = {mix: missed for mix, missed in every.items() if sum(count > 0 for count in mix) == 1}
    return [_controller(scenario, _levels(scenario, single if one.alone else every, one)) for one in settings]


def _tried(scenario: Scenario) -> dict[Mix, Floats]:
    """Misses by bin of every mix that is considered, each as a static fleet: of one kind, then of two that are less than enough each."""
    found: dict[Mix, Floats] = {}
    arrived = _by_bin(scenario, np.ones(len(scenario.requests), bool))
    few: list[list[int]] = []
    for index, variant in enumerate(scenario.variants):
        count, counts = 1, []
        while count <= variant.max_replicas:
            mix = tuple(count if at == index else 0 for at in range(len(scenario.variants)))
            missed = _missed(scenario, mix)
            met = 1.0 - missed.sum() / arrived.sum()
            if met >= LOST:
                found[mix] = missed
            if met >= ENOUGH:
                break
            counts.append(count)
            count = max(count + 1, math.floor(count * STEPS))
        few.append(counts)
    limit = _dearest(scenario, found)
    pairs = []
    for one, other in itertools.combinations(range(len(scenario.variants)), 2):
        for first, second in itertools.product(few[one], few[other]):
            mix = tuple(first if at == one else second if at == other else 0 for at in range(len(scenario.variants)))
            if _usd_per_h(scenario, mix) <= limit:
                pairs.append(mix)
    pairs.sort(key=lambda mix: _usd_per_h(scenario, mix))
    for mix in pairs[:: max(1, math.ceil(len(pairs) / MOST_MIXES))]:
        missed = _missed(scenario, mix)
        if missed.sum() <= (1.0 - LOST) * arrived.sum():
            found[mix] = missed
    return found


def _usd_per_h(scenario: Scenario, mix: Mix) -> float:
    return sum(variant.usd_per_h * count for variant, count in zip(scenario.variants, mix, strict=True))


def _dearest(scenario: Scenario, found: dict[Mix, Floats]) -> float:
    """The price [USD/h] of the cheapest mix that misses hardly more than any."""
    fewest = min(float(missed.sum()) for missed in found.values())
    return min(_usd_per_h(scenario, mix) for mix, missed in found.items() if missed.sum() <= 1.5 * fewest + 1.0)


def _missed(scenario: Scenario, mix: Mix) -> Floats:
    """Misses by bin when these replicas serve the window from the beginning to the end."""
    counts = {variant.name: count for variant, count in zip(scenario.variants, mix, strict=True)}
    outcome = simulate(scenario, competitors.shared(competitors.static(counts), scenario))
    with np.errstate(invalid="ignore"):
        met = inside(scenario.requests, outcome.first_token_s, outcome.end_s, scenario.objectives)
    return _by_bin(scenario, ~met)


def _by_bin(scenario: Scenario, which: NDArray[np.bool_]) -> Floats:
    at = (scenario.requests.at_s / BIN_S).astype(np.int64)
    return np.asarray(np.bincount(at[which], minlength=int(at[-1]) + 1), np.float64)


def plan(missed: Floats, prices: Floats, starts: Floats, mu: float) -> NDArray[np.int64]:
    """By bin the mix that minimises price + starts + mu x misses. missed: [bins, mixes]; prices: of a mix for a bin; starts: from mix to mix.

    Example: two mixes that miss (0, 5) and (5, 0), prices 1, starts 2, mu 1 -> the first, then the second.
    """
    bins, states = missed.shape
    value = prices + mu * missed[0]
    source = np.zeros((bins, states), np.int64)
    for at in range(1, bins):
        reached = value[:, None] + starts
        source[at] = reached.argmin(axis=0)
        value = reached.min(axis=0) + prices + mu * missed[at]
    chosen = np.zeros(bins, np.int64)
    chosen[-1] = int(value.argmin())
    for at in range(bins - 1, 0, -1):
        chosen[at - 1] = source[at, chosen[at]]
    return chosen


def _levels(scenario: Scenario, tried: dict[Mix, Floats], setting: Plan) -> NDArray[np.int64]:
    """Replicas wanted in each bin, [bins, variants]."""
    mixes = sorted(tried, key=lambda mix: (_usd_per_h(scenario, mix), mix))
    counts = np.array(mixes, np.int64)
    bins = len(tried[mixes[0]])
    if setting.fixed is not None:
        worth, fewest = [], math.inf
        for index, mix in enumerate(mixes):
            if tried[mix].sum() < fewest:
                worth.append(index)
                fewest = float(tried[mix].sum())
        return np.tile(counts[worth[round(setting.fixed * (len(worth) - 1))]], (bins, 1))
    usd = np.array([variant.usd_per_h / 3600.0 for variant in scenario.variants])
    start = usd * np.array([variant.startup.median_s for variant in scenario.variants])
    starts = (np.maximum(0, counts[None, :, :] - counts[:, None, :]) * start).sum(axis=2)
    missed = np.stack([tried[mix] for mix in mixes], axis=1)
    chosen = counts[plan(missed, counts @ usd * BIN_S, starts, setting.miss * float(usd.min()) * MISS_S)]
    return np.stack([spread(row, before=setting.hold // 2, after=setting.hold) for row in chosen.T], axis=1)


def _controller(scenario: Scenario, wanted: NDArray[np.int64]) -> Controller:
    """The schedule that has these replicas ready in time."""
    ordered = np.stack(
        [
            spread(row, before=math.ceil((variant.startup.median_s + EARLY_S) / BIN_S), after=0)
            for row, variant in zip(wanted.T, scenario.variants, strict=True)
        ],
        axis=1,
    )
    changes = [at for at in range(len(ordered)) if not at or (ordered[at] != ordered[at - 1]).any()]
    names = [variant.name for variant in scenario.variants]
    mixes = [dict(zip(names, ordered[at].tolist(), strict=True)) for at in changes]
    return competitors.shared(competitors.schedule([at * BIN_S for at in changes], mixes), scenario)
