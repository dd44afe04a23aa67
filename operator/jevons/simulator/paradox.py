"""The worked example that the project is named after: a million requests a day, five steps, and a bill that falls to a sixth.

The article's arithmetic is exact and needs no model: GPUs x 720 h x $10. Beside it stands what our engine model needs for the same load, whatever it
says: the smallest static fleet of each step that keeps the stated promise, found by running it. The article does not say how its GPU counts came
about, so the steps below are our reading of it, and every assumption is in `ASSUMPTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from jevons.core.spec import Objectives, Profile
from jevons.simulator.competitors import static
from jevons.simulator.scenario import Physics, Requests, Scenario, SimVariant, Startup, met
from jevons.simulator.static import smallest
from jevons.simulator.traces import columns
from jevons.simulator.traces_synthetic import lengths
from jevons.simulator.world import simulate

REQUESTS_PER_DAY = 1_000_000
DAYS = 30
HOURS = 720
USD_PER_GPU_H = 10
SIMULATED_S = 1800.0
SMALL_SHARE = 0.5
OBJECTIVES = Objectives(percentile=95.0, ttft_s=2.0, itl_s=0.060)
KEEPS_UP = Objectives(percentile=95.0, ttft_s=60.0, itl_s=10.0)
"""No promise but to answer: a fleet that is too small falls ever further behind, and by the end of the run nobody waits less than a minute."""
STATIC_BATCH = 16
MOST_REPLICAS = 96

LARGE, LARGE_QUANTISED = "llama-3.1-70b/bf16/a100_sxm/4/vllm", "llama-3.1-70b/int8_wo/a100_sxm/2/trtllm"
SMALL, SMALL_QUANTISED = "llama-3.1-8b/bf16/a100_sxm/1/vllm", "llama-3.1-8b/int4_wo/a100_sxm/1/trtllm"
GPUS = {LARGE: 4, LARGE_QUANTISED: 2, SMALL: 1, SMALL_QUANTISED: 1}

ASSUMPTIONS = (
    f"{REQUESTS_PER_DAY:,} requests a day at a constant mean rate (Poisson, {REQUESTS_PER_DAY / 86_400:.2f}/s): no peaks, which flatters every fleet",
    "lengths lognormal with the means of the Azure conv trace 2023: 1,155 tokens in, 211 out",
    f"promise: {OBJECTIVES.percentile:g} % with a first token within {OBJECTIVES.ttft_s:g} s and {OBJECTIVES.itl_s * 1000:g} ms per token",
    f"static batching takes {STATIC_BATCH} requests at a time and waits for the longest of them",
    f"routing sends {SMALL_SHARE:.0%} of the requests to an 8B model; whether it answers them as well is not part of this arithmetic",
    "quantised: 70B in INT8 on 2 GPUs, 8B in INT4 (TensorRT-LLM rows of the profile table, +-25 %)",
    "the response cache answers its hits at once and without a GPU",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. gpus: the article's (large, small). profiles: (large, small or none)."""

    name: str
    gpus: tuple[int, int]
    profiles: tuple[str, str | None]
    static_batching: bool = False
    cached: bool = False


