"""The core's sizing against the engine model: what it orders for a steady load keeps the promise to the percentile."""

from __future__ import annotations

import math
import random
from pathlib import Path
from statistics import mean

import pytest

from jevons.api.profiles import table
from jevons.core import capacity, usable
from jevons.core.spec import Objectives
from jevons.simulator.static import run
from jevons.simulator.traces import read_arrivals
from jevons.simulator.workload import Arrival

TRACE = Path(__file__).parents[3] / "examples" / "data" / "azure_conv_sample.csv"
PROMISE = Objectives(percentile=95.0, ttft_s=2.0, itl_s=0.060)


def poisson(per_s: float, seconds: float, seed: int) -> list[Arrival]:
    """Random instants, lengths of the conversation trace."""
    chance, sizes, at_s, arrivals = random.Random(seed), read_arrivals(TRACE), 0.0, []
    while (at_s := at_s + chance.expovariate(per_s)) < seconds:
        size = chance.choice(sizes)
        arrivals.append(Arrival(at_s, size.input_tokens, size.output_tokens))
    return arrivals


@pytest.mark.parametrize("profile", ["llama-3.1-70b/bf16/a100_sxm/4/vllm", "qwen3-32b/bf16/a100_sxm/2/vllm", "llama-3.1-8b/fp8/l40s/1/vllm"])
@pytest.mark.parametrize("per_s", [2.5, 6.0])
def test_a_fleet_of_the_ordered_size_keeps_the_promise(profile: str, per_s: float) -> None:
    arrivals = poisson(per_s, 200.0, seed=7)
    inputs, outputs = round(mean(one.input_tokens for one in arrivals)), round(mean(one.output_tokens for one in arrivals))
    one = capacity.served(table()[profile], inputs, outputs, PROMISE.itl_s, PROMISE.ttft_s)
    assert one.inside is not None
    work = per_s / one.requests_per_s
    share = one.inside.kept(0.95).share(usable.noise(work / (one.requests_per_s * one.inside.tau_s), work))
    replicas = math.ceil(work / share)
    served = run(arrivals, replicas=replicas, profile=table()[profile])
    share = sum(answer.met(PROMISE) for answer in served) / len(served)
    print(f"{profile} at {per_s}/s: {replicas} replicas, {100 * share:.1f} % inside")
    assert share >= 0.93
