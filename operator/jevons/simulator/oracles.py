"""Our operator with one of its parts replaced by somebody who knows: what `regret.py` compares the real one with.

The decision is `core.decide`'s as ever. An oracle changes what it is told, or what it remembers, before each pass:

    forecast   the rate ahead is the truth: the highest mean over a minute from now until a replica ordered now has served for a minute. No doubt
               is added for what a forecast may miss; how bursty arrivals are within a minute is still learned
    capacity   a replica's speed is known exactly, and the share of useful answers moves no margin
    keeping    a replica that is not needed stays exactly when it is needed again before its rent equals a start and what is late meanwhile (at the
               automatic price of lateness: two startup times); so does the last one
    routing    it is known of each request whether the cheaper variant answers it right

Needs that lie ahead come from a run of the real operator on the same traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from jevons.core import forecast, levels, sizing
from jevons.core.memory import DeploymentMemory, Learned, Memory, Trend, VariantMemory
from jevons.core.observed import Known
from jevons.core.snapshot import SCORE_BINS, RouterCurve, Snapshot
from jevons.core.spec import DEFAULT_CLASS
from jevons.simulator.competitors_jevons import Jevons
from jevons.simulator.competitors_spec import EPOCH_S, KEY, JevonsSettings
from jevons.simulator.policies.policy import View
from jevons.simulator.scenario import Floats, Requests, Scenario

STEP_S, MEAN_S = 15.0, 60.0
CERTAIN = Learned(bets=1e12)
"""As if all forecasts there ever were had missed nothing."""
SOON_S = 1.0


class Part(StrEnum):
    """What an oracle may stand in for."""

    FORECAST = "forecast"
    CAPACITY = "capacity"
    KEEPING = "keeping"
    ROUTING = "routing"


@dataclass(frozen=True, slots=True)
class Needs:
    """Replicas that a variant needed over time, as a run of the real operator said. Columns of equal length; times rise."""

    at_s: Floats
    level: Floats


@dataclass(slots=True)
class Diary:
    """Filled by a run: what each variant needed at each pass."""

    rows: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def needs(self) -> dict[str, Needs]:
        """By variant."""
        return {name: Needs(*np.array(rows, np.float64).reshape(-1, 2).T) for name, rows in self.rows.items()}


class Seer(Jevons):
    """`parts` are known; `needs` by variant for `Part.KEEPING`. Everything needed is written into `diary`."""

    def __init__(
        self, scenario: Scenario, settings: JevonsSettings, parts: frozenset[Part] = frozenset(), needs: Mapping[str, Needs] | None = None
    ) -> None:
        super().__init__(scenario, settings)
        self.diary = Diary()
        self._parts, self._needs = parts, needs or {}
        self._rates, self._next_s = rates(scenario.requests), scenario.requests.at_s
        self._shadow: Trend | None = None
        self._idle_after_s = self.spec.scaling.idle_after_s
        self._startup_s = max(variant.startup_s for variant in self.spec.variants)

    def decide(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """One pass; what was needed goes into the diary."""
        wanted = super().decide(now, views)
        for name, variant in self._memory.deployments[KEY].variants.items():
            self.diary.rows.setdefault(name, []).append((now, float(variant.needs[-1][1]) if variant.needs else 0.0))
        return wanted

    def snapshot(self, now: float, views: Mapping[str, View]) -> Snapshot:
        """What the operator sees, and what the oracle whispers."""
        if Part.KEEPING in self._parts and self._idle_after_s is None:
            self.spec = replace(self.spec, scaling=replace(self.spec.scaling, idle_after_s=self._patience_s(now)))
        seen = super().snapshot(now, views)
        memory = seen.memory.deployments.get(KEY, DeploymentMemory())
        if Part.FORECAST in self._parts:
            memory = self._foreseen(seen, memory, now)
        if Part.CAPACITY in self._parts:
            variants = {name: replace(each, slowness=0.0) for name, each in memory.variants.items()}
            memory = replace(memory, variants=variants, attained=None)
        if Part.KEEPING in self._parts:
            memory = replace(memory, variants={name: self._kept(name, each, now) for name, each in memory.variants.items()})
        return replace(seen, memory=Memory({KEY: memory}))

    def _foreseen(self, seen: Snapshot, memory: DeploymentMemory, now: float) -> DeploymentMemory:
        """The trend of the one class replaced by the truth; burstiness and sizes are learned beside it as ever."""
        demand = next(iter(seen.deployments[KEY].demand), None)
        if demand is None or not isinstance(demand.arrivals_per_s, Known):
            return memory
        at, sizes = EPOCH_S + now, None
        if isinstance(demand.input_tokens, Known) and isinstance(demand.output_tokens, Known) and demand.output_tokens.value > 0:
            sizes = (demand.input_tokens.value, demand.output_tokens.value)
        self._shadow = forecast.updated(self._shadow, demand.arrivals_per_s.value, at, self._startup_s, sizes)
        first = int(now / STEP_S)
        last = int((now + self._startup_s + MEAN_S) / STEP_S) + 1
        ahead = float(self._rates[first:last].max(initial=0.0))
        trend = Trend(ahead, at, ahead, self._shadow.dispersion, None, CERTAIN, (), self._shadow.since_s, self._shadow.tokens)
        return replace(memory, trends={DEFAULT_CLASS: trend})

    def _kept(self, name: str, variant: VariantMemory, now: float) -> VariantMemory:
        """A staircase on which exactly the levels stand that are needed again in time."""
        known = self._needs.get(name)
        if known is None or not variant.needs:
            return variant
        first, last = np.searchsorted(known.at_s, (now, now + rent_s(self.spec.variant(name).startup_s)))
        level = int(known.level[first:last].max(initial=0.0))
        low = variant.needs[-1][1]
        at = EPOCH_S + now
        return replace(variant, gaps=(), needs=((at, level), (at, low)) if level > low else ((at, low),))

    def _patience_s(self, now: float) -> float:
        """How long an idle model stays: for good when somebody comes before the rent equals a start, else not at all."""
        index = int(np.searchsorted(self._next_s, now, "right"))
        soon = index < len(self._next_s) and self._next_s[index] - now <= rent_s(self._startup_s)
        return 1e9 if soon else SOON_S


def rent_s(startup_s: float) -> float:
    """For so long a spare replica is worth keeping by the controller's own rule, to who knows that it is needed again then [s].

    Example: 60 s to start -> 60 s of a start and 60 s of what is late meanwhile, 120 s.
    """
    return levels.keep_s(2, startup_s, sizing.AUTO_LATE_FACTOR * startup_s * levels.ONE_SHORT, ())


def rates(requests: Requests) -> Floats:
    """Arrivals [1/s] as the mean over the minute that ends with each step of 15 s; step k ends at 15 (k + 1) s."""
    steps = int(float(requests.at_s[-1]) / STEP_S) + 1
    counts = np.bincount(np.minimum((requests.at_s / STEP_S).astype(np.int64), steps - 1), minlength=steps).astype(np.float64)
    width = int(MEAN_S / STEP_S)
    total = np.concatenate([np.zeros(width), np.cumsum(counts)])
    return np.asarray((total[width:] - total[:-width]) / MEAN_S, np.float64)


def certain_router(requests: Requests, curve: RouterCurve, *, seed: int) -> tuple[Requests, RouterCurve]:
    """The requests with scores that tell whether the cheaper variant is right (drawn by the curve), and the curve of such scores.

    The best variant is right as often as it is among these requests, whatever the score.
    """
    bins = np.minimum((requests.score * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    small, large = np.array(curve.p_small)[bins], np.array(curve.p_large)[bins]
    right = np.random.default_rng([seed, 22]).random(len(requests)) < small
    known = replace(requests, score=np.where(right, 0.975, 0.025).astype(np.float32))
    half = SCORE_BINS // 2
    return known, RouterCurve((0.0,) * half + (1.0,) * half, (float(large.mean()),) * SCORE_BINS)
