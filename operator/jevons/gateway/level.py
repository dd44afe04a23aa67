"""What one picker tells the operators: what arrived lately, and which sleeping variants it would have liked to use.

Such a wish (a small variant answers while the large one is woken, so nobody waits) rides in the demand message as one held request that is
as old as the first wish, and fades 15 s after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jevons.gateway.arrivals import ArrivalWindow

WISH_S = 15.0


@dataclass(slots=True)
class _Wish:
    first: float
    last: float


class DemandLevel:
    """One process' counts; `started` [s since the epoch]."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._windows: dict[str, ArrivalWindow] = {}
        self._wishes: dict[tuple[str, str], _Wish] = {}

    def arrived(self, model: str, klass: str, *, input_tokens: float, output_tokens: float, score_bin: int, now: float) -> None:
        """One request arrived; to be called once for it, however often it passes the picker."""
        self._windows.setdefault(model, ArrivalWindow(self._started)).add(now, klass, input_tokens, output_tokens, score_bin)

    def wish(self, model: str, variant: str, now: float) -> bool:
        """Somebody would have liked `variant` to be awake; True when that is news."""
        known = self._wishes.get((model, variant))
        if known is None or now - known.last > WISH_S:
            self._wishes[model, variant] = _Wish(now, now)
            return True
        known.last = now
        return False

    def level(self, now: float) -> dict[str, dict[str, Any]]:
        """`deployments` of the demand message."""
        said: dict[str, dict[str, Any]] = {}
        for model, window in self._windows.items():
            said[model] = {"held": [], "arrivals": window.message(now), "lastArrival": window.last_arrival}
        for (model, variant), wish in list(self._wishes.items()):
            if now - wish.last > WISH_S:
                del self._wishes[model, variant]
            else:  # also of a request that another picker has counted
                said.setdefault(model, {"held": []})["held"].append({"variant": variant, "count": 1, "oldest": wish.first})
        return said
