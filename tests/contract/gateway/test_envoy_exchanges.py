"""One message to the picker or two: the client sees no difference, and no request passes its picker by."""

import asyncio
import http.client
import json
import signal
import socket

import aiohttp
import pytest

from jevons.gateway.envoy.routes import WHOLE_BYTES
from jevons.gateway.serve_picker import socket_of

from .conftest import transports_closed

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
LONG = "x" * (4 * WHOLE_BYTES)


@pytest.fixture(scope="module")
def served(lab, model):
    one, two = lab.engine("sole"), lab.engine("other")
    lab.publish(model(large=[one], small=[two]))
    return lab, one, two


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session
    await transports_closed()


def hello(model="assistant@large", **more):
    return {"model": model, "messages": [{"role": "user", "content": "What is two and two?"}], **more}


async def post(client, lab, body, headers=None, path=CHAT):
    data = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
    told = {"content-type": "application/json", **(headers or {})}
    async with client.post(lab.url + path, data=data, headers=told) as response:
        return response.status, response.headers, await response.json()


async def told(lab, path):
    """What Envoy's admin interface says."""
    connector = aiohttp.UnixConnector(str(lab.dir / "envoy-admin.sock"))
    async with aiohttp.ClientSession(connector=connector) as admin, admin.get("http://envoy" + path) as response:
        return await response.text()


async def messages(lab):
    """How many messages the pickers have got so far."""
    return int((await told(lab, "/stats?filter=ext_proc.stream_msgs_sent$")).split(": ")[1])


def raw(lab, *lines: bytes, body: bytes = b"", method: bytes = b"POST"):
    """Status and JSON of the answer to a request written by hand."""
    with socket.create_connection(("127.0.0.1", lab.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join([method + b" " + CHAT.encode() + b" HTTP/1.1", b"host: x", b"connection: close", *lines, b"", body]))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


async def both_serve(client, lab):
    """Envoy has found out that both pickers are there, and not on the strength of what was before."""
    healthy = [f"pickers::{socket_of(lab.dir, index)}::health_flags::healthy" for index in range(2)]
    answered = 0
    async with asyncio.timeout(60):
        while answered < 40 or not set(healthy) <= set((await told(lab, "/clusters")).splitlines()):
            status, _, _ = await post(client, lab, hello())
            answered = answered + 1 if status == 200 else 0
            await asyncio.sleep(0.005)


async def chunks(body):
    yield json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "count"),
    [(hello(), 1), (hello(pad=LONG), 2), (chunks(hello()), 2)],
    ids=["short", "long", "chunked"],
)
async def test_a_short_request_takes_one_message_and_all_arrive_alike(served, client, body, count):
    lab, one, _ = served
    before = await messages(lab)
    status, headers, answer = await post(client, lab, body, {"x-team": "blue"})
    assert await messages(lab) - before == count
    assert (status, headers["x-jevons-variant"], headers["x-jevons-reason"]) == (200, "large", "explicit")
    assert answer["choices"][0]["message"]["content"] == f"from {one}"
    assert answer["body"]["model"] == "org/large"
    seen = answer["seen"]
    assert seen["x-gateway-destination-endpoint"].split(",")[0] == f"127.0.0.1:{one}"
    assert (seen["x-jevons-model"], seen["x-jevons-wake"], seen["x-jevons-tier"]) == ("team-a/assistant", "large", "Interactive")
    assert seen["x-team"] == "blue"
    assert "accept-encoding" not in seen
    assert int(seen["content-length"]) > 0
    assert "transfer-encoding" not in seen


