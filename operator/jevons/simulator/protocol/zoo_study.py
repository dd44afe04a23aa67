"""Benchmark B2: idle and starting GPU-hours of a zoo of models at equal cold-start rate.

Every policy is run at several settings of its knob; a setting is a point (cold-start rate, hours). At the rate that KEDA has with its cooldown of
300 s, each policy costs what its front of points says, in a straight line between two of them; a policy that is never so seldom cold has not reached
it. Intervals: members and seeds are drawn anew, the same ones for both sides of a ratio.

"At equal cold-start rate" has two readings, and tables show both with a verdict. The headline is the zoo's: cold starts over calls, which for the
same calls is their number. Hours are summed over members, so what is held equal is summed too; and a late answer has one price for all deployments of
the API (`lateAnswerCost`), which is exactly the trade of hours for that number. The other is a member's share of requests that found nothing ready,
in the mean over members (as in ATC'20, where each application counts the same): ten cold starts a day hurt a model that is called sixteen times, not
one that is called four thousand times, and half of the zoo is called less than twenty times in half a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from jevons.core.hazard import Gaps
from jevons.simulator.protocol.bootstrap import Interval, interval, resamples, whole
from jevons.simulator.protocol.front import cost_at
from jevons.simulator.protocol.zoo_figures import MemberRun
from jevons.simulator.protocol.zoo_gaps import walks
from jevons.simulator.protocol.zoo_member import run
from jevons.simulator.protocol.zoo_policies import PRIOR_S, contender
from jevons.simulator.protocol.zoo_workload import USD_PER_H, Member, capped, chain, priors, zoo_member, zoo_of
from jevons.simulator.scenario import Floats, Requests
from jevons.simulator.traces import Zoo, discover

Setting = tuple[str, float]
"""Policy and knob."""
REFERENCE: Setting = ("keda", 300.0)
TARGETS: Mapping[float, float] = {30.0: 0.55, 120.0: 0.80, 300.0: 0.90}
"""By startup time: Jevons' hours over the reference's, at most."""
MEASURES: Mapping[str, Callable[[MemberRun], float]] = {
    "stretches": lambda one: (one.stretches_s + one.starting_s + one.sleep_s) / 3600.0,
    "all": lambda one: (one.idle_s + one.starting_s + one.sleep_s) / 3600.0,
}
"""Hours: idle in stretches above a minute and starting (the benchmark's), or all that is idle and starting; sleep in host memory by its share."""


MATCHES: Mapping[str, Callable[[MemberRun], float]] = {
    "rate": lambda one: one.cold / max(1, one.requests),
    "starts": lambda one: float(one.cold_starts),
}
"""What is held equal: the mean over members of each one's share of cold requests, or the number of cold starts (the headline)."""
HEADLINE = ("stretches", "starts")
GATED = frozenset({HEADLINE, ("stretches", "rate")})


@dataclass(frozen=True, slots=True)
class MemberJob:
    """All settings at all startup times for one member and seed. `chained`: the member-th pair of an agent chain, its B."""

    data: Path
    member: int
    seed: int
    startups: tuple[float, ...]
    settings: tuple[Setting, ...]
    chained: bool = False
    since_s: float = 0.0
    """What happens before is not scored."""
    by_gaps: bool = False
    """Walked over by gaps (`zoo_gaps`) and not simulated."""


@dataclass(frozen=True)
class Runs:
    """runs[startup][setting][member][seed]."""

    members: int
    seeds: int
    found: Mapping[float, Mapping[Setting, Sequence[Sequence[MemberRun]]]]

    def total(self, startup_s: float, setting: Setting, of: Callable[[MemberRun], float]) -> float:
        """Over all members, mean of the seeds."""
        return float(self.table(startup_s, setting, of).mean(axis=1).sum())

    def table(self, startup_s: float, setting: Setting, of: Callable[[MemberRun], float]) -> Floats:
        """[members, seeds]."""
        return np.array([[of(one) for one in seeds] for seeds in self.found[startup_s][setting]], np.float64)

    def waits(self, startup_s: float, setting: Setting) -> Floats:
        """Of all requests that found nothing ready [s]."""
        return np.concatenate([one.wait_s for seeds in self.found[startup_s][setting] for one in seeds] or [np.empty(0)])

    def settings(self, startup_s: float, policy: str) -> list[Setting]:
        """Of a policy, in order of its knob."""
        return sorted(setting for setting in self.found[startup_s] if setting[0] == policy)


@lru_cache(maxsize=1)
def _zoo(data: Path) -> tuple[Zoo, Requests]:
    zoo, sizes = zoo_of(discover(data))
    return capped(zoo), sizes


@lru_cache(maxsize=8)
def _priors(data: Path, seed: int) -> tuple[Gaps, ...]:
    return priors(*_zoo(data), seed, PRIOR_S)


def member_count(data: Path) -> int:
    """Members of the folder's zoo."""
    return len(_zoo(data)[0].models)


def work(job: MemberJob) -> list[list[MemberRun]]:
    """[startups][settings]. Equal jobs give equal results."""
    zoo, sizes = _zoo(job.data)
    member: Member = chain(job.member, sizes, job.seed)[1] if job.chained else zoo_member(zoo, sizes, job.member, job.seed)
    lots, known = 1_000 * job.seed + job.member, () if job.chained else _priors(job.data, job.seed)
    if job.by_gaps:
        return walks(member.requests, job.settings, job.startups, known, seed=lots, since_s=job.since_s)
    results = []
    for startup_s in job.startups:
        scenario = member.scenario(startup_s, lots)
        made = [contender(scenario, policy, knob, member.told_s, known) for policy, knob in job.settings]
        results.append([run(one.scenario, one.controller, remembers_s=one.remembers_s, since_s=job.since_s) for one in made])
    return results


def gathered(jobs: Sequence[MemberJob], results: Sequence[list[list[MemberRun]]]) -> Runs:
    """Jobs of all members and seeds, by members first, with the results in their order."""
    members, seeds = sorted({job.member for job in jobs}), sorted({job.seed for job in jobs})
    by_place = {(job.member, job.seed): result for job, result in zip(jobs, results, strict=True)}
    found = {
        startup_s: {
            setting: [[by_place[member, seed][at][place] for seed in seeds] for member in members] for place, setting in enumerate(jobs[0].settings)
        }
        for at, startup_s in enumerate(jobs[0].startups)
    }
    return Runs(len(members), len(seeds), found)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A policy's hours over the reference's, at the reference's cold-start rate; NaN = unreached. `target` None = not gated."""

    startup_s: float
    policy: str
    measure: str
    match: str
    hours: float
    over: Interval
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the interval's upper end is within the target; None where there is none."""
        return None if self.target is None else bool(self.over.high <= self.target)


def ratios(runs: Runs, startup_s: float, policy: str, *, measure: str = "stretches", match: str = "starts", count: int = 1000) -> Ratio:
    """One policy against the reference."""
    of, cold_of = MEASURES[measure], MATCHES[match]
    settings = runs.settings(startup_s, policy)
    values: list[Floats] = []
    hours = np.nan
    weights = (whole(runs.members), whole(runs.seeds)), (resamples(runs.members, count=count), resamples(runs.seeds, seed=1, count=count))
    for by_member, by_seed in weights:
        weigh = partial(_drawn, by_member=by_member, by_seed=by_seed)
        cold, paid = (weigh([runs.table(startup_s, setting, figure) for setting in settings]) for figure in (cold_of, of))
        target, base = (weigh([runs.table(startup_s, REFERENCE, figure)])[:, 0] for figure in (cold_of, of))
        at_target = np.array([float(cost_at(-one, spent, -aim)) for one, spent, aim in zip(cold, paid, target, strict=True)])
        hours = float(at_target[0]) if not values else hours
        values.append(at_target / base)
    reached = float(values[0][0])
    over = interval(reached, np.where(np.isnan(values[1]), np.inf, values[1]))
    gate = TARGETS.get(startup_s) if policy == "jevons" and (measure, match) in GATED else None
    return Ratio(startup_s, policy, measure, match, hours, over, gate)


def perfect(runs: Runs, startup_s: float, measure: str) -> float:
    """What perfect pre-warming has over the reference's hours: nobody waits but for the first call of all."""
    always = next(setting for setting in runs.found[startup_s] if setting[0] == "always-on")
    known = runs.total(startup_s, always, lambda one: (one.perfect_stretches_s if measure == "stretches" else one.perfect_s) / 3600.0)
    return known / runs.total(startup_s, REFERENCE, MEASURES[measure])


def _drawn(tables: Sequence[Floats], *, by_member: Floats, by_seed: Floats) -> Floats:
    """[resamples, tables]: sums over drawn members of means over drawn seeds."""
    return np.asarray(np.einsum("kms,rm,rs->rk", np.array(tables), by_member, by_seed / by_seed.sum(axis=1, keepdims=True)), np.float64)


def row(runs: Runs, trace: str, startup_s: float, setting: Setting) -> dict[str, float | str | int]:
    """One setting's figures: totals over members and a day, mean of the seeds."""

    def total(of: Callable[[MemberRun], float]) -> float:
        return runs.total(startup_s, setting, of)

    waits = runs.waits(startup_s, setting)
    p50, p95 = np.percentile(waits, (50, 95)).tolist() if len(waits) else (0.0, 0.0)
    gpu_hours = total(lambda one: (one.ready_s + one.starting_s + one.sleep_s) / 3600.0)
    return {
        "trace": trace,
        "members": runs.members,
        "seeds": runs.seeds,
        "startup_s": startup_s,
        "policy": setting[0],
        "setting": setting[1],
        "requests": total(lambda one: one.requests),
        "cold_starts": total(lambda one: one.cold_starts),
        "starts": total(lambda one: one.starts),
        "cold_share": total(lambda one: one.cold) / max(1.0, total(lambda one: one.requests)),
        "cold_rate": total(MATCHES["rate"]) / runs.members,
        "idle_gpu_hours": total(lambda one: one.idle_s / 3600.0),
        "idle_stretch_gpu_hours": total(lambda one: one.stretches_s / 3600.0),
        "starting_gpu_hours": total(lambda one: one.starting_s / 3600.0),
        "resting_hours": total(lambda one: one.resting_s / 3600.0),
        "sleep_gpu_hours": total(lambda one: one.sleep_s / 3600.0),
        "wakes": total(lambda one: one.wakes),
        "woken_share": total(lambda one: one.woken) / max(1.0, total(lambda one: one.requests)),
        "gpu_hours": gpu_hours,
        "usd": gpu_hours * USD_PER_H,
        "wait_p50_s": p50,
        "wait_p95_s": p95,
    }
