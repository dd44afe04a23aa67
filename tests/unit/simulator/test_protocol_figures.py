import math

import numpy as np
import pytest

from jevons.core.spec import Objectives
from jevons.simulator.protocol.bootstrap import Points
from jevons.simulator.protocol.figures import figures, worst_of
from jevons.simulator.scenario import Outcome, Scenario
from jevons.simulator.traces import columns

NEVER = math.nan


def a_run(at_s, first, end, *, tokens=17, burn_in_s=0.0, usd=6.0, timeline=((0.0, 1, 0, 0, 0, 0, 0),)):
    at_s, first, end = (np.asarray(column, float) for column in (at_s, first, end))
    scenario = Scenario(
        "x", columns(at_s, np.full(len(at_s), 10), np.full(len(at_s), tokens)), (), Objectives(ttft_s=2.0, itl_s=0.1), burn_in_s=burn_in_s
    )
    outcome = Outcome(
        first,
        end,
        np.where(np.isnan(end), NEVER, 0.2),
        np.zeros(len(at_s), np.int32),
        usd,
        7200.0,
        360.0,
        0.0,
        3,
        0,
        np.array(timeline, float),
        4000.0,
    )
    return scenario, outcome


def test_the_denominator_is_every_arrival():
    found = figures(*a_run([0, 1, 2, 3], [1.0, 4.0, 3.0, NEVER], [2.0, 5.0, 9.0, NEVER]))
    assert (found.offered, found.met, found.shed) == (4, 1, 1)  # in time; late; slow; never
    assert found.attainment == 0.25
    assert found.usd_per_1k_offered == 1500.0
    assert found.usd_per_slo_answer == 6.0
    assert (found.gpu_hours, found.starting_gpu_hours, found.scale_events) == (2.0, 0.1, 3)


def test_a_short_answer_may_pause_and_the_strict_figure_tells():
    found = figures(*a_run([0.0], [1.0], [1.5], tokens=3))
    assert (found.attainment, found.strict) == (1.0, 0.0)


def test_arrivals_before_the_burn_in_ends_do_not_count():
    found = figures(*a_run([0, 100], [NEVER, 101], [NEVER, 102], burn_in_s=50.0))
    assert (found.offered, found.attainment) == (1, 1.0)


def test_the_worst_window_is_found_and_needs_enough_arrivals():
    at_s = [*range(30), *range(600, 630), 1300]
    good = [True] * 30 + [True] * 15 + [False] * 15 + [False]
    first = [at + 1 if ok else NEVER for at, ok in zip(at_s, good, strict=True)]
    found = figures(*a_run(at_s, first, first))
    assert found.worst_window == 0.5
    assert worst_of(np.array([0, 1]), np.array([True, False]), fallback=0.7) == 0.7


def test_the_worst_class_counts_too():
    at_s = np.arange(60)
    first = np.where(at_s % 2 == 0, at_s + 1.0, NEVER)
    assert figures(*a_run(at_s, first, first), classes=(at_s % 2).astype(np.int32)).worst == 0.0


def test_blocks_add_up_and_money_follows_replicas():
    at_s = np.linspace(0, 3600, 73)
    found = figures(*a_run(at_s, at_s + 1, at_s + 2, timeline=((0, 1, 0, 0, 0, 0, 0), (1800, 2, 1, 5, 0, 0, 0), (3600, 0, 0, 0, 0, 0, 0))))
    assert found.blocks.shape == (4, 4)
    assert found.blocks[:, 0].tolist() == [18, 18, 18, 19]
    assert found.blocks[:, 2].tolist() == pytest.approx([0.75, 0.75, 2.25, 2.25])
    assert found.blocks[:, 1].sum() == found.met


def test_nothing_answered_is_no_crash():
    found = figures(*a_run([0.0], [NEVER], [NEVER]))
    assert found.attainment == 0.0
    assert math.isinf(found.usd_per_slo_answer)


def test_points_need_the_same_windows():
    long, short = np.linspace(0, 10800, 50), np.linspace(0, 900, 50)
    one, other = figures(*a_run(long, long, long)), figures(*a_run(short, short, short))
    assert Points.of([[one, one], [one, one]]).met.shape == (2, 12)
    with pytest.raises(ValueError, match="same seeds and windows"):
        Points.of([[one], [other]])
