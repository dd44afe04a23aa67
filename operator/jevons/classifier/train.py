"""Fit the heads and their calibration with scikit-learn; the same data give the same weights, bit for bit.

1. The test fold is put aside. 2. On the rest, each fold in turn is scored by heads fitted without it (cross-fitting): these scores calibrate. 3.
The heads that ship are fitted on the whole rest. Inverse document frequencies and the length normalisation's parts are folded into the weights, so
that scoring is a gather and a sum.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from jevons.classifier.dataset import TEST_FOLD, Dataset
from jevons.classifier.features import BUCKETS, DENSE
from jevons.classifier.model import LAYOUT, SCORE_BINS, Classifier, Curve, Heads, basis, bin_of

INVERSE_REGULARISATION = 0.3
DENSE_WEIGHT = 0.3
"""How strongly the dense basis counts beside n-gram rows of unit length; both values chosen by cross-fitting, see docs/explanation/classifier.md."""
KNOTS = (0.2, 0.4, 0.6, 0.8)
"""Quantiles at which a dense feature may change its slope."""
RANKS = 41
"""Points of the table raw difference -> score."""
PSEUDO_COUNT = 20.0
"""How many average requests each score bin is given before its own are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What cross-fitting gave. Arrays are [rows of the rest]."""

    raw: NDArray[np.float64]
    rank: NDArray[np.float64]
    curve: Curve
    unseen: NDArray[np.float64]
    """Raw difference P(small) - P(large) of each row by heads that had not seen it."""


def train(data: Dataset, card: dict[str, Any]) -> Classifier:
    """A classifier fitted on all folds but TEST_FOLD. `card` says where the data come from and is carried along."""
    rest = data.where(data.fold != TEST_FOLD)
    calibration = calibrate(rest)
    heads = _stored(fit_heads(rest))
    curve = calibration.curve
    card = {
        **card,
        "layout": LAYOUT,
        "curve": curve._asdict(),
        "features": {"buckets": BUCKETS, "dense": list(DENSE)},
        "fit": {"inverse_regularisation": INVERSE_REGULARISATION, "dense_weight": DENSE_WEIGHT, "knots": list(KNOTS), "rows": len(rest)},
    }
    return Classifier(heads, calibration.raw, calibration.rank, curve, card)


def fit_heads(data: Dataset) -> Heads:
    """Two logistic heads over tf-idf rows of unit length (binary counts) and the dense basis."""
    ngrams = _matrix(data)
    seen = np.asarray((ngrams > 0).sum(axis=0)).ravel()
    idf = np.log((1 + len(data)) / (1 + seen)) + 1
    weighted = ngrams @ diags(idf)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    rows = diags(1 / np.maximum(length, 1e-6)) @ weighted
    dense = np.stack([vector.dense for vector in data.vectors]).astype(np.float64)
    mean, spread = dense.mean(axis=0), dense.std(axis=0)
    constant = spread < 1e-4
    scale = np.where(constant, 1.0, spread).astype(np.float32)
    knots = np.quantile((dense - mean) / scale, KNOTS, axis=0).astype(np.float32)
    expanded = basis(dense.astype(np.float32), mean=mean, scale=scale, knots=knots).reshape(len(data), -1)
    norm = np.maximum(expanded.std(axis=0), 0.05)  # a slope that hardly any row uses must not drown the rest
    expanded = np.where(np.tile(constant, len(KNOTS) + 1), 0.0, expanded * DENSE_WEIGHT / norm)
    everything = hstack([rows, csr_matrix(expanded)]).tocsr()
    fitted = [
        LogisticRegression(C=INVERSE_REGULARISATION, solver="liblinear", tol=1e-5).fit(everything, outcome) for outcome in (data.small, data.large)
    ]
    weights = np.stack([head.coef_[0] for head in fitted], axis=1)
    return Heads(
        ngrams=np.column_stack([weights[:BUCKETS] * idf[:, None], idf**2]).astype(np.float32),
        dense=(weights[BUCKETS:] * (DENSE_WEIGHT / norm)[:, None]).astype(np.float32),
        intercept=np.array([head.intercept_[0] for head in fitted], dtype=np.float32),
        mean=mean.astype(np.float32),
        scale=scale,
        knots=knots,
    )


def unseen_differences(data: Dataset) -> NDArray[np.float64]:
    """P(small) - P(large) of each row, by heads fitted on the other folds."""
    raw = np.zeros(len(data))
    for fold in sorted(set(data.fold.tolist())):
        held = data.fold == fold
        raw[held] = differences(fit_heads(data.where(~held)), data.where(held))
    return raw


def differences(heads: Heads, data: Dataset) -> NDArray[np.float64]:
    """P(small) - P(large) of each row."""
    both = np.array([heads.probabilities(vector) for vector in data.vectors])
    return np.asarray(both[:, 0] - both[:, 1], dtype=np.float64)


def calibrate(data: Dataset) -> Calibration:
    """The table raw difference -> score and the curve per score bin, both from cross-fitted differences."""
    unseen = unseen_differences(data)
    quantiles = np.linspace(0.0, 1.0, RANKS)
    inner, first = np.unique(np.quantile(unseen, quantiles), return_index=True)
    # what is simpler or harder than all that was seen stays ordered, up to the ends of the scale
    raw = np.concatenate([[min(-1.0, inner[0] - 1e-6)], inner, [max(1.0, inner[-1] + 1e-6)]])
    rank = np.concatenate([[0.0], 0.005 + 0.99 * quantiles[first], [1.0]])
    return Calibration(raw, rank, _curve(data, np.interp(unseen, raw, rank)), unseen)


def _curve(data: Dataset, scores: NDArray[np.float64]) -> Curve:
    """Per score bin: P(large right) shrunk to the mean, and P(small right) = that - the bin's gap, isotonic (a simpler bin never loses more)."""
    bins = np.array([bin_of(score) for score in scores])
    rows = np.bincount(bins, minlength=SCORE_BINS) + PSEUDO_COUNT

    def shrunk(values: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray((np.bincount(bins, weights=values, minlength=SCORE_BINS) + PSEUDO_COUNT * values.mean()) / rows)

    large = shrunk(data.large)
    gap = (
        IsotonicRegression(increasing=False)
        .fit(np.arange(SCORE_BINS), shrunk(data.large - data.small), sample_weight=rows)
        .predict(np.arange(SCORE_BINS))
    )
    return Curve(tuple(np.clip(large - gap, 0.0, 1.0).round(4).tolist()), tuple(large.round(4).tolist()))


def save(classifier: Classifier, path: Path) -> None:
    """Write `path` (.npz, half precision but for the table) and the card beside it (.json)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: _half(name, getattr(classifier.heads, name)) for name in Heads.__slots__}
    np.savez_compressed(path, allow_pickle=False, raw=classifier.raw, rank=classifier.rank, **arrays)
    path.with_suffix(".json").write_text(json.dumps(classifier.card, indent=2) + "\n")


def _half(name: str, array: NDArray[np.float32]) -> NDArray[np.generic]:
    return array.astype(np.float16) if name == "ngrams" else array


def _stored(heads: Heads) -> Heads:
    """The heads as they will be read back: what is measured is what ships."""
    return replace(heads, ngrams=heads.ngrams.astype(np.float16).astype(np.float32))


def _matrix(data: Dataset) -> csr_matrix:
    columns = np.concatenate([vector.buckets for vector in data.vectors])
    bounds = np.concatenate([[0], np.cumsum([len(vector.buckets) for vector in data.vectors])])
    return csr_matrix((np.ones(len(columns)), columns, bounds), shape=(len(data), BUCKETS))
