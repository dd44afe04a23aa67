"""How much of a replica may be used, so that the promised percentile of the requests is still inside its objectives?

Work is measured in replicas: 1.0 keeps the *mean* gap of one replica's requests at the objective (`capacity.of_replica`). That much is not usable:
requests differ, and so does the load they meet. Two questions, answered apart.

`inside(x)`: of the requests on a replica at load x, how many keep both objectives? A request's own mean gap scatters because prompts of others are
prefilled between its tokens: with arrivals at random, a request of n tokens at decode pace d, on a replica with prefill share f and arrival rate r,
takes (n - 1) d / (1 - f) in the mean with variance (n - 1) d r E[P^2] / (1 - f)^3 (a delay busy period), so short answers scatter most and replicas
with a slow prefill most of all. Its first token waits for its own prompt and for those before it (a single server's exponential tail). Lengths are
lognormal around the means that the gateway reports. None of this depends on the size of the fleet.

`Usable.share(s)`: the load of a fleet fluctuates with relative deviation s = sqrt(D / (rate * tau)), D the arrivals' index of dispersion and tau the
time a fleet averages over. A request meets a load that is lognormal with that deviation, weighted by how many arrive in it. The share is the highest
mean load at which the promise still holds. Because s falls with the rate, a larger fleet may be used more: G(k), what k replicas serve, grows faster
than k (and so cannot be concave), up to k times the share at s = 0.

The three constants were fitted with the engine model: 276 runs of Azure's first half hours (three profiles, 1 to 16 replicas, two promises, Poisson
and clustered arrivals): the load at 90, 95 and 99 % inside within 15 to 19 % (root mean square), bias 4 %. See docs/designs/0008-sizing.md.
"""

# ruff: noqa: FURB136  max costs eight times what a comparison does
from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from operator import mul
from statistics import NormalDist

from jevons.core.spec import Profile

TAU_SERVICES = 5.0
"""The time a fleet averages its load over, in service times of a request: what arrives in a burst is worked off over several of them."""
DISPERSION_S, DISPERSION_POWER = 15.0, 0.75
"""The index of dispersion is learned at this scale; at shorter ones its excess over 1 is smaller, by this power of their ratio."""
QUEUE_SHARE = 0.5
"""Of a single server's mean wait: the picker sends a request to the replica with the least to do."""
OUTPUT_SIGMA, INPUT_SIGMA = 1.0, 0.8
"""Of the logarithm of a request's tokens (Azure conversation and code: CV 0.78 and 2.2 out, 0.95 in)."""
POINTS = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)
"""Five equally likely values of a standard normal."""
OUTPUTS = tuple(math.exp(OUTPUT_SIGMA * z - OUTPUT_SIGMA**2 / 2) for z in POINTS)
INPUTS = tuple(math.exp(INPUT_SIGMA * z - INPUT_SIGMA**2 / 2) for z in POINTS)
INPUT_SQUARE = math.exp(INPUT_SIGMA**2)
"""E[L^2] / E[L]^2 of prompts."""
LEAST_GAPS = 16.0
"""A mean gap has at least this many gaps in its denominator (benchmarks: `met`)."""
FIRST_LOAD, RATIO, LOADS = 0.1, 1.1, 28
GRID = tuple(FIRST_LOAD * RATIO**index for index in range(LOADS))
"""Loads at which `inside` is known: 0.1 .. 1.31."""
FIRST_NOISE, NOISE_RATIO, NOISES = 0.02, 1.6, 6
NOISE = tuple(FIRST_NOISE * NOISE_RATIO**index for index in range(NOISES))
"""Relative deviations for which the share is worked out: 0.02 .. 0.21."""
TAME = NOISES - 1
"""The last of NOISE: up to it a load is taken to be lognormal."""
HIGHEST = 3.0902
"""Standard deviations of 0.999."""
MARGIN = 0.3
"""Where the promise is near what an idle replica keeps: this part of the promised misses is left to the load."""


LEAST = 0.9
"""Pressure gives up no more than this of a promise: a fleet so full that more are late answers fewer in time for the same money (benchmark B3)."""


@lru_cache(maxsize=1024)
def promised(percentile: float, pressure: float) -> float:
    """The share of requests (0.5 .. 0.999) to keep inside: the percentile's, shrinking to LEAST as budget `pressure` (0..1) grows.

    Example: 95 without pressure -> 0.95, at full pressure -> 0.9 (test_worked_examples.py::test_pressure_lowers_the_promise).
    """
    normal = NormalDist()
    z = min(HIGHEST, max(0.0, normal.inv_cdf(min(0.999, max(0.5, percentile / 100.0)))))
    given_up = max(0.0, z - normal.inv_cdf(LEAST)) * min(1.0, max(0.0, pressure))
    return round(normal.cdf(z - given_up), 4)


