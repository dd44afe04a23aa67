"""Which replicas are worth keeping although they are not needed now?

Every level k of a fleet (its k-th replica) is an idle model of its own: keeping it costs its price, letting it go costs a start and what is late
meanwhile, if it is needed again. So it is kept as an idle model is (`idle.py`, the same code): as long as the gaps between its own times of need say
that this is the cheaper bet, and at least until the rent equals the price of a start (ski rental). A level that comes and goes in a rhythm stays; one
that a single peak asked for goes. Letting a level go *earlier* because its gaps were long cost up to half more on bursty traffic in trials: gaps of
levels are few and of many kinds.

Times of need are kept as a falling staircase of (time, need): level k was last needed at the latest step that is at least k high.
"""

from __future__ import annotations

from jevons.core import idle

Needs = tuple[tuple[float, int], ...]
Gaps = tuple[tuple[float, ...], ...]
"""Histories (`idle.with_gap`) of levels 2, 3, ... up to LEVELS + 1; levels above share the last."""

LEVELS = 15
STEPS = 16
FORGET_S = 3600.0
"""A step older than this is no longer looked at: nothing is kept so long."""
REFRESH = 1.0 / 4.0
"""Of the startup time: the last step's time is brought up to date this often."""
ONE_SHORT = 0.1
"""With one replica too few, about this part of what one replica serves is late."""


def last_needed_s(needs: Needs, level: int) -> float | None:
    """When `level` was last needed; None = not within memory."""
    last_s = None
    for at_s, need in needs:
        if need >= level and (last_s is None or at_s > last_s):
            last_s = at_s
    return last_s


def remembered(needs: Needs, need: int, now: float, startup_s: float, current: int) -> Needs:
    """The staircase with one more need. What runs at first (`current`) counts as needed now."""
    fresh_s = startup_s * REFRESH
    if not needs:
        return ((now, current), (now, need)) if current > need else ((now, need),)
    last_s, last = needs[-1]
    if last == need and now - last_s < fresh_s:
        return needs
    kept = [step for step in needs if step[1] > need and now - step[0] <= FORGET_S]
    kept.append((now, need))
    return tuple(kept[-STEPS:])


def with_gaps(gaps: Gaps, needs: Needs, need: int, now: float) -> Gaps:
    """The histories after `need` at `now`: every level that is needed again ends a gap."""
    before = needs[-1][1] if needs else need
    if need <= before:
        return gaps
    rows = list(gaps)
    for level in range(max(2, before + 1), min(need, LEVELS + 1) + 1):
        last_s = last_needed_s(needs, level)
        if last_s is not None and now - last_s >= idle.FIRST_GAP_S:
            rows.extend(() for _ in range(level - 1 - len(rows)))
            rows[level - 2] = idle.with_gap(rows[level - 2], now - last_s)
    return tuple(rows) if rows != list(gaps) else gaps


def keep_s(level: int, startup_s: float, loss_s: float, gaps: Gaps) -> float:
    """How long `level` stays without need [s]; loss_s: what being one short for a whole start costs, in seconds of a replica's price.

    Its own history counts once it is long enough, before that all levels' together; it can only lengthen the stay. Example: startup 60 s, a loss of
    40 s, no history -> 100 s (test_worked_examples.py::test_a_level_is_kept_until_the_rent_equals_a_start).
    """
    if not gaps:
        return min(idle.LONGEST_S, startup_s + loss_s)
    own = gaps[min(level - 2, len(gaps) - 1)] if level >= 2 else ()
    if sum(own) < idle.ENOUGH:
        own = tuple([sum(counts) for counts in zip(*[row for row in gaps if row], strict=True)])
    rent_s = min(idle.LONGEST_S, startup_s + loss_s)
    return max(rent_s, idle.keep_for_s(startup_s, float(f"{loss_s:.2g}"), own)) if own else rent_s


def surely_kept(needs: Needs, current: int, startup_s: float, now: float) -> bool:
    """Whether all levels stay, whatever lateness costs: nothing is remembered, or the highest was needed within a start."""
    last_s = last_needed_s(needs, current)
    return not needs or (last_s is not None and now - last_s < startup_s and now - last_s < idle.LONGEST_S)


def kept(needs: Needs, gaps: Gaps, *, low: int, current: int, startup_s: float, late_s: float, now: float, least_s: float = 0.0) -> int:
    """The highest level, from `current` down to `low`, that is worth keeping. Without any memory all are.

    late_s: what it costs that all of what one replica serves in a second is late, in seconds of a replica's price. least_s: no level goes sooner.
    """
    if surely_kept(needs, current, startup_s, now):
        return current
    loss_s = late_s * startup_s * ONE_SHORT
    for level in range(current, low, -1):
        last_s = last_needed_s(needs, level)
        if last_s is not None and now - last_s < max(least_s, keep_s(level, startup_s, loss_s, gaps)):
            return level
    return low
