"""How long may an idle model stay loaded?

Keeping costs `price * seconds`; letting go costs one cold start when the next request comes. We compare the two with the arrivals this model has
shown (a decayed, log-spaced histogram of gaps), which is the ski-rental problem with a learned distribution (Shahrad et al., ATC'20, section 5).
Until ten gaps were seen, the classical answer stands: keep it until the rent equals the price of a start, which never costs more than twice the
optimum. Everything is a function of (history, now): no clock, no cluster.
"""

from __future__ import annotations

from functools import lru_cache

GAP_BINS = 20
FIRST_GAP_S = 60.0
"""Shorter gaps are traffic, not idleness; arrivals are looked at once per pass, so they could not be told from steady traffic either."""
RATIO = 1.35
"""Bin i holds gaps of FIRST_GAP_S * RATIO^i up to the next: 1 min .. 5 h."""
DECAY = 0.98
"""Per recorded gap: about the last fifty count."""
ENOUGH = 10.0
SHORTEST_S = 30.0
LONGEST_S = 3600.0
QUIET_UTIL = 0.10
"""A GPU below this is quiet."""


def with_gap(gaps: tuple[float, ...], gap_s: float) -> tuple[float, ...]:
    """The history with one more gap between two arrivals; gaps under FIRST_GAP_S change nothing."""
    if gap_s < FIRST_GAP_S:
        return gaps
    counts = [count * DECAY for count in gaps] if len(gaps) == GAP_BINS else [0.0] * GAP_BINS
    edge, index = FIRST_GAP_S * RATIO, 0
    while gap_s >= edge and index < GAP_BINS - 1:
        edge, index = edge * RATIO, index + 1
    counts[index] += 1.0
    return tuple(round(count, 4) for count in counts)


@lru_cache(maxsize=4096)
def keep_for_s(startup_s: float, loss_s: float, gaps: tuple[float, ...]) -> float:
    """Seconds of idleness after which letting go is the cheaper bet.

    startup_s: what a start costs in replica time; loss_s: what a late answer costs, as seconds of the replica's price. gaps: `with_gap` history.
    Example: startup 60 s, a late answer worth 40 s, no history -> 100 s (test_worked_examples.py::test_break_even_without_history).
    """
    start_s = startup_s + loss_s
    total = sum(gaps)
    if total < ENOUGH:
        return min(LONGEST_S, max(SHORTEST_S, start_s))
    middles = [FIRST_GAP_S * RATIO ** (index + 0.5) for index in range(GAP_BINS)]
    best_s, best_cost = SHORTEST_S, float("inf")
    for limit_s in (SHORTEST_S, *(FIRST_GAP_S * RATIO**index for index in range(GAP_BINS))):
        if limit_s > LONGEST_S:
            break
        cost = sum(count * (middle if middle <= limit_s else limit_s + start_s) for count, middle in zip(gaps, middles, strict=True))
        if cost < best_cost - 1e-9:
            best_s, best_cost = limit_s, cost
    return best_s
