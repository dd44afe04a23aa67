"""When should a model that may sleep be loaded, by what its calls have shown?

After every call the question is the same: how long does the quiet last? The answer is a distribution (a decayed histogram of this model's gaps, in
bins of 7 %, and for young models what all models together showed), and from it a programme of windows of age in which the model is loaded: from the
call until holding on costs more than it saves, and again shortly before a call is likely (pre-warm). Being loaded costs its time; a call that finds
nothing ready costs a start and a late answer; a start ahead of time costs a start, whether the call comes or not. The cheapest programme is found
backwards in age, where each step knows what the rest costs from loaded and from asleep. With a falling hazard that is the rule "stay while hazard x
cost of a cold start > price", and with a periodic caller it is a window around each period.

Excitation is in the histogram: most gaps are short, so a call makes the next one likely. Quiet of half a minute to a minute is no pause yet, and is
counted apart, with a memory of its own: who calls in one burst every five minutes is let go after 30 s, who calls every forty seconds is not.
What was tried and gave nothing (docs/designs/0010): gaps by the length of the gap before, a mixture of kinds of callers, the time of day.
Everything is a function of (history, age): no clock, no cluster.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TypeAlias

from jevons.core import idle

RATIO = 1.07
BINS = 85
"""Bin i holds gaps of idle.FIRST_GAP_S * RATIO^i up to the next: 1 min .. 5 h."""
BRIEF_S = (30.0, 45.0)
"""Quiet from these on and until the next of them (or idle.FIRST_GAP_S) is counted apart, and beside it what lasted."""
PRIOR = 6.0
"""What all models showed together counts as so many gaps of this one."""
BRIEF_PRIOR = 3.0
"""The same, of brief quiet."""
FLAT = 0.1
"""Of the prior, spread evenly over the bins: nothing is impossible."""
HOLD_S = 30.0
"""Nothing is let go sooner after a call, work or getting ready: shorter quiet is traffic."""
EPSILON = 1e-12
"""Costs that differ by less are equal, and of equals the state that costs less to hold is taken."""
LEAD = (1.1, 10.0)
"""A start ahead of a call is made this many startup times and seconds before it: some starts are slower, and a pass has to come."""

Gaps: TypeAlias = tuple[float, ...]
"""Counts by bin, and after them (where anything was counted) of brief quiet: 30 to 45 s, 45 to 60 s, and what lasted."""
Ends: TypeAlias = tuple[float, ...]
Windows: TypeAlias = tuple[tuple[float, float], ...]
"""(from, to) ages [s] in which the model is loaded or being loaded, in order; the first begins with the call."""

EDGES = (*(0.0, 15.0, 30.0, 45.0), *(idle.FIRST_GAP_S * RATIO**index for index in range(BINS + 1)))
"""Ages [s] between which nothing is decided anew."""
QUIET_STEPS = len(EDGES) - BINS - 1
END_S = EDGES[-1]
"""Older than this, a model is forgotten until it is called."""


def with_gap(gaps: Gaps, gap_s: float) -> Gaps:
    """The history with one more gap between two calls; gaps under BRIEF_S change nothing.

    Example: 300 s -> bin 23, of 284.4 to 304.3 s (test_hazard.py::test_a_gap_is_counted_in_its_bin).
    """
    if gap_s < BRIEF_S[0]:
        return gaps
    counts, brief = pauses(gaps) or (0.0,) * BINS, [count * idle.DECAY for count in _brief(gaps)]
    brief[sum(edge_s <= gap_s for edge_s in (*BRIEF_S[1:], idle.FIRST_GAP_S))] += 1.0
    if gap_s >= idle.FIRST_GAP_S:
        decayed = [count * idle.DECAY for count in counts]
        decayed[min(BINS - 1, int(math.log(gap_s / idle.FIRST_GAP_S) / math.log(RATIO) + 1e-9))] += 1.0
        counts = tuple([round(count, 4) for count in decayed])
    return (*counts, *[round(count, 4) for count in brief])


def pauses(gaps: Gaps) -> Gaps:
    """The counts of gaps that are no traffic; empty = none yet."""
    return gaps[:BINS] if len(gaps) >= BINS else ()


def _counts(gaps: Gaps, prior: Gaps) -> list[float]:
    """The counts of pauses by bin, with what all models showed."""
    own = pauses(gaps) or (0.0,) * BINS
    return [count + PRIOR * share for count, share in zip(own, prior, strict=False)] if prior else list(own)


def _brief(gaps: Gaps) -> Gaps:
    """How often quiet of BRIEF_S ended within each of its parts, and how often it lasted."""
    return gaps[BINS:] if len(gaps) > BINS else (0.0,) * (len(BRIEF_S) + 1)


def rebinned(gaps: Gaps) -> Gaps:
    """A history in the wider bins of older checkpoints, in these: each count where the middle of its bin is. Any other length is no history."""
    if len(gaps) != idle.GAP_BINS:
        return gaps if len(gaps) in {BINS, BINS + len(BRIEF_S) + 1} else ()
    counts = [0.0] * BINS
    for index, count in enumerate(gaps):
        counts[min(BINS - 1, int((index + 0.5) * math.log(idle.RATIO) / math.log(RATIO)))] += count
    return tuple(counts)


def pooled(histories: Iterable[Gaps]) -> Gaps:
    """What the models showed together, as shares of a gap by bin, FLAT of it even; empty while there are fewer than idle.ENOUGH gaps in all."""
    known = [one for one in histories if pauses(one)]
    sums = [math.fsum(column) for column in zip(*[pauses(one) for one in known], strict=True)]
    total = math.fsum(sums)
    if total < idle.ENOUGH:
        return ()
    brief = [math.fsum(column) for column in zip(*[_brief(one) for one in known], strict=True)]
    quiet = math.fsum(brief) or 1.0
    return (*[round((1.0 - FLAT) * one / total + FLAT / BINS, 5) for one in sums], *[round(one / quiet, 3) for one in brief])


def lead_s(startup_s: float) -> float:
    """How long before a call a start is made ahead of it [s]."""
    return LEAD[0] * startup_s + LEAD[1]


def windows(startup_s: float, loss_s: float, gaps: Gaps, prior: Gaps = ()) -> Windows:
    """The ages at which a model is worth being loaded, after a call.

    startup_s: what a start costs in replica time; loss_s: what an answer that waits for one costs beside it, as seconds of the replica's price.
    gaps: `with_gap` history; prior: `pooled`. Without either the classical answer stands: one window as long as a start and a late answer are worth,
    which never costs more than twice the optimum. Example: startup 60 s, a late answer worth 40 s, no history -> ((0, 100),)
    (test_worked_examples.py::test_break_even_without_history).
    """
    ends = chances(gaps, prior)
    return _kept(ends, startup_s, loss_s) if ends is not None else ((0.0, min(idle.LONGEST_S, max(HOLD_S, startup_s + loss_s))),)


@lru_cache(maxsize=4096)
def chances(gaps: Gaps, prior: Gaps) -> Ends | None:
    """The chance that a gap ends within each step of EDGES; None while too little is known of gaps."""
    if math.fsum(pauses(gaps)) < idle.ENOUGH and not prior:
        return None
    counts = _counts(gaps, prior)
    brief = [count + BRIEF_PRIOR * share for count, share in zip(_brief(gaps), _brief(prior), strict=True)]
    # to 4 %: a programme holds while little changes
    quiet = [round(25.0 * count / (math.fsum(brief) or 1.0)) / 25.0 for count in brief[:-1]]
    lasts = (1.0 - math.fsum(quiet)) / math.fsum(counts)
    return (*[0.0] * (QUIET_STEPS - len(quiet)), *quiet, *[lasts * count for count in counts])


@lru_cache(maxsize=4096)
def _kept(ends: Ends, startup_s: float, loss_s: float) -> Windows:
    return programme(ends, startup_s, loss_s)


def programme(ends: Sequence[float], startup_s: float, loss_s: float, *, asleep: bool = False, patient: bool = False) -> Windows:
    """The cheapest windows. ends[i]: chance that a call comes within step i of EDGES; what they lack to 1 is the chance that none ever comes.

    asleep: whether the model begins so. patient: a call that comes during a start loses only as much of `loss_s` as is left of the start.
    """
    stay, start = _cheapest(ends, startup_s, loss_s, patient=patient)
    return _windows(stay, start, lead_s(startup_s), asleep=asleep)


def _cheapest(ends: Sequence[float], startup_s: float, loss_s: float, *, patient: bool) -> tuple[list[bool], list[bool]]:
    """By age step: whether a loaded model stays, and whether a sleeping one is started."""
    steps, early_s, cold_s, ahead = len(ends), lead_s(startup_s), startup_s + loss_s, Ahead(ends)
    loaded, asleep = [0.0] * (steps + 1), [0.0] * (steps + 1)
    stay, start = [True] * steps, [False] * steps
    for at in range(steps - 1, -1, -1):
        kept = (0.5 * ends[at] + ahead.beyond[at + 1]) * (EDGES[at + 1] - EDGES[at]) + loaded[at + 1]
        asleep[at] = ends[at] * cold_s + asleep[at + 1]
        started = ahead.cost(at, startup_s, early_s, loss_s, loaded, patient=patient)
        if started < asleep[at] - EPSILON:
            asleep[at], start[at] = started, True
        if EDGES[at] >= HOLD_S and kept > asleep[at] - EPSILON:
            stay[at], loaded[at] = False, asleep[at]
        else:
            loaded[at] = kept
    return stay, start


class Ahead:
    """What starting (or waking) ahead of a call costs; `beyond[i]`: the chance that the gap is longer than the begin of step i."""

    def __init__(self, ends: Sequence[float]) -> None:
        self._ends = ends
        self.beyond = [*accumulate(reversed(ends), initial=max(0.0, 1.0 - math.fsum(ends)))][::-1]
        ages = [0.5 * chance * (begin_s + end_s) for chance, begin_s, end_s in zip(ends, EDGES, EDGES[1:], strict=False)]
        self._moment = [*accumulate(reversed(ages), initial=0.0)][::-1]
        """Ages of the calls from a step on, each times its chance."""

    def cost(self, at: int, paid_s: float, early_s: float, late_s: float, loaded: list[float], *, patient: bool = False) -> float:
        """From step `at` on: what it takes to be ready `early_s` later, calls before that (late), and the rest from loaded; infinite past the end."""
        ends, beyond, ready_s = self._ends, self.beyond, EDGES[at] + early_s
        ready_at = bisect_right(EDGES, ready_s) - 1
        if ready_at >= len(ends):
            return math.inf
        # calls between the start and being ready are late; from the middle of a step on it stays for the rest of that
        left = (EDGES[ready_at + 1] - ready_s) / (EDGES[ready_at + 1] - EDGES[ready_at])
        late = beyond[at] - beyond[ready_at] + (1.0 - left) * ends[ready_at]
        rest = (0.5 * left * ends[ready_at] + beyond[ready_at + 1]) * (EDGES[ready_at + 1] - ready_s) + loaded[ready_at + 1]
        if patient:
            age_s = 0.5 * (EDGES[ready_at] + ready_s)
            late = max(0.0, ready_s * late - (self._moment[at] - self._moment[ready_at] + (1.0 - left) * ends[ready_at] * age_s)) / early_s
        return paid_s * beyond[at] + late_s * late + rest


def _windows(stay: list[bool], start: list[bool], early_s: float, *, asleep: bool) -> Windows:
    """What the programme comes to, if no call comes."""
    made: list[tuple[float, float]] = []
    at, steps = 0, len(stay)
    while asleep and at < steps and not start[at]:
        at += 1
    while at < steps:
        begin_s = EDGES[at]
        ready_s = begin_s + early_s if at or asleep else 0.0
        while at < steps and (stay[at] or EDGES[at] < ready_s):
            at += 1
        if made and made[-1][1] == begin_s:
            begin_s = made.pop()[0]
        made.append((begin_s, EDGES[at]))
        while at < steps and not start[at]:
            at += 1
    return tuple(made)


def window(plan: Windows, age_s: float) -> tuple[float, float] | None:
    """The window that age is in; None = asleep."""
    return next(((begin_s, end_s) for begin_s, end_s in plan if begin_s <= age_s < end_s), None)


def likely(gaps: Gaps, prior: Gaps, from_s: float, to_s: float) -> float:
    """The chance that a gap as long as `from_s` ends before `to_s` (ages [s])."""
    counts, edges = _counts(gaps, prior), EDGES[QUIET_STEPS:]
    left = [count * _part(edges[at], edges[at + 1], from_s, END_S) for at, count in enumerate(counts)]
    soon = [count * _part(edges[at], edges[at + 1], from_s, to_s) for at, count in enumerate(counts)]
    return math.fsum(soon) / math.fsum(left) if math.fsum(left) > 0.0 else 0.0


def _part(begin_s: float, end_s: float, from_s: float, to_s: float) -> float:
    """How much of a bin lies in between."""
    return max(0.0, min(end_s, to_s) - max(begin_s, from_s)) / (end_s - begin_s)
