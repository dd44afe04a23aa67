"""Programs of a sandbox: started with the sandbox's mark, their words kept in files, ready when they say so.

Standard output and error go to files instead of pipes, so a process does not depend on anybody (or any event loop) reading them, and a test that
failed can be read afterwards. A program that serves prints one line of JSON `{"ready": true, ...}` on standard output; those that are not ours are
asked over HTTP.

    SandboxError
    +-- NotReadyError   a program ended or stayed silent; carries the end of its log
    +-- KubectlError    kubectl exited non-zero; carries its standard error
    +-- CommandError    the same of any other command
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jevons.sandbox.watchdog import MARK

READY_S = 120.0
"""A program that has ended is noticed at once, so this only bounds one that hangs: on a laden machine an import alone takes half a minute."""
STOP_S = 30.0
"""For a program's own end, before it is killed."""


class SandboxError(RuntimeError):
    """Something of the sandbox did not do what it must."""


class NotReadyError(SandboxError):
    """A program ended or stayed silent before it was ready."""


class KubectlError(SandboxError):
    """kubectl exited non-zero; the message is what it wrote to standard error."""


class CommandError(SandboxError):
    """A command exited non-zero, or not in time; the message is what it wrote to standard error, or that."""


async def output_of(*command: str, env: Mapping[str, str], timeout_s: float, given: bytes | None = None) -> str:
    """What the command writes to standard output. env: added to ours; given: its standard input. Raises CommandError; killed when out of time."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(given), timeout_s)
    except TimeoutError:
        raise CommandError(f"no answer within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode != 0:
        raise CommandError(err.decode(errors="replace").strip())
    return out.decode()


class Program:
    """One program: how it is started, and the process that runs it at the moment.

    `log` is its standard error, `out` its standard output (appended to over restarts). `ready` looks once whether the program serves, given the lines
    it has printed since its last start.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        ready: Callable[[str], bool] | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = folder / "logs" / f"{name}.log"
        self.out = folder / "logs" / f"{name}.out"
        self._folder = folder
        self._env = dict(env or {})
        self._ready = ready or announced
        self._process: subprocess.Popen[bytes] | None = None
        self._out_from = 0

    @property
    def pid(self) -> int:
        """Process id of the running program. Raises SandboxError when it was never started."""
        if self._process is None:
            raise SandboxError(f"{self.name} was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code (minus the signal's number when killed), None while it runs."""
        return None if self._process is None else self._process.poll()

    def spawn(self) -> None:
        """Start it, without waiting for it to be ready."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self._env, MARK: str(self._folder)}
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self._out_from = out.tell()
            # a session of its own: Ctrl-C goes to the parent alone, which then ends the programs in order
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environment, start_new_session=True)

    def printed(self) -> str:
        """What it wrote to standard output since its last start."""
        with self.out.open("rb") as out:
            out.seek(self._out_from)
            return out.read().decode(errors="replace")

    async def start(self, *, timeout_s: float = READY_S) -> None:
        """Start it and wait until it is ready. Raises NotReadyError with the end of its log."""
        self.spawn()
        await self.wait_ready(timeout_s=timeout_s)

    async def wait_ready(self, *, timeout_s: float = READY_S) -> None:
        """Wait until it is ready. Raises NotReadyError with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while not await asyncio.to_thread(self._ready, self.printed()):
            if not self.alive:
                raise NotReadyError(f"{self.name} ended with {self.returncode} before it was ready: {' '.join(self.command)}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NotReadyError(f"{self.name} is not ready after {timeout_s:g} s: {' '.join(self.command)}\n{self.tail()}")
            await asyncio.sleep(0.05)

    async def stop(self, *, timeout_s: float = STOP_S) -> int:
        """SIGTERM, and SIGKILL after `timeout_s`; returns the exit code. Does nothing to a program that has ended."""
        if self._process is None:
            return 0
        if self.alive:
            self.signal(signal.SIGCONT)  # a paused program cannot end
            self.signal(signal.SIGTERM)
        return await asyncio.to_thread(self.wait, timeout_s=timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its own end and return the exit code; after `timeout_s` it is killed."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL the program (not its children: that is the fault a test asks for) and collect it."""
        if self._process is None:
            return 0
        self.signal(signal.SIGKILL)
        return self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.signal(signal.SIGCONT)

    async def restart(self, *, timeout_s: float = READY_S) -> None:
        """Start it again with the same command after `kill` or `stop` (it is stopped first when it still runs)."""
        await self.stop()
        await self.start(timeout_s=timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def announced(printed: str) -> bool:
    """Whether one of the printed lines is `{"ready": true, ...}`."""
    return announcement(printed) is not None


def announcement(printed: str) -> dict[str, Any] | None:
    """The line of JSON with which a program of ours says that it serves, or None while there is none."""
    for line in printed.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                said = json.loads(line)
                if said.get("ready") is True:
                    return dict(said)
    return None
