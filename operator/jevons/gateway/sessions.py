"""What a conversation has had so far: the best variant that answered it, its calls and its money, shared by the processes of one gateway pod.

A mapped file with one row of slots per writer (as in `inflight.py`): a picker notes in its own row what it decided, the log tailer notes in
its own what a request really cost beyond what the picker had reserved, and a reader takes the sum (calls, money) or the maximum (quality)
over the rows. A session is known by a 64-bit hash of deployment, tenant and session header; a slot holds the most recent session that fell
into it (65,536 per row). So a budget overshoots by at most the calls in flight, and a forgotten session only loses its stickiness.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from jevons.gateway.inflight import ROWS

SLOTS = 65_536
_CELL = struct.Struct("<QddddQ")  # hash, last seen, quality, USD, reserved for alignment, calls
_ROW = SLOTS * _CELL.size


@dataclass(frozen=True, slots=True)
class Session:
    """`quality` of the best variant that answered within the sticky time (0 = none), `calls` so far, `usd` spent or reserved."""

    quality: float = 0.0
    calls: int = 0
    usd: float = 0.0


class SessionTable:
    """One process' view; `row` as for `Inflight`."""

    def __init__(self, path: Path, row: int) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, ROWS * _ROW)
            self._map = mmap.mmap(handle, ROWS * _ROW)
        finally:
            os.close(handle)
        self._words = memoryview(self._map).cast("Q")
        self._row = row

    def read(self, session: int, now_s: float, keep_s: float) -> Session:
        """What is known of the session, as far as it was seen within `keep_s`."""
        quality, calls, usd = 0.0, 0, 0.0
        first = (session % SLOTS) * _CELL.size
        for at in range(first, ROWS * _ROW, _ROW):
            if self._words[at // 8] != session:
                continue
            _, seen, best, money, _, count = _CELL.unpack_from(self._map, at)
            if now_s - seen <= keep_s:
                quality, calls, usd = max(quality, best), calls + count, usd + money
        return Session(quality, calls, usd)

    def note(self, session: int, now_s: float, *, quality: float = 0.0, usd: float = 0.0, calls: int = 0) -> None:
        """Add to this process' row: one call answered by a variant of `quality`, `usd` reserved; or (tailer) a correction of money alone."""
        at = self._at(self._row, session)
        held, _, best, money, _, count = _CELL.unpack_from(self._map, at)
        if held != session:
            best, money, count = 0.0, 0.0, 0
        _CELL.pack_into(self._map, at, session, now_s, max(best, quality), money + usd, 0.0, count + calls)

    @staticmethod
    def _at(row: int, session: int) -> int:
        return row * _ROW + (session % SLOTS) * _CELL.size


def session_hash(deployment: str, tenant: str, session: str) -> int:
    """64 bits, never 0 (0 marks an empty slot)."""
    digest = hashlib.blake2b(f"{deployment}\0{tenant}\0{session}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
