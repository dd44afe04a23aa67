"""NVIDIA Dynamo's planner in its default mode ("easy": fixed thresholds on what engines report of every forward pass).

Every five seconds, one replica up when *any* engine is above the upper threshold, one down when *all* are below the lower. While a change is under
way, or the number of engines that report differs from the number wanted, it only looks on: a pod that never becomes ready freezes it. It does not go
below one replica, and bounds GPUs, not money. Engines here do prefill and decode both (aggregated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jevons.simulator.policies.grid import Axis, Grid, axis
from jevons.simulator.policies.policy import Reading, Sample, View, clamped


@dataclass(frozen=True, slots=True)
class DynamoSettings:
    """Defaults: ai-dynamo/dynamo (2026, commit not recorded), planner/config/defaults.py and core/load_scaling.py, target `throughput`, aggregated.

    For the target `latency` the thresholds are up 0.4, down 0.1.
    """

    up: float = 1.0
    """An engine whose tokens, running and queued, are more than this share of its KV cache asks for one more replica."""
    down: float = 0.6
    minimum: int = 1
    """`min_endpoint`."""
    max_gpu_budget: int = 8
    """GPUs, not replicas. Larger fleets need it raised: it is a limit, not a tuning."""
    gpus_per_replica: int = 1
    interval_s: float = 5.0
    """Load adjustment interval."""

    @property
    def maximum(self) -> int:
        """Replicas that the GPU budget allows."""
        return max(self.minimum, self.max_gpu_budget // self.gpus_per_replica)


GRID = Grid(
    (
        Axis(("up", "down"), ((1.0, 0.6), (0.8, 0.4), (0.6, 0.3), (0.4, 0.1), (0.3, 0.1), (0.2, 0.05), (0.1, 0.02))),
        axis("minimum", 1, 2, 4),
        axis("interval_s", 5.0, 15.0, 60.0),
    ),
    "up",
)


def step(replicas: int, loads: Sequence[float], *, up: float, down: float, minimum: int = 1, inclusive: bool = False) -> int:
    """One tick of the load loop, by each engine's load. inclusive: reaching `up` is enough (prefill-only engines)."""
    if not loads:
        return replicas
    if any(load > up or (inclusive and load == up) for load in loads):
        return replicas + 1
    if replicas > 1 and all(load < down for load in loads):
        return max(minimum, replicas - 1)
    return replicas


def load_of(reading: Reading) -> float:
    """Tokens held and queued over the tokens the KV cache can hold, of an engine that does both prefill and decode."""
    return (reading.kv_tokens + reading.queued_tokens) / reading.kv_capacity if reading.kv_capacity else 0.0


class Dynamo:
    """The planner's state for one group of workers: the newest report."""

    def __init__(self, settings: DynamoSettings) -> None:
        self.settings = settings
        self.period_s = self.sample_s = settings.interval_s
        self._loads: list[float] = []

    def observe(self, sample: Sample) -> None:
        """The event plane brings the newest forward-pass metrics; without them there is nothing to decide on."""
        self._loads = [] if sample.failed else [load_of(reading) for reading in sample.pods if not reading.leaving]

    def decide(self, now: float, view: View) -> int:
        """One tick."""
        del now
        settled = view.replicas == view.ready == view.existing == len(self._loads)
        if not settled:
            return view.replicas
        wanted = step(view.replicas, self._loads, up=self.settings.up, down=self.settings.down, minimum=self.settings.minimum)
        return clamped(wanted, self.settings.minimum, self.settings.maximum)

    def wake(self, now: float, view: View) -> int:
        """Scaling from zero is not supported."""
        del now
        return view.replicas
