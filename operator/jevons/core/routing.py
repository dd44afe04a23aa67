"""Which requests may go to a cheaper variant, so that expected quality stays at least `minQuality` of always-best?

The classifier counts requests by score (20 bins, high = simple) and its calibration says per bin how likely the cheaper and the best variant answer
well. A variant between the two is placed between them by its stated quality. Every bin is given the cheapest variant whose expected quality is worth
it at one common price of quality, found by bisection (the continuous knapsack); the cut is then moved inside a bin as far as the promise allows.
Between variants of one quality the score says nothing: their thresholds are shares, which pickers draw within a bin (`gateway/steps/choose.py`).
Without counts a flat prior stands in, and blends away as counts come.
"""

# ruff: noqa: FURB136, PLR1730  max and min cost eight times what a comparison does
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from jevons.core.course import Cuts
from jevons.core.snapshot import SCORE_BINS, RouterCurve

REFERENCE_QUALITY = 0.7
"""The stated quality (relative to the best) of the variant that `p_small` was measured on."""
FLAT = RouterCurve(p_small=(REFERENCE_QUALITY,) * SCORE_BINS, p_large=(1.0,) * SCORE_BINS)
"""Without a classifier every request is like every other."""
PRIOR_COUNT, MOST_COUNTED = 1.0, 1e18
"""Per bin: what stands in before anything is counted, and what no count reaches."""
QUANTUM = 200
"""Score shares are rounded to 1/200, so that a plan stays while they drift less."""
UNSEEN = (QUANTUM / SCORE_BINS,) * SCORE_BINS
ROUNDS = 1.5 * 2.0**52
"""Added and taken away again, it leaves the nearest whole number (of two the even one), as `round` does in five times as long."""
LEAST_SHARE = 1e-4
"""Less than this of a class is nobody's."""
MARGIN = 0.005
"""Quality kept above the promise; given up as budget pressure grows."""


class Option(NamedTuple):
    """A variant that may take traffic: its stated quality and what a request costs on it (any unit, the same for all)."""

    name: str
    quality: float
    cost: float


@dataclass(frozen=True, slots=True)
class Split:
    """One class's plan: thresholds (cheapest first), the share of requests each variant gets, and the quality to be expected against always-best."""

    min_score: tuple[tuple[str, float], ...]
    shares: tuple[tuple[str, float], ...]
    expected_quality: float


def score_shares(scores: tuple[float, ...]) -> tuple[float, ...]:
    """Counts per bin as shares, rounded to whole units of 1/QUANTUM, with the flat prior blended in; anything malformed is no counts."""
    if not scores:
        return UNSEEN
    total = sum(scores)
    if len(scores) != SCORE_BINS or total != total or min(scores) < 0.0 or max(scores) >= MOST_COUNTED:  # noqa: PLR0124  not a number
        scores, total = (0.0,) * SCORE_BINS, 0.0
    total += PRIOR_COUNT * SCORE_BINS
    return tuple([(count + PRIOR_COUNT) / total * QUANTUM + ROUNDS - ROUNDS for count in scores])


@lru_cache(maxsize=4096)
def expected_right(curve: RouterCurve, relative_quality: float) -> tuple[float, ...]:
    """P(right) per bin of a variant of that quality relative to the best: on the line through p_small (at REFERENCE_QUALITY) and p_large (at 1)."""
    weight = (relative_quality - REFERENCE_QUALITY) / (1.0 - REFERENCE_QUALITY)
    return tuple(min(1.0, max(0.0, small + weight * (large - small))) for small, large in zip(curve.p_small, curve.p_large, strict=True))


def split(
    options: tuple[Option, ...], *, best_quality: float, shares: tuple[float, ...], curve: RouterCurve, min_quality: float, degraded_share: float
) -> Split:
    """Thresholds for one class.

    options: every variant that may serve, at least one; best_quality: of the best variant of the spec, whether it can serve or not.
    degraded_share (0..1): of the requests above the thresholds' reach, this share goes to the cheapest variant too.
    Example: two variants, no classifier (flat 0.7), minQuality 0.95 -> a sixth of the requests may go small: threshold 0.84, quality 0.95
    (test_worked_examples.py::test_without_a_classifier_a_sixth_may_go_small).
    """
    top = max(options, key=lambda option: (option.quality, -option.cost))
    cheaper = sorted((option for option in options if option.cost < top.cost), key=lambda option: (option.cost, -option.quality))
    total = sum(shares) or 1
    weights = [share / total for share in shares]
    always_best = sum(weight * right for weight, right in zip(weights, curve.p_large, strict=True)) or 1.0
    ladder = [*cheaper, top]
    right = [expected_right(curve, option.quality / best_quality) for option in ladder]
    choice, kept = _assign(ladder, right, weights, min_quality * always_best)
    return _as_split(ladder, right, weights, choice, slack=kept - min_quality * always_best, always_best=always_best, degraded=degraded_share)


