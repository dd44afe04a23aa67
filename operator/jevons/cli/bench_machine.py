"""What every command around the simulator asks of the machine: its cores, and the `bench` extra."""

from __future__ import annotations

import os
from importlib.util import find_spec

import typer

EXTRA = ("numba", "matplotlib")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def need_extra() -> None:
    """Raises BadParameter with the command to type when numba or matplotlib is not installed."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise typer.BadParameter(f"{' and '.join(missing)} not installed; run: pip install 'jevons[bench]'")
