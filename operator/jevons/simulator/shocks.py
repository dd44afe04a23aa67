"""What happens to accelerators that nobody asked for: a price that jumps, and a zone that is gone.

A shock belongs to a `Scenario` and is the same for all who compete on it; nobody is told of it before it begins. Prices are felt on the bill from
their second on, and by whoever looks at prices (our operator reads its AcceleratorClass anew in each pass). Accelerators that vanish take their pods
with them, the oldest first, and until they are back pods that ask for more wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from jevons.core.spec import AcceleratorClass, Price

if TYPE_CHECKING:
    from jevons.simulator.cluster import Bill
    from jevons.simulator.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Shock:
    """From `at_s` until `until_s` an accelerator costs `price` times as much, and there are only `left` (0..1) of those that replicas held."""

    accelerator: str
    at_s: float
    until_s: float = math.inf
    price: float = 1.0
    left: float = 1.0


def price_factor(shocks: tuple[Shock, ...], accelerator: str, at_s: float) -> float:
    """What an accelerator costs at that time over what it costs without a shock."""
    return math.prod([shock.price for shock in shocks if shock.accelerator == accelerator and shock.at_s <= at_s < shock.until_s])


def usd(scenario: Scenario, bill: Bill, end_s: float) -> float:
    """What the pods of a run cost, from the end of the burn-in on, every second at its own price; nothing where the run ends before.

    Example: a replica at 3.60 USD/h for 100 s, of which 10 s at twice that -> 0.11 USD (test_shocks.py).
    """
    start_s = scenario.burn_in_s
    turns = {at_s for shock in scenario.shocks for at_s in (shock.at_s, shock.until_s) if start_s < at_s < end_s}
    times = sorted({start_s, max(start_s, end_s)} | turns)
    total = 0.0
    for begin_s, until_s in pairwise(times):
        for (index, _), seconds in bill.paid(begin_s, until_s).items():
            variant = scenario.variants[index]
            total += seconds * variant.usd_per_h / 3600.0 * price_factor(scenario.shocks, variant.accelerator, begin_s)
    return total


def listed(
    classes: Mapping[str, AcceleratorClass], of: Mapping[str, str], shocks: tuple[Shock, ...], at_s: float, epoch_s: float
) -> dict[str, AcceleratorClass]:
    """The accelerator classes as an admin has them at `at_s`, with the prices that have been announced until then. of: class -> accelerator."""
    found = {}
    for name, known in classes.items():
        prices = list(known.prices)
        turns = sorted({turn for shock in shocks if shock.accelerator == of.get(name) for turn in (shock.at_s, shock.until_s) if turn <= at_s})
        for turn_s in turns:
            factor = Decimal(f"{price_factor(shocks, of[name], turn_s):.6f}")
            first = known.prices[0]
            spot = None if first.spot_usd_per_h is None else first.spot_usd_per_h * factor
            prices.append(Price(epoch_s + turn_s, first.on_demand_usd_per_h * factor, spot))
        found[name] = replace(known, prices=tuple(prices))
    return found
