"""The traffic that an operator's recorded passes hold, as a trace that can be played again.

A recording has rates and means, no requests. What is made of it: between two passes as many requests as the gateway counted (where both passes
know its counter; else the class's rate over the last minute, times the time between), spread at random within that time; lengths drawn around the
means of that pass (lognormal, as wide as they are large: the Azure traces' are about that); router scores drawn from the histogram of that pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

import numpy as np

from jevons.core.money import accelerator_usd_per_h
from jevons.core.observed import Known
from jevons.core.recording import Pass
from jevons.core.snapshot import SCORE_BINS, ClassDemand, DeploymentState
from jevons.core.spec import Deployment, Key, Price
from jevons.simulator.regret import Asked
from jevons.simulator.scenario import Requests

SIGMA = 0.83
"""Of the lognormal whose deviation equals its mean: sqrt(log 2)."""
GAP_S = 120.0
"""Between two passes further apart than this nobody looked: the traffic of that time is not known."""
TOKENS = (1000.0, 200.0)
"""Input and output of a class whose means are not known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One deployment in one pass."""

    at_s: float
    demand: tuple[ClassDemand, ...]
    offered: float | None
    """The gateway's counter."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A deployment's stretch of a recording. spent_usd: what the ledger says of it; unknown_s: time between passes too far apart to know."""

    asked: Asked
    from_s: float
    until_s: float
    spent_usd: Decimal
    unknown_s: float


def recorded(passes: Iterable[Pass], key: Key, *, seed: int = 0, watch: Callable[[DeploymentState], None] = lambda _state: None) -> Recorded:
    """The deployment's manifest, prices and traffic in these passes, which are read once and not kept; `watch` is shown it as each pass saw it.

    Raises ValueError when there is too little.
    """
    seen: list[Seen] = []
    first = last = None
    for one in passes:
        state = one.snapshot.deployments.get(key)
        if state is not None:
            watch(state)
            seen.append(_seen(one.at_s, state))
            first, last = first or one, one
    if first is None or last is None or len(seen) < 2:
        raise ValueError(f"{key}: {len(seen)} recorded passes; at least 2 are needed")
    written = last.snapshot.deployments[key].spec
    requests, unknown_s = _requests(seen, np.random.default_rng([seed, 23]))
    accelerators = {}
    for name, known in last.snapshot.accelerators.items():
        usd = accelerator_usd_per_h(known, last.at_s)
        accelerators[name] = replace(known, prices=() if usd is None else (Price(0.0, usd),))
    before, after = (each.decision.ledger.accounts.get(key) for each in (first, last))
    requests = _held(requests, written)
    spent = after.usd - before.usd if before is not None and after is not None else Decimal(0)
    asked = Asked(written, accelerators, requests, last.snapshot.router, seed)
    return Recorded(asked, first.at_s, last.at_s, spent, unknown_s)


def _held(requests: Requests, written: Deployment) -> Requests:
    """The requests, none longer than the best variant can hold: the gateway would have refused it."""
    best = written.best
    most = min(best.context_length, best.profile.kv_tokens if best.profile is not None else best.context_length)
    wanted = np.minimum(requests.output_tokens, most // 2)
    return replace(requests, output_tokens=wanted, input_tokens=np.minimum(requests.input_tokens, most - wanted))


def _seen(at_s: float, state: DeploymentState) -> Seen:
    return Seen(at_s, state.demand, state.outcomes.value.offered if isinstance(state.outcomes, Known) else None)


def _requests(seen: Sequence[Seen], chance: np.random.Generator) -> tuple[Requests, float]:
    columns: list[tuple[float, int, int, float]] = []
    owed, unknown_s = 0.0, 0.0
    for before, now in pairwise(seen):
        between_s = now.at_s - before.at_s
        if between_s > GAP_S:
            unknown_s += between_s
            continue
        rates = [one.arrivals_per_s.value if isinstance(one.arrivals_per_s, Known) else 0.0 for one in now.demand]
        expected = sum(rates) * between_s
        if before.offered is not None and now.offered is not None and now.offered >= before.offered and rates:
            expected = now.offered - before.offered
        owed += expected
        count = int(owed)
        owed -= count
        if not count or not rates:
            continue
        weights = np.array(rates) if sum(rates) > 0 else np.ones(len(rates))
        which = chance.choice(len(rates), count, p=weights / weights.sum())
        at_s = before.at_s - seen[0].at_s + chance.random(count) * between_s
        columns += [(float(at), *_sizes(now.demand[index], chance), _score(now.demand[index], chance)) for at, index in zip(at_s, which, strict=True)]
    if not columns:
        raise ValueError("the recorded passes hold no arrivals: nothing can be played again")
    columns.sort()
    at, given, wanted, score = zip(*columns, strict=True)
    nothing = np.zeros(len(at), np.int32)
    made = Requests(np.array(at), np.array(given, np.int32), np.array(wanted, np.int32), nothing, np.array(score, np.float32))
    return made, unknown_s


def _sizes(demand: ClassDemand, chance: np.random.Generator) -> tuple[int, int]:
    known = (demand.input_tokens, demand.output_tokens)
    means = [one.value if isinstance(one, Known) and one.value > 0 else otherwise for one, otherwise in zip(known, TOKENS, strict=True)]
    given, wanted = (max(1, round(mean * float(np.exp(SIGMA * chance.standard_normal() - SIGMA**2 / 2)))) for mean in means)
    return given, wanted


def _score(demand: ClassDemand, chance: np.random.Generator) -> float:
    total = sum(demand.scores)
    if total <= 0:
        return float(chance.random())
    chosen = int(chance.choice(len(demand.scores), p=np.array(demand.scores) / total))
    return (chosen + float(chance.random())) / SCORE_BINS
