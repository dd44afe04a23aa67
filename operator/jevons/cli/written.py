"""JSON files of figures: every number in them is one that JSON can hold.

A cost nobody can reach is infinite and a mean of nothing is not a number; both are null in a file. One such figure must not cost an hour's others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any


def write_json(file: Path, document: Any) -> None:
    """Write `document` (mappings, sequences, numbers, texts) to the file; what is neither is written as its text. Raises OSError."""
    file.write_text(json.dumps(held(document), indent=1, allow_nan=False, default=str) + "\n")


def held(value: Any) -> Any:
    """The value with null for every number that JSON cannot hold. Example: {"usd": inf, "met": [1.0]} -> {"usd": None, "met": [1.0]}."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: held(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [held(one) for one in value]
    return value
