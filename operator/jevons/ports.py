"""The seams between core and shell: what the loop needs from the outside world, and nothing about how it is got.

The shell's rooms implement these; tests hand the loop plain objects. All methods are safe to call again: passes are level-based.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jevons.core.observed import Observed
from jevons.core.snapshot import ClassDemand, EventNote, Held, Outcomes, PodSignals
from jevons.core.spec import Key


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


@dataclass(frozen=True, slots=True)
class Metrics:
    """One pass over Prometheus: at most 10 queries for the whole cluster. Pods are keyed (namespace, pod name)."""

    health: Observed[None]
    pods: Mapping[tuple[str, str], PodSignals]
    demand: Mapping[Key, tuple[ClassDemand, ...]]
    outcomes: Mapping[Key, Observed[Outcomes]]
    held: Mapping[Key, tuple[Held, ...]]
    """The fallback wake path: `jevons_gateway_held` as scraped."""
    queries: int = 0


class MetricSource(Protocol):
    """Where signals come from (Prometheus)."""

    async def read(self) -> Metrics:
        """Never raises for a source that is down or lies: that is `health` and `Unknown`. Bounded by its own deadline (5 s)."""
        ...


@dataclass(frozen=True, slots=True)
class Demand:
    """What the pickers and rooms said last: held requests, arrivals, score counts."""

    held: tuple[Held, ...] = ()
    classes: tuple[ClassDemand, ...] = ()
    last_arrival_at_s: float | None = None
    partial: bool = False
    """Somebody who reported on it within the last minutes is silent: what others see of those requests counts, too."""


class DemandSource(Protocol):
    """Demand streams from the gateway (gRPC), the fast path beside Prometheus."""

    def current(self) -> Mapping[Key, Demand]:
        """The union of every gateway's last report; one that is older than 10 s no longer counts, and leaves the union `partial` for 5 minutes."""
        ...


class EventSink(Protocol):
    """Kubernetes events, deduplicated: one per object and reason in 2 minutes."""

    async def post(self, key: Key, uid: str, notes: Sequence[EventNote]) -> None:
        """Post what was not posted lately; failures are logged and counted, never raised."""
        ...
