"""Follows the access log from where the last process stopped, and keeps what it counted and its place in one file.

The log is a file that Envoy appends to and we rotate: rename, then Envoy's `/reopen_logs`; what Envoy had written goes on being read from the
renamed file until it is empty and the new one is there. A line is taken when its end has been written. The checkpoint (totals and place,
replaced as a whole) is the only thing that makes a line count: killed at any moment, the next process starts from it and reads the rest again. What
lines settle elsewhere is done once all the same (`settled.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson
import structlog

from jevons.gateway.access_log import Record, Refused, read
from jevons.gateway.accounting import Accounting
from jevons.gateway.settled import Settled
from jevons.gateway.table import write_atomic

READ_BYTES = 262_144
POLL_S = 0.1
CHECKPOINT_S = 1.0
ROTATE_BYTES = 64 * 1024 * 1024
LINE_MAX = 65_536

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LogFile:
    """A log by name, read by identity: `inode` and `offset` say up to where it has been taken."""

    path: Path
    inode: int = 0
    offset: int = 0
    taken_from: int = 0
    """Where the lines that were returned last begin."""
    _file: BinaryIO | None = None

    @property
    def rotated(self) -> Path:
        """The one older file that is kept."""
        return self.path.with_name(f"{self.path.name}.1")

    def lines(self) -> list[bytes]:
        """The next complete lines, at most `READ_BYTES`; empty when there is nothing new. Goes over to the new file when the old one is done."""
        while self._file is not None or self._open():
            found = self._take()
            if found or not self._replaced():
                return found
            found = self._take()  # what came between the last look and the rename
            if found:
                return found
            self.close()
            self.inode = 0
        return []

    def close(self) -> None:
        """Let go of the file; the place is kept."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self) -> list[bytes]:
        if self._file is None:
            return []
        self._file.seek(self.offset)
        data = self._file.read(READ_BYTES)
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) >= LINE_MAX:  # no line of ours is so long: skip it
            self.offset += len(data)
        self.taken_from = self.offset
        self.offset += end
        return data[: end - 1].split(b"\n") if end else []

    def _open(self) -> bool:
        """Open the file of `inode`, wherever it is now, or the current one from its beginning."""
        candidates = [self.path, self.rotated] if self.inode else [self.path]
        for candidate in candidates:
            with contextlib.suppress(FileNotFoundError):
                file = candidate.open("rb")
                stat = os.fstat(file.fileno())
                if self.inode in (0, stat.st_ino):
                    if self.inode == 0 or stat.st_size < self.offset:
                        self.offset = 0
                    self.inode, self._file = stat.st_ino, file
                    return True
                file.close()
        if self.inode and self.path.exists():
            log.warning("the access log that was being read is gone; going on with the new one", inode=self.inode)
            self.inode = self.offset = 0
            return self._open()
        return False

    def _replaced(self) -> bool:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return False
        if stat.st_ino == self.inode and stat.st_size < self.offset:
            self.offset = 0  # truncated in place
        return stat.st_ino != self.inode


@dataclass(slots=True)
class Tailer:
    """The log of one gateway pod, counted. After a restart it has caught up when it is made, so counters never seem to fall.

    `each` also sees every record, redirects included, and with `settled` none that a process before this one has shown it; it must not raise.
    """

    path: Path
    checkpoint: Path
    each: Callable[[Record, bool], None] = lambda _record, _counted: None
    settled: Settled | None = None
    reopen: Callable[[], Awaitable[None]] | None = None
    rotate_bytes: int = ROTATE_BYTES
    accounting: Accounting = field(default_factory=Accounting)
    broken_lines: int = 0
    _log: LogFile = field(init=False)

    def __post_init__(self) -> None:
        self._log = LogFile(self.path)
        try:
            saved = orjson.loads(self.checkpoint.read_bytes())
            self.accounting = Accounting.load(saved["accounting"])
            self._log.inode, self._log.offset = int(saved["inode"]), int(saved["offset"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("accounting checkpoint not readable; counting starts anew at the beginning of the log", error=repr(error))
        if self.settled is not None:
            self.settled.start([self._log.rotated, self.path])
        while self.step():  # before anybody scrapes: counters may not be seen to fall
            continue

    def step(self) -> int:
        """Count the next lines; how many there were."""
        lines = self._log.lines()
        end = self._log.taken_from
        for line in lines:
            end += len(line) + 1
            try:
                record = read(line)
            except ValueError as error:
                self.broken_lines += 1
                log.warning("access log line not understood", error=str(error)[:200])
                continue
            if isinstance(record, Refused):
                self.accounting.refused(record)
            elif record is not None:
                self._settle(record, self.accounting.count(record), end)
        return len(lines)

    def _settle(self, record: Record, counted: bool, end: int) -> None:
        if self.settled is None:
            self.each(record, counted)
        elif not self.settled.covers(self._log.inode, end):
            self.each(record, counted)
            self.settled.reach(self._log.inode, end)

    def save(self) -> None:
        """Make what was counted last: totals and place, at once."""
        state = {"inode": self._log.inode, "offset": self._log.offset, "accounting": self.accounting.dump()}
        write_atomic(self.checkpoint, orjson.dumps(state))

    def close(self) -> None:
        """Let go of the log; the place is kept, and the next step opens it again."""
        self._log.close()

    async def rotate(self) -> bool:
        """Rename the log when it is large and the renamed one before it has been read; True when it was."""
        if self.reopen is None:
            return False
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            if self._log.rotated.exists():
                await self.reopen()  # renamed before, but Envoy was not told
            return False
        if stat.st_size < self.rotate_bytes or stat.st_ino != self._log.inode:
            return False
        self.path.rename(self._log.rotated)
        await self.reopen()
        return True

    async def run(self) -> None:
        """Until cancelled: count, save each second when there was something, rotate. Saves once more at the end."""
        loop = asyncio.get_running_loop()
        saved_at, news = loop.time(), False
        try:
            while True:
                counted = self.step()
                news = news or counted > 0
                if news and loop.time() - saved_at >= CHECKPOINT_S:
                    self.save()
                    saved_at, news = loop.time(), False
                    await self._rotate()
                await asyncio.sleep(0 if counted else POLL_S)
        finally:
            while self.step():
                pass
            self.save()
            self.close()

    async def _rotate(self) -> None:
        try:
            await self.rotate()
        except OSError as error:
            log.warning("access log not rotated; tried again later", error=str(error))
