"""A member's day by gaps: no engine, no passes; when a replica is there follows from the gaps between calls alone.

The simulator plays a member's day pass by pass; for two hundred members, three placements and every setting that is hours of two cores. What decides
the figures of the zoo are the gaps and the rule, though: an answer takes seconds, one replica is enough for everybody, and a pass or a poll comes
every so often. So here a day is a walk over the gaps that are longer than what everybody stays through, with the operator's own rule (`core.hazard`,
as it would have learned from the calls that its passes see) and with KEDA's poll, its query over the last minute and its cooldown. Tests hold both to
the simulator's figures. Whatever acts on queues or rates is left out, and so are the policies that live on them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from jevons.core import hazard, tiers
from jevons.core.hazard import Gaps
from jevons.core.moving import cold_loss_s
from jevons.core.spec import Objectives
from jevons.simulator.protocol.zoo_figures import DAY_S, MemberRun, Span, figures
from jevons.simulator.protocol.zoo_policies import AUTO, PRIOR_S, WAKE_SIGMA, asleep
from jevons.simulator.protocol.zoo_workload import PROFILE, STARTUP_SIGMA, USD_PER_H
from jevons.simulator.scenario import Floats, Requests

PASS_S = 15.0
"""The operator's period."""
POLL_S, QUERY_S = 30.0, 45.0
"""KEDA's polling interval, and how far its query for arrivals looks back (four scrapes of 15 s)."""
POLICIES = ("jevons", "keda", "always-on")
LEARNING_S = 1800.0
"""The walk begins with the last call before so long before the scored part; gaps are learned from the day's begin on."""


class Plan(NamedTuple):
    """Until when a loaded replica stays if no call comes, and from when until when it is there again, or sleeps in host memory."""

    stays_s: float
    again: Sequence[Span] = ()
    rests: Sequence[Span] = ()


class Keeper(Protocol):
    """A policy, by gaps."""

    def wakes_s(self, called_s: float) -> float:
        """When the replica is started for a call that found nothing."""

    def plan(self, called_s: float, idle_s: float) -> Plan:
        """What happens after the last call (at `called_s`), with nothing to do since `idle_s`."""


@dataclass(frozen=True, slots=True)
class Always:
    """No sleep at all."""

    def wakes_s(self, called_s: float) -> float:
        """Never needed."""
        return called_s

    def plan(self, called_s: float, idle_s: float) -> Plan:
        """It stays."""
        del called_s, idle_s
        return Plan(math.inf)


@dataclass(frozen=True, slots=True)
class Keda:
    """KEDA's poll between zero and one."""

    cooldown_s: float

    def wakes_s(self, called_s: float) -> float:
        """The next poll sees the held request."""
        return math.ceil(called_s / POLL_S) * POLL_S

    def plan(self, called_s: float, idle_s: float) -> Plan:
        """Active while its query counts arrivals of the last minute or something waits; gone at the first poll past the cooldown."""
        active_s = max(_last(called_s + QUERY_S, POLL_S), math.floor(idle_s / POLL_S) * POLL_S)
        return Plan((math.floor((active_s + self.cooldown_s) / POLL_S) + 1) * POLL_S)


@dataclass(frozen=True, slots=True)
class Seen:
    """The last calls that the operator's passes see, one for each pass before which there was a call, and what is known of gaps with each."""

    at_s: list[float]
    gaps: list[Gaps]

    @classmethod
    def of(cls, at_s: Floats) -> Seen:
        """By a pass every PASS_S."""
        seen_s: list[float] = at_s[np.diff(np.ceil(at_s / PASS_S), append=math.inf) > 0].tolist()
        gaps: list[Gaps] = [()]
        for before_s, after_s in pairwise(seen_s):
            gaps.append(hazard.with_gap(gaps[-1], after_s - before_s))
        return cls(seen_s, gaps)


