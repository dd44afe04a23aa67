"""The hybrid histogram policy: sleep at once, wake before the next call, by how long this model usually stays idle.

Idle times (from the end of one execution to the next call) are counted in one-minute bins up to four hours. Head and tail of the histogram bound when
the next call comes: the model is let go at once, loaded shortly before the head, and kept until the tail. A head in the first bin means: keep it
loaded all the time until the tail. Two cases fall out of the histogram: one that is not representative (its bins hold about the same) keeps the model
for the whole range; one with most idle times beyond the range forecasts the next idle time instead.
Source: Shahrad et al., Serverless in the Wild, USENIX ATC 2020, section 4.2; values as published.

Two things differ from the paper. It forecasts long idle times with an ARIMA model chosen anew each time; here their mean is the forecast (a model
without terms), with the paper's margins. And it loads at the end of the pre-warm window, because a function starts within a second; `lead_s` loads
that much earlier, so that a start of minutes is over by then (0 is the paper's own).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jevons.simulator.policies.policy import Sample, Signal, View


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """The paper's: a range of 4 h in bins of a minute, head and tail at the 5th and 99th percentile, margins of 10 % and 15 %, CV of 2."""

    range_s: float = 14_400.0
    bin_s: float = 60.0
    head: float = 0.05
    tail: float = 0.99
    margin: float = 0.10
    representative_cv: float = 2.0
    """The histogram counts when the coefficient of variation of its bins reaches this."""
    beyond_share: float = 0.5
    """From this share of idle times beyond the range on, they are forecast."""
    forecast_margin: float = 0.15
    lead_s: float = 0.0
    period_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Windows:
    """After an execution: seconds until the model is loaded again (0: it stays), and until it is let go for good."""

    load_s: float
    until_s: float


class IdleTimes:
    """The histogram of one model."""

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self.bins = [0] * max(1, round(settings.range_s / settings.bin_s))
        self.beyond: list[float] = []

    def add(self, idle_s: float) -> None:
        """One more idle time."""
        place = int(idle_s // self.settings.bin_s)
        if place < len(self.bins):
            self.bins[place] += 1
        else:
            self.beyond.append(idle_s)

    @property
    def cv(self) -> float:
        """Standard deviation over mean of the bins' counts; 0 for an empty histogram. Even bins tell nothing, one full bin everything."""
        mean = sum(self.bins) / len(self.bins)
        if mean == 0.0 or len(self.bins) == 1:
            return 0.0
        return math.sqrt(sum((count - mean) ** 2 for count in self.bins) / (len(self.bins) - 1)) / mean

    def percentile(self, share: float) -> int:
        """The first bin at which `share` of the idle times within the range are reached."""
        return place_of(self.bins, share)

    def windows(self) -> Windows:
        """What to do after an execution.

        Example: all idle times of 30 to 31 minutes -> load after 27 min (30 less 10 %), keep until 34.1 min (31 and 10 %)
        (test_hybrid.py::test_a_regular_caller_is_loaded_before_and_let_go_after).
        """
        one = self.settings
        inside = sum(self.bins)
        if self.beyond and len(self.beyond) >= one.beyond_share * (inside + len(self.beyond)):
            expected = sum(self.beyond) / len(self.beyond)
            return Windows(expected * (1.0 - one.forecast_margin), expected * (1.0 + one.forecast_margin))
        if self.cv < one.representative_cv:
            return Windows(0.0, one.range_s)
        head, tail = self.percentile(one.head), self.percentile(one.tail) + 1
        return Windows(head * one.bin_s * (1.0 - one.margin), tail * one.bin_s * (1.0 + one.margin))


def place_of(bins: Sequence[int], share: float) -> int:
    """The first place at which the running sum reaches `share` of the whole; the last one of an empty histogram."""
    total, running = sum(bins), 0
    for place, count in enumerate(bins):
        running += count
        if total and running >= share * total - 1e-9:
            return place
    return len(bins) - 1


class Hybrid:
    """The policy of one model; it knows what passes its front door, held requests included."""

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self.period_s = self.sample_s = settings.period_s
        self.idle = IdleTimes(settings)
        self._arrivals = 0
        self._since_s: float | None = None
        """Idle since; None while it works, and before the first call."""
        self._windows = Windows(0.0, 0.0)

    def observe(self, sample: Sample) -> None:
        """Calls since the last look, and whether any is still being worked on."""
        if sample.failed:
            return
        if sample.arrivals > self._arrivals:
            self._arrivals = sample.arrivals
            self._called(sample.at_s)
            self._since_s = None
        busy = (sample.total(Signal.IN_FLIGHT, held=True) or 0.0) > 0.0
        if busy:
            self._since_s = None
        elif self._since_s is None and self._arrivals:
            self._since_s = sample.at_s
            self._windows = self.idle.windows()

    def decide(self, now: float, view: View) -> int:
        """Loaded from `lead_s` before the pre-warm window ends until the keep-alive window does."""
        if self._since_s is None:
            return max(view.replicas, 1) if self._arrivals else view.replicas
        idle_s, load_s = now - self._since_s, self._windows.load_s - self.settings.lead_s
        return 1 if load_s <= idle_s < self._windows.until_s else 0

    def wake(self, now: float, view: View) -> int:
        """A call loads it at once."""
        self._called(now)
        self._since_s = None
        self._arrivals = max(self._arrivals, 1)
        return max(view.replicas, 1)

    @property
    def wakes_s(self) -> float:
        """When it will be loaded without a call; infinite for never."""
        if self._since_s is None:
            return math.inf
        return self._since_s + max(0.0, self._windows.load_s - self.settings.lead_s)

    def _called(self, now: float) -> None:
        if self._since_s is not None:
            self.idle.add(max(0.0, now - self._since_s))
