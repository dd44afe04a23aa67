"""The sleep mode of a simulated engine, as vLLM started with `--enable-sleep-mode` and VLLM_SERVER_DEV_MODE=1 offers it.

    POST /sleep?level=1             weights to host memory; 503 while it has work (vLLM would abort it, or with mode=wait let it end)
    POST /wake_up                   and back; answered when they are
    GET /is_sleeping                {"is_sleeping": true}

Both may be asked again. Without sleep mode the paths are not there. A request for an answer that meets a sleeping engine fails (vLLM's crashes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from aiohttp import web

from jevons.sandbox.fleet_openai import RequestError

PATHS = ("/sleep", "/wake_up", "/is_sleeping")


class SleepMode:
    """One engine's. `wake_s` None: it was started without. `busy`: whether the engine has work now."""

    def __init__(self, wake_s: float | None, busy: Callable[[], bool]) -> None:
        self._wake_s, self._busy = wake_s, busy
        self._asleep, self._moving = False, asyncio.Lock()

    def check(self) -> None:
        """Raises RequestError (500) when an answer is asked of an engine that sleeps."""
        if self._asleep:
            raise RequestError(500, "the engine sleeps: its weights are in host memory", "InternalServerError")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one of PATHS. Raises RequestError (404, 405)."""
        if self._wake_s is None:
            raise RequestError(404, f"no such path: {request.path}", "NotFoundError")
        if request.path == "/is_sleeping":
            return web.Response(body=orjson.dumps({"is_sleeping": self._asleep}), content_type="application/json")
        if request.method != "POST":
            raise RequestError(405, f"{request.path} takes POST", "MethodNotAllowed")
        async with self._moving:
            if request.path == "/sleep" and not self._asleep:
                if self._busy():
                    raise RequestError(503, "the engine has work", "ServiceUnavailable")
                self._asleep = True
            elif request.path == "/wake_up" and self._asleep:
                await asyncio.sleep(self._wake_s)
                self._asleep = False
        return web.Response()
