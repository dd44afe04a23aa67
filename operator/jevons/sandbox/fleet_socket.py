"""One pod's own address and port: open, drained, reset.

Every pod has its socket on its own loopback address (never a wildcard), so closing it is what a stopped container looks like from outside: refused
connections at once, and a reset for those that were open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

BACKLOG = 512
MAX_BODY = 64 * 1024 * 1024
"""Longer request bodies get 413 [bytes]."""


class Listener:
    """Serves HTTP on `ip:port` by `handler`, whose task is cancelled when its client goes away."""

    def __init__(self, ip: str, port: int, handler: Handler) -> None:
        self.ip = ip
        self.port = port
        self._handler = handler
        self._busy: set[web.RequestHandler] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._web = web.Server(self._handle, request_factory=_request, handler_cancellation=True, access_log=None, keepalive_timeout=75.0)
        self._server: asyncio.Server | None = None

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._server is not None

    async def open(self) -> None:
        """Take connections. Raises OSError when the address is not ours or in use."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(self._web, self.ip, self.port, backlog=BACKLOG, reuse_address=True)

    def drain(self) -> None:
        """Take no new connections and close idle ones; answers under way go on."""
        self._close()
        for connection in self._web.connections:
            if connection in self._busy:
                connection.close()
            else:
                connection.force_close()

    async def idle(self) -> None:
        """Wait until no answer is under way."""
        await self._idle.wait()

    def abort(self) -> None:
        """Stop at once: every connection is reset, and what was being answered is cancelled."""
        self._close()
        for connection in self._web.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy.add(request.protocol)
        self._idle.clear()
        try:
            return await self._handler(request)
        finally:
            self._busy.discard(request.protocol)
            if not self._busy:
                self._idle.set()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def _request(
    message: RawRequestMessage, payload: StreamReader, protocol: web.RequestHandler, writer: AbstractStreamWriter, task: asyncio.Task[None]
) -> web.BaseRequest:
    """The request that aiohttp would make, but with room for a long prompt."""
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=MAX_BODY)
