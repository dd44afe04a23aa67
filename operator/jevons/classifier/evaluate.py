"""Measure a classifier honestly: on requests it has not seen, with its confidence interval, beside the controls that a lucky router cannot beat.

Terms (RouteLLM, Ong et al. 2024): PGR = share of the quality gap between always-small and always-large that is recovered; APGR = its mean over all
shares sent large (random 0.5); CPT(x) = smallest share sent large that recovers x of the gap (random x). The operating point asks what a user asks:
how many requests may go small while quality stays at 95 % of always-large, once on the curve (in hindsight) and once as the plan would choose it
beforehand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jevons.classifier.dataset import TEST_FOLD, Dataset
from jevons.classifier.features import RequestFeatures
from jevons.classifier.model import Classifier, Curve, bin_of

KEEP = 0.95
"""Share of always-large's quality to be kept at the operating point."""
RESAMPLES = 1000
SEED = 20260101


@dataclass(frozen=True, slots=True)
class Frontier:
    """Quality against share sent small for one order of sending. `share_small_at` and `apgr` are fractions."""

    apgr: float
    cpt50: float
    cpt80: float
    cpt95: float
    share_small: float
    """Largest share sent small at KEEP, in hindsight."""


def frontier(order: NDArray[np.int64], small: NDArray[np.int64], large: NDArray[np.int64]) -> Frontier:
    """Send rows small in `order` [rows], one more at a time. Needs always-large better than always-small; nan otherwise."""
    rows = len(order)
    lost = np.concatenate([[0.0], np.cumsum((large - small)[order])]) / rows
    quality = large.mean() - lost
    gap = large.mean() - small.mean()
    if gap <= 0:
        nothing = float("nan")
        return Frontier(nothing, nothing, nothing, nothing, 1.0)
    recovered = (quality - small.mean()) / gap
    sent = np.arange(rows + 1) / rows

    def least_large(level: float) -> float:
        return float(1 - sent[np.flatnonzero(recovered >= level - 1e-12).max()])

    kept = np.flatnonzero(quality >= KEEP * large.mean() - 1e-12)
    return Frontier(float(np.trapezoid(recovered, sent)), least_large(0.5), least_large(0.8), least_large(0.95), float(sent[kept.max()]))


def order_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Simple ones first; ties by a fixed shuffle, so that the file's order earns nothing."""
    shuffled = np.random.default_rng(SEED).permutation(len(scores))
    return np.asarray(shuffled[np.argsort(-scores[shuffled], kind="stable")], dtype=np.int64)


def planned_threshold(scores: NDArray[np.float64], curve: Curve, *, keep: float = KEEP) -> float:
    """Lowest score that may go small so that *expected* quality on these observed scores is >= keep x always-large; above 1 = nothing may.

    Whole bins, as the operator's plan counts them: no label of these rows is used.
    """
    counts = np.bincount([bin_of(score) for score in scores], minlength=len(curve.p_small))
    large = float(counts @ np.array(curve.p_large))
    lost = 0.0
    lowest = len(counts)
    for index in range(len(counts) - 1, -1, -1):
        lost += counts[index] * (curve.p_large[index] - curve.p_small[index])
        if lost > (1 - keep) * large:
            break
        lowest = index
    return lowest / len(counts) if lowest < len(counts) else 1.01


