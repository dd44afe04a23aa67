"""What must hold for every history of gaps and callers: windows in order, bounded memory, and no programme worse than the plain ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import cowake, hazard
from jevons.core.warmth import warmth

QUICK = settings(max_examples=40, deadline=None)
GAPS = st.lists(st.floats(1.0, 1e6), max_size=60)
STARTS, LOSSES = st.floats(1.0, 900.0), st.floats(0.0, 1e5)


def history(gaps_s):
    made = ()
    for gap_s in gaps_s:
        made = hazard.with_gap(made, gap_s)
    return made


def cost(plan, ends, startup_s, loss_s):
    """Expected cost of any windows, worked out forwards, call by call in the middle of its step."""
    total = 0.0
    for at, chance in enumerate(ends):
        if not chance:
            continue
        called_s, loaded_s, starts, ready = 0.5 * (hazard.EDGES[at] + hazard.EDGES[at + 1]), 0.0, 0, False
        for begin_s, end_s in plan:
            ready_s = begin_s + hazard.lead_s(startup_s) if begin_s > 0.0 else 0.0
            if begin_s < called_s:
                starts += begin_s > 0.0
                loaded_s += max(0.0, min(end_s, called_s) - ready_s)
                ready = ready or ready_s <= called_s < end_s
                inside = begin_s <= called_s < end_s
        cold = 0.0 if ready else loss_s + (0.0 if inside else startup_s)
        total += chance * (loaded_s + starts * startup_s + cold)
    return total


@QUICK
@given(gaps=GAPS, startup_s=STARTS, loss_s=LOSSES)
def test_windows_are_in_order_apart_and_end(gaps, startup_s, loss_s):
    plan = hazard.windows(startup_s, loss_s, history(gaps), hazard.pooled([history(gaps)]))
    assert plan[0][0] == 0.0
    assert plan[0][1] >= hazard.HOLD_S
    edges = [edge for window in plan for edge in window]
    assert edges == sorted(set(edges))
    assert edges[-1] <= hazard.END_S


@QUICK
@given(gaps=st.lists(st.floats(60.0, 20_000.0), min_size=15, max_size=60), startup_s=st.floats(20.0, 600.0), loss_s=st.floats(0.0, 5000.0))
def test_no_programme_is_dearer_than_sleeping_at_once_or_staying_to_the_end(gaps, startup_s, loss_s):
    known = history(gaps)
    ends = hazard.chances(known, ())
    found = cost(hazard.windows(startup_s, loss_s, known), ends, startup_s, loss_s)
    plain = [cost(((0.0, end_s),), ends, startup_s, loss_s) for end_s in (hazard.HOLD_S, 300.0, 1800.0, hazard.END_S)]
    # a call in the middle of its step stands for one anywhere in it
    assert found <= 1.08 * min(plain) + 0.08 * startup_s


@QUICK
@given(gaps=GAPS, startup_s=STARTS, low=LOSSES, high=LOSSES)
def test_a_dearer_late_answer_never_lets_the_first_window_shrink(gaps, startup_s, low, high):
    low, high = sorted((low, high))
    first = [hazard.windows(startup_s, loss_s, history(gaps))[0][1] for loss_s in (low, high)]
    assert first[0] <= first[1]


@QUICK
@given(
    calls=st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.floats(1.0, 3000.0)), max_size=80),
    startup_s=STARTS,
    loss_s=LOSSES,
)
def test_callers_are_few_their_counts_are_bounded_and_what_they_ask_for_ends(calls, startup_s, loss_s):
    now, last, callers = 1e6, {}, ()
    for name, after_s in calls:
        now += after_s
        before = dict(last)
        last[name] = now
        heard = {other: (at_s, before.get(other)) for other, at_s in last.items() if now - at_s < cowake.WITHIN_S}
        callers = cowake.learned(callers, heard, "a", before.get("a"), last.get("a"), now=now)
        assert len(callers) <= cowake.CALLERS
        assert all(one.name != "a" and 0.0 <= one.chance < 1.0 and one.followed + one.missed <= 21.0 for one in callers)
        found = warmth(startup_s, loss_s, (), (), callers, None, now)
        assert not found.loaded or now < found.until_s <= now + hazard.END_S
    later = cowake.learned(callers, {}, "a", last.get("a"), last.get("a"), now=now + 2 * cowake.WITHIN_S)
    assert all(one.open_s is None for one in later)


@QUICK
@given(lags=st.lists(st.integers(0, 5), min_size=9, max_size=9).filter(any), startup_s=st.floats(10.0, 600.0))
def test_a_sure_caller_starts_the_model_before_its_last_lag_or_not_at_all(lags, startup_s):
    one = cowake.Caller("a", 0.0, 19.0, 0.0, tuple(map(float, lags)))
    last_s = max(edge_s for edge_s, count in zip(cowake.LAGS_S[1:], lags, strict=True) if count)
    for begin_s, end_s in cowake.windows(one, startup_s, 10.0 * startup_s):
        assert 0.0 <= begin_s < last_s
        assert end_s <= max(last_s, hazard.HOLD_S, begin_s + hazard.lead_s(startup_s)) * hazard.RATIO + 15.0


def test_a_neighbour_that_is_called_all_the_time_foretells_nothing():
    callers, now, own_s, busy_s = (), 0.0, None, None
    for step in range(4000):
        now = step * 15.0
        before_own, before_busy = own_s, busy_s
        busy_s = now
        own_s = now - 1.0 if step % 400 == 399 else own_s
        callers = cowake.learned(callers, {"busy": (busy_s, before_busy)}, "own", before_own, own_s, now=now)
    assert callers[0].chance < 0.3
    assert not any(warmth(60.0, 100.0, (), (), callers, None, now + after_s).loaded for after_s in (0.0, 30.0, 300.0))
