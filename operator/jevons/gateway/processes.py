"""A child process that is started again when it dies, and dies with its parent."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

BACKOFF_S = (0.1, 5.0)
STEADY_S = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

log = structlog.get_logger(__name__)


def die_with_parent() -> None:
    """In the child, before exec: SIGKILL when the parent is gone, however it went (Linux)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """One program. What it prints goes to standard error: standard output belongs to the supervisor. `pass_fds`: descriptors it inherits."""

    name: str
    command: Sequence[str]
    pass_fds: Sequence[int] = ()
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    _stopping: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Keep it running until `stop`. A child that dies soon after its start is started again after 0.1 s, then twice as long, up to 5 s."""
        backoff = BACKOFF_S[0]
        while True:
            started = time.monotonic()
            self.process = await asyncio.create_subprocess_exec(*self.command, stdout=sys.stderr, preexec_fn=die_with_parent, pass_fds=self.pass_fds)
            code = await self.process.wait()
            lived = time.monotonic() - started
            if not self._stopping:
                self.restarts += 1
                backoff = BACKOFF_S[0] if lived > STEADY_S else min(BACKOFF_S[1], backoff * 2)
                log.warning("child ended, starting it again", child=self.name, code=code, after_s=round(lived, 1), wait_s=backoff)
                await asyncio.sleep(backoff)
            if self._stopping:  # it may have been told so while it waited
                return

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s`."""
        self._stopping = True
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), grace_s)
        except TimeoutError:
            log.warning("child did not end in time", child=self.name, grace_s=grace_s)
            self.process.kill()
            await self.process.wait()
