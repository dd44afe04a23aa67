"""What kubelets and people may ask: `/livez`, `/readyz`, `/metrics`, and the last decision at `/decisions/NAMESPACE/NAME`.

Live means that the loop's heart beats; ready means that the caches are synced, not that this operator leads: else a rollout of two replicas would
wait for ever for the second one. Nothing here has secrets or prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web


class Heartbeat:
    """When something last showed that it runs [monotonic s]."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def beat(self) -> None:
        """It runs."""
        self._at = time.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._at


def health_app(
    *, ready: Callable[[], bool], heartbeat: Heartbeat, dead_after_s: float, explain: Callable[[str, str], dict[str, Any] | None]
) -> web.Application:
    """The health server's routes."""

    async def livez(_: web.Request) -> web.Response:
        alive = heartbeat.age_s < dead_after_s
        return web.Response(status=200 if alive else 500, text=f"last heartbeat {heartbeat.age_s:.1f} s ago\n")

    async def readyz(_: web.Request) -> web.Response:
        synced = ready()
        return web.Response(status=200 if synced else 503, text="synced\n" if synced else "caches are not synced\n")

    async def decision(request: web.Request) -> web.Response:
        found = explain(request.match_info["namespace"], request.match_info["name"])
        if found is None:
            return web.Response(
                status=404, text="nothing decided for it here: not an InferenceDeployment of this install, or another operator leads\n"
            )
        return web.Response(body=orjson.dumps(found, option=orjson.OPT_INDENT_2), content_type="application/json")

    app = web.Application()
    app.add_routes(
        [web.get("/livez", livez), web.get("/healthz", livez), web.get("/readyz", readyz), web.get("/decisions/{namespace}/{name}", decision)]
    )
    return app


def metrics_app(render: Callable[[], bytes]) -> web.Application:
    """The metrics server's only route."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    return app


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve on host:port (0 = any free one); the runner, to clean up at the end, and the port."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])
