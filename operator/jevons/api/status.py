"""What the operator writes back. The gateway reads `routing` (docs/designs/0001-the-house.md); people read the rest with `kubectl get`.

Nothing here moves at every pass, and numbers that are not counts are strings. Everything is bounded, because tenants can read it and etcd stores it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from jevons.api.base import StatusModel
from jevons.api.lists import ATOMIC

Short = Annotated[str, Field(max_length=64)]
Message = Annotated[str, Field(max_length=32768)]
Selector = Annotated[str, Field(max_length=4096)]
Instant = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]


def keyed(key: str) -> dict[str, Any]:
    """Schema of a list whose entries are told apart by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class Condition(StatusModel):
    """One condition; positive polarity."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: Count | None = None
    last_transition_time: Instant
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    message: Message


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32, json_schema_extra=keyed("type"))]


class VariantStatus(StatusModel):
    """One variant: what it should have, has, and costs."""

    name: Short
    accelerator_class: Annotated[str, Field(max_length=253)] | None = None
    """What a replica occupies, as the spec or else its pods say."""
    accelerator_count: Count | None = None
    desired: Count | None = None
    current: Count | None = None
    ready: Count | None = None
    asleep: Count | None = None
    """Pods that sleep in host memory; left out where none does."""
    hourly_rate: Short | None = None
    """USD per hour now."""
    reason: Short | None = None
    message: Message | None = None


class Cost(StatusModel):
    """Money, written every 10 minutes or on a change of 1 % of the amount."""

    hourly_rate: Short | None = None
    """USD per hour now."""
    period_spend: Short | None = None
    """USD since the period began."""
    period_forecast: Short | None = None
    """USD expected by the end of the period."""
    per_thousand_useful: Short | None = None
    """USD per 1,000 useful answers."""
    estimated: bool | None = None
    """Part of the spend was billed over a gap in what was seen."""
    as_of: Instant | None = None


class VariantRouting(StatusModel):
    """How pickers find and weigh one variant."""

    name: Short
    state: Short
    """Ready, Asleep, Waking, Failed, Capped, Shadow or Unavailable."""
    selector: Selector | None = None
    """Label selector of its pods."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    usd_per1k_tokens: Annotated[Short | None, Field(alias="usdPer1kTokens")] = None
    startup_seconds: Count | None = None
    """What a waiting client is told."""
    idle_tokens: Count | None = None
    """Outstanding tokens of a pod below which it takes requests of classes that can wait."""


class MinScore(StatusModel):
    """Requests scored at least this may go to the variant."""

    variant: Short
    score: Short


class ClassRouting(StatusModel):
    """One request class's thresholds, cheapest variant first."""

    name: Short
    min_score: Annotated[tuple[MinScore, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    degraded_share: Short | None = None
    expected_quality: Short | None = None
    wait_seconds: Count | None = None
    """How long its requests may wait for idle capacity (tier Flex or Batch)."""


class RoutingStatus(StatusModel):
    """The plan the pickers read."""

    generation: Count | None = None
    as_of: Instant | None = None
    best: Short | None = None
    wake: Short | None = None
    """The variant to wake when nothing is ready."""
    rung: Short | None = None
    pressure: Short | None = None
    blocked_until: Instant | None = None
    variants: Annotated[tuple[VariantRouting, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    classes: Annotated[tuple[ClassRouting, ...], Field(max_length=17, json_schema_extra=ATOMIC)] = ()


class LastDecision(StatusModel):
    """The last change, and why."""

    id: Short | None = None
    time: Instant | None = None
    reason: Short | None = None
    message: Message | None = None


class AdvisedSetting(StatusModel):
    """One setting of one variant that would save money."""

    variant: Short
    setting: Short
    now: Short
    then: Short
    saved_share: Short | None = None
    """Of the bill on that traffic, at the same attainment."""
    saved_monthly: Short | None = None
    """USD per month of 720 hours of such traffic."""


class Advice(StatusModel):
    """What `jevons advise --publish` found, each setting tried in the simulator first. Nothing acts on it, and the operator does not write it."""

    observed_generation: Count | None = None
    """Of the manifest it is about; when the object's is higher it may be about what is no more."""
    as_of: Instant | None = None
    """End of the traffic it was tried on."""
    message: Message | None = None
    settings: Annotated[tuple[AdvisedSetting, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    """Best first."""


class InferenceDeploymentStatus(StatusModel):
    """What the operator last saw and did."""

    observed_generation: Count | None = None
    model: Annotated[str, Field(max_length=253)] | None = None
    """Name that clients send: the short one, or `namespace/name` while another object holds the short one."""
    reason: Annotated[str, Field(max_length=1024)] | None = None
    """The one thing to know first: the most important condition that is not as it should be, else that of Ready."""
    message: Message | None = None
    """The same as a sentence."""
    conditions: Conditions = ()
    variants: Annotated[tuple[VariantStatus, ...], Field(max_length=16, json_schema_extra=keyed("name"))] = ()
    cost: Cost | None = None
    routing: RoutingStatus | None = None
    last_decision: LastDecision | None = None
    advice: Advice | None = None


class InferenceBudgetStatus(StatusModel):
    """What was spent, and how far enforcement has gone."""

    observed_generation: Count | None = None
    conditions: Conditions = ()
    spend: Short | None = None
    """USD since the period began."""
    forecast: Short | None = None
    """USD expected by the end of the period."""
    rung: Short | None = None
    members: Count | None = None
    """Deployments it selects now."""
    period_start: Instant | None = None
    period_end: Instant | None = None
    as_of: Instant | None = None


class AcceleratorClassStatus(StatusModel):
    """What is there, and which price is in use."""

    observed_generation: Count | None = None
    conditions: Conditions = ()
    nodes: Count | None = None
    allocatable: Count | None = None
    allocated: Count | None = None
    free: Count | None = None
    price_in_use: Short | None = None
    """USD per accelerator-hour, on demand."""
    price_effective_from: Instant | None = None
    """Since when; its age is now minus this."""
    as_of: Instant | None = None
