"""Shapes that nobody recorded: a step, a spike, a ramp, on and off, silence that ends in a burst, and shocks of price and of inventory.

Arrivals are Poisson with a rate that follows the shape; sizes come from a log's requests, or are lognormal with the means of the Azure conv trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from jevons.simulator.scenario import Floats, Ints, Requests
from jevons.simulator.shocks import Shock
from jevons.simulator.traces import columns


class Shape(StrEnum):
    """How the rate moves, as a share of the peak; x is the share of the time that has gone by."""

    STEP = "step"
    """0.25, and from x = 0.4 on the peak."""
    SPIKE = "spike"
    """0.25, and the peak for the tenth from x = 0.45 on."""
    RAMP = "ramp"
    """From 0.1 to the peak and back."""
    ON_OFF = "on-off"
    """The peak and nothing, in turns of a twelfth."""
    SILENT_THEN_BURST = "silent-then-burst"
    """Nothing until x = 0.5, the peak for a tenth, then 0.2."""
    PRICE_SHOCK = "price-shock"
    """The peak all the time; from x = 0.45 to 0.85 the accelerator costs twice as much."""
    INVENTORY_SHOCK = "inventory-shock"
    """The peak all the time; at x = 0.5 half of the accelerators vanish with what runs on them, and are back at x = 0.6."""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A shape as a trace: its peak rate is chosen to make a fleet, and every seed draws new arrivals."""

    name: str
    shape: Shape


def shapes() -> dict[str, Synthetic]:
    """All of them by name."""
    return {shape.value: Synthetic(shape.value, shape) for shape in Shape}


def level(shape: Shape, x: Floats) -> Floats:
    """Share of the peak rate at `x`, 0..1 each."""
    if shape is Shape.STEP:
        return np.where(x < 0.4, 0.25, 1.0)
    if shape is Shape.SPIKE:
        return np.where((x >= 0.45) & (x < 0.55), 1.0, 0.25)
    if shape is Shape.RAMP:
        return 1.0 - 0.9 * np.abs(2.0 * x - 1.0)
    if shape is Shape.ON_OFF:
        return np.where(np.floor(x * 12) % 2 == 0, 1.0, 0.0)
    if shape is Shape.SILENT_THEN_BURST:
        return np.where(x < 0.5, 0.0, np.where(x < 0.6, 1.0, 0.2))
    return np.ones_like(x)


def shocks(shape: Shape, *, accelerator: str, length_s: float) -> tuple[Shock, ...]:
    """What happens to that accelerator during the shape, in a run of that length."""
    if shape is Shape.PRICE_SHOCK:
        return (Shock(accelerator, 0.45 * length_s, 0.85 * length_s, price=2.0),)
    if shape is Shape.INVENTORY_SHOCK:
        return (Shock(accelerator, 0.5 * length_s, 0.6 * length_s, left=0.5),)
    return ()


def synthetic(shape: Shape, *, peak_rps: float, length_s: float, seed: int, sizes: Requests | None = None) -> Requests:
    """Requests over `length_s`. Example: `on-off` at 2 requests/s for an hour is about 3,600 of them."""
    if peak_rps <= 0 or length_s <= 0:
        raise ValueError(f"peak_rps {peak_rps} and length_s {length_s} must be above 0")
    chance = np.random.default_rng([seed, 4])
    at_s = np.sort(chance.random(chance.poisson(peak_rps * length_s))) * length_s
    at_s = at_s[chance.random(len(at_s)) < level(shape, at_s / length_s)]
    if sizes is not None:
        pick = chance.integers(0, len(sizes), len(at_s))
        return columns(at_s, sizes.input_tokens[pick], sizes.output_tokens[pick])
    return columns(at_s, *lengths(len(at_s), chance))


def lengths(count: int, chance: np.random.Generator) -> tuple[Ints, Ints]:
    """Prompt and answer tokens of `count` requests with the means of the Azure conv trace, lognormal: 1,155 and 211."""
    given, wanted = _lognormal(1155.0, 1.0, count, chance), _lognormal(211.0, 0.8, count, chance)
    return np.clip(given, 1, 14_000).astype(np.int32), np.clip(wanted, 1, 1_500).astype(np.int32)


def _lognormal(mean: float, sigma: float, count: int, chance: np.random.Generator) -> Floats:
    return np.asarray(chance.lognormal(np.log(mean) - sigma**2 / 2, sigma, count), np.float64)
