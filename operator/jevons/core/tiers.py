"""Where should an idle replica wait for the next call: loaded, asleep in host memory, or gone?

Some engines can sleep (vLLM's sleep mode): the process stays, its weights move to host memory, the accelerator's memory is free, and waking takes
seconds where a start takes minutes. What that saves is the user's to say: to the scheduler a sleeping pod holds its accelerator as before, so that
it costs less than a loaded one only where the accelerator is shared with others, or billed by use (docs/designs/0014-warm-tiers.md).

So there are three states, each with what it costs to hold and what a call costs that finds it: loaded (its price; nothing), asleep (a share of the
price; a wake and, where waking takes longer than the promise, a late answer) and gone (nothing; a start and a late answer). The cheapest programme is
found as in `hazard.py`, backwards in age, each state knowing what the rest costs from each of the others: a loaded one may stay, lie down or go, a
sleeping one may stay, go or be woken ahead of a call, and one that is gone may be started ahead of a call. Where sleeping costs as much as being
loaded it is never chosen, and the programme is that of two states.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from jevons.core import hazard, idle, sizing
from jevons.core.hazard import EDGES, END_S, EPSILON, HOLD_S, Ahead, Ends, Gaps, Windows
from jevons.core.spec import Objectives

LOADED, RESTING, GONE = range(3)
LIE_S = 30.0
"""From the decision to lie down until it sleeps, at the full price: a scrape has to show it empty, and weights have to move."""


class Rest(NamedTuple):
    """What sleeping in host memory is worth: the share of the price that it costs, and what a call costs that finds it, as replica time [s]."""

    holding: float
    wake_s: float
    loss_s: float
    """Of an answer that waits for the wake; 0 where that is within its promise."""

    def saves(self, cold_s: float) -> bool:
        """Whether sleeping costs less than being loaded, and a call that finds it asleep less than one that finds nothing (`cold_s`)."""
        return self.holding < 1.0 and self.wake_s + self.loss_s < cold_s


def rest(holding: float, wake_s: float, objectives: Objectives, usd_per_h: float | None) -> Rest:
    """What sleeping is worth under this promise: a wake within the time to the first token makes nobody late.

    A longer one costs what the API's `lateAnswerCost` says, and by default ten times the wake, as a cold start costs ten starts.
    Example: 5 s at a promise of 2 s, Auto -> 50 s late (test_tiers.py::test_a_wake_within_the_promise_makes_nobody_late).
    """
    if wake_s <= objectives.ttft_s:
        return Rest(holding, wake_s, 0.0)
    if objectives.late_cost_usd is None or not usd_per_h or not objectives.late_cost_usd.is_finite():
        return Rest(holding, wake_s, float(f"{sizing.AUTO_LATE_FACTOR * wake_s:.2g}"))
    return Rest(holding, wake_s, float(f"{sizing.late_loss_s(objectives.late_cost_usd, usd_per_h, 1.0):.2g}"))


Programme = tuple[Windows, Windows]
"""Ages [s] after a call in which the model is loaded (or being loaded), and those in which it sleeps."""


def windows(startup_s: float, loss_s: float, rest: Rest, gaps: Gaps, prior: Gaps = ()) -> Programme:
    """The ages at which a model is worth being loaded and those at which it is worth sleeping, after a call (see `hazard.windows`).

    Without history the rent is compared with what the next tier down costs when a call comes: startup 60 s, a late answer worth 40 s, sleeping for a
    tenth of the price, 5 s to wake and nobody late -> loaded for 36 s, then asleep until 950 s (test_tiers.py::test_break_even_of_three_tiers).
    """
    ends, cold_s, woken_s = hazard.chances(gaps, prior), startup_s + loss_s, rest.wake_s + rest.loss_s
    if not rest.saves(cold_s):
        return hazard.windows(startup_s, loss_s, gaps, prior), ()
    if ends is not None:
        return _kept(ends, startup_s, loss_s, rest)
    down_s = min(idle.LONGEST_S, max(HOLD_S, LIE_S + woken_s / (1.0 - rest.holding)))
    gone_s = min(END_S, (cold_s - woken_s) / rest.holding) if rest.holding > 0.0 else END_S
    if gone_s <= down_s:
        return hazard.windows(startup_s, loss_s, gaps, prior), ()
    return ((0.0, down_s),), ((down_s, gone_s),)


@lru_cache(maxsize=4096)
def _kept(ends: Ends, startup_s: float, loss_s: float, rest: Rest) -> Programme:
    return programme(ends, startup_s, loss_s, rest)


def programme(ends: Sequence[float], startup_s: float, loss_s: float, rest: Rest) -> Programme:
    """The cheapest programme. ends[i]: chance that a call comes within step i of hazard.EDGES; what they lack to 1 is that none ever comes."""
    steps, ahead = len(ends), Ahead(ends)
    costs = [[0.0] * (steps + 1) for _ in range(3)]
    choices = [(LOADED, RESTING, GONE)] * steps
    start_s, wake_s = hazard.lead_s(startup_s), hazard.lead_s(rest.wake_s)
    for at in range(steps - 1, -1, -1):
        chance, later = ends[at], at + 1
        quiet_s = (0.5 * chance + ahead.beyond[later]) * (EDGES[later] - EDGES[at])
        stays = (
            quiet_s + costs[LOADED][later],
            rest.holding * quiet_s + chance * (rest.wake_s + rest.loss_s) + costs[RESTING][later],
            chance * (startup_s + loss_s) + costs[GONE][later],
        )
        goes, rests, keeps = (stays[GONE], GONE), (stays[RESTING], RESTING), (stays[LOADED], LOADED)
        lies = (stays[RESTING] + (1.0 - rest.holding) * LIE_S * ahead.beyond[at], RESTING)
        wakes = (ahead.cost(at, wake_s, wake_s, rest.loss_s, costs[LOADED]), LOADED)
        starts = (ahead.cost(at, startup_s, start_s, loss_s, costs[LOADED]), LOADED)
        found = (_least(goes, lies, keeps) if EDGES[at] >= HOLD_S else keeps, _least(goes, rests, wakes), _least(goes, starts))
        choices[at] = (found[0][1], found[1][1], found[2][1])
        for state, (cost, _) in enumerate(found):
            costs[state][at] = cost
    return _walked(choices, start_s, wake_s)


def _least(*options: tuple[float, int]) -> tuple[float, int]:
    """The cheapest; of equals the first."""
    best = options[0]
    for option in options[1:]:
        if option[0] < best[0] - EPSILON:
            best = option
    return best


def _walked(choices: list[tuple[int, int, int]], start_s: float, wake_s: float) -> Programme:
    """What the programme comes to if no call comes."""
    spans: tuple[list[tuple[float, float]], ...] = ([], [], [])
    state, ready_s = LOADED, 0.0
    for at, chosen in enumerate(choices):
        begin_s, before = EDGES[at], state
        if state != LOADED or begin_s >= ready_s:
            state = chosen[state]
        if state == LOADED and before != LOADED:
            ready_s = begin_s + (start_s if before == GONE else wake_s)
        made = spans[state]
        if made and made[-1][1] == begin_s:
            begin_s = made.pop()[0]
        made.append((begin_s, EDGES[at + 1]))
    return tuple(spans[LOADED]), tuple(spans[RESTING])