def evaluate(classifier: Classifier, data: Dataset, *, resamples: int = RESAMPLES, small_cost: float | None = None) -> dict[str, Any]:
    """Figures on the test fold of `data`. `small_cost`: cost of a small answer as a share of a large one (adds saved cost)."""
    test = data.where(data.fold == TEST_FOLD)
    scores = np.array([classifier.score_vector(vector) for vector in test.vectors])
    small, large = test.small, test.large
    found = frontier(order_of(scores), small, large)
    random = np.random.default_rng(SEED)
    drawn = [
        frontier(order_of(scores[rows]), small[rows], large[rows]) for rows in (random.integers(0, len(test), len(test)) for _ in range(resamples))
    ]
    threshold = planned_threshold(scores, classifier.curve)
    sent = scores >= threshold
    report: dict[str, Any] = {
        "rows": len(test),
        "split": "by hash of the prompt's first 12 words, test fold only",
        "router": {
            **{name: round(getattr(found, name), 4) for name in Frontier.__slots__},
            "apgr_ci95": _interval([one.apgr for one in drawn]),
            "share_small_ci95": _interval([one.share_small for one in drawn]),
        },
        "planned": _operating(sent, small, large) | {"threshold": round(threshold, 4)},
        "shuffled": _shuffled(sent, small, large, random),
        "always_small": {"quality": round(float(small.mean()), 4)},
        "always_large": {"quality": round(float(large.mean()), 4)},
        "random": {**_rounded(_random_frontier(small, large)), "kind": "expected"},
        "oracle": _rounded(frontier(np.argsort(large - small, kind="stable"), small, large)),
        "calibration": _calibration(scores, small, large, classifier.curve),
    }
    if small_cost is not None:
        report["planned"]["cost_saved"] = round(float(sent.mean()) * (1 - small_cost), 4)
    return report


def _operating(sent: NDArray[np.bool_], small: NDArray[np.int64], large: NDArray[np.int64]) -> dict[str, Any]:
    quality = float(np.where(sent, small, large).mean())
    return {"share_small": round(float(sent.mean()), 4), "quality": round(quality, 4), "quality_kept": round(quality / float(large.mean()), 4)}


def _shuffled(sent: NDArray[np.bool_], small: NDArray[np.int64], large: NDArray[np.int64], random: np.random.Generator) -> dict[str, Any]:
    """The same share sent small, but to requests drawn blindly: what the share alone earns."""
    kept = [float(np.where(random.permutation(sent), small, large).mean()) for _ in range(RESAMPLES)]
    return {
        "share_small": round(float(sent.mean()), 4),
        "quality": round(float(np.mean(kept)), 4),
        "quality_ci95": _interval(kept),
        "quality_kept": round(float(np.mean(kept)) / float(large.mean()), 4),
    }


def _random_frontier(small: NDArray[np.int64], large: NDArray[np.int64]) -> Frontier:
    gap = float(large.mean() - small.mean())
    return Frontier(0.5, 0.5, 0.8, 0.95, min(1.0, (1 - KEEP) * float(large.mean()) / gap) if gap > 0 else 1.0)


def _calibration(scores: NDArray[np.float64], small: NDArray[np.int64], large: NDArray[np.int64], curve: Curve) -> list[dict[str, Any]]:
    """Expected (by the curve) against found gap in fifths of the scores, simple first."""
    gap = np.array(curve.p_large) - np.array(curve.p_small)
    expected = gap[[bin_of(score) for score in scores]]
    return [
        {"rows": len(rows), "expected_gap": round(float(expected[rows].mean()), 4), "found_gap": round(float((large - small)[rows].mean()), 4)}
        for rows in np.array_split(order_of(scores), 5)
    ]


def latency(classifier: Classifier, text: str, *, repeats: int = 2000) -> dict[str, float]:
    """p50 and p99 [ms] of one score of `text` on this machine after a warm-up, by the wall clock and by this thread's CPU time.

    On a machine that does other work too the wall clock's p99 is that work's; the CPU time is ours.
    """
    features = RequestFeatures()
    taken = np.zeros((repeats + 100, 2))
    for index in range(len(taken)):
        wall, busy = time.perf_counter_ns(), time.thread_time_ns()
        classifier.score(text, features=features)
        taken[index] = time.perf_counter_ns() - wall, time.thread_time_ns() - busy
    middle, high = (np.quantile(taken[100:], q, axis=0) / 1e6 for q in (0.5, 0.99))
    return {name: round(float(value), 4) for name, value in zip(("p50_ms", "cpu_p50_ms", "p99_ms", "cpu_p99_ms"), (*middle, *high), strict=True)}


def _rounded(found: Frontier) -> dict[str, float]:
    return {name: round(getattr(found, name), 4) for name in Frontier.__slots__}


def _interval(values: list[float]) -> list[float]:
    return [round(float(bound), 4) for bound in np.quantile(values, [0.025, 0.975])]