@dataclass(frozen=True, slots=True)
class Usable:
    """What may be used of one replica for one promise. `concurrency`: requests at once at the highest share."""

    shares: tuple[float, ...]
    """At each deviation of NOISE, falling."""
    concurrency: float
    slope: float
    """Relative growth of the fleet per unit of noise beyond TAME."""

    def share(self, noise: float) -> float:
        """The usable share of a replica, 0 < share <= 1, at this relative deviation of the fleet's load.

        Straight in log-log between the knots. Beyond TAME the fleet grows by the promise's quantile for each deviation more, as for a normal load: a
        lognormal one's long tail never comes, since rates are bounded by what the clients are.
        """
        if noise <= FIRST_NOISE:
            return self.shares[0]
        if noise > NOISE[TAME]:
            return self.shares[TAME] / (1.0 + self.slope * (noise - NOISE[TAME]))
        place = math.log(noise / FIRST_NOISE) / LOG_NOISE_RATIO
        index = min(int(place), TAME - 1)
        low, high = self.shares[index], self.shares[index + 1]
        return low * math.pow(high / low, place - index)


LOG_NOISE_RATIO = math.log(NOISE_RATIO)


@dataclass(slots=True)
class Replica:
    """One replica serving one mix of tokens under one pair of objectives."""

    inside: tuple[float, ...]
    """Share of requests inside both objectives, at each load of GRID; never rising."""
    rate: float
    """Fluid capacity [1/s]."""
    batches: tuple[float, ...]
    """Requests at once, at each load of GRID."""
    tau_s: float
    _made: dict[float, Usable] = field(default_factory=dict)

    def kept(self, promise: float) -> Usable:
        """What may be used for a promise to that share of the requests; made once."""
        found = self._made.get(promise)
        if found is None:
            found = self._made[promise] = _usable(self, promise)
        return found

    def dispersion(self, dispersion: float) -> float:
        """The arrivals' index of dispersion at this replica's own time scale, from the one learned at DISPERSION_S."""
        if dispersion <= 1.0 or self.tau_s >= DISPERSION_S:
            return dispersion if dispersion > 1.0 else 1.0
        return 1.0 + (dispersion - 1.0) * math.pow(self.tau_s / DISPERSION_S, DISPERSION_POWER)


def noise(variance: float, work: float) -> float:
    """Relative deviation of a fleet's load: `variance` is the sum over classes of D * rate * (work per request)^2 / tau [replicas^2]."""
    return math.sqrt(variance) / work


@lru_cache(maxsize=8192)
def replica(profile: Profile, input_tokens: int, output_tokens: int, itl_s: float, ttft_s: float, rate: float, concurrency: float) -> Replica:  # noqa: PLR0917  a cache's key is positional
    """One replica whose fluid capacity is `rate` [1/s] at `concurrency`, for means of tokens per request."""
    k_in, outputs = input_tokens / 1000.0, max(1.0, float(output_tokens))
    linear_s = profile.prefill_p1_s * k_in
    prefill_s = max(1e-6, profile.prefill_p0_s + linear_s + profile.prefill_p2_s * k_in * k_in * INPUT_SQUARE)
    square = linear_s * linear_s * INPUT_SQUARE + 2.0 * profile.prefill_p0_s * linear_s + profile.prefill_p0_s * profile.prefill_p0_s
    per_seq_s = profile.itl_b_s + profile.itl_c_s * (k_in + outputs / 2000.0)
    shares, batches, least = [], [], 1.0
    for load in GRID:
        per_s = load * rate
        free = 1.0 - per_s * (prefill_s + outputs * per_seq_s)
        batch = per_s * outputs * profile.itl_a_s / free if free > 0.02 else math.inf
        if batch > max(1.0, concurrency) * RATIO:  # beyond KV memory, max_num_seqs or any pace
            least = 0.0
        if least > 0.0:
            pace_s = profile.itl_a_s + per_seq_s * batch
            paced = _paced(itl_s, outputs, pace_s, 1.0 - per_s * prefill_s, per_s * square)
            least = min(least, paced * _begun(profile, k_in, ttft_s, pace_s=pace_s, per_s=per_s, prefill_s=prefill_s))
        shares.append(least)
        batches.append(min(batch, max(1.0, concurrency)))
    middle_s = batches[GRID_MIDDLE] / max(1e-9, GRID[GRID_MIDDLE] * rate)
    return Replica(tuple(shares), rate, tuple(batches), TAU_SERVICES * (middle_s + prefill_s))


