"""How far the access log has been settled: a place kept in a mapped file, so that a killed process settles no line twice.

Totals are kept with their place, once a second, and what came after is counted again from there. What a line *settles* goes into shared mapped files
at once (work off its pod, money of its session) and is not taken back when the process that did it is killed; so its place has to be kept as soon.
A process killed between the two repeats one line at most.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_PLACE = struct.Struct("<QQ")  # inode, offset


class Settled:
    """The place: everything before `offset` of the file `inode`, and all files before it, has been settled."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, _PLACE.size)
            self._map = mmap.mmap(handle, _PLACE.size)
        finally:
            os.close(handle)
        self._before: set[int] = set()
        self._repeated: tuple[int, int] | None = None

    def start(self, files: Sequence[Path]) -> None:
        """Reading begins anew, somewhere in `files` (oldest first). A place in none of them, or beyond its file's end, is of no account."""
        inode, offset = _PLACE.unpack_from(self._map)
        self._before, self._repeated = set(), None
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if found.st_ino == inode and offset <= found.st_size:
                    self._repeated = (inode, offset)
                    return
                self._before.add(found.st_ino)

    def covers(self, inode: int, end: int) -> bool:
        """Whether the line that ends at `end` was settled by a process before this one. Lines are asked for in their order."""
        if self._repeated is None:
            return False
        if (inode == self._repeated[0] and end <= self._repeated[1]) or inode in self._before:
            return True
        self._repeated = None
        return False

    def reach(self, inode: int, end: int) -> None:
        """The line that ends at `end` is settled."""
        _PLACE.pack_into(self._map, 0, inode, end)
