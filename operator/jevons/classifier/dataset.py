"""Labelled requests: who answered right, and which side of the split a request is on.

The side is chosen by a hash of the first words of the prompt, so that it never changes with the order or size of a file and near-duplicates
(questions about one passage) stay on one side.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from jevons.classifier.features import RequestFeatures, Vector, read_request, vectorise

FOLDS = 5
"""Fold 0 is the test side; the others fit and, each in turn unseen, calibrate."""
TEST_FOLD = 0
MIN_ROWS = 200
"""Fewer labelled requests than this calibrate nothing."""
_STEM_WORDS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Vectors with paired outcomes; arrays are [rows]."""

    vectors: tuple[Vector, ...]
    small: NDArray[np.int64]
    """1 where the cheaper variant answered right."""
    large: NDArray[np.int64]
    fold: NDArray[np.int64]

    def __len__(self) -> int:
        """Rows."""
        return len(self.vectors)

    def where(self, mask: NDArray[np.bool_]) -> Dataset:
        """The rows that `mask` [rows] keeps, in order."""
        return Dataset(tuple(v for v, keep in zip(self.vectors, mask, strict=True) if keep), self.small[mask], self.large[mask], self.fold[mask])


def fold_of(prompt: str) -> int:
    """0 .. FOLDS - 1 by a hash of the prompt's first 12 words, lowered."""
    stem = " ".join(prompt[:2000].lower().split()[:_STEM_WORDS])
    return (crc32(stem.encode("utf-8", "replace")) >> 8) % FOLDS


def read(path: Path) -> Dataset:
    """Rows of a CSV or CSV.gz with the columns small_correct and large_correct (0 or 1), and `prompt` (text) or `request` (OpenAI-style JSON body).

    Only a body says what a request has beside its words (tools, images, turns, max_tokens, response_format). ValueError names file, row and column.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (csv.Error, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable CSV: {error}") from error
    missing = {"small_correct", "large_correct"} - columns | (set() if columns & {"prompt", "request"} else {"prompt"})
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(sorted(columns))}")
    if len(rows) < MIN_ROWS:
        raise ValueError(f"{path}: {len(rows)} rows, at least {MIN_ROWS} are needed to fit and calibrate")
    requests = [_request(row, f"{path}: row {number}") for number, row in enumerate(rows, 1)]
    return Dataset(
        tuple(vectorise(text, features) for text, features in requests),
        _labels(path, rows, "small_correct"),
        _labels(path, rows, "large_correct"),
        np.array([fold_of(text) for text, _ in requests]),
    )


def _request(row: dict[str, str], where: str) -> tuple[str, RequestFeatures]:
    if "request" not in row:
        return row["prompt"], RequestFeatures()
    try:
        body = json.loads(row["request"])
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ValueError(f"{where}: request is {type(body).__name__}, expected a JSON object")  # noqa: TRY004 - one error for bad rows
    return read_request(body)


def _labels(path: Path, rows: Sequence[dict[str, str]], column: str) -> NDArray[np.int64]:
    for number, row in enumerate(rows, 1):
        if row[column] not in {"0", "1"}:
            raise ValueError(f"{path}: row {number}: {column} is {row[column]!r}, expected 0 or 1")
    return np.array([int(row[column]) for row in rows])
