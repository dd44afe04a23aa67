"""A reading is known, with the time it was taken, or it is not: no data is never a number.

Every value that comes from outside (Prometheus, pickers, the API server) enters the core as `Known` or `Unknown`; code that wants a number has to say
what it does without one. Both are immutable and cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value and the wall-clock second [s since the epoch] at which it was sampled."""

    value: T
    at_s: float

    def age_s(self, now_s: float) -> float:
        """Seconds since the sample, never negative (clocks skew)."""
        return max(0.0, now_s - self.at_s)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why there is no value. `reason` is one CamelCase word: NoData, Stale, NotANumber, Negative, Duplicate, Partial, SourceDown, NotExposed."""

    reason: str
    detail: str = ""


Observed: TypeAlias = Known[T] | Unknown
"""`Observed[float]` is what a signal has before anybody decided what its absence means."""
