"""What an engine's table holds: for each signal the series that carry it, newest name first.

An empty tuple means that the engine does not expose the signal at all (`NotExposed`), which is different from exposing it and not being scraped
(`NoData`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """A metric name and the labels that select within it."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineTable:
    """Where one engine says what. `kv_used` is a share 0..1; token series are counters; the others are gauges [requests]."""

    engine: str
    running: tuple[Series, ...] = ()
    waiting: tuple[Series, ...] = ()
    kv_used: tuple[Series, ...] = ()
    prompt_tokens: tuple[Series, ...] = ()
    generation_tokens: tuple[Series, ...] = ()

    @property
    def gauges(self) -> tuple[Series, ...]:
        """Every gauge of the table."""
        return self.running + self.waiting + self.kv_used

    @property
    def counters(self) -> tuple[Series, ...]:
        """Every counter of the table."""
        return self.prompt_tokens + self.generation_tokens
