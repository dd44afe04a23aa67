"""Step 5: how sure are we that a cheaper variant answers this as well as the best one?

The classifier sees the user's own words (first and last 8 KB of the last user turn: it was trained on bare questions, and a long system prompt
would drown them) and a few features of the request; its score is calibrated, 1 = surely simple.
When it cannot be loaded every request counts as hard: that costs money and never quality.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from jevons.classifier.features import RequestFeatures
from jevons.classifier.model import ClassifierError, bin_of, load_scorer
from jevons.classifier.model import Scorer as TextScorer
from jevons.gateway.steps.parse import Request

HARD = 0.0

__all__ = ["HARD", "NoScorer", "PromptScorer", "Scorer", "bin_of", "scorer"]

log = structlog.get_logger(__name__)


class Scorer(Protocol):
    """Whatever scores requests."""

    def score(self, request: Request) -> float:
        """0..1; must be quick (under 1 ms): it runs in the request path."""
        ...


class NoScorer:
    """Used when there are no weights: everything is hard."""

    def score(self, request: Request) -> float:  # noqa: ARG002 - the protocol's signature
        """Always `HARD`."""
        return HARD


class PromptScorer:
    """A classifier of text, given what the request says beside its words."""

    def __init__(self, classifier: TextScorer) -> None:
        self._classifier = classifier

    def score(self, request: Request) -> float:
        """The classifier's word on the edges of the question."""
        features = RequestFeatures(
            tools=len(request.body.get("tools") or ()),
            images=request.images,
            turns=request.messages,
            max_tokens=request.max_output,
            json_answer="JSONSchema" in request.needs,
        )
        return self._classifier.score(request.edges, features=features)


def scorer(name: str = "") -> Scorer:
    """The classifier of that name (see `load_scorer`), or `NoScorer` with a warning when it cannot be loaded."""
    try:
        return PromptScorer(load_scorer(name))
    except ClassifierError as error:
        log.warning("no classifier: every request counts as hard", error=str(error))
        return NoScorer()
