"""Means over a sliding window of one-second buckets, as Knative keeps them and AIBrix after it.

Seconds without a measurement do not count: the mean is over the buckets that have one, so a window that has just begun is not diluted by the time
before it. Means are rounded to six decimals, so that float noise does not buy a replica.
"""

from __future__ import annotations

import math
from collections import deque


class Buckets:
    """The last `window_s` seconds of a measured value, one bucket a second; several measurements of a second are averaged."""

    def __init__(self, window_s: float) -> None:
        if window_s <= 0:
            raise ValueError(f"window_s: {window_s} must be above 0")
        self._window_s = window_s
        self._buckets: deque[tuple[int, float, int]] = deque()

    def add(self, at_s: float, value: float) -> None:
        """`value` was measured at `at_s`, which must not be before the last one."""
        second = math.floor(at_s)
        if self._buckets and self._buckets[-1][0] == second:
            _, total, count = self._buckets.pop()
            self._buckets.append((second, total + value, count + 1))
        else:
            self._buckets.append((second, value, 1))
        self._forget(at_s)

    def mean(self, now: float) -> float | None:
        """Mean over the buckets of (now - window, now]; None when there is none."""
        self._forget(now)
        if not self._buckets:
            return None
        return round(math.fsum(total / count for _, total, count in self._buckets) / len(self._buckets), 6)

    def _forget(self, now: float) -> None:
        oldest = math.floor(now) - self._window_s
        while self._buckets and self._buckets[0][0] <= oldest:
            self._buckets.popleft()
