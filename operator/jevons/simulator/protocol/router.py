"""Requests that a small and a large model have answered, and what a router knows of them: what `jevons-routed` is measured on.

Every request of a trace is given one labelled prompt by lot, the same for everybody: the score that the classifier gives it, and whether the small
and the large model answer it right. The prompts are those that the shipped classifier was tested on, none that it learned from
(`router_outcomes.json`, made by `python -m bench.router_outcomes`; labels of TIGER-AI-Lab/MMLU-Pro, Apache-2.0), or a file of the user's own.

How much a router's quality is worth is seen from others on the same prompts: `shuffled` knows nothing, `oracle` knows the labels, between them a
share of the requests is told to the classifier by the oracle. Their curves are made in hindsight; the classifier's own was made beforehand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jevons.core.snapshot import SCORE_BINS, RouterCurve
from jevons.simulator.protocol.cell import FULL, STARTUP_SIGMA, Cell, load
from jevons.simulator.scenario import Floats, Physics, Scenario, SimVariant, Startup

CLASSIFIER, SHUFFLED, ORACLE = "classifier", "shuffled", "oracle"
SHARES = (0.25, 0.5)
"""Of the requests that the oracle tells the classifier."""
ROUTERS = (CLASSIFIER, SHUFFLED, *(f"{share:.0%} oracle" for share in SHARES), ORACLE)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labelled prompts by row: the classifier's score, 1.0 where the small or the large model is right; and the classifier's own curve."""

    score: Floats
    small: Floats
    large: Floats
    curve: RouterCurve

    @property
    def quality(self) -> float:
        """Of the small model, relative to the large one."""
        return float(self.small.mean() / self.large.mean())

    def routed(self, router: str) -> tuple[Floats, RouterCurve]:
        """Scores by row, and the curve, of a router of `ROUTERS`."""
        if router == CLASSIFIER:
            return self.score, self.curve
        chance = np.random.default_rng(8)
        if router == SHUFFLED:
            return chance.permutation(self.score), RouterCurve((float(self.small.mean()),) * SCORE_BINS, (float(self.large.mean()),) * SCORE_BINS)
        known = _ranked(self.small - self.large, chance)
        share = 1.0 if router == ORACLE else SHARES[ROUTERS.index(router) - 2]
        score = np.where(chance.random(len(known)) < share, known, self.score)
        return score, self._curve(score)

    def _curve(self, score: Floats) -> RouterCurve:
        """What a score is worth, counted."""
        bins = np.minimum((score * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        count = np.bincount(bins, minlength=SCORE_BINS)
        small, large = (
            np.where(count > 0, np.bincount(bins, weights=right, minlength=SCORE_BINS) / np.maximum(count, 1), right.mean())
            for right in (self.small, self.large)
        )
        return RouterCurve(tuple(small.tolist()), tuple(large.tolist()))


def _ranked(value: Floats, chance: np.random.Generator) -> Floats:
    """Ranks in 0..1, equal ones by lot."""
    order = np.lexsort((chance.random(len(value)), value))
    rank = np.empty(len(value))
    rank[order] = (np.arange(len(value)) + 0.5) / len(value)
    return rank


@lru_cache(maxsize=2)
def labels(file: Path | None = None) -> Labels:
    """The packaged ones, or those of a file made likewise. Raises ValueError for a file that is none."""
    text = (files("jevons.simulator.protocol").joinpath("router_outcomes.json") if file is None else file).read_text(encoding="utf-8")
    try:
        read = json.loads(text)
        score, small, large = np.array(read["rows"], np.float64).T
        return Labels(score, small, large, RouterCurve(tuple(read["p_small"]), tuple(read["p_large"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the outcomes of a router: {error}") from error


@dataclass(frozen=True, slots=True)
class RoutedWorld:
    """A window in which two models serve. right[i, v]: whether model v answers request i right."""

    scenario: Scenario
    right: NDArray[np.bool_]
    curve: RouterCurve


def routed_world(base: Scenario, cell: Cell, router: str) -> RoutedWorld:
    """The window's requests with the scores of `router`, before a large and a small model. Raises ValueError for a cell without a pair."""
    if cell.pair is None:
        raise ValueError(f"{cell.trace}: no pair of models fits it")
    made, pair = labels(cell.outcomes), cell.pair
    score, curve = made.routed(router)
    requests = base.requests
    drawn = np.random.default_rng([base.seed, 7]).integers(0, len(score), len(requests))
    scored = replace(requests, score=score[drawn].astype(np.float32))
    variants = []
    for name, machine, needed, quality in (("large", pair.large, pair.needed, 1.0), ("small", pair.small, pair.needed, made.quality)):
        begin = load(requests, replace(cell, machine=machine), from_s=0.0, to_s=600.0) / FULL if name == "large" else 0.0
        most = max(12, int(np.ceil(2.5 * needed)))
        variants.append(
            SimVariant(
                name=name,
                physics=Physics(machine.profile, jitter=cell.physics.jitter, slowdown=cell.slowdown),
                startup=Startup(cell.startup_s, STARTUP_SIGMA),
                usd_per_h=machine.usd_per_h,
                accelerator=name,
                accelerators=machine.accelerators,
                max_replicas=most,
                initial_replicas=min(most, max(1, int(np.ceil(begin)))) if name == "large" else 0,
                quality=quality,
            )
        )
    right = np.stack([made.large[drawn], made.small[drawn]], axis=1) > 0
    struck = tuple([replace(shock, accelerator="large") for shock in base.shocks])
    return RoutedWorld(replace(base, requests=scored, variants=tuple(variants), shocks=struck), right, curve)


def alone(world: Scenario) -> Scenario:
    """The same, with the large model only."""
    return replace(world, variants=world.variants[:1])