class Jevons:
    """The operator's rule: windows of age by hazard, as of what its passes saw of calls until then.

    late_s: what a late answer costs, in seconds of the replica's price; AUTO is the API's default. priors: of all members, by `PRIOR_S` of the day.
    """

    def __init__(self, seen: Seen, startup_s: float, late_s: float, priors: Sequence[Gaps]) -> None:
        self._seen, self._startup_s, self._priors = seen, startup_s, priors
        self._loss_s = cold_loss_s(None, None, startup_s) if late_s == AUTO else float(f"{late_s:.2g}")

    def wakes_s(self, called_s: float) -> float:
        """At once."""
        return called_s

    def plan(self, called_s: float, idle_s: float) -> Plan:
        """See `core.moving`: at passes, and never sooner than HOLD_S after work or getting ready."""
        loaded, resting = self._windows(*self._known(called_s))
        (_, first_s), *later = loaded
        stays_s = _next(max(called_s + first_s, idle_s + hazard.HOLD_S), PASS_S)
        again: list[Span] = []
        for start_s, keep_s in [(_next(called_s + begin_s, PASS_S), _next(called_s + end_s, PASS_S)) for begin_s, end_s in later]:
            if start_s <= stays_s:
                stays_s = max(stays_s, keep_s)
            else:
                again.append((start_s, keep_s))
        rests = [(max(stays_s, _next(called_s + begin_s, PASS_S)), _next(called_s + end_s, PASS_S)) for begin_s, end_s in resting]
        return Plan(stays_s, again, [(begin_s, end_s) for begin_s, end_s in rests if end_s > begin_s])

    def _known(self, called_s: float) -> tuple[Gaps, Gaps]:
        place = bisect_right(self._seen.at_s, called_s) - 1
        prior = self._priors[min(len(self._priors) - 1, int(called_s // PRIOR_S))] if self._priors else ()
        return self._seen.gaps[max(0, place)], prior

    def _windows(self, gaps: Gaps, prior: Gaps) -> tiers.Programme:
        """Ages in which it is loaded, and in which it sleeps in host memory."""
        return hazard.windows(self._startup_s, self._loss_s, gaps, prior), ()


class Sleeper(Jevons):
    """The same where replicas may sleep in host memory, at `holding` of their price and `wake_s` from being awake."""

    def __init__(self, seen: Seen, startup_s: float, late_s: float, priors: Sequence[Gaps], holding: float, wake_s: float) -> None:  # noqa: PLR0917  numbers
        super().__init__(seen, startup_s, late_s, priors)
        late = None if late_s == AUTO else Decimal(f"{late_s * USD_PER_H / 3600.0:.9f}")
        self.holding, self.wake_s = holding, wake_s
        self._rest = tiers.rest(holding, wake_s, Objectives(late_cost_usd=late), USD_PER_H)

    def _windows(self, gaps: Gaps, prior: Gaps) -> tiers.Programme:
        return tiers.windows(self._startup_s, self._loss_s, self._rest, gaps, prior)


def walks(
    requests: Requests, settings: Sequence[tuple[str, float]], startups: Sequence[float], priors: Sequence[Gaps], *, seed: int, since_s: float
) -> list[list[MemberRun]]:
    """[startups][settings] of a member's day; a setting is one of POLICIES (or `sleeping`) and its knob. Raises KeyError for another policy."""
    seen = Seen.of(requests.at_s)
    made: dict[str, Callable[[float, float], Keeper]] = {
        "jevons": lambda startup_s, knob: Jevons(seen, startup_s, knob, priors),
        "keda": lambda _, knob: Keda(knob),
        "always-on": lambda *_: Always(),
    }

    def keeper(policy: str, startup_s: float, knob: float) -> Keeper:
        costs = asleep(policy)
        return made[policy](startup_s, knob) if costs is None else Sleeper(seen, startup_s, knob, priors, *costs)

    return [
        [walk(requests, keeper(policy, startup_s, knob), startup_s, seed=seed, since_s=since_s) for policy, knob in settings]
        for startup_s in startups
    ]


def walk(requests: Requests, rule: Keeper, startup_s: float, *, seed: int, until_s: float = DAY_S, since_s: float = 0.0) -> MemberRun:
    """A member's day under a rule; a start takes as long for everybody the n-th time. Scored is what lies between `since_s` and `until_s`."""
    requests = _from(requests, max(0, int(np.searchsorted(requests.at_s, since_s - LEARNING_S)) - 1))
    day, at_s = _Day(startup_s, until_s, seed, rule.wake_s if isinstance(rule, Sleeper) else 0.0), requests.at_s
    prefill_s, answer_s = _service(requests)
    first_s = at_s + prefill_s

    def wait(place: int) -> None:
        """Calls from `place` on wait until it is ready."""
        waits = slice(place, int(np.searchsorted(at_s, day.ready_s)))
        first_s[waits] = day.ready_s + prefill_s[waits]

    if isinstance(rule, Always):
        day.ready_s = -1.0
    else:
        day.start(rule.wakes_s(float(at_s[0])))
        wait(0)
    after_s = np.append(at_s[1:], math.inf)
    for place in np.flatnonzero(after_s - at_s > hazard.HOLD_S).tolist():
        called_s, next_s = float(at_s[place]), float(after_s[place])
        waited = day.ready_s > called_s
        if next_s - max(called_s, day.ready_s) <= hazard.HOLD_S:
            continue
        day.pause(rule.plan(called_s, float(first_s[place] + answer_s[place]) if waited else called_s), next_s)
        if next_s >= until_s:
            break
        if not day.loaded:
            day.start(rule.wakes_s(next_s), woken=day.rests)
        wait(place + 1)
    if day.loaded and day.ready_s < until_s:
        day.ready.append((day.ready_s, until_s))
    return figures(
        requests,
        first_s,
        first_s + answer_s,
        day.starting,
        day.ready,
        until_s=until_s,
        startup_s=startup_s,
        since_s=since_s,
        resting=day.resting,
        waking=day.waking,
        holding=rule.holding if isinstance(rule, Sleeper) else 0.0,
    )


class _Day:
    """When the replica was starting, ready, asleep in host memory and waking; the last stretch is open while it is `loaded`."""

    def __init__(self, startup_s: float, until_s: float, seed: int, wake_s: float = 0.0) -> None:
        self.starting: list[Span] = []
        self.ready: list[Span] = []
        self.resting: list[Span] = []
        self.waking: list[Span] = []
        self.ready_s, self.loaded, self.rests, self._rests_until_s = math.inf, True, False, 0.0
        self._startup_s, self._wake_s, self._until_s = startup_s, wake_s, until_s
        self._chance, self._luck = np.random.default_rng(seed), np.random.default_rng((seed, 1))

    def start(self, at_s: float, *, woken: bool = False) -> None:
        """One start, or wake."""
        self.loaded, self.rests = True, False
        if woken:
            self.ready_s = at_s + self._wake_s * math.exp(WAKE_SIGMA * float(self._luck.standard_normal()))
            self.waking.append((at_s, self.ready_s))
            return
        self.ready_s = at_s + self._startup_s * math.exp(STARTUP_SIGMA * float(self._chance.standard_normal()))
        self.starting.append((at_s, self.ready_s))

    def pause(self, plan: Plan, next_s: float) -> None:
        """A pause until the call at `next_s`, which finds it loaded, on its way, asleep, or gone."""
        if next_s < plan.stays_s or plan.stays_s >= self._until_s:
            return
        self._end(plan.stays_s)
        for begin_s, end_s, rests in sorted([*[(*span, False) for span in plan.again], *[(*span, True) for span in plan.rests]]):
            self.rests = self.rests and self._rests_until_s >= min(begin_s, next_s) - PASS_S
            if begin_s >= min(next_s, self._until_s):
                return
            if rests and not self._lies(begin_s, end_s, next_s):
                return
            if not rests:
                self.start(begin_s, woken=self.rests)
                stays_s = max(end_s, _next(self.ready_s + hazard.HOLD_S, PASS_S))
                if next_s < stays_s or stays_s >= self._until_s:
                    return
                self._end(stays_s)
        self.rests = self.rests and self._rests_until_s >= next_s

    def _lies(self, begin_s: float, end_s: float, next_s: float) -> bool:
        """It lies down, and sleeps until the end or the next call; False where the call comes while it lies down: then it is loaded as before."""
        asleep_s = begin_s + tiers.LIE_S
        if self.ready and self.ready[-1][1] >= begin_s - PASS_S:
            ready_s, _ = self.ready.pop()
            if next_s < asleep_s:
                self.loaded, self.ready_s = True, ready_s
                return False
            self.ready.append((ready_s, asleep_s))
        self.rests, self._rests_until_s = True, end_s
        if end_s > asleep_s:
            self.resting.append((asleep_s, min(end_s, next_s)))
        return True

    def _end(self, at_s: float) -> None:
        self.ready.append((self.ready_s, at_s))
        self.loaded = False


def _from(requests: Requests, place: int) -> Requests:
    return Requests(
        requests.at_s[place:], requests.input_tokens[place:], requests.output_tokens[place:], requests.cached_tokens[place:], requests.score[place:]
    )


def _service(requests: Requests) -> tuple[Floats, Floats]:
    """Seconds of prefill and of decoding, each alone on its replica."""
    kilo = requests.input_tokens / 1000.0
    prefill = PROFILE.prefill_p0_s + PROFILE.prefill_p1_s * kilo + PROFILE.prefill_p2_s * kilo**2
    return prefill, requests.output_tokens * (PROFILE.itl_a_s + PROFILE.itl_b_s + PROFILE.itl_c_s * kilo)


def _next(at_s: float, every_s: float) -> float:
    """The first multiple that is not before."""
    return math.ceil(at_s / every_s - 1e-9) * every_s


def _last(at_s: float, every_s: float) -> float:
    """The last multiple that is before."""
    return (math.ceil(at_s / every_s) - 1) * every_s
