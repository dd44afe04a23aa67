"""What nobody can beat: two lower bounds on the cost of a window at an attainment.

*LP* is fluid and proven: each request takes at least its own prefill, its own part of every decode iteration and a `max_num_seqs`-th of what
iterations cost anyway; the cheapest share A of all requests is added up. It ignores queues, bursts and starts, and is therefore far away.

*C_lo* knows the bursts. Time is cut into bins of 15 s. m_t(n) = requests of bin t that are missed although n replicas start the bin empty and there
is unlimited capacity after it. Cost of a plan n_t = price x n_t + price of a start x every increase + mu x m_t(n_t), minimised by dynamic
programming; mu is bisected to the attainment. The Lagrangian's value is below the cost of every plan that reaches A in that relaxed world; how far
the best plan found lies above it is the duality gap. The first bin's replicas are free to have been there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Floats, Requests, Scenario

BIN_S = 15.0
APART_S = 3600.0
STEPS = 40


@dataclass(frozen=True, slots=True)
class Bound:
    """Of one window at one attainment, in USD. duality_gap: (best plan - bound) / bound in the relaxed world; NaN for LP."""

    offered: int
    usd: float
    duality_gap: float = math.nan


def lp(scenario: Scenario, attainment: float) -> Bound:
    """The proven bound."""
    requests, variant = _scored(scenario), scenario.variants[0]
    profile, k_in = variant.physics.profile, requests.input_tokens / 1000.0
    outputs = requests.output_tokens.astype(np.float64)
    seconds = profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in**2
    seconds = seconds + outputs * (profile.itl_b_s + profile.itl_c_s * (k_in + outputs / 2000.0) + profile.itl_a_s / profile.max_num_seqs)
    fewest = np.sort(seconds)[: math.ceil(attainment * len(seconds))]
    return Bound(len(requests), float(fewest.sum()) * variant.physics.slowdown * variant.usd_per_h / 3600.0)


def misses(scenario: Scenario, requests: Requests, *, from_s: float, to_s: float) -> Floats:
    """m_t(n) as [bins, replicas + 1] for the bins of [from_s, to_s), n = 0 .. the variant's maximum.

    A request whose first token has not come when its bin ends gets it after one prefill on an empty replica; one that still decodes then is taken
    to be fast enough.
    """
    variant, objectives = scenario.variants[0], scenario.objectives
    profile, slowdown = variant.physics.profile, variant.physics.slowdown
    bins = math.ceil((to_s - from_s) / BIN_S)
    inside = (requests.at_s >= from_s) & (requests.at_s < to_s)
    at_s = requests.at_s[inside] - from_s
    of = np.minimum((at_s / BIN_S).astype(np.int64), bins - 1)
    rest_s = (of + 1) * BIN_S - at_s
    k_in = requests.input_tokens[inside] / 1000.0
    alone_s = slowdown * (profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in**2)
    rescued = rest_s + alone_s <= objectives.ttft_s
    apart = Requests(
        at_s + of * APART_S, requests.input_tokens[inside], requests.output_tokens[inside], requests.cached_tokens[inside], requests.score[inside]
    )
    counts = np.zeros((bins, variant.max_replicas + 1))
    counts[:, 0] = np.bincount(of[~rescued], minlength=bins)

    def missed_by(replicas: int) -> Floats:
        fleet = Fleet([variant.physics], apart, seed=scenario.seed, max_replicas=replicas)
        for _ in range(replicas):
            fleet.ready(0, 0.0)
        fleet.advance(math.inf)
        first_s, whole_s = fleet.first_token_s - apart.at_s, fleet.end_s - apart.at_s
        with np.errstate(invalid="ignore"):
            slow = (whole_s - first_s) / np.maximum(apart.output_tokens - 1, 16) > objectives.itl_s
            late = ~(first_s <= objectives.ttft_s) & ~((first_s > rest_s) & rescued)
            missed = late | (slow & (whole_s <= rest_s))
        return np.bincount(of[missed], minlength=bins).astype(np.float64)

    fewest = missed_by(variant.max_replicas)
    for replicas in range(1, variant.max_replicas + 1):
        counts[:, replicas] = np.minimum(missed_by(replicas), counts[:, replicas - 1])
        if (counts[:, replicas] <= fewest).all():  # more replicas do not help
            counts[:, replicas:] = counts[:, replicas : replicas + 1]
            break
    return counts


def plan(missed: Floats, *, price: float, start: float, mu: float) -> tuple[np.ndarray, float]:
    """The n_t that minimise price x n + start x increases + mu x misses, and that minimum. price: of a replica in a bin, start: of one start.

    Example: misses (5, 0) and (5, 0) for 0 and 1 replicas, price 1, start 2, mu 1 -> one replica throughout, 2.0
    (test_protocol_reference.py::test_worked_example).
    """
    bins, states = missed.shape
    every = np.arange(states)
    value = price * every + mu * missed[0]
    source = np.zeros((bins, states), np.int64)
    for at in range(1, bins):
        down_from = _last_argmin(value)
        up_from = _first_argmin(value - start * every)
        down, up = value[down_from], value[up_from] + start * (every - up_from)
        source[at] = np.where(down <= up, down_from, up_from)
        value = np.minimum(down, up) + price * every + mu * missed[at]
    chosen = np.zeros(bins, np.int64)
    chosen[-1] = int(np.argmin(value))
    for at in range(bins - 1, 0, -1):
        chosen[at - 1] = source[at, chosen[at]]
    return chosen, float(value.min())


def scored_misses(scenario: Scenario) -> Floats:
    """`misses` of the part that counts."""
    requests = _scored(scenario)
    return misses(scenario, requests, from_s=scenario.burn_in_s, to_s=float(requests.at_s[-1]) + 1e-6)


def c_lo(scenario: Scenario, attainment: float, missed: Floats) -> Bound:
    """The bound that knows the bursts, from `scored_misses`; USD infinite when even the largest fleet misses more."""
    requests, variant = _scored(scenario), scenario.variants[0]
    price = variant.usd_per_h / 3600.0 * BIN_S
    start = variant.usd_per_h / 3600.0 * variant.startup.median_s
    allowed = (1.0 - attainment) * len(requests)
    if missed[:, -1].sum() > allowed:
        return Bound(len(requests), math.inf)
    low, high, best, primal = 0.0, variant.usd_per_h * 10.0, 0.0, math.inf
    for _ in range(STEPS):
        mu = (low + high) / 2
        chosen, value = plan(missed, price=price, start=start, mu=mu)
        best = max(best, value - mu * allowed)
        lost = float(missed[np.arange(len(missed)), chosen].sum())
        if lost > allowed:
            low = mu
        else:
            primal = min(primal, value - mu * lost)
            high = mu
    return Bound(len(requests), best, (primal - best) / best if best > 0 else 0.0)


def _scored(scenario: Scenario) -> Requests:
    """The requests that count."""
    requests, counted = scenario.requests, scenario.requests.at_s >= scenario.burn_in_s
    return Requests(*(getattr(requests, name)[counted] for name in Requests.__slots__))


def _last_argmin(value: Floats) -> np.ndarray:
    """Per n: which m >= n has the smallest value."""
    flipped = _first_argmin(value[::-1])
    return (len(value) - 1 - flipped)[::-1]


def _first_argmin(value: Floats) -> np.ndarray:
    """Per n: which m <= n has the smallest value."""
    least = np.minimum.accumulate(value)
    fresh = np.concatenate(([True], value[1:] < least[:-1]))
    return np.maximum.accumulate(np.where(fresh, np.arange(len(value)), 0))
