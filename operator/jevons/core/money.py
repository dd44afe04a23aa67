"""Prices over time, in `Decimal`: what accelerators cost per hour and what a stretch of time on them costs.

A price that is missing, zero, negative or not a number is *no price*: the caller gets `None` and has to say what it does without one. It never
becomes a zero and never enters a sum, so that one bad line in a price list cannot poison a total.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from jevons.core.spec import AcceleratorClass, Price

ZERO = Decimal(0)
HOUR_MS = 3_600_000
MAX_USD_PER_H = Decimal(100_000)
"""No accelerator costs this much per hour: above it, the number is a typing error and counts as no price."""


def usable(price: Decimal | None) -> Decimal | None:
    """The price [USD/h] if it is one: finite, above zero and below `MAX_USD_PER_H`; else None."""
    if price is None or not price.is_finite() or price <= 0 or price >= MAX_USD_PER_H:
        return None
    return price


def in_force(prices: tuple[Price, ...], at_s: float) -> Price | None:
    """The entry with the latest `effective_from_s` not after `at_s`, or None when none has begun."""
    best: Price | None = None
    for price in prices:
        if price.effective_from_s <= at_s and (best is None or price.effective_from_s >= best.effective_from_s):
            best = price
    return best


def accelerator_usd_per_h(accelerator: AcceleratorClass | None, at_s: float, *, spot: bool = False) -> Decimal | None:
    """USD per hour of one accelerator at that time; a spot pod of a class without a spot price pays the on-demand price.

    Example: 3.67 on demand from t=0 and 5.43 from t=100: at 99 -> 3.67, at 100 -> 5.43
    (test_worked_examples.py::test_price_steps_are_felt_at_their_second).
    """
    if accelerator is None:
        return None
    price = in_force(accelerator.prices, at_s)
    if price is None:
        return None
    if spot and price.spot_usd_per_h is not None:
        return usable(price.spot_usd_per_h)
    return usable(price.on_demand_usd_per_h)


def steps(accelerator: AcceleratorClass | None, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """On-demand prices that begin in (start_s, end_s], as (when, times the price at `start_s`); a price that is none changes nothing."""
    before = accelerator_usd_per_h(accelerator, start_s)
    if accelerator is None or before is None:
        return []
    times = sorted({price.effective_from_s for price in accelerator.prices if start_s < price.effective_from_s <= end_s})
    found = [(at_s, accelerator_usd_per_h(accelerator, at_s)) for at_s in times]
    return [(at_s, float(usd / before)) for at_s, usd in found if usd is not None]


def spend(accelerator: AcceleratorClass | None, start_s: float, end_s: float, *, spot: bool = False) -> tuple[Decimal, float]:
    """USD that one accelerator costs in [start_s, end_s), price changes included, and the seconds of it that had no usable price.

    Times are rounded to the millisecond, so that the same stretch cut into passes gives the same sum.
    Example: 1 h at 2 USD/h whose second half has a NaN price -> (1.0, 1800) (test_worked_examples.py::test_a_price_that_is_none_poisons_nothing).
    """
    if end_s <= start_s:
        return ZERO, 0.0
    cuts = [start_s, end_s]
    if accelerator is not None:
        cuts[1:1] = sorted({price.effective_from_s for price in accelerator.prices if start_s < price.effective_from_s < end_s})
    total, unpriced_s = ZERO, 0.0
    for begin, end in pairwise(cuts):
        usd_per_h = accelerator_usd_per_h(accelerator, begin, spot=spot)
        if usd_per_h is None:
            unpriced_s += end - begin
        else:
            total += usd_per_h * (round(end * 1000) - round(begin * 1000)) / HOUR_MS
    return total, unpriced_s
