"""What has been arriving lately, per request class: the half of the demand message that pickers know.

Counts are kept for 60 s, in one-second slots, so memory does not grow with traffic. The rate said is the mean over that minute or, when the last 15 s
surely had more (the count less its standard deviation), theirs: a ramp is seen while it happens, and one lone request is one a minute, not a flood.
Scores are counted in 20 bins that fade by half every 10 minutes: the operator weighs routing thresholds against them. Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 60
RECENT_S, SHORTEST_S = 15, 5
SCORE_BINS = 20
HALF_LIFE_S = 600.0


@dataclass(slots=True)
class _Second:
    at: int
    count: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(slots=True)
class _Class:
    seconds: deque[_Second] = field(default_factory=deque)
    scores: list[float] = field(default_factory=lambda: [0.0] * SCORE_BINS)
    faded_at: float = 0.0

    def fade(self, now: float) -> None:
        if now > self.faded_at:
            factor = 0.5 ** ((now - self.faded_at) / HALF_LIFE_S)
            self.scores = [count * factor for count in self.scores]
            self.faded_at = now


class ArrivalWindow:
    """Arrivals of one deployment. `started`: when this source began to look [s since the epoch]."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.last_arrival: float | None = None
        self._classes: dict[str, _Class] = {}

    def add(self, now: float, klass: str, input_tokens: float, output_tokens: float, score_bin: int | None = None) -> None:
        """Count one request at `now`, with the tokens it is expected to take, and its score's bin (None = not scored)."""
        seen = self._classes.setdefault(klass, _Class(faded_at=now))
        second = int(now)
        if not seen.seconds or seen.seconds[-1].at < second:
            seen.seconds.append(_Second(second))
        slot = seen.seconds[-1]
        slot.count += 1
        slot.input_tokens += input_tokens
        slot.output_tokens += output_tokens
        if score_bin is not None:
            seen.fade(now)
            seen.scores[min(max(score_bin, 0), SCORE_BINS - 1)] += 1.0
        self.last_arrival = max(now, self.last_arrival or 0.0)
        self._forget(seen, now)

    def message(self, now: float) -> dict[str, dict[str, object]]:
        """The `arrivals` part of a demand message: per class perSecond, inputTokens, outputTokens (means; 0 when none arrived) and scores."""
        recent_s = min(float(RECENT_S), max(float(SHORTEST_S), now - self.started))
        said: dict[str, dict[str, object]] = {}
        for name, seen in self._classes.items():
            self._forget(seen, now)
            seen.fade(now)
            count = sum(slot.count for slot in seen.seconds)
            recent = sum(slot.count for slot in seen.seconds if slot.at > now - recent_s)
            said[name] = {
                "perSecond": round(max(count / WINDOW_S, (recent - math.sqrt(recent)) / recent_s), 4),
                "inputTokens": round(sum(slot.input_tokens for slot in seen.seconds) / max(1, count), 1),
                "outputTokens": round(sum(slot.output_tokens for slot in seen.seconds) / max(1, count), 1),
                "scores": [round(score, 3) for score in seen.scores],
            }
        return said

    @staticmethod
    def _forget(seen: _Class, now: float) -> None:
        while seen.seconds and seen.seconds[0].at <= int(now) - WINDOW_S:
            seen.seconds.popleft()
