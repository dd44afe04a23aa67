"""How fast the compiled simulator is, and how well it agrees with the token-level engine: `jevons bench simulator`, its first three tables.

One process, one thread. Requests have the sizes and the arrivals of the Azure 2023 conversation trace, repeated end to end and scaled in time to a
utilisation: the share of what the fleet answers per second when it always has work.

speed: simulated requests per minute of processor time (`wall_per_min`: of wall time) at utilisation 0.7, without and with jitter, for three fleets.
equality: the largest difference of any first token, end and gap from the engine's [s], without jitter, at four utilisations; three replicas.
jitter: the two draw their random numbers differently, so the means over many seeds are compared, percentiles and the share that meets 1 s and 100 ms
per token. Beside it what the engine differs from itself with other seeds: that much is chance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jevons.core.spec import Objectives, Profile
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Floats, Physics, Requests
from jevons.simulator.static import run
from jevons.simulator.traces import read_arrivals
from jevons.simulator.workload import Arrival

OBJECTIVES = Objectives(ttft_s=1.0, itl_s=0.1)
UTILISATIONS = (0.5, 0.7, 0.85, 0.95)
SIGMA = 0.376
REPLICAS = (4, 10, 30)
OFF = (*(f"{what}_p{p}_percent" for what in ("ttft", "pace") for p in (50, 95, 99)), "attainment_points")


def conv(folder: Path) -> list[Arrival]:
    """The conversation trace: the one of the folder's logs with the most requests."""
    logs = [read_arrivals(path) for path in sorted(folder.glob("*conv*.csv*"))]
    if not logs:
        raise ValueError(f"{folder}: no conversation trace (*conv*.csv)")
    return max(logs, key=len)


def requests(arrivals: list[Arrival], *, repeat: int = 1, rate_per_s: float | None = None) -> Requests:
    """`repeat` times the arrivals, end to end, at `rate_per_s` on average (None: all at once)."""
    n, at_s = len(arrivals), np.array([arrival.at_s for arrival in arrivals])
    period_s = at_s[-1] + at_s[-1] / n
    at_s = np.concatenate([at_s + index * period_s for index in range(repeat)]) * (0.0 if rate_per_s is None else n / period_s / rate_per_s)
    given, wanted = (
        np.tile(np.array(column, np.int32), repeat) for column in zip(*((a.input_tokens, a.output_tokens) for a in arrivals), strict=True)
    )
    return Requests(at_s, given, wanted, np.zeros(n * repeat, np.int32), np.zeros(n * repeat, np.float32))


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured on. capacity_per_s: what one replica of the profile answers when it always has work."""

    arrivals: list[Arrival]
    profile: Profile
    capacity_per_s: float

    @classmethod
    def of(cls, arrivals: list[Arrival], profile: Profile) -> Bench:
        """With the capacity measured."""
        fleet, *_ = cls(arrivals, profile, 0.0).served(requests(arrivals), 1)
        return cls(arrivals, profile, len(arrivals) / float(fleet.end_s.max()))

    def served(self, asked: Requests, replicas: int, *, jitter: float = 0.0, seed: int = 0) -> tuple[Fleet, float, float]:
        """A fleet that has answered everything, and the processor and wall seconds it took."""
        fleet = Fleet([Physics(self.profile, jitter=jitter)], asked, seed=seed, max_replicas=replicas)
        for _ in range(replicas):
            fleet.ready(0, 0.0)
        cpu, wall = time.process_time(), time.perf_counter()
        fleet.advance(math.inf)
        return fleet, time.process_time() - cpu, time.perf_counter() - wall

    def columns(self, asked: Requests, replicas: int, *, jitter: float = 0.0, seed: int = 0) -> tuple[Floats, float]:
        """First token, end and largest gap of every request as the token-level engine has them, (n, 3), and the processor seconds it took."""
        cpu = time.process_time()
        sized = zip(asked.at_s.tolist(), asked.input_tokens.tolist(), asked.output_tokens.tolist(), strict=True)
        placed = [Arrival(at_s, given, wanted) for at_s, given, wanted in sized]
        results = [one.result for one in run(placed, replicas=replicas, profile=self.profile, jitter=jitter, seed=seed)]
        return np.array([(one.first_token_s, one.ended_s, one.largest_gap_s) for one in results]), time.process_time() - cpu


def speed(bench: Bench, repeat: int, done: Callable[[], None]) -> dict[str, dict[str, float]]:
    """Requests per minute, by number of replicas."""
    rows = {}
    for replicas in REPLICAS:
        asked = requests(bench.arrivals, repeat=repeat, rate_per_s=0.7 * bench.capacity_per_s * replicas)
        row = {}
        for name, jitter in (("", 0.0), ("jitter_", SIGMA)):
            times = [bench.served(asked, replicas, jitter=jitter)[1:] for _ in range(3)]
            row[f"{name}per_min"] = 60.0 * len(asked) / min(cpu for cpu, _ in times)
            row[f"{name}wall_per_min"] = 60.0 * len(asked) / min(wall for _, wall in times)
        rows[f"replicas_{replicas}"] = row
        done()
    return rows


def equality(bench: Bench, most: int, done: Callable[[], None]) -> dict[str, float]:
    """The largest difference from the engine [s] by utilisation, over the first `most` arrivals, and the engine's own speed."""
    found, took_s, some = {}, 0.0, bench.arrivals[:most]
    for utilisation in UTILISATIONS:
        asked = requests(some, rate_per_s=3 * utilisation * bench.capacity_per_s)
        fleet, *_ = bench.served(asked, 3)
        reference, cpu = bench.columns(asked, 3)
        took_s += cpu
        mine = np.stack((fleet.first_token_s, fleet.end_s, fleet.largest_gap_s), axis=1)
        found[at(utilisation)] = float(np.abs(mine - reference).max())
        done()
    return {**found, "worst_s": max(found.values()), "engine_per_min": 60.0 * len(some) * len(UTILISATIONS) / took_s}


