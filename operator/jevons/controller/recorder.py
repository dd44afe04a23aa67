"""Keeps the last passes on disk, snapshot and decision, so that they can be decided again elsewhere (`jevons replay`).

A thread of its own writes them after the decision is made; a pass that comes while it is still writing is left out and counted. The folder holds
segments, `passes-<milliseconds>.jsonl.gz`, each readable by itself and up to its last flushed pass; when all of them together reach the bound, the
oldest goes. A full or read-only disk costs the recording, never the loop.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from jevons import __version__
from jevons.core.recording import Writer, header
from jevons.core.snapshot import Decision, Snapshot
from jevons.solver.highs import NAME

SEGMENTS = 8
"""The bound is kept by dropping whole segments: so many fit in it."""

log = structlog.get_logger(__name__)


class Recorder:
    """Records into `folder`, at most `limit_bytes` [bytes] on disk (and one pass); None or 0 records nothing.

    count: hears of every pass what became of it: recorded, left-out or failed.
    """

    def __init__(self, folder: Path | None, *, limit_bytes: int, count: Callable[[str], None] = lambda _outcome: None) -> None:
        self._folder = folder if limit_bytes > 0 else None
        self._each = max(1, limit_bytes // SEGMENTS)
        self._writer = Writer()
        self._file: gzip.GzipFile | None = None
        self._path: Path | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._count = count

    def offer(self, at_s: float, snapshot: Snapshot, decision: Decision) -> None:
        """Take a pass, unless the one before is still being written. Never waits."""
        if self._folder is None:
            return
        if self._writing is not None:
            if not self._writing.done():
                self._count("left-out")
                return
            if error := self._writing.exception():
                self._count("failed")
                log.error("pass not recorded", error=repr(error))
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._writing = self._thread.submit(self._record, self._folder, at_s, snapshot, decision)

    def close(self) -> None:
        """Finish what is being written."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        self._end_segment()

    def _record(self, folder: Path, at_s: float, snapshot: Snapshot, decision: Decision) -> None:
        try:
            file = self._file or self._begin_segment(folder, at_s)
            file.write("".join(f"{line}\n" for line in self._writer.lines(at_s, snapshot, decision)).encode())
            file.flush()
            self._count("recorded")
            if self._path is not None and self._path.stat().st_size >= self._each:
                self._end_segment()
                self._drop(folder)
        except OSError as error:
            self._count("failed")
            self._end_segment()
            log.warning("pass not recorded", error=str(error))

    def _begin_segment(self, folder: Path, at_s: float) -> gzip.GzipFile:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer, self._path = Writer(), folder / f"passes-{round(1000 * at_s):013d}.jsonl.gz"
        self._file = gzip.open(self._path, "ab", compresslevel=4)  # noqa: SIM115  open until the segment is full
        self._file.write(f"{header(__version__, NAME)}\n".encode())
        self._drop(folder)
        return self._file

    def _end_segment(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                log.warning("recording not closed", error=str(error))
            self._file = None

    def _drop(self, folder: Path) -> None:
        """Oldest first, until all but the newest leave room for one more segment."""
        segments = sorted(folder.glob("passes-*.jsonl.gz"))
        sizes = [path.stat().st_size for path in segments]
        while len(segments) > 1 and sum(sizes) + self._each > self._each * SEGMENTS:
            segments.pop(0).unlink(missing_ok=True)
            sizes.pop(0)
