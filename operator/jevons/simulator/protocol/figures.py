"""What is taken from one run: how many arrivals were answered in time, and what was paid for it.

The denominator is every arrival of the window (from the burn-in on): what was shed, refused, lost or answered late is missed. Money is charged
until the last completion. For the bootstrap a run is also cut into blocks of about 30 minutes; a block's share of the money follows the replicas
that existed in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jevons.core.spec import Objectives
from jevons.simulator.scenario import Floats, Ints, Outcome, Scenario, met

WINDOW_S = 600.0
BLOCK_S = 1800.0
FEWEST_BLOCKS = 4
"""Of a run: shorter windows have shorter blocks, so that a quick look has an interval at all."""
FEWEST = 20
"""A window or class with fewer arrivals has no attainment of its own: one miss in three says nothing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Attainments are shares of `offered` 0..1; blocks: [k, 4] = offered, met, usd, met and right.

    ttft_*_s: of requests that got a first token. shed: never finished. strict: as met, with the gaps' own number below the fraction bar.
    """

    offered: int
    met: int
    shed: int
    attainment: float
    strict: float
    worst_window: float
    worst_class: float
    largest_gap_p99_s: float
    usd: float
    gpu_hours: float
    starting_gpu_hours: float
    ttft_p50_s: float
    ttft_p95_s: float
    ttft_p99_s: float
    scale_events: int
    mean_replicas: float
    blocks: Floats
    quality: float = 1.0
    """Right answers over those that the largest model gives to the same requests; 1 where nothing is routed."""

    @property
    def correct(self) -> int:
        """Answers in time that are right; all of those in time where nothing is routed."""
        return round(float(self.blocks[:, 3].sum()))

    @property
    def usd_per_1k_offered(self) -> float:
        """The primary figure."""
        return 1000.0 * self.usd / self.offered if self.offered else math.nan

    @property
    def usd_per_slo_answer(self) -> float:
        """USD for each request that was answered in time; infinite when none was."""
        return self.usd / self.met if self.met else math.inf

    @property
    def worst(self) -> float:
        """The lower of worst window and worst class."""
        return min(self.worst_window, self.worst_class)


def figures(scenario: Scenario, outcome: Outcome, *, classes: Ints | None = None, right: NDArray[np.bool_] | None = None) -> Figures:
    """classes: per request the index of its class; None = all are of one. right: [requests, variants], the first variant the largest; None = all."""
    requests, objectives = scenario.requests, scenario.objectives
    counted = requests.at_s >= scenario.burn_in_s
    good = met(requests, outcome, objectives)
    at_s, hit = requests.at_s[counted], good[counted]
    first, end = outcome.first_token_s[counted], outcome.end_s[counted]
    offered, hits = len(at_s), int(hit.sum())
    attainment = hits / offered if offered else math.nan
    sound = np.ones(len(good), np.bool_) if right is None else right[np.arange(len(good)), outcome.variant] & (outcome.variant >= 0)
    answering = counted & (outcome.variant >= 0)
    window = ((at_s - scenario.burn_in_s) // WINDOW_S).astype(np.int64)
    kind = np.zeros(offered, np.int64) if classes is None else np.asarray(classes)[counted].astype(np.int64)
    answered = np.isfinite(first)
    ttft = np.percentile((first - at_s)[answered], (50, 95, 99)) if answered.any() else np.full(3, math.nan)
    gaps = outcome.largest_gap_s[counted]
    gaps = gaps[np.isfinite(gaps)]
    return Figures(
        offered=offered,
        met=hits,
        shed=int((~np.isfinite(end)).sum()),
        attainment=attainment,
        strict=_strict(scenario, outcome, objectives, counted) / offered if offered else math.nan,
        worst_window=worst_of(window, hit, fallback=attainment),
        worst_class=worst_of(kind, hit, fallback=attainment),
        largest_gap_p99_s=float(np.percentile(gaps, 99)) if len(gaps) else math.nan,
        usd=outcome.usd,
        gpu_hours=outcome.gpu_s / 3600.0,
        starting_gpu_hours=outcome.starting_gpu_s / 3600.0,
        ttft_p50_s=float(ttft[0]),
        ttft_p95_s=float(ttft[1]),
        ttft_p99_s=float(ttft[2]),
        scale_events=outcome.scale_events,
        mean_replicas=_mean_replicas(scenario, outcome),
        blocks=blocks(scenario, outcome, good, good & sound),
        quality=1.0 if right is None or not right[answering, 0].any() else float(sound[answering].sum() / right[answering, 0].sum()),
    )


def worst_of(group: NDArray[np.int64], hit: NDArray[np.bool_], *, fallback: float) -> float:
    """The lowest attainment of any group with `FEWEST` arrivals or more; `fallback` where there is none."""
    if not len(group):
        return fallback
    total, hits = np.bincount(group), np.bincount(group, weights=hit)
    enough = total >= FEWEST
    return float((hits[enough] / total[enough]).min()) if enough.any() else fallback


def blocks(scenario: Scenario, outcome: Outcome, good: NDArray[np.bool_], correct: NDArray[np.bool_]) -> Floats:
    """[k, 4]: offered, met, usd, and met and right, of equal blocks of about half an hour from the burn-in to the last arrival.

    The last one pays for the tail.
    """
    at_s, begin = scenario.requests.at_s, scenario.burn_in_s
    length = max(float(at_s[-1]) - begin, 1.0)
    count = max(FEWEST_BLOCKS, round(length / BLOCK_S))
    edges = begin + length / count * np.arange(count + 1)
    block = np.minimum(((at_s - begin) / (length / count)).astype(np.int64), count - 1)
    counted = at_s >= begin
    offered = np.bincount(block[counted], minlength=count)
    hits = np.bincount(block[counted], weights=good[counted], minlength=count)
    share = np.full(count, 1.0 / count)
    if len(outcome.timeline):
        rows = outcome.timeline
        until = np.append(rows[1:, 0], max(outcome.ended_s, rows[-1, 0]))
        paid = np.concatenate(([0.0], np.cumsum((rows[:, 1] + rows[:, 2]) * (until - rows[:, 0]))))
        marks = np.interp(edges, np.append(rows[:, 0], until[-1]), paid)
        marks[-1] = paid[-1]
        if marks[-1] > marks[0]:
            share = np.diff(marks) / (marks[-1] - marks[0])
    sound = np.bincount(block[counted], weights=correct[counted], minlength=count)
    return np.stack([offered.astype(np.float64), hits, share * outcome.usd, sound], axis=1)


def _strict(scenario: Scenario, outcome: Outcome, objectives: Objectives, counted: NDArray[np.bool_]) -> int:
    """Requests met when the mean gap is taken over the gaps there are, however few."""
    requests = scenario.requests
    with np.errstate(invalid="ignore"):
        pace = (outcome.end_s - outcome.first_token_s) / np.maximum(requests.output_tokens - 1, 1)
        good = (outcome.first_token_s - requests.at_s <= objectives.ttft_s) & (pace <= objectives.itl_s) & np.isfinite(outcome.end_s)
    return int(good[counted].sum())


def _mean_replicas(scenario: Scenario, outcome: Outcome) -> float:
    """Ready replicas, averaged over the counted part of the trace."""
    rows = outcome.timeline
    inside = (rows[:, 0] >= scenario.burn_in_s) & (rows[:, 0] <= scenario.requests.at_s[-1]) if len(rows) else np.zeros(0, np.bool_)
    return float(rows[inside, 1].mean()) if inside.any() else math.nan