def figures(asked: Requests, times: Floats) -> tuple[float, ...]:
    """Percentiles of the time to the first token and of the pace, and the share that met the objectives."""
    ttft = times[:, 0] - asked.at_s
    pace = (times[:, 1] - times[:, 0]) / np.maximum(asked.output_tokens - 1, 16)
    met = (ttft <= OBJECTIVES.ttft_s) & (pace <= OBJECTIVES.itl_s)
    return (*(float(np.percentile(values, p)) for values in (ttft, pace) for p in (50, 95, 99)), float(met.mean()))


def jittered(bench: Bench, most: int, seeds: int, done: Callable[[], None]) -> dict[str, Any]:
    """Relative differences of percentiles [%] and of attainment [points] at each utilisation, their largest, and what is chance."""
    rows, off, chance = {}, np.zeros(7), np.zeros(7)
    for utilisation in UTILISATIONS:
        asked = requests(bench.arrivals[:most], rate_per_s=3 * utilisation * bench.capacity_per_s)
        mine, theirs, again = [], [], []
        for seed in range(seeds):
            fleet, *_ = bench.served(asked, 3, jitter=SIGMA, seed=seed)
            mine.append(figures(asked, np.stack((fleet.first_token_s, fleet.end_s), axis=1)))
            theirs.append(figures(asked, bench.columns(asked, 3, jitter=SIGMA, seed=100 * seed)[0]))
            again.append(figures(asked, bench.columns(asked, 3, jitter=SIGMA, seed=50 + 100 * seed)[0]))
            done()
        reference = np.array(theirs).mean(axis=0)
        scale = 100.0 / np.append(reference[:-1], 1.0)
        here = scale * np.abs(np.array(mine).mean(axis=0) - reference)
        off, chance = np.maximum(off, here), np.maximum(chance, scale * np.abs(np.array(again).mean(axis=0) - reference))
        rows[at(utilisation)] = dict(zip(OFF, here.tolist(), strict=True))
    return {
        **rows,
        "percentiles_off_percent": float(off[:-1].max()),
        "attainment_off_points": float(off[-1]),
        "chance_percent": float(chance[:-1].max()),
        "chance_points": float(chance[-1]),
    }


def at(utilisation: float) -> str:
    """A utilisation as a name in the JSON. Example: 0.85 -> at_0_85."""
    return f"at_{utilisation:.2f}".replace(".", "_")


def scrape_us(profile: Profile, replicas: int = 30) -> float:
    """Microseconds for one scrape of a variant of 30 busy replicas."""
    fleet = Fleet([Physics(profile)], requests([Arrival(0.1 * i, 1000, 200) for i in range(1, 600)], rate_per_s=60.0), max_replicas=replicas)
    for _ in range(replicas):
        fleet.ready(0, 0.0)
    fleet.advance(5.0)
    began = time.process_time()
    for _ in range(1000):
        fleet.readings(0)
        fleet.counters(0)
    return 1e3 * (time.process_time() - began)


def first_request_s(profile: Profile) -> float:
    """Processor seconds until one request on one replica is answered: the inner loop is compiled, or loaded from its cache."""
    began = time.process_time()
    fleet, *_ = Bench([], profile, 0.0).served(requests([Arrival(1.0, 10, 2)]), 1)
    if fleet.variant[0] != 0:
        raise ValueError("one request on one replica was not answered")
    return time.process_time() - began
