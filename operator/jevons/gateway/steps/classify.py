"""Step 5: how sure are we that a cheaper variant answers this as well as the best one?

The classifier sees the first and last 8 KB of the prompt and a few features of the request; its score is calibrated, 1 = surely simple. It
may be missing (no weights): then every request counts as hard, which costs money and never quality.
"""

from __future__ import annotations

from typing import Protocol

from jevons.gateway.steps.parse import Request

HARD = 0.0


class Scorer(Protocol):
    """Whatever scores prompts."""

    def score(self, request: Request) -> float:
        """0..1; must be quick (under 1 ms): it runs in the request path."""
        ...


class NoScorer:
    """Used when there are no weights: everything is hard."""

    def score(self, request: Request) -> float:  # noqa: ARG002 - the protocol's signature
        """Always `HARD`."""
        return HARD


def bin_of(score: float) -> int:
    """Which of 20 equal bins. Example: 0.62 -> 12; 1.0 -> 19."""
    return min(19, max(0, int(score * 20)))
