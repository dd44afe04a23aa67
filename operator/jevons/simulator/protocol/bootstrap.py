"""Intervals of costs and of ratios of costs: the same blocks and seeds are drawn for everybody, so that what is hard for all cancels.

A unit is one block (about 30 minutes) of one seed. A resample draws as many units as there are, with replacement; every point's attainment and
cost, the front, and the cost at the target are then computed anew. A resample in which a system does not reach the target costs it infinity.
The worst window of a resample is the mean over its seeds of each run's worst window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.front import cost_at, effective
from jevons.simulator.scenario import Floats

RESAMPLES = 1000
MORE = 95.0


@dataclass(frozen=True, slots=True)
class Points:
    """The settings of one system over the same units.

    offered, seed: [units]; met, usd, correct: [settings, units]; worst: [settings, seeds].
    """

    offered: Floats
    met: Floats
    usd: Floats
    worst: Floats
    seed: Floats
    correct: Floats

    @classmethod
    def of(cls, runs: Sequence[Sequence[Figures]]) -> Points:
        """`runs[setting][seed]`. Raises ValueError when settings were run on different seeds or windows."""
        if len({tuple(len(one.blocks) for one in seeds) for seeds in runs}) != 1:
            raise ValueError("every setting must have run on the same seeds and windows")
        tables = np.array([np.concatenate([one.blocks for one in seeds]) for seeds in runs])
        return cls(
            offered=tables[0, :, 0],
            met=tables[:, :, 1],
            usd=tables[:, :, 2],
            worst=np.array([[one.worst for one in seeds] for seeds in runs]),
            seed=np.repeat(np.arange(len(runs[0])), [len(one.blocks) for one in runs[0]]).astype(np.float64),
            correct=tables[:, :, 3],
        )

    def at(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Attainment, worst window and cost per 1,000 offered, each [resamples, settings], for unit `weights` [resamples, units]."""
        offered = np.maximum(weights @ self.offered, 1e-12)[:, None]
        seeds = np.arange(self.worst.shape[1])
        by_seed = weights @ (self.seed[:, None] == seeds)
        worst = by_seed @ np.nan_to_num(self.worst, nan=1.0).T / by_seed.sum(axis=1, keepdims=True)
        return weights @ self.met.T / offered, worst, 1000.0 * (weights @ self.usd.T) / offered

    def costs(self, weights: Floats, target: float, *, worst_window: bool = True, per_correct: bool = False) -> Floats:
        """Cost at `target` per resample; NaN = unreached. worst_window: whether worst windows bind. per_correct: of 1,000 right answers in time."""
        attainment, worst, cost = self.at(weights)
        if per_correct:
            cost = 1000.0 * (weights @ self.usd.T) / np.maximum(weights @ self.correct.T, 1e-12)
        return cost_at(effective(attainment, worst) if worst_window else attainment, cost, target)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval. NaN = not defined (unreached)."""

    value: float
    low: float = math.nan
    high: float = math.nan


def whole(units: int) -> Floats:
    """The weights of the data as they are."""
    return np.ones((1, units))


def resamples(units: int, *, seed: int = 0, count: int = RESAMPLES) -> Floats:
    """How often each unit is drawn, [count, units]; the same for every system with that many units."""
    return np.random.default_rng([seed, 5]).multinomial(units, np.full(units, 1.0 / units), size=count).astype(np.float64)


def interval(value: float, drawn: Floats) -> Interval:
    """The middle 95 % of `drawn`; infinities count, what is not a number does not."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or math.isnan(value):
        return Interval(value)
    low, high = np.percentile(drawn, ((100 - MORE) / 2, (100 + MORE) / 2), method="nearest")
    return Interval(value, float(low), float(high))


def cost_interval(points: Points, target: float, *, count: int = RESAMPLES, **how: bool) -> Interval:
    """USD per 1,000 offered at `target`. how: see `Points.costs`."""
    units = len(points.offered)
    drawn = points.costs(resamples(units, count=count), target, **how)
    return interval(float(points.costs(whole(units), target, **how)[0]), np.where(np.isnan(drawn), np.inf, drawn))


def ratio_interval(ours: Points, theirs: Points, target: float, *, count: int = RESAMPLES, **how: bool) -> Interval:
    """Our cost over theirs at `target`, paired: below 1 we are cheaper. 0 = only we reach it, infinite = only they do, NaN = nobody.

    Raises ValueError when the two did not run on the same units.
    """
    if ours.offered.shape != theirs.offered.shape or not np.array_equal(ours.offered, theirs.offered):
        raise ValueError("systems ran on different windows; a paired interval needs the same ones")
    units = len(ours.offered)
    values = []
    for weights in (whole(units), resamples(units, count=count)):
        one, other = (points.costs(weights, target, **how) for points in (ours, theirs))
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isnan(one), np.inf, one) / np.where(np.isnan(other), np.inf, other)
        values.append(ratio)
    return interval(float(values[0][0]), values[1])
