"""What AIBrix's two strategies (APA and KPA) share: windows, the guard for pods that still load, bounds and the cooldown.

Every ten seconds pods are asked for one metric; the *mean over the pods that answered* goes into a window of 180 s and one of 60 s. The strategy
turns the means into a wish. Two things are kept as the released code has them. The cooldown takes, when shrinking, the *lowest* wish of the last
300 s where the HPA takes the highest, so it never delays. And the guard (pull request 2671, 2026-09, after the commit read) can be switched off, in
which case pods that load count as if they carried load, and the fleet doubles at every tick until the maximum.
Source: vllm-project/aibrix e3e10f9 (2026-08-23), pkg/controller/podautoscaler.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from jevons.simulator.policies.policy import Sample, Signal, View
from jevons.simulator.policies.windows import Buckets


@dataclass(frozen=True, slots=True)
class AibrixSettings:
    """Defaults: vllm-project/aibrix e3e10f9 (2026-08-23), context/context.go, annotations `autoscaling.aibrix.ai/`.

    signal and target have none there; ours are those of its own benchmark scenarios (KV cache usage at 0.5).
    """

    signal: Signal = Signal.KV
    target: float = 0.5
    minimum: int = 1
    maximum: int = 100
    up_rate: float = 2.0
    """`max-scale-up-rate`."""
    down_rate: float = 2.0
    """`max-scale-down-rate`."""
    up_tolerance: float = 0.1
    """`scale-up-tolerance`."""
    down_tolerance: float = 0.1
    """`scale-down-tolerance`."""
    panic_threshold: float = 2.0
    """`panic-threshold`."""
    window_s: float = 180.0
    """`observeWindowSeconds`."""
    panic_window_s: float = 60.0
    """`panicWindowSeconds`."""
    up_cooldown_s: float = 0.0
    """`scale-up-cooldown-window`."""
    down_cooldown_s: float = 300.0
    """`scale-down-cooldown-window`."""
    activation_scale: int = 1
    pending_guard: bool = True
    """Pull request 2671, in releases since 2026-09. False: as at e3e10f9."""
    sync_s: float = 10.0


def cooled(history: deque[tuple[float, int]], now: float, current: int, wanted: int, *, up_s: float, down_s: float) -> int:
    """The wish after the cooldown, and `history` with this one in it: the highest of the window when growing, the *lowest* when shrinking.

    Example: 10, 10, 10, 4, 10 in the last minutes, now 8 with 10 running: 4, where the HPA says 10.
    """
    history.append((now, wanted))
    while history[0][0] < now - max(up_s, down_s):
        history.popleft()
    if wanted > current:
        return max(count for at, count in history if at >= now - up_s)
    if wanted < current:
        return min(count for at, count in history if at >= now - down_s)
    return wanted


class Aibrix(ABC):
    """The state of one PodAutoscaler; `wish` is the strategy."""

    def __init__(self, settings: AibrixSettings) -> None:
        self.settings = settings
        self.period_s = self.sample_s = settings.sync_s
        self._stable = Buckets(settings.window_s)
        self._panic = Buckets(settings.panic_window_s)
        self._answered = False
        self._history: deque[tuple[float, int]] = deque()

    @abstractmethod
    def wish(self, current: int, stable: float, panic: float) -> int:
        """Replicas for the means over both windows of the mean over pods."""

    @abstractmethod
    def guarded(self, current: int, ready: int, wanted: int, use: float) -> int:
        """The wish when `current` - `ready` pods are not ready yet and `use` was measured on those that are."""

    def observe(self, sample: Sample) -> None:
        """Pods have been asked; those that did not answer are left out."""
        self._answered = bool(sample.pods) and not sample.failed
        if self._answered:
            mean = math.fsum(reading.of(self.settings.signal) for reading in sample.pods) / len(sample.pods)
            self._stable.add(sample.at_s, mean)
            self._panic.add(sample.at_s, mean)

    def decide(self, now: float, view: View) -> int:
        """One reconciliation. A metric that no pod answers for is in error, and nothing happens; nor does it leave zero by itself."""
        current, settings = view.replicas, self.settings
        if current == 0 and settings.minimum != 0:
            return 0
        if not settings.minimum <= current <= settings.maximum:
            wanted = self._bounded(current)
        else:
            stable = self._stable.mean(now)
            if not self._answered or stable is None:
                return current
            wanted = self.wish(current, stable, self._panic.mean(now) or 0.0)
            ready = min(view.ready, current)
            if settings.pending_guard and 0 < current != ready and wanted != current:
                wanted = self.guarded(current, ready, wanted, stable)
        steady = cooled(self._history, now, current, self._bounded(wanted), up_s=settings.up_cooldown_s, down_s=settings.down_cooldown_s)
        return self._bounded(steady)

    def wake(self, now: float, view: View) -> int:
        """Its gateway answers an error at zero replicas, and nothing starts."""
        del now
        return view.replicas

    def _bounded(self, wanted: int) -> int:
        return max(self.settings.minimum, min(self.settings.maximum, wanted))