GRID_MIDDLE = bisect_left(GRID, 0.7)
ROOT_HALF = math.sqrt(0.5)


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z * ROOT_HALF)


def _paced(itl_s: float, outputs: float, pace_s: float, free: float, interference: float) -> float:
    """Share of requests whose mean gap is inside `itl_s`; `interference` = rate * E[P^2] [s]."""
    if free <= 0.0:
        return 0.0
    total = 0.0
    for factor in OUTPUTS:
        gaps = max(0.0, outputs * factor - 1.0)
        counted = max(gaps, LEAST_GAPS)
        deviation_s = math.sqrt(gaps * pace_s * interference / (free * free * free)) / counted + 1e-6
        total += _normal((itl_s - gaps * pace_s / (free * counted)) / deviation_s)
    return total / len(OUTPUTS)


def _begun(profile: Profile, k_in: float, ttft_s: float, *, pace_s: float, per_s: float, prefill_s: float) -> float:
    """Share of requests whose first token is inside `ttft_s`: its own prompt, chunk by chunk between the others' tokens, and the queue before it."""
    chunk_k = profile.chunk_tokens / 1000.0
    service_s = prefill_s + pace_s * k_in / chunk_k
    busy = per_s * service_s
    if busy >= 0.98:
        return 0.0
    wait_s = QUEUE_SHARE * service_s * INPUT_SQUARE / (2.0 * (1.0 - busy))
    total = 0.0
    for factor in INPUTS:
        own_k = k_in * factor
        own_s = (
            profile.prefill_p0_s + profile.prefill_p1_s * own_k + profile.prefill_p2_s * own_k * own_k + pace_s * (0.5 + math.ceil(own_k / chunk_k))
        )
        if own_s < ttft_s:
            total += 1.0 - busy * math.exp((own_s - ttft_s) / wait_s)
    return total / len(INPUTS)


@lru_cache(maxsize=NOISES)
def _met(index: int) -> tuple[float, ...]:
    """P(a request meets a load above a step of `inside`), by how many knots of GRID the mean load lies above that step, from -LOADS to LOADS."""
    sigma = math.sqrt(math.log1p(NOISE[index] ** 2))
    return tuple(_normal(((below + 0.5) * math.log(RATIO) + sigma * sigma / 2.0) / sigma) for below in range(-LOADS, LOADS + 1))


def _usable(one: Replica, promise: float) -> Usable:
    """Solve for the highest mean load at every deviation."""
    first = one.inside[0]
    wanted = min(promise, first - MARGIN * (1.0 - promise))
    drops = [before - after for before, after in zip(one.inside, one.inside[1:], strict=False)]
    shares: list[float] = []
    for index in range(NOISES):
        found = _highest(first, drops, wanted, _met(index))
        if shares:  # more noise never helps, and never asks for more replicas than a larger load would
            found = max(min(found, shares[-1]), shares[-1] / (NOISE_RATIO * NOISE_RATIO))
        shares.append(found)
    place = min(LOADS - 1, max(0, round(math.log(shares[0] / FIRST_LOAD) / math.log(RATIO))))
    spread = max(0.0, NormalDist().inv_cdf(promise))
    return Usable(tuple(shares), max(1.0, one.batches[place]), spread / (1.0 + spread * NOISE[TAME]))


def _highest(first: float, drops: list[float], wanted: float, met: tuple[float, ...]) -> float:
    """The highest load (FIRST_LOAD .. 1) at which the expected share inside is `wanted`; linear between knots."""

    def at(place: int) -> float:
        # drop m lies between knots m and m + 1; the mean load is `place - m` knots above the lower one
        return first - math.fsum(map(mul, drops, met[LOADS - 1 + place : place : -1]))

    low, high = 0, LOADS - 1
    if at(0) < wanted:
        return FIRST_LOAD
    if at(high) >= wanted:
        return 1.0
    while high - low > 1:
        middle = (low + high) // 2
        if at(middle) >= wanted:
            low = middle
        else:
            high = middle
    upper, lower = at(low), at(high)
    return min(1.0, GRID[low] + (GRID[high] - GRID[low]) * (upper - wanted) / (upper - lower))
