"""What a client whose stream has begun gets from a pod, and from a pod that fails."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from jevons.core.load import Work
from jevons.gateway.inflight import ROOM, Inflight
from jevons.gateway.room_relay import NotReached, Relay, closing_event, forwarded
from jevons.gateway.table import Pod, Variant

CHAT = "/v1/chat/completions"
TOKEN = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


class Client:
    """Stands for the response that has begun."""

    def __init__(self) -> None:
        self.got = b""

    async def write(self, data: bytes) -> None:
        self.got += data


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session
    await asyncio.sleep(0)  # let the transports close before the loop does


@pytest.fixture
async def pod():
    """A pod that answers as its `behave` says; `seen` are the headers of its last request."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        told["seen"] = dict(request.headers)
        return await told["behave"](request)

    told = {}
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told["address"] = f"127.0.0.1:{runner.addresses[0][1]}"
    yield told
    await runner.cleanup()


async def stream(request: web.Request, *, broken: bool = False) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await response.write(TOKEN)
    if broken:
        assert request.transport is not None
        request.transport.abort()
    return response


async def run(relay: Relay, *addresses: str, headers: dict[str, str] | None = None, path: str = CHAT) -> bytes:
    client = Client()
    variant = Variant("small", state="Ready", pods=tuple(Pod(address, address) for address in addresses))
    await relay.run(client, variant, path=path, headers=headers or {}, body=b"{}", now=1_000.0)  # type: ignore[arg-type]
    return client.got


async def test_a_stream_passes_byte_for_byte_and_the_pod_sees_no_word_between_gateway_processes(http, pod):
    pod["behave"] = stream
    headers = {"authorization": "Bearer t", "x-jevons-team": "blue", "x-envoy-x": "1", "accept-encoding": "gzip", "host": "h", "traceparent": "00"}
    assert await run(Relay(http, None), pod["address"], headers=headers) == TOKEN
    seen = {name.lower(): value for name, value in pod["seen"].items()}
    assert (seen["authorization"], seen["traceparent"], seen["host"]) == ("Bearer t", "00", pod["address"])
    assert not {"accept-encoding", "user-agent", "x-jevons-team", "x-envoy-x"} & set(seen)


async def test_a_pod_that_cannot_be_reached_is_passed_over(http, pod):
    pod["behave"] = stream
    assert await run(Relay(http, None), "127.0.0.1:1", pod["address"]) == TOKEN
    with pytest.raises(NotReached):
        await run(Relay(http, None), "127.0.0.1:1")


async def test_a_stream_that_breaks_ends_with_an_error_event(http, pod):
    async def breaks(request: web.Request) -> web.StreamResponse:
        return await stream(request, broken=True)

    pod["behave"] = breaks
    got = await run(Relay(http, None), pod["address"])
    assert got.startswith(TOKEN)
    assert b'"code":"upstream_lost"' in got
    assert got.endswith(b"data: [DONE]\n\n")


async def test_an_error_of_the_pod_becomes_an_event_with_the_pod_s_own_words(http, pod):
    async def refuses(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "too long", "code": "context"}}, status=400)

    pod["behave"] = refuses
    got = await run(Relay(http, None), pod["address"])
    assert json.loads(got.split(b"\n\n")[0].removeprefix(b"data: "))["error"] == {"type": "server_error", "code": "context", "message": "too long"}


async def test_a_pod_that_does_not_stream_is_one_event(http, pod):
    async def whole(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": []})

    pod["behave"] = whole
    assert await run(Relay(http, None), pod["address"]) == b'data: {"choices": []}\n\ndata: [DONE]\n\n'


async def test_relayed_work_counts_on_its_pod_only_while_it_lasts(http, pod, tmp_path):
    inflight = Inflight(tmp_path / "inflight.bin", ROOM)
    during: list[Work] = []

    async def looks(request: web.Request) -> web.StreamResponse:
        during.extend(inflight.outstanding([pod["address"]], 1_000.0))
        return await stream(request)

    pod["behave"] = looks
    await run(Relay(http, inflight), pod["address"])
    assert during[0].tokens >= 200
    assert during[0].sequences == 1
    assert inflight.outstanding([pod["address"]], 1_000.0) == [Work()]


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[1]", b'{"error": "text"}'])
def test_whatever_a_pod_said_the_client_gets_an_error_object(raw):
    event = closing_event(CHAT, raw, 502).split(b"\n\n")[0]
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "upstream_error"


def test_hop_by_hop_headers_stay_behind():
    assert forwarded({"Connection": "x", "TE": "x", "Content-Length": "3", "X-Jevons-Wake": "v", "X-Own": "1"}) == {"X-Own": "1"}
