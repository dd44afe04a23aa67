"""A fleet of a fixed size over a trace: the "always this many replicas" baselines, and the first answer to "how many would have been enough?".

Requests go to the replica with the least load, as the gateway's picker does; nothing starts, stops or fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jevons.core.load import TOKENS_PER_SEQUENCE
from jevons.core.spec import Objectives, Profile
from jevons.simulator.engine import Engine, Request, Result
from jevons.simulator.workload import Arrival

Router = Callable[[Sequence[Engine], Request], int]
"""Chooses the index of the replica that gets the request."""


def least_load(engines: Sequence[Engine], request: Request) -> int:
    """The replica with the least load; of equals the first."""
    del request
    return min(range(len(engines)), key=lambda index: load(engines[index]))


def load(engine: Engine) -> float:
    """How busy an engine is, as the gateway sees it (`core.load`), in tokens: whole numbers, so that equals are equal."""
    return (engine.running + engine.waiting) * TOKENS_PER_SEQUENCE + engine.booked_tokens


@dataclass(frozen=True, slots=True)
class Served:
    """One arrival and what became of it, on replica `replica`."""

    arrival: Arrival
    result: Result
    replica: int

    def met(self, objectives: Objectives) -> bool:
        """Whether the first token came within `ttft_s` and the rest at `itl_s` on average.

        The average has at least 16 gaps in its denominator: short answers are noisy.
        """
        result = self.result
        if not result.finished or result.first_token_s is None:
            return False
        pace_s = (result.ended_s - result.first_token_s) / max(result.tokens - 1, 16)
        return result.first_token_s - result.arrived_s <= objectives.ttft_s and pace_s <= objectives.itl_s


def run(
    arrivals: Sequence[Arrival], *, replicas: int, profile: Profile, router: Router = least_load, jitter: float = 0.0, seed: int = 0
) -> list[Served]:
    """Serve `arrivals` (in order of time) with `replicas` >= 1 engines of `profile`; every one of them is in the answer, in order of arrival.

    Raises ValueError for no replica, or for an arrival that no engine could ever hold.
    """
    if replicas < 1:
        raise ValueError(f"replicas: {replicas} must be at least 1")
    engines = [Engine(profile, jitter=jitter, seed=seed + index, every_token=False) for index in range(replicas)]
    chosen: list[int] = []
    for number, arrival in enumerate(arrivals):
        for engine in engines:
            engine.advance(arrival.at_s)
        request = Request(str(number), arrival.input_tokens, arrival.output_tokens)
        index = router(engines, request)
        engines[index].submit(request, arrival.at_s)
        chosen.append(index)
    results: dict[str, Result] = {}
    for engine in engines:
        engine.advance(math.inf)
        results.update((result.request_id, result) for result in engine.take_results())
    return [Served(arrival, results[str(number)], chosen[number]) for number, arrival in enumerate(arrivals)]


def smallest(enough: Callable[[int], bool], *, guess: int, most: int) -> int | None:
    """The smallest number in 1..most that is `enough`, searched from `guess`; None when `most` is not. More is never less enough."""
    high = min(max(1, guess), most)
    low = 0
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(most, high * 2)
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def fewest_replicas(arrivals: Sequence[Arrival], *, profile: Profile, objectives: Objectives, attainment: float, most: int = 64) -> int | None:
    """The smallest static fleet in which at least `attainment` (0..1) of all arrivals meet the objectives; None when `most` replicas do not."""

    def enough(replicas: int) -> bool:
        return sum(one.met(objectives) for one in run(arrivals, replicas=replicas, profile=profile)) >= attainment * len(arrivals)

    return smallest(enough, guess=1, most=most)
