"""What a member's day cost: from when requests were there and when a replica was starting or ready, seconds of idleness and cold starts.

Idleness has two measures. `idle_s` is all the time in which a ready replica had nothing to do. `stretches_s` counts of it what lies in stretches
of more than a minute without a request in the system: a model that is called every few seconds is busy for everybody, and the pause between two of
its calls is nothing that a policy about sleep could save. Starts cost replica time too; without them a policy could win by thrashing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jevons.simulator.scenario import Floats, Requests

DAY_S = 86_400.0
Span = tuple[float, float]
STRETCH_S = 60.0
"""Idleness: a longer stretch than this without work. Shorter gaps are traffic."""


@dataclass(frozen=True, slots=True)
class MemberRun:
    """One member's day. Seconds of replica time: starting (until ready), ready, of that without work, and of that in stretches above `STRETCH_S`.

    cold_starts: starts that at least one request waited for. cold: requests that arrived while nothing was ready. wait_s: waits of those, and of the
    woken, until the first token. perfect_s, perfect_stretches_s: what somebody who knows the future would have in place of idle and starting time, in
    the two measures.
    """

    requests: int
    cold_starts: int
    starts: int
    cold: int
    starting_s: float
    ready_s: float
    idle_s: float
    stretches_s: float
    wait_s: Floats
    perfect_s: float
    perfect_stretches_s: float
    resting_s: float = 0.0
    """Asleep in host memory."""
    waking_s: float = 0.0
    wakes: int = 0
    woken: int = 0
    """Requests that arrived while it slept there, or woke; they are not among the cold ones."""
    holding: float = 0.0
    """Share of the price that sleeping costs."""

    @property
    def sleep_s(self) -> float:
        """Replica time that sleeping in host memory costs, a sleeping replica weighed by its share."""
        return self.waking_s + self.holding * self.resting_s


def figures(
    requests: Requests,
    first_s: Floats,
    end_s: Floats,
    starting: Sequence[Span],
    ready: Sequence[Span],
    *,
    until_s: float,
    startup_s: float,
    since_s: float = 0.0,
    resting: Sequence[Span] = (),
    waking: Sequence[Span] = (),
    holding: float = 0.0,
) -> MemberRun:
    """From when each request was there (arrival, first token, end) and when a replica was starting or ready (draining included), asleep or waking.

    What lies before `since_s` is not scored: policies learn from it.
    Perfect pre-warming keeps a replica through a gap shorter than a start, and otherwise has it start just in time; the first call of all is cold.
    """
    starting = within(starting, since_s, until_s)
    spans = within(joined(ready), since_s, until_s)
    scored = requests.at_s >= since_s
    begins = [begin for begin, _ in spans]
    warm = np.zeros(len(requests), np.bool_)
    for begin, end in spans:
        first, last = np.searchsorted(requests.at_s, (begin, end))
        warm[first:last] = True
    waits = first_s - requests.at_s
    warm |= ~scored
    late = ~warm & np.isfinite(first_s)
    resting, waking = within(resting, since_s, until_s), within(waking, since_s, until_s)
    woken = np.zeros(len(requests), np.bool_)
    for begin, end in joined(sorted([*resting, *waking])):
        first, last = np.searchsorted(requests.at_s, (begin, end))
        woken[first:last] = ~warm[first:last]
    cold = late & ~woken
    # the replica that became ready between the arrival and its first token is the one that was waited for
    waited = {bisect_right(begins, float(token_s)) - 1 for token_s in first_s[cold]}
    busy = joined(sorted(zip(requests.at_s.tolist(), np.nan_to_num(end_s, nan=until_s).tolist(), strict=True)))
    quiet = between(busy, until_s)
    gaps = [end - begin for begin, end in quiet[1:-1] if end > since_s]
    first_call_s = startup_s if len(requests) and scored[0] else 0.0
    return MemberRun(
        requests=int(scored.sum()),
        cold_starts=len(waited),
        starts=len(starting),
        cold=int((~warm & ~woken).sum()),
        starting_s=sum(end - begin for begin, end in starting),
        ready_s=sum(end - begin for begin, end in spans),
        idle_s=overlap(quiet, spans),
        stretches_s=overlap([(begin, end) for begin, end in quiet if end - begin > STRETCH_S], spans),
        wait_s=waits[late],
        perfect_s=first_call_s + sum(min(gap, startup_s) for gap in gaps),
        perfect_stretches_s=first_call_s + sum(min(gap, startup_s) for gap in gaps if gap > STRETCH_S),
        resting_s=sum(end - begin for begin, end in resting),
        waking_s=sum(end - begin for begin, end in waking),
        wakes=len(waking),
        woken=int(woken.sum()),
        holding=holding,
    )


def joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in order of their begin, those that touch made one. Example: (0, 2), (1, 3), (5, 6) -> (0, 3), (5, 6)."""
    made: list[Span] = []
    for begin, end in spans:
        if made and begin <= made[-1][1] + 1e-9:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((begin, end))
    return made


def within(spans: Sequence[Span], since_s: float, until_s: float) -> list[Span]:
    """What of the spans lies in [since_s, until_s]."""
    return [(max(begin, since_s), min(end, until_s)) for begin, end in spans if end > since_s and begin < until_s]


def between(spans: Sequence[Span], until_s: float) -> list[Span]:
    """What of [0, until_s] lies in none of the (joined) spans."""
    edges = [0.0, *(edge for span in spans for edge in span), until_s]
    return [(begin, min(end, until_s)) for begin, end in zip(edges[::2], edges[1::2], strict=True) if min(end, until_s) > begin]


def overlap(some: Sequence[Span], others: Sequence[Span]) -> float:
    """Seconds that lie in both; each in order and without overlaps of its own."""
    total, first = 0.0, 0
    ends = [end for _, end in others]
    for begin, end in some:
        first = bisect_left(ends, begin, lo=first)
        place = first
        while place < len(others) and others[place][0] < end:
            total += max(0.0, min(end, others[place][1]) - max(begin, others[place][0]))
            place += 1
    return total
