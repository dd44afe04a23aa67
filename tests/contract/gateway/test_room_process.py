"""The waiting room as a process of its own: what its supervisor and its clients see when it starts, ends and dies."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from jevons.core.load import Work
from jevons.gateway.inflight import Inflight
from jevons.gateway.table import Model, Pod, Table, TableFile, Variant

from .conftest import transports_closed

HEADERS = {"x-jevons-model": "a/assistant", "x-jevons-wake": "small", "x-request-id": "r1"}
BODY = {"model": "org/small", "messages": []}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=128) as made:
        yield made


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session
    await transports_closed()


@contextlib.asynccontextmanager
async def room(folder, listener, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    fd = listener.fileno()
    command = [sys.executable, "-m", "jevons.gateway.room", "--state-dir", str(folder), "--listen-fd", str(fd), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, pass_fds=[fd])
    try:
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == {"ready": True, "ports": {"room": listener.getsockname()[1]}}
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()


def publish(folder, *pods: Pod) -> None:
    variant = Variant("small", state="Ready" if pods else "Waking", pods=pods)
    TableFile(folder / "table.json").write(Table({"a/assistant": Model("a", "assistant", "assistant", (variant,))}, built_at=time.time()))


async def held(folder, count: int) -> None:
    for _ in range(1_000):
        with contextlib.suppress(FileNotFoundError, KeyError):
            if json.loads((folder / "held.json").read_bytes())["held"]["a/assistant"]["small"] == count:
                return
        await asyncio.sleep(0.02)
    pytest.fail(f"{count} were never held")


async def ask(http, listener, **more):
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions?a=b"
    headers = HEADERS | {"host": "gateway.example"}
    headers |= more.pop("headers", {})
    async with http.post(url, json={**BODY, **more}, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_sigterm_answers_everybody_who_waits_and_ends_with_zero(tmp_path, listener, http):
    publish(tmp_path)
    async with room(tmp_path, listener, "--grace", "0.1") as process:
        asking = [asyncio.create_task(ask(http, listener, stream=stream)) for stream in (False, True)]
        await held(tmp_path, 2)
        process.send_signal(signal.SIGTERM)
        plain, stream = await asyncio.gather(*asking)
        assert await process.wait() == 0
    assert (plain[0], json.loads(plain[2])["error"]["code"]) == (503, "no_capacity")
    assert (stream[0], stream[2].endswith(b"data: [DONE]\n\n"), b"no_capacity" in stream[2]) == (200, True, True)


async def test_who_comes_while_a_new_process_takes_over_waits_in_the_backlog_and_is_served(tmp_path, listener, http):
    publish(tmp_path)
    async with room(tmp_path, listener) as process:
        process.kill()
        await process.wait()
    asking = asyncio.create_task(ask(http, listener))
    async with room(tmp_path, listener):
        await held(tmp_path, 1)
        publish(tmp_path, Pod("small-1", "127.0.0.1:1"))
        status, headers, _ = await asking
    assert (status, headers["location"]) == (307, "http://gateway.example/v1/chat/completions?a=b")


async def test_the_room_s_bounds_hold_in_bytes_and_in_number(tmp_path, listener, http):
    publish(tmp_path)
    async with room(tmp_path, listener, "--max-held", "2", "--max-bytes", "40000"):
        status, headers, body = await ask(http, listener, stream=True, padding="x" * 30_000)
        assert (status, json.loads(body)["error"]["code"]) == (429, "overloaded")
        assert int(headers["retry-after"]) <= 120
        waiting = [asyncio.create_task(ask(http, listener)) for _ in range(2)]
        await held(tmp_path, 2)
        assert (await ask(http, listener))[0] == 429
        for task in waiting:
            task.cancel()
        await held(tmp_path, 0)


async def test_an_anthropic_stream_is_told_of_a_failure_in_its_own_form(tmp_path, listener, http):
    publish(tmp_path)
    async with room(tmp_path, listener, "--grace", "0.1"):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/messages"
        deadline = {"x-jevons-deadline-ms": f"{1000 * (time.time() + 2):.0f}"}
        async with http.post(url, json={**BODY, "stream": True}, headers=HEADERS | deadline) as answer:
            body = await answer.read()
    event = body.split(b"\n\n")[-2]
    assert event.startswith(b"event: error\ndata: ")
    assert json.loads(event.split(b"data: ")[1])["error"]["code"] == "wake_timeout"


async def test_no_host_of_a_client_s_choosing_breaks_the_redirect(tmp_path, listener):
    publish(tmp_path, Pod("small-1", "127.0.0.1:1"))
    async with room(tmp_path, listener):
        for host in ("evil.example/path?", "a b", "user@host"):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            headers = "".join(f"{name}: {value}\r\n" for name, value in (HEADERS | {"x-request-id": host}).items())
            writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: 2\r\n\r\n{{}}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            writer.close()
            assert "location: http://gateway/v1/chat/completions\r\n" in head or head.startswith("http/1.1 400")


async def test_a_flex_request_waits_while_pods_are_busy_and_goes_when_one_is_not_or_its_time_is_over(tmp_path, listener, http):
    pod, picker = "127.0.0.1:1", Inflight(tmp_path / "inflight.bin", 0)
    publish(tmp_path, Pod("small-1", pod))
    picker.add(pod, Work(5_000.0, 1), time.time())
    flex = {"x-jevons-tier": "Flex", "x-jevons-patience-ms": f"{1000 * (time.time() + 600):.0f}"}
    short = {**flex, "x-request-id": "r2", "x-jevons-patience-ms": f"{1000 * (time.time() + 1):.0f}"}
    async with room(tmp_path, listener):
        waiting = asyncio.create_task(ask(http, listener, headers=flex))
        assert (await ask(http, listener, headers=short))[0] == 307
        assert time.time() * 1000 >= float(short["x-jevons-patience-ms"])
        await held(tmp_path, 0)  # who can wait is no demand
        assert not waiting.done()
        picker.add(pod, Work(-5_000.0, -1), time.time())
        assert (await waiting)[0] == 307
