"""The waiting room takes whatever Envoy lets in."""

import aiohttp
from aiohttp import web

from jevons.gateway.room_hold import Holder
from jevons.gateway.room_http import Limits, Room, runner
from jevons.gateway.room_queue import RoomQueue


async def test_a_header_or_path_as_long_as_envoy_lets_in_is_no_bad_request():
    room = Room(Holder(RoomQueue(), lambda: None), None, Limits())
    server = runner(room)
    await server.setup()
    try:
        await web.TCPSite(server, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{server.addresses[0][1]}/v1/chat/completions?{'q' * 12_000}"
        headers = {"authorization": "Bearer " + "t" * 15_000, "x-jevons-deadline-ms": "1"}
        async with aiohttp.ClientSession() as session, session.post(url, headers=headers, json={"model": "m"}) as answer:
            told = await answer.json()
    finally:
        await server.cleanup()
    assert (answer.status, told["error"]["code"]) == (504, "wake_timeout")
