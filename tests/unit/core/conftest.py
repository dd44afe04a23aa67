"""Puts the builders of `core_worlds` within reach of the tests of the core."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = str(Path(__file__).parents[2] / "unit" / "core")
if _HERE not in sys.path:
    sys.path.append(_HERE)