@pytest.mark.parametrize("pad", ["", LONG], ids=["whole", "in two"])
async def test_no_internal_header_of_a_client_reaches_anybody(served, client, pad):
    lab, one, two = served
    forged = {
        "x-gateway-destination-endpoint": f"127.0.0.1:{two}",
        "x-gateway-destination-endpoint-subset": f"127.0.0.1:{two}",
        "x-gateway-destination-endpoint-served": f"127.0.0.1:{two}",
        "x-jevons-model": "team-b/other",
        "x-jevons-wake": "other",
        "x-jevons-team": "rich",
        "x-jevons-arrived-ms": "1",
        "x-jevons-deadline-ms": "1",
        "x-jevons-priority": "High",
        "x-jevons-tier": "Batch",
        "x-jevons-ticket": "1.fake.AAAA",
        "x-jevons-fill": "1",
        "x-jevons-whole": "1",
        "jevons.request": "x",
        "headers": ":path:/v1/models",
    }
    status, _, answer = await post(client, lab, hello(pad=pad), forged)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == f"from {one}"
    seen = answer["seen"]
    assert (seen["x-jevons-model"], seen["x-jevons-wake"], seen["x-jevons-priority"]) == ("team-a/assistant", "large", "Normal")
    assert seen["x-jevons-tier"] == "Interactive"
    assert "x-jevons-team" not in seen
    assert {seen[name] == forged[name] for name in ("x-jevons-arrived-ms", "x-jevons-deadline-ms", "x-jevons-ticket")} == {False}
    assert not {"x-jevons-fill", "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint-served"} & set(seen)


@pytest.mark.parametrize(
    ("lines", "body", "status", "code"),
    [
        ((), b"", 400, "invalid_request"),
        ((b"content-length: 0",), b"", 400, "invalid_request"),
        ((b"transfer-encoding: chunked",), b"0\r\n\r\n", 400, "invalid_request"),
        ((b"content-length: 2", b"content-encoding: identity"), b"{}", 400, "invalid_request"),
        ((b"content-length: 2", b"content-encoding: gzip"), b"{}", 415, "unsupported_encoding"),
        ((b"content-length: 2", b"x-bad: \xff\xc3\xa9 %s"), b"{}", 400, "invalid_request"),
        ((b"content-length: 8388609",), b"{", 413, "request_too_large"),
    ],
    ids=["no body", "length 0", "empty chunks", "identity", "gzip", "bytes that are no text", "too large"],
)
def test_a_request_that_names_no_model_is_refused_whatever_way_it_comes(served, lines, body, status, code):
    told, answer = raw(served[0], *lines, body=body)
    assert (told, answer["error"]["code"]) == (status, code)


def test_another_method_with_a_body_is_refused(served):
    told, answer = raw(served[0], b"content-length: 2", body=b"{}", method=b"PUT")
    assert (told, answer["error"]["code"]) == (405, "method_not_allowed")


def test_a_body_that_never_ends_reaches_no_engine(served):
    lab, _, _ = served
    said = json.dumps(hello()).encode()
    with socket.create_connection(("127.0.0.1", lab.port), timeout=10) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(said) + 1}\r\n\r\n"
        connection.sendall(head.encode() + said)
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " not in connection.recv(1000)


async def test_models_are_listed_to_whoever_asks_and_posted_to_by_nobody(served, client):
    lab, _, _ = served
    async with client.get(lab.url + "/v1/models") as response:
        assert (response.status, (await response.json())["object"]) == (200, "list")
    assert (await post(client, lab, hello(), path="/v1/models"))[0] == 404


async def test_with_a_picker_dead_every_size_is_answered(served, client):
    lab, _, _ = served
    await both_serve(client, lab)
    fattest = dict.fromkeys(("x-fat", "x-fatter"), "\u00fc" * 3_500)
    sizes = (0, WHOLE_BYTES - 200, WHOLE_BYTES, 3 * WHOLE_BYTES, 1_000_000)
    lab.kill("picker-0", signal.SIGKILL)
    try:
        asked = [(hello(pad="x" * size), headers) for _ in range(3) for size in sizes for headers in ({}, fattest)]
        answers = [await asyncio.wait_for(post(client, lab, *one), 30) for one in asked]
    finally:
        lab.picker(0)
    assert {status for status, _, _ in answers} == {200}


async def test_with_no_picker_at_all_nothing_is_routed(served, client):
    lab, _, _ = served
    lab.kill("picker-0", signal.SIGKILL)
    lab.kill("picker-1", signal.SIGKILL)
    try:
        answers = [await post(client, lab, hello(pad=pad)) for pad in ("", LONG)]
    finally:
        lab.picker(0)
        lab.picker(1)
    await both_serve(client, lab)
    assert [(status, answer["error"]["code"]) for status, _, answer in answers] == [(503, "no_capacity")] * 2
