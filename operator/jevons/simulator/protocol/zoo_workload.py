"""The zoo as requests: members of a table of calls per minute, and agent chains in which one model's call foretells another's.

What is assumed. The table counts calls per minute and member; each call arrives at a random instant of its minute. It is not of LLM calls, so each
call gets the tokens of a random request of an LLM log, and heads too heavy for one replica are capped at `CAP_PER_MINUTE` calls a minute (in zoo200
that keeps 36 % of all calls and touches 43 members; when a member is idle is not changed by it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jevons.core import hazard
from jevons.core.hazard import Gaps
from jevons.core.spec import Objectives, Profile
from jevons.simulator.protocol.zoo_figures import DAY_S
from jevons.simulator.scenario import Floats, Ints, Physics, Requests, Scenario, SimVariant, Startup
from jevons.simulator.traces import Log, Trace, Zoo, columns

CAP_PER_MINUTE = 20
STARTUP_SIGMA = 0.1
PROFILE = Profile(0.012143, 0.000087, 0.00008002, 0.00848, 0.053391, 0.0016387, 435_647)
"""Llama-3.1-8B BF16 on one A100 under vLLM (data/perf/seed_profiles.csv): a zoo's typical member."""
USD_PER_H = 3.67
LAG_S, LAG_SIGMA, FOLLOWED, ALONE = 90.0, 0.5, 0.9, 0.1
"""Agent chains: B is called so long after A (lognormal) in this share of A's calls, and so often by itself (per call of A)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One model's calls of the day. `told_s`: when another model was called whose calls foretell this one's."""

    name: str
    requests: Requests
    told_s: tuple[float, ...] = ()

    def scenario(self, startup_s: float, seed: int) -> Scenario:
        """A world of its own, asleep at the start."""
        variant = SimVariant("model", Physics(PROFILE), Startup(startup_s, STARTUP_SIGMA), USD_PER_H, initial_replicas=0, max_replicas=1)
        return Scenario(self.name, self.requests, (variant,), Objectives(), max_wait_s=3600.0, seed=seed)


def zoo_of(traces: dict[str, Trace]) -> tuple[Zoo, Requests]:
    """The table of calls, and the log that lends its tokens. Raises ValueError when either is missing."""
    zoos = [trace for trace in traces.values() if isinstance(trace, Zoo)]
    logs = sorted((trace for trace in traces.values() if isinstance(trace, Log)), key=lambda log: -len(log.requests))
    if not zoos or not logs:
        raise ValueError("this benchmark needs a table model_id,minute,count and a log TIMESTAMP,ContextTokens,GeneratedTokens")
    return zoos[0], logs[0].requests


def capped(zoo: Zoo) -> Zoo:
    """No minute with more than `CAP_PER_MINUTE` calls."""
    return Zoo(zoo.name, zoo.models, np.minimum(zoo.counts, CAP_PER_MINUTE).astype(np.int32))


def zoo_member(zoo: Zoo, sizes: Requests, index: int, seed: int) -> Member:
    """Member `index` of a (capped) zoo; one without calls is an error: ValueError."""
    requests, _ = zoo.sample(sizes, models=[index], seed=1_000_003 * seed + index)
    if not len(requests):
        raise ValueError(f"{zoo.name}: model {zoo.models[index]} has no calls")
    return Member(zoo.models[index], requests)


def priors(zoo: Zoo, sizes: Requests, seed: int, every_s: float) -> tuple[Gaps, ...]:
    """What all members of a (capped) zoo together have shown of gaps by 0, `every_s`, twice that ... of the day, and nothing of what comes later."""
    ends: list[tuple[float, int, float]] = []
    for index in range(len(zoo.models)):
        at_s = zoo.sample(sizes, models=[index], seed=1_000_003 * seed + index)[0].at_s
        gaps_s = np.diff(at_s)
        ends += [(float(at_s[int(place) + 1]), index, float(gaps_s[place])) for place in np.flatnonzero(gaps_s >= hazard.BRIEF_S[0])]
    ends.sort()
    known: dict[int, Gaps] = {}
    made: list[Gaps] = []
    for ended_s, index, gap_s in ends:
        while ended_s >= every_s * len(made):
            made.append(hazard.pooled(known.values()))
        known[index] = hazard.with_gap(known.get(index, ()), gap_s)
    return (*made, hazard.pooled(known.values()))


def chain(index: int, sizes: Requests, seed: int) -> tuple[Member, Member]:
    """A pair: A is called at random (a mean gap of 10 min to 2 h by pair), and B a while after most of A's calls, sometimes by itself."""
    chance = np.random.default_rng([seed, 7, index])
    gap_s = float(np.exp(chance.uniform(np.log(600.0), np.log(7200.0))))
    first = _poisson(DAY_S / gap_s, chance)
    followed = first[chance.random(len(first)) < FOLLOWED]
    lag_s = LAG_S * np.exp(LAG_SIGMA * chance.standard_normal(len(followed)))
    second = np.sort(np.concatenate([followed + lag_s, _poisson(ALONE * len(first), chance)]))
    second = second[second < DAY_S]
    second = second if len(second) else np.array([DAY_S / 2.0])
    told = tuple(first.tolist())
    return Member(f"chain-{index}-a", _sized(first, sizes, chance)), Member(f"chain-{index}-b", _sized(second, sizes, chance), told)


def _poisson(mean: float, chance: np.random.Generator) -> Floats:
    """Instants of a day, at least one."""
    return np.asarray(np.sort(chance.random(max(1, int(chance.poisson(mean))))) * DAY_S, np.float64)


def _sized(at_s: Floats, sizes: Requests, chance: np.random.Generator) -> Requests:
    pick: Ints = chance.integers(0, len(sizes), len(at_s)).astype(np.int32)
    return columns(at_s, sizes.input_tokens[pick], sizes.output_tokens[pick])
