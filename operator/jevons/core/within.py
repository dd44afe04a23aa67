"""A number kept between two others.

`min(high, max(low, number))` says the same in eight times as long, since the built-in functions take any number of arguments; a pass asks thousands
of times.
"""

# ruff: noqa: FURB136  that is the point
from __future__ import annotations


def within(low: float, number: float, high: float) -> float:
    """`number`, or the bound that it is beyond; `low` for what is not a number.

    Example: 0.7 .. 1.5 of 2.0 -> 1.5 (test_within.py::test_a_number_beyond_a_bound_is_the_bound).
    """
    number = number if number > low else low
    return number if number < high else high
