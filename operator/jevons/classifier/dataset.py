"""Labelled requests: who answered right, and which side of the split a request is on.

The side is chosen by a hash of the first words of the prompt, so that it never changes with the order or size of a file and near-duplicates
(questions about one passage) stay on one side.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from jevons.classifier.features import RequestFeatures, Vector, vectorise

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
    """Rows of a CSV or CSV.gz with the columns prompt, small_correct, large_correct (0 or 1).

    Optional columns tools, images, turns, max_tokens (whole numbers) and json_answer (0 or 1). ValueError names file, row and column.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = {"prompt", "small_correct", "large_correct"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(reader.fieldnames or ())}")
        rows = list(reader)
    if len(rows) < MIN_ROWS:
        raise ValueError(f"{path}: {len(rows)} rows, at least {MIN_ROWS} are needed to fit and calibrate")
    return from_rows(path, rows)


def from_rows(path: Path, rows: Sequence[dict[str, str]]) -> Dataset:
    """Vectors and labels of parsed rows."""

    def whole(index: int, column: str, *, absent: int | None = None, most: int = 1_000_000) -> int:
        text = rows[index].get(column)
        if absent is not None and not text:
            return absent
        if text is None or not text.isdecimal() or int(text) > most:
            raise ValueError(f"{path}: row {index + 1}: {column} is {text!r}, expected a whole number from 0 to {most}")
        return int(text)

    vectors = tuple(
        vectorise(
            row["prompt"],
            RequestFeatures(
                tools=whole(i, "tools", absent=0),
                images=whole(i, "images", absent=0),
                turns=whole(i, "turns", absent=1),
                max_tokens=whole(i, "max_tokens", absent=0) or None,
                json_answer=whole(i, "json_answer", absent=0, most=1) == 1,
            ),
        )
        for i, row in enumerate(rows)
    )
    return Dataset(
        vectors,
        np.array([whole(i, "small_correct", most=1) for i in range(len(rows))]),
        np.array([whole(i, "large_correct", most=1) for i in range(len(rows))]),
        np.array([fold_of(row["prompt"]) for row in rows]),
    )
