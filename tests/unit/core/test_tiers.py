"""Three places for an idle replica, and the cheapest programme over them."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest
from core_programmes import cost_of

from jevons.core import hazard, tiers
from jevons.core.hazard import EDGES, END_S, with_gap
from jevons.core.spec import Objectives
from jevons.core.tiers import Rest

CHEAP = Rest(0.1, 5.0, 0.0)


def gaps_of(*seconds):
    gaps = ()
    for one in seconds:
        gaps = with_gap(gaps, one)
    return gaps


def test_break_even_of_three_tiers():
    assert tiers.windows(60.0, 40.0, CHEAP, ()) == (
        ((0.0, pytest.approx(35.556, abs=0.01)),),
        ((pytest.approx(35.556, abs=0.01), pytest.approx(950.0)),),
    )


def test_a_wake_within_the_promise_makes_nobody_late():
    assert tiers.rest(0.1, 1.5, Objectives(ttft_s=2.0), 3.6) == Rest(0.1, 1.5, 0.0)
    assert tiers.rest(0.1, 5.0, Objectives(ttft_s=2.0), 3.6) == Rest(0.1, 5.0, 50.0)
    assert tiers.rest(0.1, 5.0, Objectives(late_cost_usd=Decimal("0.01")), 3.6) == Rest(0.1, 5.0, 10.0)


def test_without_history_a_dear_sleep_is_no_tier():
    for rest in (Rest(1.0, 5.0, 0.0), Rest(0.1, 60.0, 50.0), Rest(0.99, 80.0, 10.0)):
        assert tiers.windows(60.0, 40.0, rest, ()) == (hazard.windows(60.0, 40.0, ()), ())


@pytest.mark.parametrize("gaps", [gaps_of(*[300.0] * 30), gaps_of(*[70.0, 80.0, 1500.0] * 10), gaps_of(*[3600.0] * 20)])
@pytest.mark.parametrize(("startup_s", "loss_s"), [(30.0, 300.0), (120.0, 1200.0), (300.0, 60.0)])
def test_sleep_at_the_full_price_is_never_used_and_changes_nothing(gaps, startup_s, loss_s):
    assert tiers.windows(startup_s, loss_s, Rest(1.0, 5.0, 0.0), gaps) == (hazard.windows(startup_s, loss_s, gaps), ())


def test_a_model_that_wakes_in_time_sleeps_soon_and_is_seldom_gone():
    gaps = gaps_of(*[70.0, 80.0, 900.0, 2000.0] * 10)
    loaded, resting = tiers.windows(120.0, 1200.0, CHEAP, gaps)
    assert loaded == ((0.0, 30.0),)
    assert resting[0][0] == 30.0
    assert resting[-1][1] > 2000.0
    assert sum(end_s - begin_s for begin_s, end_s in hazard.windows(120.0, 1200.0, gaps)) > 300.0, "without the tier it is loaded for the same calls"


def test_a_wake_that_makes_answers_late_is_made_ahead_of_a_periodic_call():
    loaded, resting = tiers.windows(300.0, 3000.0, Rest(0.05, 20.0, 800.0), gaps_of(*[1800.0] * 20))
    ahead = next(span for span in loaded if span[0] > 0.0)
    assert 1600.0 < ahead[0] < 1800.0 < ahead[1] < 2100.0
    assert any(begin_s <= 1000.0 < end_s for begin_s, end_s in resting)


def test_what_will_never_be_called_again_is_gone():
    ends = [0.0] * (len(EDGES) - 1)
    assert tiers.programme(ends, 60.0, 600.0, CHEAP) == (((0.0, 30.0),), ())


@pytest.mark.parametrize("gaps", [gaps_of(*[600.0] * 12), gaps_of(*[90.0, 400.0, 5000.0] * 6), gaps_of(*[70.0] * 8, *[7200.0] * 8)])
def test_no_simple_programme_is_cheaper(gaps):
    ends = hazard.chances(gaps, ())
    for startup_s, loss_s, rest in [
        (60.0, 600.0, Rest(0.2, 5.0, 0.0)),
        (120.0, 200.0, Rest(0.4, 10.0, 100.0)),
        (300.0, 3000.0, Rest(0.02, 30.0, 300.0)),
    ]:
        best = cost_of(tiers.programme(ends, startup_s, loss_s, rest), ends, startup_s, loss_s, rest)
        ages = [30.0, EDGES[10], EDGES[25], EDGES[45], EDGES[70], END_S]
        for down_s, gone_s in product(ages, ages):
            if down_s <= gone_s:
                simple = (((0.0, down_s),), ((down_s, gone_s),) if gone_s > down_s else ())
                assert best <= cost_of(simple, ends, startup_s, loss_s, rest) * 1.001 + 0.5
