"""Levels of a fleet: the staircase remembers what a full record would, and what is kept lies between what is needed and what there is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import levels

QUICK = settings(max_examples=60, deadline=None)
HISTORY = st.lists(st.tuples(st.integers(0, 12), st.sampled_from([5.0, 15.0, 60.0, 300.0])), min_size=1, max_size=60)


def replayed(history, startup_s):
    needs, gaps, now, record = (), (), 0.0, []
    for need, dt_s in history:
        now += dt_s
        gaps = levels.with_gaps(gaps, needs, need, now)
        needs = levels.remembered(needs, need, now, startup_s, 0)
        record.append((now, need))
    return needs, gaps, now, record


@QUICK
@given(history=HISTORY, startup_s=st.sampled_from([15.0, 60.0, 300.0]))
def test_the_staircase_knows_when_a_level_was_last_needed(history, startup_s):
    needs, _, now, record = replayed(history, startup_s)
    for level in range(1, 13):
        true_s = max((at_s for at_s, need in record if need >= level), default=None)
        said_s = levels.last_needed_s(needs, level)
        if true_s is None or now - true_s > levels.FORGET_S:
            assert said_s is None or said_s == true_s
        else:
            assert said_s is not None
            assert true_s - startup_s * levels.REFRESH <= said_s <= true_s
    assert [need for _, need in needs] == sorted({need for _, need in needs}, reverse=True)


@QUICK
@given(
    history=HISTORY,
    startup_s=st.sampled_from([15.0, 60.0, 300.0]),
    low=st.integers(1, 12),
    above=st.integers(0, 6),
    late_s=st.floats(0.0, 1e4),
    later_s=st.floats(0.0, 5000.0),
)
def test_what_is_kept_lies_between_need_and_what_runs_and_falls_with_time(*, history, startup_s, low, above, late_s, later_s):
    needs, gaps, now, _ = replayed(history, startup_s)
    kept = [levels.kept(needs, gaps, low=low, current=low + above, startup_s=startup_s, late_s=late_s, now=at_s) for at_s in (now, now + later_s)]
    assert low <= kept[1] <= kept[0] <= low + above
    assert levels.kept(needs, gaps, low=low, current=low + above, startup_s=startup_s, late_s=late_s, now=now + levels.FORGET_S + 1.0) == low


def test_a_level_that_returns_in_a_rhythm_is_kept_over_the_gap_and_one_that_a_peak_needed_once_is_not():
    rhythm = [(2, 15.0)] * 8 + [(5, 15.0)] * 2
    needs, gaps, now, _ = replayed(rhythm * 30, 60.0)
    lately = now - 15.0
    assert levels.keep_s(5, 60.0, 60.0, gaps) > 130.0
    assert levels.kept(needs, gaps, low=2, current=5, startup_s=60.0, late_s=10.0, now=lately + 125.0) == 5
    once, none, now, _ = replayed([(9, 15.0), *[(2, 15.0)] * 40], 60.0)
    assert none == ()
    assert levels.kept(once, none, low=2, current=9, startup_s=60.0, late_s=10.0, now=now) == 2


def test_a_level_whose_gaps_are_long_goes_when_the_rent_equals_a_start():
    needs, gaps, _, _ = replayed(([(2, 300.0)] * 6 + [(5, 300.0)]) * 30, 60.0)
    assert needs
    assert levels.keep_s(5, 60.0, 60.0, gaps) == 120.0
