"""A plan as a value: what one deployment and each of its variants should have, and why. `planner.py` makes it; `moving.py` rules about moving."""

from __future__ import annotations

from dataclasses import dataclass, field

from jevons.core import capacity
from jevons.core.capacity import Capacity
from jevons.core.facts import VariantFacts
from jevons.core.levels import Gaps, Needs
from jevons.core.routing import Split


@dataclass(slots=True)
class VariantPlan:
    """What one variant should have."""

    facts: VariantFacts
    share: float = 0.0
    """Of all arrivals."""
    per_s: float = 0.0
    """Arrivals meant for it now [1/s]."""
    work: float = 0.0
    """Need in replicas, without headroom."""
    variance: float = 0.0
    """Of that work, by the randomness of arrivals [replicas^2] (`usable.noise`)."""
    parts: tuple[tuple[float, Capacity, float], ...] = ()
    """By class: work, one replica, and the promised percentile."""
    patient: tuple[tuple[float, Capacity, float], ...] = ()
    """By class whose requests can wait: work in the mean, one replica (`waiting.py`), and the promised percentile."""
    dispersion: float = 1.0
    """Of the burstiest class that it serves."""
    capacity_per_s: float | None = None
    """What one replica of the fleet serves inside the objectives [1/s]."""
    fluid_per_s: float = 1.0
    """Fluid capacity of one replica for its mix [1/s]."""
    concurrency: float = capacity.DEFAULT_BATCH
    reachable: bool = True
    hot_spot: bool = False
    """Requests queue on some of its pods while others have had room for a while."""
    stands_in: bool = False
    """For another variant that finds no node."""
    need: int = 0
    """Replicas that the work needs, headroom included, before the rules about moving."""
    replicas: int = 0
    sleepers: int = 0
    """How many of its replicas shall sleep in host memory."""
    recommended: int | None = None
    """What it should have if it were ours to move."""
    reason: str = "Steady"
    needs: Needs = ()
    gaps: Gaps = ()
    idle_in_s: float | None = None
    foretold: str = ""
    """Why a call is likely."""

    @property
    def asleep(self) -> tuple[str, ...]:
        """Names of the pods that shall sleep: those that do first."""
        if not self.sleepers or not self.replicas:
            return ()
        seen = self.facts.seen
        return tuple([pod.name for pod in (*seen.resting, *seen.drowsy)][: min(self.sleepers, self.replicas)])

    @property
    def rests(self) -> bool:
        """All of its replicas shall sleep."""
        return self.sleepers >= self.replicas > 0

    @property
    def paid(self) -> float:
        """Its replicas, a sleeping one counted by what it costs."""
        sleep = self.facts.spec.sleep
        return self.replicas - (min(self.sleepers, self.replicas) * (1.0 - float(sleep.holding)) if sleep is not None and self.sleepers else 0.0)

    @property
    def replaces(self) -> str:
        """Name of the stuck pod that another one replaces in this pass; empty = none. A fleet that shrinks lets stuck pods go first anyway."""
        return self.facts.seen.stuck[0].name if self.facts.replaceable and self.replicas >= self.facts.current else ""


@dataclass(slots=True)
class Plan:
    """What one deployment should have at one step of pressure."""

    step: int
    best: str
    wake: str
    variants: list[VariantPlan]
    splits: dict[str, Split] = field(default_factory=dict)
    usd_per_h: float = 0.0
    """Of all replicas with a known price."""
    unpriced: bool = False
    """A variant that has or gets replicas has no usable price."""
    degraded_share: float = 0.0
    steered: bool = False
    """Its shares were chosen together with replicas (`steering.py`)."""
    binding: list[str] = field(default_factory=list)
    """Bounds of the spec that bind."""
