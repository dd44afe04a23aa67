"""The llm-d workload variant autoscaler's optimiser: greedy, cheapest capacity first when growing, dearest replica first when shrinking.

The first variant that has any capacity takes the whole need, rounded up, so a small remainder buys a large replica; and between the thresholds
nothing is ever swapped.
Source: llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19), internal/engines/pipeline/cost_aware_optimizer.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jevons.simulator.policies.wva_tokens import Need


@dataclass(frozen=True, slots=True)
class Offer:
    """One variant: what a replica costs (a relative number), the tokens it can hold, and the replicas there are."""

    cost: float
    capacity: float
    current: int


def plan(offers: Mapping[str, Offer], wanted: Need) -> dict[str, int]:
    """Replicas of every variant. Example: need 5,000, variants (5, 10,000, 2) and (15, 20,000, 1) -> 3 and 1."""
    counts = {name: offer.current for name, offer in offers.items()}
    able = [name for name, offer in offers.items() if offer.capacity > 0]
    if wanted.required > 0:
        missing = wanted.required
        for name in sorted(able, key=lambda name: offers[name].cost / offers[name].capacity):
            if missing > 0:
                more = math.ceil(missing / offers[name].capacity)
                counts[name] += more
                missing -= more * offers[name].capacity
    elif wanted.spare > 0:
        _shrink(offers, counts, sorted(able, key=lambda name: -offers[name].cost), wanted.spare)
    return counts


def _shrink(offers: Mapping[str, Offer], counts: dict[str, int], order: list[str], spare: float) -> None:
    """Takes replicas away from `counts` in `order`; the cheapest keeps one when no other variant has any."""
    cheapest = min(offers, key=lambda name: offers[name].cost)
    for name in order:
        alone = name == cheapest and not any(count > 0 for other, count in counts.items() if other != name)
        fewer = min(math.floor(spare / offers[name].capacity), counts[name] - (1 if alone else 0))
        if fewer > 0:
            counts[name] -= fewer
            spare -= fewer * offers[name].capacity
