"""AIBrix's APA strategy: replicas in proportion to use over target, with a tolerance and a factor per step either way. See `aibrix`."""

from __future__ import annotations

import math

from jevons.simulator.policies.aibrix import Aibrix, AibrixSettings
from jevons.simulator.policies.grid import SIGNAL_AND_TARGET, Grid, axis
from jevons.simulator.policies.policy import whole

GRID = Grid((SIGNAL_AND_TARGET, axis("minimum", 1, 2), axis("window_s", 30.0, 180.0), axis("up_rate", 2.0, 4.0)), "target")


def proportional(current: int, use: float, settings: AibrixSettings) -> int:
    """Replicas for `current` of them each at `use`. A target of 0 or below changes nothing. Example: 2 at 45 of 30 -> 3."""
    if settings.target <= 0:
        return current
    ratio = use / settings.target
    wanted = whole(current * ratio)
    if ratio > 1.0 + settings.up_tolerance:
        return min(wanted, whole(settings.up_rate * current))
    if ratio < 1.0 - settings.down_tolerance:
        return max(wanted, math.floor(current / settings.down_rate))
    return current


class AibrixApa(Aibrix):
    """A PodAutoscaler with `scalingStrategy: APA`."""

    def wish(self, current: int, stable: float, panic: float) -> int:
        """The long window alone counts."""
        del panic
        return proportional(current, stable, self.settings)

    def guarded(self, current: int, ready: int, wanted: int, use: float) -> int:
        """Pods not ready count as idle when growing and as at target when shrinking; the wish may only become more cautious."""
        growing = wanted > current
        carried = use * ready + (0.0 if growing else self.settings.target * (current - ready))
        cautious = whole(carried / self.settings.target)
        return min(max(cautious, current), wanted) if growing else max(min(cautious, current), wanted)
