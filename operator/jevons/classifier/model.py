"""Score a request in 0..1 with numpy alone; high = a cheaper variant answers it as well as the best one.

Two logistic heads say P(cheaper right) and P(best right). What routing needs is their *difference*: a hard question is often missed by both, and
then the large variant is wasted on it. The score is the rank of that difference among requests the heads had not seen: 0.8 = simpler than four in
five of them. What a score is *worth* stands in the curve: the calibrated P(cheaper right) and P(best right) per bin. (The expected gap itself makes
a poor score: an honest one differs little between requests, and three of twenty bins would hold them all.)

ClassifierError: weights are missing, of another layout, or not finite. Scoring itself does not raise.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from jevons.classifier.features import BUCKETS, DENSE, RequestFeatures, Vector, vectorise

SCORE_BINS = 20
LAYOUT = 1
"""Version of the weights' layout; another one is refused rather than misread."""
WEIGHTS = Path(__file__).parent / "weights"
"""Where the weights that ship with Jevons lie: default.npz and default.json."""


class ClassifierError(ValueError):
    """The weights or the scorer cannot be used; the message names the file and what is wrong."""


class Curve(NamedTuple):
    """Calibration per score bin, SCORE_BINS values each (bin i holds i/20 <= score < (i+1)/20; the last holds 1 too)."""

    p_small: tuple[float, ...]
    """P(cheaper variant right)."""
    p_large: tuple[float, ...]
    """P(best variant right)."""


@runtime_checkable
class Scorer(Protocol):
    """What the gateway needs of a classifier; ours is `Classifier`, a user's own may take its place."""

    @property
    def curve(self) -> Curve:
        """What a score is worth, for the operator's plan."""

    def score(self, text: str, *, features: RequestFeatures) -> float:
        """0..1, high = simple. Must not raise, block or keep the text."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The linear part. Columns of `ngrams`: weight of P(small), weight of P(large), squared idf (all with idf folded in)."""

    ngrams: NDArray[np.float32]
    """[BUCKETS, 3]."""
    dense: NDArray[np.float32]
    """[hinges x DENSE, 2]."""
    intercept: NDArray[np.float32]
    """[2]."""
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    """[DENSE] each: z = (x - mean) / scale."""
    knots: NDArray[np.float32]
    """[hinges - 1, DENSE]: the basis is z and max(0, z - knot) for each knot."""

    def probabilities(self, vector: Vector) -> tuple[float, float]:
        """(P(small right), P(large right)), uncalibrated."""
        logits = self.intercept + basis(vector.dense, mean=self.mean, scale=self.scale, knots=self.knots).ravel() @ self.dense
        if len(vector.buckets):
            sums = np.add.reduce(self.ngrams.take(vector.buckets, axis=0))
            logits = logits + sums[:2] / np.sqrt(max(float(sums[2]), 1e-12))
        small, large = (1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))).tolist()
        return small, large


