"""The peers: how other systems decide how many replicas a model has, restated so that the simulator can run them beside ours.

Each module is one system, written from its published source and held to that system's own test vectors (tests/data/peer_vectors.json). `PEERS` lists
them with their documented defaults and the settings a benchmark may tune; `policy.py` says how they are called and what they may see.

    fleet = PEERS["keda"].fleet({"large": Facts()})         # defaults; or .fleet(variants, settings) with settings from .grid
    every fleet.sample_s: fleet.observe({"large": Sample(...)})
    every fleet.period_s: wanted = fleet.decide(now, {"large": View(...)})
    a request arrives and no replica is wanted: fleet.wake(now, views)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jevons.simulator.policies import aibrix_apa, aibrix_kpa, dynamo, hpa, keda, kpa, kubeai, static, wva
from jevons.simulator.policies.aibrix import AibrixSettings
from jevons.simulator.policies.grid import Grid
from jevons.simulator.policies.policy import Apart, FleetPolicy, Policy, Reading, Sample, Signal, View
from jevons.simulator.policies.wva import Facts


@dataclass(frozen=True, slots=True)
class Peer:
    """A system: its documented `defaults`, what may be tuned, and how it is built for the variants of a model.

    queues: whether something of the system holds requests while no replica is ready; otherwise they are refused.
    """

    defaults: Any
    grid: Grid
    queues: bool
    build: Callable[[Any, Mapping[str, Facts]], FleetPolicy]

    def fleet(self, variants: Mapping[str, Facts], settings: Any = None) -> FleetPolicy:
        """A fresh autoscaler for `variants`, by `settings` or the defaults."""
        return self.build(self.defaults if settings is None else settings, variants)


def _alone(defaults: Any, grid: Grid, make: Callable[[Any], Policy], *, queues: bool = False) -> Peer:
    """A peer that knows one variant at a time."""
    return Peer(defaults, grid, queues, lambda settings, variants: Apart({name: make(settings) for name in variants}))


PEERS: Mapping[str, Peer] = {
    "hpa": _alone(hpa.HpaSettings(), hpa.GRID, hpa.Hpa),
    "keda": _alone(keda.KedaSettings(), keda.GRID, keda.Keda),
    "kpa": _alone(kpa.KpaSettings(), kpa.GRID, kpa.Kpa, queues=True),
    "aibrix-apa": _alone(AibrixSettings(), aibrix_apa.GRID, aibrix_apa.AibrixApa),
    "aibrix-kpa": _alone(AibrixSettings(), aibrix_kpa.GRID, aibrix_kpa.AibrixKpa),
    "wva": Peer(wva.WvaSettings(), wva.GRID, True, wva.Wva),
    "dynamo": _alone(dynamo.DynamoSettings(), dynamo.GRID, dynamo.Dynamo),
    "kubeai": _alone(kubeai.KubeaiSettings(), kubeai.GRID, kubeai.Kubeai, queues=True),
    "static": _alone(static.StaticSettings(), static.GRID, static.Static),
}

__all__ = ["PEERS", "Apart", "Facts", "FleetPolicy", "Grid", "Peer", "Policy", "Reading", "Sample", "Signal", "View"]
