"""How fast the compiled simulator is, and how well it agrees with the token-level engine.

Run: `python -m bench.simulator [--json FILE] [--quick] [--data DIR]`. One process, one thread. Requests have the sizes and the arrivals of the Azure
2023 conversation trace (from `--data`, else the sample in examples/data), repeated end to end and scaled in time to a utilisation: the share of what
the fleet answers per second when it always has work. Profile: Llama-3.1-8B on one A100 of the packaged table.

speed: simulated requests per minute of processor time (`wall_per_min`: of wall time) at utilisation 0.7, without and with jitter, for three fleets.
equality: the largest difference of any first token, end and gap from the engine's [s], without jitter, at four utilisations; three replicas.
jitter: the two draw their random numbers differently, so the means over many seeds are compared, percentiles and the share that meets 1 s and 100 ms
per token. Beside it what the engine differs from itself with other seeds: that much is chance.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np

from jevons.api.profiles import table
from jevons.core.spec import Objectives
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Floats, Physics, Requests
from jevons.simulator.static import run
from jevons.simulator.workload import Arrival, load_azure

PROFILE = table()["llama-3.1-8b/bf16/a100_sxm/1/vllm"]
OBJECTIVES = Objectives(ttft_s=1.0, itl_s=0.1)
UTILISATIONS = (0.5, 0.7, 0.85, 0.95)
SIGMA = 0.376
SAMPLE = Path(__file__).parents[1] / "examples" / "data"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "traces" / "azure_llm_2023"


def conv(folder: Path) -> list[Arrival]:
    """The conversation trace: the one of the folder's logs with the most requests."""
    logs = [load_azure(path) for path in sorted(folder.glob("*conv*.csv*"))]
    if not logs:
        raise SystemExit(f"{folder}: no conversation trace")
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


def served(asked: Requests, replicas: int, *, jitter: float = 0.0, seed: int = 0) -> tuple[Fleet, float, float]:
    """A fleet that has answered everything, and the processor and wall seconds it took."""
    fleet = Fleet([Physics(PROFILE, jitter=jitter)], asked, seed=seed, max_replicas=replicas)
    for _ in range(replicas):
        fleet.ready(0, 0.0)
    cpu, wall = time.process_time(), time.perf_counter()
    fleet.advance(math.inf)
    return fleet, time.process_time() - cpu, time.perf_counter() - wall


def speed(arrivals: list[Arrival], capacity_per_s: float, repeat: int) -> dict[str, dict[str, float]]:
    """Requests per minute, by number of replicas."""
    rows = {}
    for replicas in (4, 10, 30):
        asked = requests(arrivals, repeat=repeat, rate_per_s=0.7 * capacity_per_s * replicas)
        row = {}
        for name, jitter in (("", 0.0), ("jitter_", SIGMA)):
            times = [served(asked, replicas, jitter=jitter)[1:] for _ in range(3)]
            row[f"{name}per_min"] = 60.0 * len(asked) / min(cpu for cpu, _ in times)
            row[f"{name}wall_per_min"] = 60.0 * len(asked) / min(wall for _, wall in times)
        rows[f"replicas_{replicas}"] = row
    return rows


def columns(arrivals: list[Arrival], asked: Requests, replicas: int, *, jitter: float = 0.0, seed: int = 0) -> tuple[Floats, float]:
    """First token, end and largest gap of every request as the token-level engine has them, (n, 3), and the processor seconds it took."""
    cpu = time.process_time()
    placed = [Arrival(float(at_s), one.input_tokens, one.output_tokens) for at_s, one in zip(asked.at_s, arrivals, strict=True)]
    results = [one.result for one in run(placed, replicas=replicas, profile=PROFILE, jitter=jitter, seed=seed)]
    return np.array([(one.first_token_s, one.ended_s, one.largest_gap_s) for one in results]), time.process_time() - cpu


