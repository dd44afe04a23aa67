"""A pod that is a real llama.cpp server, behind the same listener as the simulated ones.

The server itself listens beside the pod's port; a thin proxy takes the pod's connections, so that not being Ready, draining and dying look like those
of every other pod (the server ends running answers at SIGTERM, a pod's grace would not). Streams pass through piece by piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections import deque
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from jevons.sandbox.dcgm import Work
from jevons.sandbox.fleet_faults import Fault
from jevons.sandbox.fleet_players import Player, RealEngine
from jevons.sandbox.fleet_pods import PodView
from jevons.sandbox.fleet_socket import Listener
from jevons.sandbox.llamacpp import LlamaTools

log = structlog.get_logger(__name__)

INNER_PORT_OFFSET = 10_000
"""The server's own port is the pod's plus this, on the pod's address."""
SLOTS = 2
"""Answers at a time; more are deferred by the server."""
LOAD_S = 60
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"}


class LlamaPlayer:
    """Plays one pod with a real server; starts it when the pod becomes Ready."""

    def __init__(self, view: PodView, tools: LlamaTools) -> None:
        self.view = view
        self._tools = tools
        self._listener = Listener(view.ip, view.port, self._handle)
        self._inner = f"http://{view.ip}:{view.port + INNER_PORT_OFFSET}"
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loaded: asyncio.Task[None] | None = None
        self._fault: Fault | None = None
        self._healed = asyncio.Event()
        self._inside = 0
        self._busy_s = 0.0
        self._since_s = 0.0
        self._ticks: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)], maxlen=2)

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._listener.listening

    async def open(self) -> None:
        """Start the server if it does not run, and take connections; they wait until it has loaded."""
        if self._process is None or self._process.returncode is not None:
            await self._start()
        await self._listener.open()

    def drain(self) -> None:
        """Take no new connections, finish what is under way."""
        self._listener.drain()

    def abort(self) -> None:
        """Reset all connections and end the server."""
        self._listener.abort()
        if self._loaded is not None:
            self._loaded.cancel()
        process, self._process = self._process, None
        session, self._session = self._session, None
        if process is not None and session is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            task = asyncio.get_running_loop().create_task(_end(process, session))
            _ending.add(task)
            task.add_done_callback(_ending.discard)

    async def gone(self) -> None:
        """Wait until every server that was ended is."""
        await asyncio.gather(*_ending)

    def apply(self, fault: Fault | None) -> None:
        """Freeze, answer with a status, or heal; a real page cannot be made to lie."""
        self._fault = fault
        if fault is None or not fault.frozen:
            self._healed.set()

    def state(self) -> dict[str, Any]:
        """Its process and its load."""
        return {"listening": self.listening, "pid": None if self._process is None else self._process.pid, "inside": self._inside}

    def tick(self) -> None:
        """A second has passed."""
        self._ticks.append((time.monotonic(), self._busy(time.monotonic())))

    def work(self) -> Work:
        """The share of the last one to two seconds in which it had a request."""
        now_s = time.monotonic()
        then_s, busy_s = self._ticks[0]
        seconds = now_s - then_s
        return Work(seconds, min(1.0, (self._busy(now_s) - busy_s) / seconds) if seconds > 0 else 0.0, 0, 0, self._inside, None)

    def _busy(self, now_s: float) -> float:
        return self._busy_s + (now_s - self._since_s if self._inside else 0.0)

    async def _start(self) -> None:
        played = self.view.played
        context = min(played.context_length, 8192) if played else 2048
        name = (played.model if played else None) or "smollm2-135m"
        command = [str(self._tools.server), "-m", str(self._tools.model), "--host", self.view.ip, "--port", str(self.view.port + INNER_PORT_OFFSET)]
        command += ["-t", "1", "-tb", "1", "-np", str(SLOTS), "-c", str(SLOTS * context), "--metrics", "--alias", name, "-lv", "1"]
        self._process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5), auto_decompress=False)
        self._loaded = asyncio.create_task(self._wait_loaded(self._session, self._process))

    async def _wait_loaded(self, session: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(LOAD_S):
            while process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{self._inner}/health") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)
        log.warning("llama-server ended while loading", pod=self.view.key, code=process.returncode)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._fault is not None and self._fault.frozen:
            self._healed.clear()
            await self._healed.wait()
        if self._fault is not None and self._fault.status is not None and request.path != "/metrics":
            return web.Response(status=self._fault.status)
        session, loaded = self._session, self._loaded
        if session is None or loaded is None:
            return web.Response(status=503)
        working = request.method == "POST"
        try:
            await asyncio.shield(loaded)
            if working:
                self._enter()
            return await self._relay(session, request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("llama-server did not answer", pod=self.view.key, error=repr(error))
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            if working and self._inside:
                self._leave()

    async def _relay(self, session: aiohttp.ClientSession, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with session.request(request.method, self._inner + request.path_qs, data=await request.read(), headers=headers) as inner:
            response = web.StreamResponse(status=inner.status)
            response.headers.update({name: value for name, value in inner.headers.items() if name.lower() not in HOP_BY_HOP})
            await response.prepare(request)
            async for piece in inner.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    def _enter(self) -> None:
        if not self._inside:
            self._since_s = time.monotonic()
        self._inside += 1

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._busy_s += time.monotonic() - self._since_s


_ending: set[asyncio.Task[None]] = set()
"""Servers on their way out; the loop keeps only weak references to tasks."""


async def _end(process: asyncio.subprocess.Process, session: aiohttp.ClientSession) -> None:
    await process.wait()
    await session.close()


def real_engine(tools: LlamaTools) -> RealEngine:
    """What the fleet calls for a pod that wants a real engine."""

    def make(view: PodView) -> Player:
        return LlamaPlayer(view, tools)

    return make
