"""Our gateway as the simulator plays it: what it counts, and to which variant it sends what arrives.

The same rules as `jevons.gateway` (arrivals.py, tokens.py, steps/choose.py), over columns instead of request by request; tests hold the two to each
other. It knows a request from the instant it has arrived, and of its answer only what the engine's usage said when it was done. How requests wait for
idle capacity is `kernel_patient.py`. Left out, because no scenario has them: sessions, tools and contexts, and the way around a variant whose every
pod is full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from jevons.core.observed import Known
from jevons.core.snapshot import SCORE_BINS, ClassDemand, RoutingPlan
from jevons.core.spec import DEFAULT_CLASS, Deployment, RequestClass
from jevons.simulator.policies.policy import Sample
from jevons.simulator.scenario import Floats, Ints, Requests

WINDOW_S, RECENT_S, SHORTEST_S = 60, 15.0, 5.0
HALF_LIFE_S = 600.0
FIRST_OUTPUT_TOKENS, FIRST_ANSWERS = 200.0, 20
"""What an answer is taken to have before one was seen, and for how many answers that counts."""
REMEMBERED_ANSWERS = 200
BORDERLINE = 0.10
"""A score so much below a threshold may go to the cheaper variant when the better one is asleep."""
UNWAKEABLE = frozenset({"Shadow", "Capped", "Unavailable"})


class Counts:
    """What pickers report each second: arrivals with their sizes and scores, and how long answers have been.

    scored: False leaves the scores out, which nobody reads where there is one variant. classes: those beside the default one, as requests name them.
    """

    def __init__(self, *, scored: bool = True, classes: Sequence[RequestClass] = ()) -> None:
        self.output_tokens = FIRST_OUTPUT_TOKENS
        self._names = (DEFAULT_CLASS, *(one.name for one in classes))
        self._limits = (math.inf, *(math.inf if one.max_output_tokens is None else float(one.max_output_tokens) for one in classes))
        self._answers = self._answer_tokens = 0
        self._has_scores = scored
        self._scores = np.zeros((len(self._names), SCORE_BINS))
        self._told, self._told_at_s = 0, 0.0
        self._seen = np.zeros(len(self._names), np.bool_)

    def answered(self, samples: Sequence[Sample]) -> None:
        """Learn from the usage of what was completed since the last call (`samples` of all variants)."""
        answers, tokens = sum(one.completed for one in samples), sum(one.output_tokens for one in samples)
        new = answers - self._answers
        if new > 0:
            mean = (tokens - self._answer_tokens) / new
            # the n-th answer moves the mean by 1 / min(n + FIRST_ANSWERS, REMEMBERED_ANSWERS): what is left of the old mean after all of them
            old, now = self._answers + FIRST_ANSWERS, answers + FIRST_ANSWERS
            few, many = min(old, REMEMBERED_ANSWERS), min(now, REMEMBERED_ANSWERS)
            kept = few / many * (1.0 - 1.0 / REMEMBERED_ANSWERS) ** (now - max(old, many))
            self.output_tokens = kept * self.output_tokens + (1.0 - kept) * mean
            self._answers, self._answer_tokens = answers, tokens

    def demand(self, arrived: Requests, now: float, epoch_s: float) -> tuple[ClassDemand, ...]:
        """The demand message's classes at `now`: those of which somebody has arrived. `epoch_s` is added to the time of the readings."""
        if not len(arrived):
            return ()
        self._count(arrived, now)
        at_s, at = arrived.at_s, epoch_s + now
        recent_s = min(RECENT_S, max(SHORTEST_S, now))
        first = int(np.searchsorted(at_s, math.floor(now) - WINDOW_S + 1))
        lately = int(np.searchsorted(at_s, math.floor(now - recent_s) + 1))
        told = []
        for klass in np.flatnonzero(self._seen).tolist():
            mine = arrived.klass[first:] == klass
            count, recent = int(mine.sum()), int(mine[lately - first :].sum())
            per_s = round(max(count / WINDOW_S, (recent - math.sqrt(recent)) / recent_s), 4)
            inputs = round(float(arrived.input_tokens[first:][mine].sum()) / max(1, count), 1)
            outputs = round(self.answer_tokens(klass), 1) if count else 0.0
            scores = tuple([round(score, 3) for score in self._scores[klass].tolist()]) if self._has_scores else ()
            told.append(ClassDemand(self._names[klass], Known(per_s, at), Known(inputs, at), Known(outputs, at), scores))
        return tuple(told)

    def answer_tokens(self, klass: int) -> float:
        """How long an answer to a request of the class is taken to be."""
        return min(self._limits[klass], self.output_tokens)

    def _count(self, arrived: Requests, now: float) -> None:
        """Who has arrived since the last call: of which class, and scores by bin, faded by half every ten minutes."""
        fresh = arrived.some(slice(self._told, None))
        self._seen[np.unique(fresh.klass)] = True
        if self._has_scores:
            self._scores *= 0.5 ** ((now - self._told_at_s) / HALF_LIFE_S)
        if self._has_scores and len(fresh):
            bins = np.minimum((fresh.score * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
            weights = 0.5 ** ((now - fresh.at_s) / HALF_LIFE_S)
            added = np.bincount(fresh.klass * SCORE_BINS + bins, weights=weights, minlength=self._scores.size)
            self._scores += added.reshape(self._scores.shape)
        self._told, self._told_at_s = len(arrived), now


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant (by index) that a request goes to, -1 = it is refused; and the one to be started although nobody waits for it, -1 = none."""

    variant: int
    wish: int = -1


class Directions:
    """The plan as the picker follows it for one request class, for the variants that have ready pods now."""

    def __init__(self, spec: Deployment, plan: RoutingPlan, ready: Sequence[bool], name: str = DEFAULT_CLASS) -> None:
        self._names = [variant.name for variant in spec.variants]
        self._quality = [variant.quality for variant in spec.variants]
        self._ready = ready
        states = {route.name: route.state for route in plan.variants}
        self._wakeable = [states.get(name, "Asleep") not in UNWAKEABLE for name in self._names]
        self._able = sorted(range(len(self._names)), key=lambda index: -self._quality[index])
        self._best = self._index(plan.best, self._able[0])
        self._wake = self._index(plan.wake, self._best)
        mine = next((one for one in plan.classes if one.name == name), None)
        self._min_quality = next((one.min_quality for one in spec.classes if one.name == name), None)
        scores = mine.min_score if mine is not None else ()
        self._min_score = [(self._names.index(variant), score) for variant, score in scores if variant in self._names]
        self._degraded_share = mine.degraded_share if mine is not None else 0.0
        self.patience_s = mine.patience_s if mine is not None else 0.0
        """How long requests of the class may wait for idle capacity; those that may wake nobody whom they can do without."""

    def _index(self, name: str, otherwise: int) -> int:
        return self._names.index(name) if name in self._names else otherwise

    def of(self, score: Floats, lot: Floats, share: Floats) -> tuple[Ints, Ints]:
        """Variant and wish for requests with these scores and lots, one of each per request.

        lot, share: what decides by chance (uniform in 0..1) whether one is degraded, and which of equal variants answers. What is done around a
        variant is the same between two thresholds, so it is worked out once for each stretch of scores.
        """
        wanted = self._wanted(score, share, degraded=lot < self._degraded_share)
        edges = sorted({edge for _, planned in self._min_score for edge in (planned, planned - BORDERLINE)})
        stretch = np.searchsorted(np.array(edges), score, "right")
        choices = [[self.choice(edge, index) for index in range(len(self._names))] for edge in (-math.inf, *edges)]
        variants = np.array([[choice.variant for choice in row] for row in choices], np.int32)
        wishes = np.array([[-1 if self.patience_s else choice.wish for choice in row] for row in choices], np.int32)
        return variants[stretch, wanted], wishes[stretch, wanted]

    def choice(self, score: float, wanted: int) -> Choice:
        """Where one request goes that `wanted` shall answer."""
        if self._ready[wanted]:
            return Choice(wanted)
        others = [index for index in self._able if self._ready[index] and index != wanted]
        better = next((index for index in others if self._quality[index] >= self._quality[wanted]), None)
        lesser = next((index for index in others if self._quality[index] < self._quality[wanted] and self._allowed(score, index)), None)
        other = better if better is not None else lesser
        if other is not None:
            return Choice(other, wanted if self._wakeable[wanted] else -1)
        if not self._wakeable[wanted] and others:
            return Choice(others[0])
        return Choice(self._to_wake(score, wanted))

    def _wanted(self, score: Floats, share: Floats, *, degraded: NDArray[np.bool_]) -> Ints:
        """The variant that the plan has for each request, whatever is ready."""
        wanted = np.full(len(score), -1, np.int32)
        fine = (np.minimum((score * SCORE_BINS).astype(np.int64), SCORE_BINS - 1) + share) / SCORE_BINS
        for quality, group in groupby(self._min_score, key=lambda each: self._quality[each[0]]):
            equals = list(group)
            shared = quality == self._quality[self._best] and all(index != self._best for index, _ in self._min_score)
            within = fine if shared or len(equals) > 1 else score
            theirs = (wanted < 0) & (shared | (score >= min(planned for _, planned in equals)))
            for index, planned in equals:
                wanted[theirs & (wanted < 0) & (within >= planned)] = index
            if not shared:
                wanted[theirs & (wanted < 0)] = equals[-1][0]
        cheapest = next((index for index, _ in self._min_score if index != self._best), None)
        if cheapest is not None:
            wanted[degraded & (wanted < 0)] = cheapest
        wanted[wanted < 0] = self._best
        return wanted

    def _allowed(self, score: float, cheaper: int) -> bool:
        if self._min_quality is not None and self._quality[cheaper] >= self._min_quality:
            return True
        return any(index == cheaper and score >= planned - BORDERLINE for index, planned in self._min_score)

    def _to_wake(self, score: float, wanted: int) -> int:
        """Nothing that may answer is ready: the operator's choice if it may answer this, else what was wanted, else anything."""
        cheapest = self._wake
        if self._wakeable[cheapest] and (self._quality[cheapest] >= self._quality[wanted] or self._allowed(score, cheapest)):
            return cheapest
        return wanted if self._wakeable[wanted] else next((index for index in self._able if self._wakeable[index]), -1)
