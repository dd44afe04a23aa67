"""The waiting room takes whatever Envoy lets in, and no more than it has place for."""

import asyncio
import json
import sys
import time

import aiohttp
import pytest
import structlog
from aiohttp import web

from jevons.gateway import room
from jevons.gateway.room_hold import Holder
from jevons.gateway.room_http import Limits, Room, runner
from jevons.gateway.room_queue import WAITER_BYTES, RoomQueue

PATH = "/v1/chat/completions"


@pytest.fixture
def queue():
    return RoomQueue(max_bytes=2 * WAITER_BYTES + 30_000)


@pytest.fixture
async def url(queue):
    server = runner(Room(Holder(queue, lambda: None), None, Limits()))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{server.addresses[0][1]}{PATH}"
    await server.cleanup()


async def until(holds):
    while not holds():  # noqa: ASYNC110 - it happens in another task
        await asyncio.sleep(0.01)


async def ask(url, *, wait_s=0.0, padding=0, **headers):
    body = {"model": "m", "padding": "x" * padding}
    deadline = {"x-jevons-deadline-ms": f"{1000 * (time.time() + wait_s):.0f}"}
    async with aiohttp.ClientSession() as session, session.post(url, headers=headers | deadline, json=body) as answer:
        return answer.status, (await answer.json())["error"]["code"]


async def test_a_header_or_path_as_long_as_envoy_lets_in_is_no_bad_request(url):
    told = await ask(f"{url}?{'q' * 12_000}", authorization="Bearer " + "t" * 15_000)
    assert told == (504, "wake_timeout")


async def test_a_body_that_only_envoy_keeps_takes_its_place_too(url, queue):
    first = asyncio.create_task(ask(url, wait_s=60.0, padding=20_000))
    async with asyncio.timeout(20):
        await until(lambda: queue.count)
        await asyncio.sleep(0.1)  # its body has been read
        assert queue.bytes > WAITER_BYTES + 20_000
        assert await ask(url, padding=20_000) == (429, "overloaded")
        first.cancel()
        await until(lambda: not queue.bytes)


def test_the_process_logs_as_the_gateway_s_others_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["room", "--state-dir", str(tmp_path)])
    monkeypatch.setattr(room.uvloop, "run", lambda serving: serving.close())
    try:
        room.main()
        structlog.get_logger().debug("not said")
        structlog.get_logger().info("said")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["process"]) == ("said", "room")
