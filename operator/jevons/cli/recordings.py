"""Where recorded passes are found: a folder that an operator left (`--data-dir`, or `passes` in it), one segment of it, or plain lines."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from jevons.core.recording import Pass, Reader


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


def passes(where: Path) -> Iterator[Pass]:
    """Every pass on record, oldest first. Raises ValueError naming file and line for what cannot be read; OSError for what cannot be opened."""
    for path in segments(where):
        try:
            yield from Reader().passes(lines(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


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
