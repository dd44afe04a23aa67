"""The llm-d workload variant autoscaler's first analyser ("V1"): is there room left in the pods that are not full?

A pod is full when its KV cache or its queue has reached a threshold. Room is averaged over the pods that are *not* full, so one overloaded pod beside
two idle ones looks like room to spare; and while any variant of a model is on its way somewhere, nothing is decided for any of them.
Source: llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19), internal/saturation/analyzer.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a pod is full (KV share, queued requests), and how much room on average is too little."""

    kv: float = 0.80
    queue: float = 5.0
    kv_spare: float = 0.1
    queue_spare: float = 3.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """up: one more replica is needed. safe: one fewer would still leave room."""

    up: bool
    safe: bool


def verdict(pods: Sequence[tuple[float, float]], thresholds: Thresholds) -> Verdict:
    """From each pod's peak (KV share, queued requests) over the last minute. Nothing at all needs nothing."""
    roomy = [(kv, queue) for kv, queue in pods if kv < thresholds.kv and queue < thresholds.queue]
    count = len(roomy)
    if not count:
        return Verdict(up=bool(pods), safe=False)
    kv_spare = sum(thresholds.kv - kv for kv, _ in roomy) / count
    queue_spare = sum(thresholds.queue - queue for _, queue in roomy) / count
    up = kv_spare < thresholds.kv_spare or queue_spare < thresholds.queue_spare
    if count < 2:
        return Verdict(up, safe=False)
    crowding = count / (count - 1)
    kv_left = thresholds.kv - (thresholds.kv - kv_spare) * crowding
    queue_left = thresholds.queue - (thresholds.queue - queue_spare) * crowding
    return Verdict(up, safe=kv_left >= thresholds.kv_spare and queue_left >= thresholds.queue_spare)


@dataclass(frozen=True, slots=True)
class Standing:
    """One variant: its relative `cost`, pods that exist, replicas `desired` last time (0: never said), pods with metrics, pods not ready."""

    cost: float
    current: int
    desired: int = 0
    reporting: int = 0
    pending: int = 0

    @property
    def moving(self) -> bool:
        """Whether it is on its way to another size."""
        return self._asked or self.reporting != self.current

    @property
    def heading(self) -> int:
        """The size it has been told to take, or has."""
        return self.desired if self._asked else self.current

    @property
    def _asked(self) -> bool:
        return self.desired not in (0, self.current)


def targets(variants: Mapping[str, Standing], found: Verdict) -> dict[str, int]:
    """Replicas of every variant: one more of the cheapest without pending pods, or one fewer of the dearest that has two; of equals by name."""
    if any(variant.moving for variant in variants.values()):
        return {name: variant.heading for name, variant in variants.items()}
    wanted = {name: variant.reporting for name, variant in variants.items()}
    if found.up:
        cheapest = min(
            (name for name, variant in variants.items() if not variant.pending), key=lambda name: (variants[name].cost, name), default=None
        )
        if cheapest is not None:
            wanted[cheapest] += 1
    elif found.safe:
        dearest = max((name for name in variants if wanted[name] > 1), key=lambda name: (variants[name].cost, name), default=None)
        if dearest is not None:
            wanted[dearest] -= 1
    return wanted