class Splits:
    """One class's `split` at any promise and share, each made once. Hashing a question costs as much as most of a plan, so it is done once a pass."""

    __slots__ = ("_cut", "_found", "_question")

    def __init__(self, options: tuple[Option, ...], best_quality: float, shares: tuple[float, ...], curve: RouterCurve) -> None:
        self._question = (options, best_quality, shares, curve)
        self._found: dict[tuple[float, float], Split] = {}
        self._cut: dict[tuple[Cuts, float], Split | None] = {}

    @property
    def options(self) -> tuple[Option, ...]:
        """Of the question."""
        return self._question[0]

    @property
    def shares(self) -> tuple[float, ...]:
        """Score counts of the question."""
        return self._question[2]

    def right(self) -> list[tuple[float, ...]]:
        """P(right) by bin, of every option."""
        options, best_quality, _, curve = self._question
        return [expected_right(curve, option.quality / best_quality) for option in options]

    def always_best(self) -> float:
        """Expected share of right answers when the best answers all."""
        _, _, shares, curve = self._question
        return sum(share * right for share, right in zip(shares, curve.p_large, strict=True)) / (sum(shares) or 1)

    def cut(self, cuts: Cuts, degraded_share: float) -> Split | None:
        """`at_cuts` of this question."""
        key = (cuts, degraded_share)
        if key not in self._cut:
            options, best_quality, shares, curve = self._question
            self._cut[key] = at_cuts(options, best_quality=best_quality, shares=shares, curve=curve, cuts=cuts, degraded_share=degraded_share)
        return self._cut[key]

    def at(self, min_quality: float, degraded_share: float) -> Split:
        """`split` of this question."""
        found = self._found.get((min_quality, degraded_share))
        if found is None:
            options, best_quality, shares, curve = self._question
            found = split(options, best_quality=best_quality, shares=shares, curve=curve, min_quality=min_quality, degraded_share=degraded_share)
            self._found[min_quality, degraded_share] = found
        return found


splits = lru_cache(maxsize=4096)(Splits)
"""The `Splits` of equal questions are one object."""


def _assign(ladder: list[Option], right: list[tuple[float, ...]], weights: list[float], target: float) -> tuple[list[int], float]:
    """Per bin the index into the ladder; the price of quality is the lowest (to 1 part in 10^4) at which the target is kept."""
    costs, bins = [option.cost for option in ladder], list(zip(weights, zip(*right, strict=True), strict=True))
    low, high = 0.0, max(costs) * 1e4 + 1.0
    if (answer := _at_price(low, costs, bins))[1] >= target:
        return answer
    answer = _at_price(high, costs, bins)
    if answer[1] < target:
        return [len(ladder) - 1] * SCORE_BINS, sum(weight * p for weight, p in zip(weights, right[-1], strict=True))
    for _ in range(40):
        middle = (low + high) / 2.0 if low else high / 4.0
        found = _at_price(middle, costs, bins)
        if found[1] >= target:
            high, answer = middle, found
        else:
            low = middle
        if high - low <= 1e-4 * high:
            break
    return answer


def _at_price(price: float, costs: list[float], bins: list[tuple[float, tuple[float, ...]]]) -> tuple[list[int], float]:
    """Per bin the variant that is worth most at this price of quality (of equals the cheapest, then the first), and the quality of all.

    bins: weight and each variant's P(right). Thresholds are nested: a bin never gets a dearer variant than one of a lower score.
    """
    choice, quality, least, ladder = [], 0.0, len(costs), range(1, len(costs))
    for weight, right in bins:
        chosen, cheapest = 0, costs[0]
        most = price * right[0] - cheapest
        for index in ladder:
            cost = costs[index]
            worth = price * right[index] - cost
            if worth > most or (worth == most and cost < cheapest):
                chosen, cheapest, most = index, cost, worth
        if chosen < least:
            least = chosen
        choice.append(least)
        quality += weight * right[least]
    return choice, quality


def _as_split(
    ladder: list[Option],
    right: list[tuple[float, ...]],
    weights: list[float],
    choice: list[int],
    *,
    slack: float,
    always_best: float,
    degraded: float,
) -> Split:
    edges = [next((bin_ for bin_ in range(SCORE_BINS) if choice[bin_] <= index), SCORE_BINS) / SCORE_BINS for index in range(len(ladder) - 1)]
    if edges and slack > 0:
        edges = _stretched(right, weights, choice, edges, slack)
    return _spread(ladder, right, weights, edges, always_best=always_best, degraded=degraded)