def basis(dense: NDArray[np.float32], *, mean: NDArray[np.float32], scale: NDArray[np.float32], knots: NDArray[np.float32]) -> NDArray[np.float32]:
    """Piecewise-linear basis [.., hinges, DENSE] of dense features [.., DENSE]; z is held within +-6 so that an odd request cannot dominate."""
    z = np.minimum(np.maximum((dense - mean) / scale, -6.0), 6.0)[..., None, :]  # np.clip takes twice as long for so few
    return np.concatenate([z, np.maximum(0.0, z - knots)], axis=-2).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Heads, calibration and the card that says where they come from. Immutable, safe to share between threads."""

    heads: Heads
    raw: NDArray[np.float64]
    """Ascending raw differences P(small) - P(large): the score table's abscissae."""
    rank: NDArray[np.float64]
    """Score at each of `raw`, 0..1, not falling."""
    curve: Curve
    card: dict[str, Any]

    @classmethod
    def load_default(cls) -> Classifier:
        """The weights that ship with Jevons."""
        return cls.load(WEIGHTS / "default.npz")

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Weights of `path` (.npz) and the model card beside it (.json); ClassifierError when either cannot be used."""
        try:
            card = json.loads(path.with_suffix(".json").read_text())
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            layout = card["layout"]
            heads = Heads(**{name: arrays[name].astype(np.float32) for name in Heads.__slots__})
            raw, rank = arrays["raw"].astype(np.float64), arrays["rank"].astype(np.float64)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ClassifierError(f"{path}: cannot read classifier weights: {error}") from error
        if layout != LAYOUT:
            raise ClassifierError(f"{path}: layout {layout}, this version reads {LAYOUT}; train again with `jevons train`")
        _check(path, heads, raw, rank)
        return cls(heads, raw, rank, read_curve(path), card)

    def score(self, text: str, *, features: RequestFeatures) -> float:
        """0..1, high = simple. Under 0.6 ms whatever the length; keeps nothing of `text`."""
        return self.score_vector(vectorise(text, features))

    def score_vector(self, vector: Vector) -> float:
        """The score of a request already turned into numbers."""
        small, large = self.heads.probabilities(vector)
        return float(np.interp(small - large, self.raw, self.rank))


def bin_of(score: float) -> int:
    """Which of the SCORE_BINS bins a score falls in; 1.0 falls in the last."""
    return min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS)))


def load_scorer(name: str = "") -> Scorer:
    """The scorer of that name: "" = the default weights, a path to an .npz made by `jevons train`, or `module:factory` (called without arguments)."""
    if not name:
        return Classifier.load_default()
    if name.endswith(".npz"):
        return Classifier.load(Path(name))
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ClassifierError(f"{name}: name an .npz file or module:factory")
    try:
        scorer = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ClassifierError(f"{name}: cannot make this scorer: {error}") from error
    if not isinstance(scorer, Scorer):
        raise ClassifierError(f"{name}: has no `score` and `curve`")
    return scorer


def read_curve(path: Path = WEIGHTS / "default.npz") -> Curve:
    """The calibration of the weights in `path`, from the card beside them; ClassifierError when it cannot be used."""
    card = path.with_suffix(".json")
    try:
        stored = json.loads(card.read_text())["curve"]
        curve = Curve(tuple(map(float, stored["p_small"])), tuple(map(float, stored["p_large"])))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{card}: cannot read the curve: {error}") from error
    for name, side in curve._asdict().items():
        if len(side) != SCORE_BINS or not np.isfinite(side).all():
            raise ClassifierError(f"{card}: curve.{name} must be {SCORE_BINS} numbers, one per bin of scores")
    return curve


def _check(path: Path, heads: Heads, raw: NDArray[np.float64], rank: NDArray[np.float64]) -> None:
    wide = len(DENSE)
    hinges = len(heads.knots) + 1
    shapes = {
        "ngrams": (heads.ngrams.shape, (BUCKETS, 3)),
        "dense": (heads.dense.shape, (hinges * wide, 2)),
        "intercept": (heads.intercept.shape, (2,)),
        "mean": (heads.mean.shape, (wide,)),
        "scale": (heads.scale.shape, (wide,)),
        "knots": (heads.knots.shape, (hinges - 1, wide)),
        "rank": (rank.shape, raw.shape),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise ClassifierError(f"{path}: {name} has shape {found}, expected {expected}")
    for name, array in {"raw": raw, "rank": rank, **{name: getattr(heads, name) for name in Heads.__slots__}}.items():
        if not np.isfinite(array).all():
            raise ClassifierError(f"{path}: {name} holds numbers that are not finite")
    if len(raw) == 0 or (np.diff(raw) <= 0).any() or (np.diff(rank) < 0).any() or rank.min() < 0 or rank.max() > 1:
        raise ClassifierError(f"{path}: the score table must rise, with scores from 0 to 1")
