"""R1, R2: whatever answers instead of Prometheus, the reading ends in time and says what is wrong."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from jevons.core.observed import Known
from jevons.signals.prometheus import Prometheus
from jevons.signals.reader import PrometheusReader


class Stand:
    """A server that answers every query the same way."""

    def __init__(self) -> None:
        self.answer = lambda _request: web.Response(body=orjson.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}))
        self.asked = 0
        self.url = ""
        self.reached, self.released = asyncio.Event(), asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.reached.set()
        answer = self.answer(request)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def read(self):
        reader = PrometheusReader(Prometheus(self.url), scrape_interval_s=1.0)
        began = time.monotonic()
        metrics = await reader.read()
        self.released.set()
        reader.close()
        return metrics, time.monotonic() - began


@pytest_asyncio.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", made.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_an_empty_prometheus_is_healthy_and_knows_nothing(stand):
    metrics, _ = await stand.read()
    assert isinstance(metrics.health, Known)
    assert (metrics.pods, metrics.demand, metrics.outcomes, metrics.held) == ({}, {}, {}, {})
    assert metrics.queries == stand.asked <= 10


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_an_error_is_told_at_once_and_asked_once(stand, status):
    stand.answer = lambda _: web.Response(status=status, text="no")
    metrics, took_s = await stand.read()
    assert metrics.health.reason == "SourceDown"
    assert f"HTTP{status}" in metrics.health.detail
    assert stand.asked == 1
    assert took_s < 4.0


@pytest.mark.parametrize(
    "body",
    [
        b"<html>login</html>",
        b"",
        b"[]",
        b"{}",
        b'{"status":"success","data":{"resultType":"vector","result":"x"}}',
        b'{"status":"error","error":"boom","data":{"result":[]}}',
    ],
)
async def test_what_is_not_an_answer_of_prometheus_is_refused(stand, body):
    stand.answer = lambda _: web.Response(body=body)
    metrics, _ = await stand.read()
    assert metrics.health.reason == "SourceDown"


@pytest.mark.parametrize(
    "entry",
    [
        "x",
        1767225600.0,
        {"metric": {"namespace": "a", "pod": "p"}, "values": [[1, "1"]]},
        {"metric": {"namespace": "a", "deployment": "d", "bin": "\u00b2"}, "value": [1, "1"]},
        {"metric": {"namespace": ["a"], "deployment": "d", "pod": {}, "__name__": "vllm:num_requests_running"}, "value": [1, "1"]},
    ],
)
async def test_an_entry_of_another_shape_never_raises_and_is_never_a_reading(stand, entry):
    stand.answer = lambda _: web.Response(body=orjson.dumps({"status": "success", "data": {"resultType": "vector", "result": [entry]}}))
    metrics, _ = await stand.read()
    assert not [pod for pod in metrics.pods.values() if isinstance(pod.running, Known)]
    assert not metrics.held


async def test_a_redirect_is_not_followed(stand):
    stand.answer = lambda _: web.Response(status=302, headers={"Location": f"{stand.url}/elsewhere"})
    metrics, _ = await stand.read()
    assert "HTTP302" in metrics.health.detail
    assert stand.asked == 1


async def test_warnings_make_the_reading_partial(stand):
    body = {"status": "success", "warnings": ["one store did not answer"], "data": {"resultType": "vector", "result": []}}
    stand.answer = lambda _: web.Response(body=orjson.dumps(body))
    metrics, _ = await stand.read()
    assert "one store did not answer" in metrics.health.detail


async def test_fifty_megabytes_are_not_read(stand):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(50):
            await response.write(b"x" * 1024 * 1024)
        return response

    stand.answer = endless
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    metrics, _ = await stand.read()
    assert "TooLarge" in metrics.health.detail
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


async def test_a_server_that_hangs_costs_five_seconds_at_most_and_no_second_thread(stand):
    async def hang(_request):
        await stand.released.wait()
        return web.Response()

    stand.answer = hang
    reader = PrometheusReader(Prometheus(stand.url), scrape_interval_s=1.0)
    first = asyncio.create_task(reader.read())
    await stand.reached.wait()
    second = await reader.read()
    assert second.health.detail == "the last question still hangs"
    assert (await first).health.reason == "SourceDown"
    stand.released.set()
    reader.close()


async def test_nobody_there():
    reader = PrometheusReader(Prometheus("http://127.0.0.1:1"), scrape_interval_s=1.0)
    metrics = await reader.read()
    assert metrics.health.reason == "SourceDown"
    assert "vllm" not in metrics.health.detail, "no query in an error"
    reader.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://user:secret@127.0.0.1:9090", "127.0.0.1:9090", "gopher://x"])
def test_a_url_that_is_not_plain_http_is_refused(url):
    with pytest.raises(ValueError, match="Prometheus URL must be"):
        Prometheus(url)
