"""The core's sizing against the engine model: what it orders for a steady load keeps the promise to the percentile."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import mean

import pytest

from jevons.api.profiles import table
from jevons.core import capacity, sizing
from jevons.core.spec import Objectives
from jevons.simulator.static import run
from jevons.simulator.workload import Arrival, load_azure

TRACE = Path(__file__).parents[3] / "examples" / "data" / "azure_conv_sample.csv"
PROMISE = Objectives(percentile=95.0, ttft_s=2.0, itl_s=0.060)


def poisson(per_s: float, seconds: float, seed: int) -> list[Arrival]:
    """Random instants, lengths of the conversation trace."""
    chance, sizes, at_s, arrivals = random.Random(seed), load_azure(TRACE), 0.0, []
    while (at_s := at_s + chance.expovariate(per_s)) < seconds:
        size = chance.choice(sizes)
        arrivals.append(Arrival(at_s, size.input_tokens, size.output_tokens))
    return arrivals


@pytest.mark.parametrize("profile", ["llama-3.1-70b/bf16/a100_sxm/4/vllm", "qwen3-32b/bf16/a100_sxm/2/vllm", "llama-3.1-8b/fp8/l40s/1/vllm"])
@pytest.mark.parametrize("per_s", [2.5, 6.0])
def test_a_fleet_of_the_ordered_size_keeps_the_promise(profile: str, per_s: float) -> None:
    arrivals = poisson(per_s, 200.0, seed=7)
    inputs, outputs = round(mean(one.input_tokens for one in arrivals)), round(mean(one.output_tokens for one in arrivals))
    one = capacity.kept(table()[profile], inputs, outputs, itl_s=PROMISE.itl_s, ttft_s=PROMISE.ttft_s, percentile=PROMISE.percentile)
    replicas = sizing.replicas_for(per_s / one.requests_per_s, one.concurrency, quantile=sizing.headroom_quantile(95.0, 0.0))
    served = run(arrivals, replicas=replicas, profile=table()[profile])
    share = sum(answer.met(PROMISE) for answer in served) / len(served)
    print(f"{profile} at {per_s}/s: {replicas} replicas, {100 * share:.1f} % inside")
    assert share >= 0.93