STEPS = (
    Step("70B, static batching", (24, 0), (LARGE, None), static_batching=True),
    Step("continuous batching", (12, 0), (LARGE, None)),
    Step("simple requests to an 8B model", (6, 2), (LARGE, SMALL)),
    Step("quantised", (4, 2), (LARGE_QUANTISED, SMALL_QUANTISED)),
    Step("response cache", (3, 1), (LARGE_QUANTISED, SMALL_QUANTISED), cached=True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One step in all columns. `model_gpus` None: no fleet of up to MOST_REPLICAS replicas of a variant keeps the promise.

    keeping_up_gpus: the smallest fleet that merely does not fall behind; None as above.
    """

    step: Step
    usd_per_month: int
    usd_per_1k: float
    model_gpus: tuple[int, int] | None
    keeping_up_gpus: tuple[int, int] | None

    @property
    def model_usd_per_month(self) -> int | None:
        """The engine model's fleet at the article's price."""
        return None if self.model_gpus is None else usd_per_month(sum(self.model_gpus))

    @property
    def model_usd_per_1k(self) -> float | None:
        """The same per 1,000 requests."""
        bill = self.model_usd_per_month
        return None if bill is None else per_1k(bill)


def usd_per_month(gpus: int) -> int:
    """Example: 24 GPUs -> $172,800 (test_paradox.py)."""
    return gpus * HOURS * USD_PER_GPU_H


def per_1k(usd: int) -> float:
    """USD per 1,000 requests. Example: $172,800 -> $5.76 (test_paradox.py)."""
    return usd / (REQUESTS_PER_DAY * DAYS / 1000)


def rows(profiles: Mapping[str, Profile], *, hit_rate: float = 0.4, seed: int = 0, length_s: float = SIMULATED_S) -> list[Row]:
    """Every step. `profiles` by path, as in the profile table; `hit_rate` 0..1 of the response cache (the article's is 0.4).

    Raises ValueError for a hit rate outside 0..1, KeyError for a profile that is missing.
    """
    if not 0.0 <= hit_rate < 1.0:
        raise ValueError(f"hit_rate: {hit_rate} must be at least 0 and below 1")
    found = []
    for step in STEPS:
        requests, small = _load(step, hit_rate, seed, length_s)
        large_path, small_path = step.profiles
        parts = [(large_path, ~small if small_path is not None else np.ones(len(requests), np.bool_))]
        if small_path is not None:
            parts.append((small_path, small))
        needed = [
            tuple(_gpus(_part(requests, mask), path, profiles[path], promise, static_batching=step.static_batching) for path, mask in parts)
            for promise in (OBJECTIVES, KEEPS_UP)
        ]
        bill = usd_per_month(sum(step.gpus))
        found.append(Row(step, bill, per_1k(bill), _pair(needed[0]), _pair(needed[1])))
    return found


def _pair(gpus: tuple[int | None, ...]) -> tuple[int, int] | None:
    known = [count for count in gpus if count is not None]
    return (known[0], sum(known[1:])) if len(known) == len(gpus) else None


def _load(step: Step, hit_rate: float, seed: int, length_s: float) -> tuple[Requests, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """The step's requests in order of arrival, and which of them are simple."""
    chance = np.random.default_rng([seed, 16])
    count = round(REQUESTS_PER_DAY / 86_400 * length_s)
    at_s = np.sort(chance.random(count)) * length_s
    given, wanted = lengths(count, chance)
    small = chance.random(count) < SMALL_SHARE
    missed = chance.random(count) >= (hit_rate if step.cached else 0.0)
    return columns(at_s[missed], given[missed], wanted[missed]), small[missed]


def _part(requests: Requests, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Requests:
    return columns(requests.at_s[mask], requests.input_tokens[mask], requests.output_tokens[mask])


def _gpus(requests: Requests, path: str, profile: Profile, promise: Objectives, *, static_batching: bool) -> int | None:
    """GPUs of the smallest static fleet that keeps the promise; None when none of up to MOST_REPLICAS replicas does."""
    physics = Physics(profile, static_batch=STATIC_BATCH if static_batching else 0)
    variant = SimVariant("only", physics, Startup(0.0), 0.0, max_replicas=MOST_REPLICAS)
    scenario = Scenario("inference-paradox", requests, (variant,), promise)

    def keeps(replicas: int) -> bool:
        fleet = replace(variant, initial_replicas=replicas)
        outcome = simulate(replace(scenario, variants=(fleet,)), static(replicas))
        return float(met(requests, outcome, promise).mean()) >= promise.percentile / 100.0

    replicas = smallest(keeps, guess=1, most=MOST_REPLICAS)
    return None if replicas is None else replicas * GPUS[path]
