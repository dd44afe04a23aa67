"""AIBrix's KPA strategy: after Knative's, but fed with a mean per pod as if it were a total. See `aibrix`.

For metrics of pods the quotient of a mean and a target is about one whatever the fleet's size, so it shrinks fleets that are overloaded. It is right
only for sources that report a total. Its memory of the largest wish during panic is not kept in the released code, and so not here.
"""

from __future__ import annotations

import math

from jevons.simulator.policies.aibrix import Aibrix, AibrixSettings
from jevons.simulator.policies.grid import SIGNAL_AND_TARGET, Grid, axis
from jevons.simulator.policies.policy import whole

GRID = Grid((SIGNAL_AND_TARGET, axis("minimum", 1, 2), axis("window_s", 60.0, 180.0), axis("panic_threshold", 1.5, 2.0)), "target")


def windowed(current: int, stable: float, panic: float, settings: AibrixSettings, *, in_panic: bool = False, most_in_panic: int = 0) -> int:
    """Replicas for the values of both windows. Example: 2 running, 20 and 20 at a target of 10 -> 2."""
    calm, alarmed = _one(current, stable, settings), _one(current, panic, settings)
    return max(most_in_panic, calm, alarmed) if in_panic else calm


def _one(current: int, value: float, settings: AibrixSettings) -> int:
    """The wish of one window, inside the rates of change."""
    inside = settings.target * (1.0 - settings.down_tolerance) <= value <= settings.target * (1.0 + settings.up_tolerance)
    wanted = current if inside else whole(value / settings.target)
    limited = min(max(wanted, math.floor(current / settings.down_rate)), max(1, whole(settings.up_rate * current)))
    return max(limited, settings.activation_scale) if limited > 0 else 0


class AibrixKpa(Aibrix):
    """A PodAutoscaler with `scalingStrategy: KPA`."""

    def wish(self, current: int, stable: float, panic: float) -> int:
        """Panic is a short window more than the threshold above the long one, or a long one of nothing."""
        alarm = stable <= 0 or panic / stable > self.settings.panic_threshold
        return windowed(current, stable, panic, self.settings, in_panic=alarm)

    def guarded(self, current: int, ready: int, wanted: int, use: float) -> int:
        """As the APA's, but on the strategy's own quotient, which is not multiplied by the number of pods when growing."""
        if wanted > current:
            cautious = whole(use * ready / current / self.settings.target)
            return min(max(cautious, current), wanted)
        cautious = whole((use * ready + self.settings.target * (current - ready)) / self.settings.target)
        return max(min(cautious, current), wanted)
