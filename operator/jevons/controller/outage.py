"""Was Prometheus away, since when, and when did it come back?

After an outage the first answers may be zeros, so nothing goes down for a while (core/facts.py). One reading that failed between two good ones is no
outage: what was known is not stale yet.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Outage:
    """`shortest_s`: how long Prometheus must be silent for its return to count as one [s]; twice the scrape interval, when samples become stale."""

    shortest_s: float
    down_since_s: float | None = None
    back_since_s: float | None = None

    def saw(self, now_s: float, *, answered: bool) -> bool:
        """Take note of one reading; True when a silence begins with it."""
        if answered:
            if self.down_since_s is not None and now_s - self.down_since_s > self.shortest_s:
                self.back_since_s = now_s
            self.down_since_s = None
            return False
        begins = self.down_since_s is None
        if begins:
            self.down_since_s = now_s
        return begins
