"""Puts the builders of `core_worlds` within reach of the tests of the controller."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = str(Path(__file__).parents[1] / "core")
if _HERE not in sys.path:
    sys.path.append(_HERE)
