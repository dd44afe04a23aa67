"""The fleet's control endpoint, for tests, on 127.0.0.1: `GET /pods`, `GET|POST|DELETE /faults`.

`POST /faults` adds one fault (fleet_faults.Fault as JSON) and takes effect before it answers; `DELETE /faults` takes all back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import orjson
from aiohttp import web
from pydantic import ValidationError

from jevons.sandbox.fleet_faults import Fault
from jevons.sandbox.fleet_players import Player


class Controlled(Protocol):
    """The part of the fleet that is controlled."""

    players: dict[str, Player]
    faults: list[Fault]

    def set_faults(self, faults: list[Fault]) -> None:
        """Exactly these faults hold."""

    async def settled(self) -> None:
        """Wait until they do."""


@asynccontextmanager
async def serve_control(fleet: Controlled, port: int = 0) -> AsyncIterator[int]:
    """Serve the endpoint; gives its port."""
    app = web.Application()

    async def pods(_: web.Request) -> web.Response:
        return _json({player.view.key: player.state() for player in fleet.players.values()})

    async def faults(_: web.Request) -> web.Response:
        return _json([fault.model_dump() for fault in fleet.faults])

    async def add(request: web.Request) -> web.Response:
        try:
            fault = Fault.model_validate_json(await request.read())
        except ValidationError as error:
            return _json({"error": str(error)}, status=400)
        fleet.set_faults([*fleet.faults, fault])
        await fleet.settled()
        return _json([fault.model_dump() for fault in fleet.faults])

    async def heal(_: web.Request) -> web.Response:
        fleet.set_faults([])
        await fleet.settled()
        return _json([])

    app.add_routes([web.get("/pods", pods), web.get("/faults", faults), web.post("/faults", add), web.delete("/faults", heal)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _json(data: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")
