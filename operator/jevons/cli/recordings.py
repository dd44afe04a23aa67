"""Where recorded passes are found: a folder that an operator left (`--data-dir`, or `passes` in it), one segment of it, or plain lines."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from jevons.core.recording import Pass, Reader
from jevons.core.spec import Key

BEGINNING = '{"pass":'
"""Of the line of a pass."""


def segments(where: Path) -> list[Path]:
    """Files of a recording, oldest first. Raises ValueError when there is none."""
    if where.is_file():
        return [where]
    found = sorted(where.glob("passes-*.jsonl*")) or sorted((where / "passes").glob("passes-*.jsonl*"))
    if not found:
        raise ValueError(
            f"{where}: no recorded passes (passes-*.jsonl.gz); is it the --data-dir of the operator that leads, with --record-mib above 0?"
        )
    return found


def passes(where: Path, *, only: Key | None = None, since_s: float = 0.0) -> Iterator[Pass]:
    """Every pass on record from `since_s` [s since the epoch] on, oldest first; `only`: as seen for this deployment, which is quicker.

    Raises ValueError naming file and line for what cannot be read; OSError for what cannot be opened.
    """
    files = segments(where)
    for path, after in zip(files, [*files[1:], None], strict=True):
        if after is not None and _begins_s(after) <= since_s:
            continue
        try:
            for one in Reader(only).passes(lines(path)):
                if one.at_s >= since_s:
                    yield one
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def end(where: Path) -> tuple[float, list[str]]:
    """When the last pass on record was [s since the epoch], and which deployments (namespace/name) it saw. Raises ValueError where there is none."""
    for path in reversed(segments(where)):
        last = None
        for line in lines(path):
            if line.startswith(BEGINNING):
                last = line
        if last is not None:
            one = json.loads(last)["pass"]
            return float(one["at_s"]), list(one["snapshot"]["deployments"])
    raise ValueError(f"{where}: not one whole pass is on record")


def _begins_s(path: Path) -> float:
    """From a segment's name."""
    digits = path.name.removeprefix("passes-").split(".")[0]
    return int(digits) / 1000.0 if digits.isdigit() else 0.0


def lines(path: Path) -> Iterator[str]:
    """Whole lines of a segment. What a crash or a copy made meanwhile cut short at its end is not there."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        while True:
            try:
                line = file.readline()
            except (EOFError, zlib.error):
                return
            if not line.endswith(b"\n"):
                return
            yield line.decode()
