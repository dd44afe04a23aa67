"""AcceleratorClass: one kind of accelerator, the admin's: how pods ask for it, where it is, what it can do, and what it costs from when on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from jevons.api.base import Model, Rule
from jevons.api.lists import Keyed
from jevons.api.metadata import Metadata, name_length
from jevons.api.quantities import Instant, Integer, LabelKey, Labels, Money, memory
from jevons.api.status import AcceleratorClassStatus

Memory = Annotated[str, memory("1Mi", "16Ti")]
Bandwidth = Annotated[str, memory("1M", "1000T")]
Watts = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Price(Model):
    """USD per hour of one accelerator, from a moment on."""

    effective_from: Instant
    """UTC, e.g. "2026-09-06T00:00:00Z"."""
    on_demand: Money
    """USD per accelerator-hour."""
    spot: Money | None = None
    """USD per accelerator-hour on the spot market; left out, there is none."""


class Committed(Model):
    """A contract that is paid whether used or not: idle committed capacity is freed, not saved."""

    count: Annotated[int, Integer(1, 100_000)]
    """Accelerators under contract."""
    price: Money
    """USD per accelerator-hour."""
    until: Instant
    """End of the contract, UTC."""


class Power(Model):
    """Watts per accelerator, and the ceiling of all of the class."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "PowerIdlePeak",
            "!has(self.idleWatts) || !has(self.peakWatts) || self.idleWatts <= self.peakWatts",
            "idleWatts must not be above peakWatts",
            "'idleWatts %d is above peakWatts %d'.format([self.idleWatts, self.peakWatts])",
            lambda power: power.idle_watts is None or power.peak_watts is None or power.idle_watts <= power.peak_watts,
            lambda power: f"idleWatts {power.idle_watts} is above peakWatts {power.peak_watts}",
        ),
    )

    idle_watts: Watts | None = None
    """W of one accelerator without work."""
    peak_watts: Watts | None = None
    """W of one accelerator under full load."""
    limit_watts: Annotated[int, Integer(1, 1_000_000_000)] | None = None
    """W that all accelerators of the class may draw together: as many work as fit at peakWatts each, the others on its nodes at idleWatts."""


class AcceleratorClassSpec(Model):
    """How pods ask for it, where it is, what it can do and what it costs."""

    resource_name: LabelKey = "nvidia.com/gpu"
    """Extended resource that containers request."""
    node_selector: Labels = Field(default={})
    """Labels of the nodes that carry it."""
    memory: Memory | None = None
    """Bytes per accelerator, e.g. 80Gi."""
    memory_bandwidth: Bandwidth | None = None
    """Peak bytes per second per accelerator, e.g. 2039G."""
    prices: Annotated[
        tuple[Price, ...],
        Field(max_length=64),
        Keyed("effective_from", "effectiveFrom"),
    ] = ()
    """Prices, each from its moment on."""
    spot_selector: Labels = Field(default={})
    """Labels by which spot nodes are known, e.g. karpenter.sh/capacity-type: spot."""
    committed: Committed | None = None
    """A contract that is paid whether used or not."""
    power: Power | None = None
    """Watts."""
    limit: Annotated[int, Integer(0, 100_000)] | None = None
    """Most accelerators of the class that all deployments may hold together; left out, all there are. 0 starts nothing on it."""


class AcceleratorClass(Model):
    """One kind of accelerator and its prices."""

    RULES: ClassVar[tuple[Rule, ...]] = (name_length(63),)

    api_version: Literal["jevons.dev/v1alpha1"]
    kind: Literal["AcceleratorClass"]
    metadata: Metadata
    spec: AcceleratorClassSpec
    """What the admin says."""
    status: AcceleratorClassStatus | None = None
    """What is there."""
