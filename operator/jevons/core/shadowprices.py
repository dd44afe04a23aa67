"""What a replica counts for when plans are compared: its price, and the shadow prices on top.

Budgets under pressure make every price dearer (lambda, summed over the budgets), accelerators of which there are too few make theirs dearer (alpha).
Only comparisons use these: what is shown and what is spent are plain prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jevons.core.facts import VariantFacts


@dataclass(frozen=True, slots=True)
class ShadowPrices:
    """Shadow prices: `pressure` of the budgets, and `scarcity` [USD/h per accelerator] by accelerator class."""

    pressure: float = 0.0
    scarcity: Mapping[str, float] = field(default_factory=dict)

    def usd_per_h(self, variant: VariantFacts, *, priced: bool) -> float:
        """Of one replica; accelerators stand in for dollars where somebody's price is missing (`priced` False)."""
        plain = variant.rate if priced else float(variant.spec.accelerator_count)
        scarce = self.scarcity.get(variant.spec.accelerator_class, 0.0)
        return plain * (1.0 + self.pressure) + scarce * variant.spec.accelerator_count


NO_SHADOW = ShadowPrices()
