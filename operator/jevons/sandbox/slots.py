"""Several sandboxes on one machine: each takes a slot, and with the slot come its pod addresses and its ports.

Slot k owns the loopback network 127.(96+k).0.0/16 for its pods and the ports 20000 + 64 k .. + 63 for its processes, below the range from which the
kernel takes outgoing ports, so that nothing clashes between the moment a port is chosen and the moment it is bound. A lock file per slot says who has
it. The lock is shared with the watchdog, which lets go only after it has cleaned up; and the file names the folder, so that whoever takes a slot next
sweeps what a sandbox left whose parent *and* watchdog were killed together.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jevons.sandbox.watchdog import sweep

SLOTS = 64
FIRST_PORT = 20_000
PORTS_PER_SLOT = 64
PREFIX = "jevons-sandbox-"
"""Folders of sandboxes start with it; nothing else is ever swept."""


class NoSlotError(RuntimeError):
    """All 64 slots are taken."""


def lock_folder() -> Path:
    """Where the lock files are: one folder per machine, because addresses and ports are the machine's."""
    return Path(tempfile.gettempdir()) / "jevons-sandbox-slots"


@dataclass(slots=True)
class Slot:
    """One slot, held until `release` (or the end of the process and of whoever shares the descriptor)."""

    index: int
    fd: int
    _next: int = field(default=0)

    @property
    def pod_cidr(self) -> str:
        """The pods' network, as routers write it: 127.97.0.0/16 for slot 1."""
        return f"127.{96 + self.index}.0.0/16"

    @property
    def kwok_cidr(self) -> str:
        """The same network as kwok wants it: its first usable address."""
        return f"127.{96 + self.index}.0.1/16"

    def port(self) -> int:
        """A free port of this slot, each call another one until all were given once.

        Raises OSError (EADDRINUSE) when strangers hold all of them.
        """
        for _ in range(PORTS_PER_SLOT):
            port = FIRST_PORT + self.index * PORTS_PER_SLOT + self._next
            self._next = (self._next + 1) % PORTS_PER_SLOT
            if _free(port):
                return port
        raise OSError(errno.EADDRINUSE, f"no free port in {FIRST_PORT + self.index * PORTS_PER_SLOT}+{PORTS_PER_SLOT} on 127.0.0.1")

    def belongs_to(self, folder: Path) -> None:
        """Write down whose slot it is, for the sweep after a double kill."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(folder).encode(), 0)

    def release(self) -> None:
        """Let others have it; the holder has cleaned up (or never began), so the name goes too."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def take() -> Slot:
    """Take the first free slot; sweep what a dead owner left there."""
    folder = lock_folder()
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)
    for index, fd in _locked(folder):
        left = os.pread(fd, 4096, 0).decode(errors="replace")
        if left:
            _sweep_leftover(fd, Path(left))
        os.ftruncate(fd, 0)
        return Slot(index=index, fd=fd)
    raise NoSlotError(f"all {SLOTS} sandbox slots in {folder} are taken; end one of the sandboxes running on this machine")


def _locked(folder: Path) -> Iterator[tuple[int, int]]:
    """Slots that could be locked, as (index, open and locked descriptor)."""
    for index in range(SLOTS):
        try:
            fd = os.open(folder / f"{index}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except PermissionError:  # another user's
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        yield index, fd


def _sweep_leftover(fd: int, folder: Path) -> None:
    """Sweep only what is certainly a sandbox of this user: our own lock file, our own folder, our prefix."""
    if os.fstat(fd).st_uid != os.getuid() or not folder.name.startswith(PREFIX):
        return
    with contextlib.suppress(FileNotFoundError):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return
    sweep(str(folder))
