"""Money for a period: the four fields that a deployment's own budget and an InferenceBudget share."""

from __future__ import annotations

from typing import Literal

from jevons.api.base import Model
from jevons.api.quantities import Money, TimeZone


class BudgetFields(Model):
    """An amount that projected spend of the period stays inside."""

    amount: Money
    """USD for one period, e.g. "20000"."""
    period: Literal["Hour", "Day", "Week", "Month"] = "Month"
    """Calendar period in `timeZone`, over which the amount is meant."""
    time_zone: TimeZone = "UTC"
    """IANA name of the zone in which the period begins."""
    when_exceeded: Literal["Alert", "Degrade", "Cap", "Block"] = "Cap"
    """Last rung that may be climbed, each including those before it: say so, cheaper variants, fewer replicas, refuse."""
