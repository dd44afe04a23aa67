"""Condition types, and how a new set of conditions is laid over the old one.

All types have positive polarity: True is good news. `lastTransitionTime` moves only when `status` changes, so that an unchanged pass writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jevons.core.snapshot import Condition

ACCEPTED = "Accepted"
RESOLVED_REFS = "ResolvedRefs"
READY = "Ready"
METRICS_AVAILABLE = "MetricsAvailable"
OBJECTIVES_MET = "ObjectivesMet"
WITHIN_BUDGET = "WithinBudget"
CAPACITY_AVAILABLE = "CapacityAvailable"
ROUTER_CALIBRATED = "RouterCalibrated"
SCALE_UNCONTESTED = "ScaleUncontested"
DEPLOYMENT_CONDITIONS = (
    ACCEPTED,
    RESOLVED_REFS,
    READY,
    METRICS_AVAILABLE,
    OBJECTIVES_MET,
    WITHIN_BUDGET,
    CAPACITY_AVAILABLE,
    ROUTER_CALIBRATED,
    SCALE_UNCONTESTED,
)
"""Those of an InferenceDeployment, in the order they are shown."""


def instant(at_s: float) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes times. Example: 0 -> `1970-01-01T00:00:00Z` (test_conditions.py)."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(
    previous: Sequence[Mapping[str, Any]] | None, wanted: Iterable[Condition], *, observed_generation: int, now_s: float
) -> list[dict[str, Any]]:
    """`wanted` as stored conditions: of those whose status is as before the transition time stays. Types that nobody wants any more are dropped.

    previous: `status.conditions` as last stored. Returns entries ready for `status.conditions`.
    """
    before = {str(one.get("type")): one for one in previous or ()}
    out: list[dict[str, Any]] = []
    for want in wanted:
        old = before.get(want.type)
        same = old is not None and old.get("status") == want.status and old.get("lastTransitionTime")
        out.append(
            {
                "type": want.type,
                "status": want.status,
                "reason": want.reason or "Unspecified",
                "message": want.message[:32768],
                "observedGeneration": observed_generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else instant(now_s),
            }
        )
    return out