def equality(arrivals: list[Arrival], capacity_per_s: float) -> dict[str, float]:
    """The largest difference from the engine [s] by utilisation, and the engine's own speed."""
    found, took_s = {}, 0.0
    for utilisation in UTILISATIONS:
        asked = requests(arrivals, rate_per_s=3 * utilisation * capacity_per_s)
        fleet, *_ = served(asked, 3)
        reference, cpu = columns(arrivals, asked, 3)
        took_s += cpu
        mine = np.stack((fleet.first_token_s, fleet.end_s, fleet.largest_gap_s), axis=1)
        found[f"at_{utilisation:.2f}".replace(".", "_")] = float(np.abs(mine - reference).max())
    return {**found, "worst_s": max(found.values()), "engine_per_min": 60.0 * len(arrivals) * len(UTILISATIONS) / took_s}


def figures(asked: Requests, times: Floats) -> tuple[float, ...]:
    """Percentiles of the time to the first token and of the pace, and the share that met the objectives."""
    ttft = times[:, 0] - asked.at_s
    pace = (times[:, 1] - times[:, 0]) / np.maximum(asked.output_tokens - 1, 16)
    met = (ttft <= OBJECTIVES.ttft_s) & (pace <= OBJECTIVES.itl_s)
    return (*(float(np.percentile(values, p)) for values in (ttft, pace) for p in (50, 95, 99)), float(met.mean()))


def jittered(arrivals: list[Arrival], capacity_per_s: float, seeds: int) -> dict[str, float]:
    """The largest relative difference of any percentile [%], and of attainment [points], at any utilisation."""
    off, chance = np.zeros(7), np.zeros(7)
    for utilisation in UTILISATIONS:
        asked = requests(arrivals, rate_per_s=3 * utilisation * capacity_per_s)
        mine, theirs, again = [], [], []
        for seed in range(seeds):
            fleet, *_ = served(asked, 3, jitter=SIGMA, seed=seed)
            mine.append(figures(asked, np.stack((fleet.first_token_s, fleet.end_s), axis=1)))
            theirs.append(figures(asked, columns(arrivals, asked, 3, jitter=SIGMA, seed=100 * seed)[0]))
            again.append(figures(asked, columns(arrivals, asked, 3, jitter=SIGMA, seed=50 + 100 * seed)[0]))
        reference = np.array(theirs).mean(axis=0)
        scale = 100.0 / np.append(reference[:-1], 1.0)
        off = np.maximum(off, scale * np.abs(np.array(mine).mean(axis=0) - reference))
        chance = np.maximum(chance, scale * np.abs(np.array(again).mean(axis=0) - reference))
    return {
        "percentiles_off_percent": float(off[:-1].max()),
        "attainment_off_points": float(off[-1]),
        "chance_percent": float(chance[:-1].max()),
        "chance_points": float(chance[-1]),
    }


def scrape_us(replicas: int = 30) -> float:
    """Microseconds for one scrape of a variant of 30 busy replicas."""
    fleet = Fleet([Physics(PROFILE)], requests([Arrival(0.1 * i, 1000, 200) for i in range(1, 600)], rate_per_s=60.0), max_replicas=replicas)
    for _ in range(replicas):
        fleet.ready(0, 0.0)
    fleet.advance(5.0)
    began = time.process_time()
    for _ in range(1000):
        fleet.readings(0)
        fleet.counters(0)
    return 1e3 * (time.process_time() - began)


def main() -> None:
    """Print everything, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--data", type=Path, default=SHARED if SHARED.exists() else SAMPLE, help="folder with the conversation trace")
    parser.add_argument("--quick", action="store_true", help="fewer requests and seeds")
    options = parser.parse_args()
    began = time.process_time()
    first, *_ = served(requests([Arrival(1.0, 10, 2)]), 1)
    ready_s = time.process_time() - began
    if first.variant[0] != 0:
        raise SystemExit("one request on one replica was not answered")
    arrivals = conv(options.data)
    fleet, *_ = served(requests(arrivals), 1)
    capacity_per_s = len(arrivals) / float(fleet.end_s.max())
    some = arrivals[: 600 if options.quick else 4000]
    results = {
        "capacity_per_s": capacity_per_s,
        "compile_or_load_s": ready_s,
        "speed": speed(arrivals, capacity_per_s, 5 if options.quick else 30),
        "equality": equality(some, capacity_per_s),
        "jitter": jittered(some, capacity_per_s, 2 if options.quick else 40),
        "scrape_us": scrape_us(),
    }
    print(json.dumps(results, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
