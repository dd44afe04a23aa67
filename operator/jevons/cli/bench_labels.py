"""Labelled prompts of a user's own as outcomes of the classifier: what `--labels` gives the arm that routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def outcomes(file: Path) -> dict[str, Any]:
    """Of the prompts of a labelled file that the shipped classifier was not trained on: its score, and who answered right.

    The file has the columns of `jevons train`: small_correct, large_correct and prompt or request. Raises ValueError naming what is wrong with it.
    """
    from jevons.classifier.dataset import TEST_FOLD, read
    from jevons.classifier.model import Classifier

    classifier, data = Classifier.load_default(), read(file)
    test = data.where(data.fold == TEST_FOLD)
    if not len(test) or not test.small.any() or not test.large.any():
        raise ValueError(f"{file}: its test fold has no prompt that both models answer right now and then; give more rows")
    rows = zip((round(classifier.score_vector(vector), 4) for vector in test.vectors), test.small.tolist(), test.large.tolist(), strict=True)
    p_small, p_large = ([round(value, 4) for value in side] for side in classifier.curve)
    return {"p_small": p_small, "p_large": p_large, "rows": [list(row) for row in rows]}


def written(file: Path, folder: Path) -> Path:
    """`outcomes` as a file in `folder`."""
    path = folder / "router_outcomes.json"
    path.write_text(json.dumps(outcomes(file)))
    return path