def _spread(
    ladder: list[Option], right: list[tuple[float, ...]], weights: list[float], edges: list[float], *, always_best: float, degraded: float
) -> Split:
    """Shares and quality when variant i of the ladder answers scores from edges[i] on that no variant before it does, and the last the rest."""
    shares = [0.0] * len(ladder)
    quality, cheapest, last = 0.0, right[0], len(edges)
    starts = [edge * SCORE_BINS for edge in edges]
    for bin_, weight in enumerate(weights):
        reached, above, base = 0.0, bin_ + 1.0, cheapest[bin_]
        for index, answers in enumerate(right):
            allowed = above - starts[index] if index < last else 1.0
            allowed = 1.0 if allowed > 1.0 else allowed if allowed > 0.0 else 0.0
            part = allowed - reached
            if part > 0.0:
                reached = allowed
                kept = part if index == 0 else part * (1.0 - degraded)
                shares[index] += weight * kept
                shares[0] += weight * (part - kept)
                quality += weight * (kept * answers[bin_] + (part - kept) * base)
    min_score = tuple((ladder[index].name, round(edge, 3)) for index, edge in enumerate(edges) if edge < 1.0)
    return Split(
        min_score,
        tuple((option.name, share) for option, share in zip(ladder, shares, strict=True)),
        round(min(1.0, quality / always_best), 4),
    )


def ranked(options: tuple[Option, ...]) -> list[Option]:
    """From the lowest quality up, of equals the dearest first: the last is the one that answers what nobody else does."""
    return sorted(options, key=lambda option: (option.quality, -option.cost, option.name))


def cuts_for(ladder: list[Option], wanted: Mapping[str, float], shares: tuple[float, ...]) -> Cuts:
    """Thresholds at which each variant of the ladder (as `ranked`) gets about its wanted share (of 1) of these score counts.

    Rounded up to a thousandth, as published: the better variant gets the difference. Example: half to the lesser of two, scores spread evenly ->
    from 0.5 on (test_worked_examples.py::test_a_share_becomes_a_threshold).
    """
    total = sum(shares) or 1
    cuts: list[tuple[str, float]] = []
    reached, bin_, left = 0.0, SCORE_BINS, 0.0
    for option in ladder:
        share = wanted.get(option.name, 0.0)
        if share <= LEAST_SHARE:
            continue
        reached += share
        while bin_ > 0 and left + shares[bin_ - 1] / total < reached:
            bin_ -= 1
            left += shares[bin_] / total
        inside = (reached - left) / (shares[bin_ - 1] / total) if bin_ > 0 and shares[bin_ - 1] else 0.0
        edge = max(0.0, (bin_ - inside) / SCORE_BINS) if reached < 1.0 - LEAST_SHARE else 0.0
        cuts.append((option.name, math.ceil(edge * 1000.0 - 1e-6) / 1000.0))
        if not edge:
            break
    return tuple(cuts)


def at_cuts(
    options: tuple[Option, ...], *, best_quality: float, shares: tuple[float, ...], curve: RouterCurve, cuts: Cuts, degraded_share: float
) -> Split | None:
    """The split at these thresholds; None when one of their variants is no longer an option, or nobody answers the rest."""
    by_name = {option.name: option for option in options}
    if not cuts or cuts[-1][1] > 0.0 or any(name not in by_name for name, _ in cuts):
        return None
    ladder = [by_name[name] for name, _ in cuts]
    total = sum(shares) or 1
    weights = [share / total for share in shares]
    always_best = sum(weight * right for weight, right in zip(weights, curve.p_large, strict=True)) or 1.0
    right = [expected_right(curve, option.quality / best_quality) for option in ladder]
    return _spread(ladder, right, weights, [edge for _, edge in cuts[:-1]], always_best=always_best, degraded=degraded_share)


def _stretched(right: list[tuple[float, ...]], weights: list[float], choice: list[int], edges: list[float], slack: float) -> list[float]:
    """Move the cheapest variant's cut down inside bins while the spare quality pays for it."""
    edge_bin = round(edges[0] * SCORE_BINS) - 1
    cut = edges[0]
    while edge_bin >= 0 and slack > 1e-12:
        loss = weights[edge_bin] * (right[choice[edge_bin]][edge_bin] - right[0][edge_bin])
        fraction = 1.0 if loss <= slack else slack / loss
        cut -= fraction / SCORE_BINS
        slack -= max(0.0, loss) * fraction
        edge_bin -= 1
        if fraction < 1.0:
            break
    cut = max(0.0, -(-cut * 100 // 1) / 100) if cut > 1e-9 else 0.0
    return [cut, *(min(edge, cut) for edge in edges[1:])]
