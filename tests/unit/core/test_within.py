"""A number kept between two others: the same as the built-in functions say."""

import math

import pytest

from jevons.core.within import within


def test_a_number_beyond_a_bound_is_the_bound() -> None:
    assert [within(0.7, number, 1.5) for number in (2.0, 0.1, 1.0)] == [1.5, 0.7, 1.0]


@pytest.mark.parametrize("number", [-math.inf, -1.0, 0.7, 1.0, 1.5, 9.0, math.inf, math.nan])
def test_it_says_what_min_and_max_say(number: float) -> None:
    assert within(0.7, number, 1.5) == min(1.5, max(0.7, number))
