"""What one replica of a variant does for one request class, and what a request costs on it."""

from __future__ import annotations

from functools import lru_cache

from jevons.core import capacity
from jevons.core.demand import ClassLoad
from jevons.core.facts import VariantFacts

SECONDS_PER_TOKEN = 0.03
"""Stands in for an unknown pace where costs of variants without a profile are compared."""


def cost(variant: VariantFacts, load: ClassLoad, priced: bool) -> float:
    """What a request costs on the variant at full use, to three digits: USD where all prices are known, else accelerator hours."""
    per_h = variant.rate if priced else float(variant.spec.accelerator_count)
    return _three_digits(per_h / (3600.0 * capacity_of(variant, load).requests_per_s))


@lru_cache(maxsize=4096)
def _three_digits(cost: float) -> float:
    return float(f"{cost:.3g}")


def capacity_of(variant: VariantFacts, load: ClassLoad) -> capacity.Capacity:
    """Of one replica for one class; worked out once a pass."""
    found = variant.capacities.get(load.name)
    if found is None:
        profile = variant.profile
        if profile is None:
            batch = variant.memory.batch or capacity.DEFAULT_BATCH
            found = capacity.Capacity(batch / (load.output_tokens * SECONDS_PER_TOKEN), batch, "Learned")
        else:
            made = load.objectives
            found = capacity.served(profile, load.input_tokens, load.output_tokens, made.itl_s, made.ttft_s)
        variant.capacities[load.name] = found
    return found
