"""How much work is outstanding on each pod, in tokens and in sequences, shared by the processes of one gateway pod through a mapped file.

Every writer owns one row and nobody else writes it, so there are no locks: pickers add a request's work when they choose a pod, the waiting
room adds and removes what it relays itself, and the log tailer removes a request's work when its access-log record appears. Outstanding =
sum over rows. A slot holds both numbers; it is a hash of the pod's address (two of 100 pods share one in 1 of 13 tables: they then look as busy
as both together, which only costs balance).

Work that is added and never removed (a picker killed between its choice and its answer) would stay for ever; so work is counted per *epoch*
of 5 minutes of arrival, and an epoch that is 20 minutes old no longer counts. Streams longer than that count as idle from then on.

The supervisor makes the file anew before any process opens it (`reset`), so nobody reads one that another version has laid out.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jevons.core.load import Work

ROWS = 16
ROOM = 14
TAILER = 15
SLOTS = 65_536
EPOCHS = 4
EPOCH_S = 300.0
OUTLIER_S = 3.0

_TOKENS, _SEQUENCES = 0, 1
_PAIR = 2
_WORK = ROWS * EPOCHS * SLOTS * _PAIR
_STAMPS = ROWS * EPOCHS
_BORN = _WORK + _STAMPS + SLOTS
_TOTAL = (_BORN + 1) * 8


class Inflight:
    """One process' view. `row`: 0..13 for pickers, `ROOM`, `TAILER`. The file is sparse: 67 MB of address space, a few pages in use."""

    def __init__(self, path: Path, row: int) -> None:
        if not 0 <= row < ROWS:
            raise ValueError(f"row: {row} is outside 0..{ROWS - 1}")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, _TOTAL)
            self._map = mmap.mmap(handle, _TOTAL)
        finally:
            os.close(handle)
        self._cells = memoryview(self._map).cast("d")
        cells: NDArray[np.float64] = np.frombuffer(self._map, dtype=np.float64)
        self._work = cells[:_WORK].reshape(ROWS, EPOCHS, SLOTS, _PAIR)
        self._pairs = cells[:_WORK].reshape(-1, _PAIR)
        self._stamps = cells[_WORK : _WORK + _STAMPS].reshape(ROWS, EPOCHS)
        self._failed_at = cells[_WORK + _STAMPS : _BORN]
        self._row = row

    def add(self, address: str, work: Work, arrived_s: float) -> None:
        """Count `work` (negative: done) on a pod, under the epoch of the request's arrival [s since the epoch]."""
        number = arrived_s // EPOCH_S
        index = int(number) % EPOCHS
        if self._stamps[self._row, index] != number:
            if self._stamps[self._row, index] > number:
                return  # the request is older than what the ring holds: it no longer counts
            self._work[self._row, index] = 0.0
            self._stamps[self._row, index] = number
        pair = _PAIR * ((self._row * EPOCHS + index) * SLOTS + slot_of(address))
        self._cells[pair + _TOKENS] += work.tokens
        self._cells[pair + _SEQUENCES] += work.sequences

    def done(self, address: str, work: Work, arrived_s: float) -> None:
        """The other half of `add`: the request that put `work` on `address` has ended. One from before the file began put nothing there."""
        if arrived_s < self._cells[_BORN]:
            return
        self.add(address, Work(-work.tokens, -work.sequences), arrived_s)

    def outstanding(self, addresses: Sequence[str], now_s: float) -> list[Work]:
        """Work on each pod, neither number ever negative (the tailer may be ahead of a picker's row by a moment)."""
        live = np.flatnonzero(self._stamps >= now_s // EPOCH_S - (EPOCHS - 1)) * SLOTS
        slots = np.array([slot_of(address) for address in addresses], dtype=np.intp)
        work = self._pairs.take(np.add.outer(live, slots), axis=0).sum(axis=0)
        return [Work(*pair) for pair in np.maximum(work, 0.0).tolist()]

    def failed(self, address: str, at_s: float) -> None:
        """Say that a pod could not be reached or broke a request (the tailer alone)."""
        self._failed_at[slot_of(address)] = at_s

    def outliers(self, addresses: Sequence[str], now_s: float) -> list[bool]:
        """Which pods failed within the last `OUTLIER_S`: they are tried last, not never."""
        return [bool(now_s - self._failed_at[slot_of(address)] < OUTLIER_S) for address in addresses]


def reset(path: Path, now_s: float) -> None:
    """Forget everything: the gateway starts, and what is in flight was booked by others. Only while no other process has the file open."""
    path.unlink(missing_ok=True)
    with path.open("xb") as fresh:
        path.chmod(0o600)
        fresh.seek(_BORN * 8)
        fresh.write(struct.pack("<d", now_s))


def slot_of(address: str) -> int:
    """Where a pod's numbers stand."""
    return zlib.crc32(address.encode()) % SLOTS
