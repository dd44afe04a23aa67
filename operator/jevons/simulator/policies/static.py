"""Always the same number of replicas: what most people run, and the baseline that every saving is measured from."""

from __future__ import annotations

from dataclasses import dataclass

from jevons.simulator.policies.grid import Grid, axis
from jevons.simulator.policies.policy import Sample, View


@dataclass(frozen=True, slots=True)
class StaticSettings:
    """How many `replicas`, for ever. One is what an unscaled Deployment has (Kubernetes' default)."""

    replicas: int = 1
    sync_s: float = 60.0


GRID = Grid((axis("replicas", *range(1, 65)),), "replicas", (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64))


class Static:
    """Looks at nothing."""

    def __init__(self, settings: StaticSettings) -> None:
        self.settings = settings
        self.period_s = self.sample_s = settings.sync_s

    def observe(self, sample: Sample) -> None:
        """Metrics do not matter here."""

    def decide(self, now: float, view: View) -> int:
        """The one number."""
        del now, view
        return self.settings.replicas

    def wake(self, now: float, view: View) -> int:
        """The one number."""
        del now, view
        return self.settings.replicas
